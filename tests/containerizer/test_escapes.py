"""Ways out of a container, tried from inside: each is stopped or bounded, for the reason that stands beside it.

An attempt prints ESCAPED when it has got anywhere, and what stopped it otherwise.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer.messages import Kill, Killed, Launch, LaunchFailed, LaunchFailure
from containerizer.spec import Namespace, Rlimit, Root, RootKind, Volume, VolumeKind
from tests.containerizer.attempts import NO_PRIVILEGE, call
from tests.containerizer.conversations import python

pytestmark = pytest.mark.root

Real = Callable[..., Any]

ALL_BUT_USER = tuple(namespace for namespace in Namespace if namespace is not Namespace.USER)


@pytest.fixture
def machine(real: Real) -> Any:
    made = real("auto", hide_sandboxes=True)
    made.attach()
    return made


def attempt(machine: Any, command: str | tuple[str, ...], **fields: Any) -> str:
    """What an attempt says; it has ended by then."""
    if isinstance(command, str):
        machine.run("escape", command, **fields)
    else:
        machine.run("escape", argv=command, **fields)
    return f"{machine.output('escape')}{machine.output('escape', 'stderr')}"


READ_ONLY = "Read-only file system"
NOT_THERE = "No such file or directory"
DENIED = "Permission denied"

SHELL_ATTEMPTS: dict[str, tuple[str, str]] = {
    "change_how_the_kernel_dumps_cores": ("echo '|/bin/sh' > /proc/sys/kernel/core_pattern && echo ESCAPED", READ_ONLY),
    "change_a_kernel_setting": ("echo 1 > /proc/sys/vm/drop_caches && echo ESCAPED", READ_ONLY),
    "press_sysrq": ("echo s > /proc/sysrq-trigger && echo ESCAPED", "cannot create"),
    "change_sysfs": ("echo 0 > /sys/kernel/mm/ksm/run && echo ESCAPED", READ_ONLY),
    "leave_the_cgroup": (
        "f=$(find /sys/fs/cgroup -name cgroup.procs | head -1); echo $$ > $f && echo ESCAPED",
        READ_ONLY,
    ),
    "unlock_proc_sys": ("mount -o remount,rw,bind /proc/sys && echo ESCAPED", "permission denied"),
    "mount_a_file_system": ("mount -t tmpfs none /mnt && echo ESCAPED", "permission denied"),
    "uncover_the_hosts_proc": ("umount /proc && echo ESCAPED", "must be superuser"),
    "make_a_user_namespace": ("unshare --user --map-root-user true && echo ESCAPED", NO_PRIVILEGE),
    "make_a_mount_namespace": ("unshare --mount true && echo ESCAPED", NO_PRIVILEGE),
    "join_namespaces_of_the_init": ("nsenter --target 1 --mount --pid true && echo ESCAPED", ""),
    "make_a_disk_device": ("mknod disk b 254 0 && echo ESCAPED", NO_PRIVILEGE),
    "make_a_memory_device": ("mknod memory c 1 1 && echo ESCAPED", NO_PRIVILEGE),
    "open_the_memory_device": ("head -c 1 /dev/mem && echo ESCAPED", NOT_THERE),
    "open_the_kernels_log": ("head -c 1 /dev/kmsg && echo ESCAPED", NOT_THERE),
    "open_a_raw_disk": ("ls /dev | grep -E '^(sd|vd|nvme|ubd|loop)' && echo ESCAPED; echo no disks", "no disks"),
    "read_the_kernels_memory": ("head -c 1 /proc/kcore | wc -c", "0"),
    "read_the_keyrings": ("wc -c < /proc/keys", "0"),
    "look_into_the_init": ("cat /proc/1/environ && echo ESCAPED", DENIED),
    "use_the_inits_descriptors": ("for f in /proc/1/fd/*; do cat $f && echo ESCAPED; done", DENIED),
    "read_the_kernels_messages": ("dmesg && echo ESCAPED", NO_PRIVILEGE),
    "change_the_hosts_name": ("hostname owned && echo ESCAPED", "you must be root"),
    "set_the_clock": ("date -s 2001-01-01 > out && echo ESCAPED", NO_PRIVILEGE),
    "take_precedence": ("nice -n -20 sh -c 'test $(nice) -lt 0 && echo ESCAPED'", DENIED),
    "raise_a_hard_limit": ("ulimit -n 128 && ulimit -n 4096 && echo ESCAPED", NO_PRIVILEGE),
    "start_a_container_past_us": ("test -S /run/docker.sock && echo ESCAPED; echo no service", "no service"),
    "fill_the_hosts_memory": ("head -c 100000000 /dev/zero > /dev/shm/x && echo ESCAPED", "No space left on device"),
}

CALL_ATTEMPTS: dict[str, tuple[str, str, str]] = {
    "load_a_module": ("init_module", "0, 0, b''", NO_PRIVILEGE),
    "replace_the_kernel": ("kexec_load", "0, 0, 0, 0", NO_PRIVILEGE),
    "reboot": ("reboot", "0xfee1dead, 672274793, 0, 0", NO_PRIVILEGE),
    "load_a_bpf_program": ("bpf", "5, 0, 0", NO_PRIVILEGE),
    "count_the_kernels_events": ("perf_event_open", "0, 0, -1, -1, 0", NO_PRIVILEGE),
    "use_keyrings_of_others": ("keyctl", "0, -3, 1", NO_PRIVILEGE),
    "use_calls_that_no_filter_sees": ("io_uring_setup", "1, 0", NO_PRIVILEGE),
    "open_files_by_number": ("open_by_handle_at", "-100, 0, 0", NO_PRIVILEGE),
    "stop_page_faults": ("userfaultfd", "0", NO_PRIVILEGE),
    "trace_the_init": ("ptrace", "16, 1, 0, 0", NO_PRIVILEGE),
    "read_the_inits_memory": ("process_vm_readv", "1, 0, 0, 0, 0, 0", NO_PRIVILEGE),
    "take_the_inits_files": ("pidfd_getfd", "0, 0, 0", NO_PRIVILEGE),
    "turn_off_swap": ("swapoff", "b'/swap'", NO_PRIVILEGE),
    "write_accounts": ("acct", "b'/tmp/x'", NO_PRIVILEGE),
    "change_the_root": ("pivot_root", "b'/mnt', b'/mnt'", NO_PRIVILEGE),
    "take_a_tree_of_mounts": ("open_tree", "-100, b'/', 1", NO_PRIVILEGE),
    "clone_into_a_user_namespace": ("clone", "0x10000011, 0, 0, 0, 0", NO_PRIVILEGE),
    "hide_flags_of_a_clone_in_memory": ("clone3", "0, 0", "Function not implemented"),
    "talk_to_the_hypervisor": ("socket", "40, 1, 0", NO_PRIVILEGE),
    "use_the_kernels_cryptography": ("socket", "38, 5, 0", NO_PRIVILEGE),
    "listen_to_the_network": ("socket", "17, 3, 768", NO_PRIVILEGE),
    "type_into_a_terminal": ("ioctl", "0, 0x5412, b'x'", NO_PRIVILEGE),
    "type_with_bits_that_the_kernel_drops": ("ioctl", "0, ctypes.c_ulong(0x100005412), b'x'", NO_PRIVILEGE),
    "paste_into_a_console": ("ioctl", "0, ctypes.c_ulong(0x10000541c), b'x'", NO_PRIVILEGE),
    "talk_to_the_hypervisor_with_them": ("socket", "ctypes.c_ulong(0x100000028), 1, 0", NO_PRIVILEGE),
    "use_the_kernels_cryptography_with_them": ("socket", "ctypes.c_ulong(0x100000026), 5, 0", NO_PRIVILEGE),
}


@pytest.mark.parametrize("name", SHELL_ATTEMPTS)
def test_escape_by_shell(machine: Any, name: str) -> None:
    command, reason = SHELL_ATTEMPTS[name]
    said = attempt(machine, command)
    assert "ESCAPED" not in said
    assert reason in said


@pytest.mark.parametrize("name", CALL_ATTEMPTS)
def test_escape_by_system_call(machine: Any, name: str) -> None:
    said = attempt(machine, call(*CALL_ATTEMPTS[name][:2]))
    assert said.strip() == CALL_ATTEMPTS[name][2]


def test_reading_another_sandbox(machine: Any) -> None:
    machine.launch("victim", "echo xyzzy > secret; exec sleep 600")
    secret = machine.directory / "sandboxes" / "victim" / "secret"
    machine.until(secret.exists, "the secret")
    said = attempt(machine, f"cat {secret}; ls {secret.parent.parent}")
    assert "xyzzy" not in said
    assert said.splitlines()[0] == "escape", "its own is all that it sees there"


def test_reaching_the_zygotes_socket(machine: Any) -> None:
    machine.run("warm", "true")
    path = machine.runtime_directory / "zygote.sock"
    assert path.exists()
    program = (
        "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); "
        f"s.connect({str(path)!r}); print('ESCAPED')"
    )
    said = attempt(machine, python(program))
    assert "ESCAPED" not in said
    assert NOT_THERE in said


def test_reading_records_of_containers(machine: Any) -> None:
    assert attempt(machine, f"ls -A {machine.runtime_directory} | wc -l").strip() == "0"


def test_reading_root_file_systems_of_others(machine: Any, build_rootfs: Callable[[Path], Path]) -> None:
    root = Root(kind=RootKind.DIRECTORY, path=str(build_rootfs(machine.directory / "rootfs")))
    machine.launch("victim", "echo xyzzy > /secret; exec sleep 600", root=root)
    work = machine.runtime_directory.with_name("run-work")
    secret = work / "victim" / "upper" / "secret"
    machine.until(secret.exists, "the secret")
    said = attempt(machine, f"cat {secret}; ls {work} | wc -l")
    assert "xyzzy" not in said
    assert said.splitlines()[0] == "0"


def test_seeing_and_signalling_processes_of_the_host(machine: Any) -> None:
    said = attempt(machine, f"ls -d /proc/{os.getpid()} || echo unseen; kill -0 {os.getpid()} || echo unknown")
    assert "unseen" in said
    assert "unknown" in said


def test_killing_the_init(machine: Any) -> None:
    assert attempt(machine, "kill -9 1; kill -STOP 1; sleep 0.1; echo alive; exit 3") == "alive\n"
    assert machine.exit_of("escape").exit_code == 3


def test_forging_the_exit_status(machine: Any) -> None:
    program = 'for f in /proc/1/fd/* /proc/self/fd/*; do echo \'{"status": {"exit": 0}}\' > $f; done 2>&1; exit 9'
    machine.run("escape", program)
    assert machine.exit_of("escape").exit_code == 9


def test_a_set_uid_program(machine: Any) -> None:
    sandbox = machine.directory / "sandboxes" / "escape"
    sandbox.mkdir(parents=True)
    shutil.copy(shutil.which("id") or "/usr/bin/id", sandbox / "id")
    (sandbox / "id").chmod(0o4755)
    assert "euid=0" not in attempt(machine, "./id", user="nobody")


def test_running_on_after_a_kill(machine: Any) -> None:
    program = "trap '' TERM HUP INT; (setsid sh -c 'trap \"\" TERM; sleep 600 & sleep 600' &) ; setsid sleep 600"
    machine.launch("escape", program)
    pid = machine.state.containers["escape"].process.pid
    machine.until(lambda: len(machine.descendants(pid)) >= 4, "descendants")
    below = machine.descendants(pid)
    machine.destroy("escape")
    assert [one for one in below if not machine.is_gone(one)] == []


def test_a_daemon_that_outlives_its_command(machine: Any) -> None:
    machine.run("escape", "setsid sleep 987654 & exit 0")
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
    assert b"sleep\x00987654\x00" not in lines


def test_a_descriptor_bomb(machine: Any) -> None:
    limits = (Rlimit(name="nofile", soft=64, hard=64),)
    program = "import os\nfiles = [os.open('/dev/null', 0) for _ in range(1000)]\nprint('ESCAPED')"
    assert "Too many open files" in attempt(machine, python(program), rlimits=limits)


def test_reaching_the_hosts_loopback_from_a_network_of_its_own(machine: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5); print('ESCAPED')"
        assert "Connection refused" in attempt(machine, python(program), namespaces=ALL_BUT_USER)


@pytest.mark.parametrize("field", ["stdout", "stderr", "stdin"])
@pytest.mark.parametrize("path", ["../victim", "/etc/passwd", "a/../../victim"])
def test_standard_files_outside_of_the_sandbox(machine: Any, field: str, path: str) -> None:
    failed = machine.ask(Launch(spec=machine.spec("escape", "true", **{field: path})), LaunchFailed)
    assert failed.reason is LaunchFailure.INVALID


def test_standard_output_through_a_link(machine: Any) -> None:
    sandbox = machine.directory / "sandboxes" / "escape"
    sandbox.mkdir(parents=True)
    (sandbox / "link").symlink_to("/etc")
    failed = machine.ask(Launch(spec=machine.spec("escape", "true", stdout="link/kaon-owned")), LaunchFailed)
    assert failed.reason is LaunchFailure.INVALID
    assert not Path("/etc/kaon-owned").exists()


@pytest.mark.parametrize("source", ["../other", "a/../../other", "/etc"])
def test_a_volume_from_outside_of_the_sandbox(machine: Any, source: str) -> None:
    volumes = (Volume(kind=VolumeKind.SANDBOX_PATH, path="inside", source=source),)
    failed = machine.ask(Launch(spec=machine.spec("escape", "true", volumes=volumes)), LaunchFailed)
    assert failed.reason is LaunchFailure.INVALID


def test_a_volume_through_a_link_in_the_sandbox(machine: Any) -> None:
    sandbox = machine.directory / "sandboxes" / "escape"
    sandbox.mkdir(parents=True)
    (sandbox / "link").symlink_to("/")
    volumes = (Volume(kind=VolumeKind.SANDBOX_PATH, path="inside", source="link/etc"),)
    failed = machine.ask(Launch(spec=machine.spec("escape", "cat inside/shadow", volumes=volumes)), LaunchFailed)
    assert "symbolic links" in failed.message


def test_writing_to_a_read_only_volume(machine: Any) -> None:
    data = machine.directory / "data"
    (data / "below").mkdir(parents=True)
    volumes = (Volume(kind=VolumeKind.HOST_PATH, path="data", source=str(data), read_only=True),)
    program = "touch data/x data/below/y; mount -o remount,rw,bind data; chmod 777 data"
    said = attempt(machine, program, volumes=volumes)
    assert said.count(READ_ONLY) >= 3
    assert [path.name for path in data.rglob("*")] == ["below"]


def test_stopping_itself_does_not_stop_its_end(machine: Any) -> None:
    machine.launch("escape", "kill -STOP $$; sleep 600")
    machine.ask(Kill(container_id="escape", signal=signal.SIGSTOP, everyone=True), Killed)
    machine.destroy("escape")
    assert machine.exit_of("escape").destroyed


TYPING = """
import ctypes, os, sys
terminal = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY) if len(sys.argv) > 1 else 0
libc = ctypes.CDLL(None, use_errno=True)
libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p]
for number in (0x5412, 0x100005412):
    print('ESCAPED' if libc.ioctl(terminal, number, b'x') == 0 else os.strerror(ctypes.get_errno()))
