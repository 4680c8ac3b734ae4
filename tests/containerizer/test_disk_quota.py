"""Disk limits that a file system keeps, asserted by its own counters, on real XFS and ext4 with project quotas."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer import linux
from containerizer.messages import (
    Describe,
    HostCapabilities,
    Launch,
    LaunchFailed,
    LaunchFailure,
    Limit,
    Refused,
    Update,
    Updated,
    Usage,
    UsageReport,
)
from containerizer.projects import is_enforced, parse_range
from containerizer.spec import Limits
from runtime.errors import ConfigurationError

Real = Callable[..., Any]
Left = Callable[[Any], list[str]]

pytestmark = [pytest.mark.cgroup2, pytest.mark.root]

MIB = 1 << 20
BLOCK = 64 * 1024
"""More than a file system refuses at once."""

REFUSED = {"ext4": errno.EDQUOT, "xfs": errno.ENOSPC}

FILL = """
import os, signal
signal.signal(signal.SIGUSR1, lambda *_: None)
file = os.open("filled", os.O_WRONLY | os.O_CREAT)
while True:
    written = 0
    try:
        while True:
            written += os.write(file, bytes(16384))
    except OSError as error:
        os.write(3, b"%d %d\\n" % (error.errno, written))
    signal.pause()
"""
"""Fills what room there is, says so, and does it again at each signal. Its words go where no quota counts them."""


@pytest.fixture
def machine(disk: Any, real: Real) -> Any:
    made = real("auto", elsewhere=disk.path)
    made.attach()
    return made


def fill(machine: Any, container_id: str, **fields: Any) -> None:
    """A container that fills its sandbox, and has done so."""
    said = machine.directory / f"{container_id}.said"
    script = f"exec {sys.executable} -I -S -c '{FILL}' 3>{said}"
    machine.launch(container_id, script, **fields)
    machine.until(lambda: said.exists() and said.read_text(), "the end of all room")


def said(machine: Any, container_id: str) -> list[list[int]]:
    """Error and bytes written, of each time so far."""
    lines = (machine.directory / f"{container_id}.said").read_text().splitlines()
    return [[int(word) for word in line.split()] for line in lines]


def fill_again(machine: Any, container_id: str) -> None:
    before = len(said(machine, container_id))
    machine.kill(container_id, 10)
    machine.until(lambda: len(said(machine, container_id)) > before, "another end")


def test_what_is_too_much_is_refused_and_told_once(machine: Any, disk: Any) -> None:
    fill(machine, "c1", limits=Limits(disk_bytes=2 * MIB))
    told = machine.limitation_of("c1")
    assert (told.limit, told.fatal, told.limit_value) == (Limit.DISK, False, 2 * MIB)
    project = disk.project_of("c1")
    quota = disk.quota(project)
    assert quota.limit_bytes == 2 * MIB
    assert 2 * MIB - BLOCK < quota.used_bytes <= 2 * MIB
    assert said(machine, "c1")[0][0] == REFUSED[disk.kind]
    fill_again(machine, "c1")
    (usage,) = machine.ask(Usage(containers=("c1",)), UsageReport).usages
    assert usage.disk_bytes == disk.quota(project).used_bytes
    assert len(machine.limitations("c1")) == 1
    assert not machine.exits("c1")
    with disk.opened("c1") as sandbox:
        assert is_enforced(sandbox)


def test_each_container_has_a_project_of_its_own(machine: Any, disk: Any) -> None:
    launched = machine.launch("c1", "mkdir -p a/b; sleep 600", limits=Limits(disk_bytes=2 * MIB))
    assert "disk/quota" not in launched.not_isolated
    machine.until((disk.path / "c1" / "a" / "b").exists, "a directory")
    machine.launch("c2", "sleep 600", limits=Limits(disk_bytes=4 * MIB))
    machine.launch("free", "touch file; sleep 600")
    machine.until((disk.path / "free" / "file").exists, "a file")
    assert [disk.project_of(name) for name in ("c1", "c1/a/b", "c1/stdout")] == [5000] * 3
    assert disk.project_of("c2") == 5001
    assert disk.project_of("free/file") == 0
    assert [disk.quota(project).limit_bytes for project in (5000, 5001)] == [2 * MIB, 4 * MIB]
    fill(machine, "c3", limits=Limits(disk_bytes=2 * MIB))
    assert said(machine, "c3")[0][1] > MIB
    assert not machine.limitations("c1")


def test_what_is_there_before_the_launch_counts(machine: Any, disk: Any) -> None:
    below = disk.path / "c1" / "below"
    below.mkdir(parents=True)
    (below / "fetched").write_bytes(bytes(MIB))
    (disk.path / "c1" / "link").symlink_to("below")
    os.mkfifo(disk.path / "c1" / "pipe")
    fill(machine, "c1", limits=Limits(disk_bytes=2 * MIB))
    assert disk.project_of("c1/below/fetched") == 5000
    assert said(machine, "c1")[0][1] <= MIB


def test_a_sandbox_that_holds_too_much_already_is_refused(machine: Any, disk: Any, left: Left) -> None:
    machine.run("warm", "true")
    machine.collect("warm")
    (disk.path / "c1").mkdir()
    (disk.path / "c1" / "fetched").write_bytes(bytes(3 * MIB))
    spec = machine.spec("c1", "true", limits=Limits(disk_bytes=2 * MIB))
    refused = machine.ask(Launch(spec=spec), LaunchFailed)
    assert refused.reason is LaunchFailure.FAILED
    assert f"disk_bytes is {2 * MIB}, and the sandbox {spec.sandbox} holds 3" in refused.message
    assert left(machine) == []


def test_limits_change_on_a_live_container(machine: Any, disk: Any) -> None:
    fill(machine, "c1", limits=Limits(disk_bytes=2 * MIB))
    machine.limitation_of("c1")
    machine.ask(Update(container_id="c1", limits=Limits(disk_bytes=4 * MIB)), Updated)
    fill_again(machine, "c1")
    assert said(machine, "c1")[1][1] > MIB
    machine.until(lambda: len(machine.limitations("c1")) == 2, "word of the new limit")
    project = disk.project_of("c1")
    used = disk.quota(project).used_bytes
    answer = machine.ask(Update(container_id="c1", limits=Limits(disk_bytes=MIB)), Refused)
    assert f"holds {used} bytes already" in answer.message
    assert disk.quota(project).limit_bytes == 4 * MIB
    machine.ask(Update(container_id="c1", limits=Limits()), Updated)
    assert disk.quota(project).limit_bytes is None


def test_a_first_limit_of_a_live_container(machine: Any, disk: Any) -> None:
    machine.launch("c1", "mkdir -p a; head -c 1500000 /dev/zero > a/c; echo x > a/b; sleep 600")
    machine.until((disk.path / "c1" / "a" / "b").exists, "a file")
    refused = machine.ask(Update(container_id="c1", limits=Limits(disk_bytes=MIB)), Refused)
    assert "bytes already: allow more, or remove some" in refused.message
    machine.ask(Update(container_id="c1", limits=Limits(disk_bytes=2 * MIB)), Updated)
    project = disk.project_of("c1/a/b")
    assert project == disk.project_of("c1") == 5000
    assert disk.quota(project).limit_bytes == 2 * MIB
    machine.restart()
    machine.attach()
    machine.recover(("c1",))
    (usage,) = machine.ask(Usage(containers=("c1",)), UsageReport).usages
    assert usage.disk_bytes == disk.quota(project).used_bytes


def test_another_life_of_the_containerizer(machine: Any, disk: Any, left: Left) -> None:
    fill(machine, "c1", limits=Limits(disk_bytes=2 * MIB))
    machine.restart()
    machine.attach()
    machine.recover(("c1",))
    machine.launch("c2", "sleep 600", limits=Limits(disk_bytes=2 * MIB))
    assert (disk.project_of("c1"), disk.project_of("c2")) == (5000, 5001)
    os.truncate(disk.path / "c1" / "filled", 0)
    fill_again(machine, "c1")
    assert machine.limitation_of("c1").limit_value == 2 * MIB
    for name in ("c1", "c2"):
        machine.destroy(name)
        machine.collect(name)
    assert disk.quota(5000).limit_bytes is None
    assert left(machine) == []


def test_a_number_is_not_used_again_while_files_have_it(disk: Any, real: Real) -> None:
    machine = real("auto", elsewhere=disk.path, project_range="7000-7001")
    machine.attach()
    limits = Limits(disk_bytes=2 * MIB)
    for name in ("c1", "c2"):
        machine.run(name, "true", limits=limits)
        machine.collect(name)
    refused = machine.ask(Launch(spec=machine.spec("c3", "true", limits=limits)), LaunchFailed)
    text = "all 2 project ids of --project-range 7000-7001 are in use, 0 by containers and 2 by files of earlier ones"
    assert text in refused.message
    shutil.rmtree(disk.path / "c2")
    # XFS counts a file until it has got round to removing it.
    os.sync()
    machine.until(lambda: not disk.quota(7001).files, "no file of the project")
    machine.launch("c4", "sleep 600", limits=limits)
    assert disk.project_of("c4") == 7001


@pytest.mark.parametrize("text", ["", "5000", "10-5", "0-7", "a-b", "1-4294967295", "-5-7"])
def test_nonsense_in_the_flag(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--project-range: .*write FIRST-LAST, such as 5000-10000"):
        parse_range(text)
    assert parse_range("[7-7]") == (7, 7)


# Where a quota cannot be, files are added up --------------------------------------------------------------------------


def await_end(machine: Any, container_id: str) -> None:
    """By disk/du: that ends a container."""
    told = machine.exit_of(container_id).limitation
    assert (told.limit, told.fatal) == (Limit.DISK, True)


GROW = "while :; do head -c 65536 /dev/zero >> file; sleep 0.01; done"


def test_a_sandbox_on_another_file_system(machine: Any) -> None:
    machine.elsewhere = None
    launched = machine.launch("c1", GROW, limits=Limits(disk_bytes=MIB))
    assert launched.not_isolated == ("disk/quota",)
    await_end(machine, "c1")


def test_a_sandbox_in_a_project_of_somebody_else(machine: Any, disk: Any) -> None:
    (disk.path / "c1").mkdir()
    disk.assign("c1", 42)
    launched = machine.launch("c1", GROW, limits=Limits(disk_bytes=MIB))
    assert launched.not_isolated == ("disk/quota",)
    await_end(machine, "c1")
    assert disk.project_of("c1") == 42


def test_a_container_that_quotas_do_not_bind(machine: Any, disk: Any) -> None:
    launched = machine.launch("c1", GROW, limits=Limits(disk_bytes=MIB), capabilities=("CAP_SYS_RESOURCE",))
    assert launched.not_isolated == ("disk/quota",)
    await_end(machine, "c1")


def test_a_container_that_was_launched_where_no_quotas_were_used(disk: Any, real: Real) -> None:
    """Nothing keeps it from leaving a project."""
    machine = real("disk/du", elsewhere=disk.path)
    machine.attach()
    machine.launch("c1", f"while [ ! -e go ]; do sleep 0.01; done; {GROW}")
    machine.isolation = ("disk/quota", "disk/du")
    machine.restart()
    machine.attach()
    machine.recover(("c1",))
    machine.ask(Update(container_id="c1", limits=Limits(disk_bytes=MIB)), Updated)
    assert disk.project_of("c1") == 0
    (disk.path / "c1" / "go").touch()
    await_end(machine, "c1")


def test_a_nested_container_counts_in_its_parents_limit(machine: Any, disk: Any) -> None:
    machine.launch("pod", "sleep 600", limits=Limits(disk_bytes=2 * MIB))
    machine.elsewhere = disk.path / "pod"
    fill(machine, "pod.filler")
    assert machine.limitation_of("pod").limit_value == 2 * MIB
    machine.destroy("pod.filler")
    shutil.rmtree(disk.path / "pod" / "pod.filler")
    launched = machine.launch("pod.small", GROW, limits=Limits(disk_bytes=MIB), shares_limits=False)
    assert launched.not_isolated == ("disk/quota",)
    await_end(machine, "pod.small")
    assert disk.project_of("pod/pod.small/file") == disk.project_of("pod")


def test_quotas_that_are_switched_off_under_a_container(
    machine: Any, disk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    machine.launch("c1", f"while [ ! -e go ]; do sleep 0.01; done; {GROW}", limits=Limits(disk_bytes=MIB))
    disk.switch_off()
    isolator = next(one for one in machine.node.cells["containerizer"].actor.work.isolators if one.name == "disk/quota")
    isolator.check()
    assert f"project quotas of the file system of {disk.path / 'c1'} were switched off" in caplog.text
    assert "quotaon -P" in caplog.text
    (disk.path / "c1" / "go").touch()
    await_end(machine, "c1")
    assert machine.launch("c2", "sleep 600", limits=Limits(disk_bytes=MIB)).not_isolated == ("disk/quota",)


def test_a_flood_of_refusals(machine: Any, disk: Any) -> None:
    """XFS tells of each one; the containerizer has other things to do."""
    flood = (
        "import os\nfile = os.open('file', 65)\nwhile True:\n try: os.write(file, bytes(65536))\n except OSError: pass"
    )
    machine.launch("c1", argv=(sys.executable, "-I", "-S", "-c", flood), limits=Limits(disk_bytes=MIB))
    machine.limitation_of("c1")
    fill(machine, "c2", limits=Limits(disk_bytes=MIB))
    machine.limitation_of("c2")
    assert len(machine.limitations("c1")) == 1


def test_a_kernel_that_does_not_tell(disk: Any, real: Real) -> None:
    """The kernel tells in the host's network namespace only; elsewhere quotas are looked at."""
    with Path("/proc/thread-self/ns/net").open() as before:
        linux.unshare(linux.CLONE_NEWNET)
        try:
            machine = real("auto", elsewhere=disk.path)
            machine.attach()
            fill(machine, "c1", limits=Limits(disk_bytes=2 * MIB))
            assert machine.limitation_of("c1").limit_value == 2 * MIB
        finally:
            linux.set_namespaces(before.fileno(), linux.CLONE_NEWNET)


