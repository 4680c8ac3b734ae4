"""Ways around limits, tried from inside: each is stopped or bounded; see `test_escapes.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from containerizer.messages import Limit
from containerizer.spec import Limits
from tests.containerizer.attempts import NO_PRIVILEGE, call
from tests.containerizer.conversations import python

pytestmark = pytest.mark.root

Real = Callable[..., Any]

MIB = 1 << 20


@pytest.fixture
def machine(real: Real) -> Any:
    made = real("auto", hide_sandboxes=True)
    made.attach()
    return made


@pytest.mark.cgroup2
def test_opening_a_port_that_others_were_given(real: Real) -> None:
    """Directly, by way of IPv6, of a program that has more privileges, and of what a container nested in it may do."""
    machine = real("auto", "network/ports")
    machine.attach()
    limits = Limits(port_ranges=((31000, 31000),))
    bind = "socket.socket(socket.{}, socket.{}).bind(('', 31001)); print('ESCAPED')"
    for number, arguments in enumerate(product(("AF_INET", "AF_INET6"), ("SOCK_STREAM", "SOCK_DGRAM"))):
        program = python(f"import socket; {bind.format(*arguments)}")
        machine.run(f"escape{number}", argv=program, limits=limits, capabilities=("CAP_NET_BIND_SERVICE",))
        assert NO_PRIVILEGE in machine.output(f"escape{number}", "stderr")
    machine.launch("pod", "sleep 600", limits=limits)
    program = python(f"import socket; {bind.format('AF_INET', 'SOCK_STREAM')}")
    machine.run("pod.escape", argv=program, shares_limits=False, limits=Limits(port_ranges=((1, 65535),)))
    assert NO_PRIVILEGE in machine.output("pod.escape", "stderr")


@pytest.mark.cgroup2
def test_a_fork_bomb(machine: Any) -> None:
    machine.launch("escape", "bomb() { bomb | bomb & }; bomb; sleep 600", limits=Limits(pids=20))
    assert machine.limitation_of("escape").limit is Limit.PIDS
    assert machine.run("other", "exit 0").exit_code == 0
    machine.destroy("escape")


@pytest.mark.cgroup2
def test_a_memory_bomb(machine: Any) -> None:
    machine.launch("neighbour", "sleep 600", limits=Limits(memory_bytes=32 * MIB))
    bomb = python("hoard = []\nwhile True: hoard.append(b'x' * 1048576)")
    machine.launch("escape", argv=bomb, limits=Limits(memory_bytes=32 * MIB, swap_bytes=0))
    assert machine.exit_of("escape").limitation.limit is Limit.MEMORY
    assert not machine.exits("neighbour")


@pytest.mark.cgroup2
def test_hiding_memory_in_a_file_system_in_memory(machine: Any) -> None:
    program = "head -c 60000000 /dev/zero > /dev/shm/x; echo ESCAPED; sleep 600"
    machine.launch("escape", program, limits=Limits(memory_bytes=32 * MIB, swap_bytes=0))
    assert machine.exit_of("escape").limitation.limit is Limit.MEMORY


def test_hiding_files_deeper_than_paths_reach(machine: Any) -> None:
    """Where files are added up by walking to them."""
    deep = "import os, time\nfor _ in range(20): os.mkdir('d' * 250); os.chdir('d' * 250)\ntime.sleep(600)"
    machine.launch("escape", argv=python(deep), limits=Limits(disk_bytes=MIB))
    assert machine.exit_of("escape").limitation.limit is Limit.DISK


PROJECT_ATTEMPTS = {
    "by_ioctl": ("ioctl", "os.open('stdout', 2), 0x401c5820, bytes(28)"),
    "with_bits_that_the_kernel_drops": ("ioctl", "os.open('stdout', 2), ctypes.c_ulong(0x1401c5820), bytes(28)"),
    "by_flags_of_a_directory": ("ioctl", "os.open('.', 0), 0x40086602, bytes(8)"),
    "by_the_call_of_newer_kernels": ("file_setattr", "-100, b'stdout', bytes(24), 24, 0"),
}
"""An owner may do it, for all that the kernel says."""


@pytest.mark.cgroup2
def test_leaving_the_project_that_a_quota_counts(disk: Any, real: Real) -> None:
    machine = real("auto", elsewhere=disk.path)
    machine.attach()
    for profile, (name, attempted) in product(("default", "unconfined"), PROJECT_ATTEMPTS.items()):
        escape, limits = f"{name}-{profile}", Limits(disk_bytes=MIB)
        machine.run(escape, argv=call(*attempted), seccomp=profile, limits=limits)
        assert machine.output(escape).strip() == NO_PRIVILEGE, name
        assert disk.project_of(f"{escape}/stdout") == disk.project_of(escape) >= 5000


@pytest.mark.cgroup2
def test_filling_the_disk(disk: Any, real: Real) -> None:
    machine = real("auto", elsewhere=disk.path)
    machine.attach()
    before = os.statvfs(disk.path).f_bavail
    said = machine.directory / "said"
    fill = "for i in 1 2; do mkdir d$i; cat /dev/zero > d$i/x; cp -r d$i e$i; fallocate -l 1G f$i; done; echo done >&3"
    machine.launch("escape", f"({fill}) 3> {said}; sleep 600", limits=Limits(disk_bytes=8 * MIB))
    assert machine.limitation_of("escape").limit is Limit.DISK
    machine.until(said.read_text, "the last attempt")
    after = os.statvfs(disk.path)
    assert (before - after.f_bavail) * after.f_frsize < 9 * MIB