"""
"""TIOCSTI on a terminal, and the same with bits that the kernel does not look at (CVE-2019-10063)."""

TYPE_THERE = f"{sys.executable} -I -S program /dev/pts/0"


def test_typing_into_its_own_terminal(machine: Any) -> None:
    machine.run("escape", argv=python(TYPING), tty=True)
    assert machine.output("escape").splitlines() == [NO_PRIVILEGE, NO_PRIVILEGE]


@pytest.mark.parametrize("profile", ["default", "unconfined"])
def test_typing_into_the_terminal_of_a_session(machine: Any, attached: Any, profile: str) -> None:
    """Who is at that terminal has more rights elsewhere than the container has: what they type is theirs alone.

    Without the filter, the kernel's own rule is left: only who has it as the terminal of its session may type.
    """
    sandbox = machine.directory / "sandboxes" / "pod"
    sandbox.mkdir()
    (sandbox / "program").write_text(TYPING)
    machine.launch("pod", f"while [ ! -e go ]; do sleep 0.01; done; {TYPE_THERE}; sleep 600", seccomp=profile)
    fields = {"debug": True, "tty": True, "stdout": "", "stderr": "", "seccomp": profile}
    machine.launch("pod.exec", "tty; read line; echo read: $line", **fields)
    reader = attached.AttachedReader(machine, "pod.exec")
    reader.until("/dev/pts/0")
    (sandbox / "go").touch()
    machine.until(lambda: machine.output("pod").count(NO_PRIVILEGE) == 2, "two refusals")
    attached.AttachedWriter(machine, "pod.exec").write(b"mine\n")
    reader.until("read: mine")