def test_a_terminal_s_log_is_limited_too(machine: Any, disk: Any) -> None:
    """It is the containerizer that writes it, as root."""
    machine.launch("c1", "yes", tty=True, limits=Limits(disk_bytes=MIB))
    machine.limitation_of("c1")
    machine.until(lambda: disk.quota(disk.project_of("c1")).used_bytes > MIB - BLOCK, "a full log")
    actor = machine.node.cells["containerizer"].actor
    ends = actor.work.streams._ends["c1"]
    machine.until(lambda: ends.unlogged_bytes > MIB, "output that finds no room")
    assert disk.quota(disk.project_of("c1")).used_bytes <= MIB


def test_a_file_system_without_room(machine: Any, disk: Any) -> None:
    """That is no limit of the container's: its command finds out, and nothing is told of it."""
    (disk.path / "c1").mkdir()
    for name in ("stdout", "stderr"):
        (disk.path / "c1" / name).touch()
    with (disk.path / "ballast").open("wb", buffering=0) as ballast:
        for size in (MIB, 4096):
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(size))
    assert machine.run("c1", "head -c 100000 /dev/zero > file", limits=Limits(disk_bytes=MIB)).exit_code != 0
    assert not machine.limitations("c1")


def test_what_the_host_can_do_is_told(machine: Any) -> None:
    host = machine.ask(Describe(), HostCapabilities)
    assert {"disk/quota", "disk/du"} <= set(host.isolators)
    assert "disk/quota" not in [lack.what for lack in host.missing]
