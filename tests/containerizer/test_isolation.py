"""What a container sees and has, told by the container itself."""

from __future__ import annotations

import os
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer.messages import Launch, LaunchFailed, LaunchFailure
from containerizer.spec import Namespace, Rlimit, Root, RootKind, Volume, VolumeKind

pytestmark = pytest.mark.root

Real = Callable[..., Any]

ALL_BUT_USER = tuple(namespace for namespace in Namespace if namespace is not Namespace.USER)


@pytest.fixture
def machine(real: Real) -> Any:
    made = real("auto")
    made.attach()
    return made


@pytest.fixture
def rootfs(machine: Any, build_rootfs: Callable[[Path], Path]) -> Root:
    return Root(kind=RootKind.DIRECTORY, path=str(build_rootfs(machine.directory / "rootfs")))


def say(machine: Any, shell: str, container_id: str = "c1", **fields: Any) -> str:
    """Standard output of a command that must succeed."""
    exited = machine.run(container_id, shell, **fields)
    said = machine.output(container_id)
    assert exited.exit_code == 0, (exited, said, machine.output(container_id, "stderr"))
    return str(said)


def test_namespaces_are_its_own_but_for_network_and_user(machine: Any) -> None:
    kinds = ("mnt", "pid", "ipc", "uts", "cgroup", "net", "user")
    said = say(machine, "cd /proc/self/ns; for n in mnt pid ipc uts cgroup net user; do readlink $n; done").split()
    own = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds]
    differing = {kind for kind, inside, outside in zip(kinds, said, own, strict=True) if inside != outside}
    assert differing == {"mnt", "pid", "ipc", "uts", "cgroup"}


def test_it_sees_its_own_processes_only(machine: Any) -> None:
    machine.launch("other", "sleep 600")
    assert say(machine, "cd /proc; ls -d [0-9]* | sort -n | head -2").split() == ["1", "2"]


def test_it_inherits_nothing(machine: Any) -> None:
    said = say(machine, "ls /proc/self/fd | wc -l; grep -E 'Sig(Ign|Blk)' /proc/self/status; env | cut -d= -f1 | sort")
    lines = said.split("\n")
    assert int(lines[0]) == 4, "0, 1, 2 and the directory that ls reads"
    assert lines[1] == "SigBlk:\t0000000000000000"
    # glibc's posix_spawn leaves its two internal signals, 32 and 33, ignored; its threads take them back.
    assert int(lines[2].split()[1], 16) & ~0x180000000 == 0
    assert lines[3:-1] == ["HOME", "KAON_CONTAINER", "MESOS_SANDBOX", "PATH", "PWD"]


def test_environment_and_secrets_reach_it(machine: Any) -> None:
    fields: dict[str, Any] = {"environment": (("A", "1"), ("PATH", "/bin:/usr/bin")), "secrets": (("B", "2"),)}
    assert say(machine, "echo $A $B $PATH", **fields) == "1 2 /bin:/usr/bin\n"


def test_output_is_appended_to_files_of_its_user(machine: Any) -> None:
    say(machine, "echo one; echo two >&2", user="nobody")
    files = machine.directory / "sandboxes" / "c1"
    assert (files / "stderr").read_text() == "two\n"
    assert (files / "stdout").stat().st_uid == files.stat().st_uid == 65534


def test_it_runs_as_another_user_without_capabilities(machine: Any) -> None:
    said = say(machine, "id -u; grep -E 'Cap(Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f2", user="nobody")
    uid, permitted, effective, _bounding, ambient = said.split()
    assert (uid, int(permitted, 16), int(effective, 16), int(ambient, 16)) == ("65534", 0, 0, 0)


def test_a_user_that_does_not_exist_is_refused(machine: Any) -> None:
    failed = machine.ask(Launch(spec=machine.spec("c1", "true", user="nemo")), LaunchFailed)
    assert (failed.reason, "nemo" in failed.message) == (LaunchFailure.INVALID, True)


def test_capabilities_are_few_and_can_be_asked_for(machine: Any) -> None:
    mask = "grep CapEff /proc/self/status | cut -f2"
    assert int(say(machine, mask), 16) == 0x800405FB
    assert int(say(machine, mask, "c2", capabilities=("CAP_NET_RAW",)), 16) == 1 << 13
    assert int(say(machine, mask, "c3", capabilities=("NET_RAW",), user="nobody"), 16) == 1 << 13
    failed = machine.ask(Launch(spec=machine.spec("c4", "true", capabilities=("FLY",))), LaunchFailed)
    assert "FLY" in failed.message


def test_new_privileges_are_forbidden_unless_allowed(machine: Any) -> None:
    flag = "grep NoNewPrivs /proc/self/status | cut -f2"
    assert say(machine, flag).strip() == "1"
    assert say(machine, flag, "c2", no_new_privileges=False, seccomp="unconfined").strip() == "0"


def test_rlimits_bind_the_command(machine: Any) -> None:
    limits = (Rlimit(name="nofile", soft=64, hard=128), Rlimit(name="core", soft=0, hard=0))
    assert say(machine, "ulimit -Sn; ulimit -Hn; ulimit -c", rlimits=limits).split() == ["64", "128", "0"]
    failed = machine.ask(Launch(spec=machine.spec("c2", "true", rlimits=(Rlimit(name="sloth"),))), LaunchFailed)
    assert "sloth" in failed.message


def test_a_file_size_limit_does_not_cost_the_exit_status(machine: Any) -> None:
    limits = (Rlimit(name="fsize", soft=0, hard=0),)
    assert machine.run("c1", "exit 7", rlimits=limits).exit_code == 7


def test_seccomp_profiles_of_its_own(machine: Any) -> None:
    path = machine.directory / "profile.json"
    path.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"],'
        ' "action": "SCMP_ACT_ERRNO", "errnoRet": 30}]}'
    )
    machine.run("c1", "mkdir x", seccomp=str(path))
    assert "Read-only file system" in machine.output("c1", "stderr")
    path.write_text('{"defaultAction": "SCMP_ACT_DANCE"}')
    failed = machine.ask(Launch(spec=machine.spec("c2", "true", seccomp=str(path))), LaunchFailed)
    assert "SCMP_ACT_DANCE" in failed.message


def test_a_network_of_its_own_has_a_loopback(machine: Any) -> None:
    said = say(machine, "cut -d: -f1 /proc/net/dev | tail -n +3; cat /sys/class/net/lo/flags", namespaces=ALL_BUT_USER)
    assert said.split()[0] == "lo"
    assert len(said.split()) == 2


@pytest.mark.parametrize("own_root", [False, True], ids=["of the host", "of its own"])
def test_a_network_of_its_own_is_what_sys_shows(machine: Any, rootfs: Root, own_root: bool) -> None:
    fields: dict[str, Any] = {"root": rootfs} if own_root else {}
    program = (
        "count() { echo $#; }; ls /sys/class/net; count /sys/fs/cgroup/*; count /sys/firmware/*; "
        f"count {machine.directory}/run-work/c1/sys/*; echo 0 > /sys/kernel/mm/ksm/run || echo refused"
    )
    said = say(machine, program, namespaces=ALL_BUT_USER, **fields).split()
    assert said == ["lo", str(len(list(Path("/sys/fs/cgroup").glob("[!.]*")))), "1", "1", "refused"]


def test_its_host_name_is_its_own(machine: Any) -> None:
    assert say(machine, "hostname", hostname="web-1") == "web-1\n"
    assert os.uname().nodename != "web-1"


def test_shared_memory_is_its_own_and_bounded(machine: Any) -> None:
    said = say(machine, "touch /dev/shm/x; df -k /dev/shm | tail -1", shm_bytes=8 << 20)
    assert said.split()[1] == "8192"
    assert not Path("/dev/shm/x").exists()


def test_root_in_a_user_namespace_is_nobody_outside(machine: Any) -> None:
    namespaces = tuple(Namespace)
    assert say(machine, "id -u; touch made", namespaces=namespaces) == "0\n"
    assert (machine.directory / "sandboxes" / "c1" / "made").stat().st_uid >= 65536
    failed = machine.ask(
        Launch(spec=machine.spec("c2", "true", namespaces=(Namespace.USER, Namespace.PID))), LaunchFailed
    )
    assert failed.reason is LaunchFailure.UNSUPPORTED


def test_the_hosts_root_can_be_read_only(machine: Any) -> None:
    marker = Path("/usr/kaon-test-marker")
    root = Root(kind=RootKind.HOST_READ_ONLY)
    program = f"touch {marker} || echo refused; touch /tmp/t && ls /tmp/t; touch mine && echo mine"
    said = say(machine, program, root=root)
    assert said.split() == ["refused", "/tmp/t", "mine"]
    assert not marker.exists()
    assert not Path("/tmp/t").exists()


def test_a_root_of_its_own_is_changed_for_it_alone(machine: Any, rootfs: Root) -> None:
    said = say(machine, "pwd; touch /new && ls /new; ls /", root=rootfs)
    assert said.split()[:2] == ["/mnt/mesos/sandbox", "/new"]
    assert "home" not in said
    assert not (Path(rootfs.path) / "new").exists()
    assert say(machine, "ls /new || echo gone", "c2", root=rootfs) == "gone\n"


def test_a_root_of_its_own_can_be_read_only(machine: Any, rootfs: Root) -> None:
    (Path(rootfs.path) / "mnt" / "mesos" / "sandbox").mkdir(parents=True)
    root = Root(kind=RootKind.DIRECTORY, path=rootfs.path, read_only=True)
    assert say(machine, "touch /new || echo refused; touch mine && echo mine", root=root).split() == ["refused", "mine"]


def test_a_root_from_a_tarball(machine: Any, rootfs: Root) -> None:
    archive = machine.directory / "root.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(rootfs.path, arcname=".")
    root = Root(kind=RootKind.ARCHIVE, path=str(archive))
    for container_id in ("c1", "c2"):
        assert "bin" in say(machine, "ls /", container_id, root=root)


def test_a_tarball_that_leads_out_of_its_root_is_refused(machine: Any) -> None:
    archive = machine.directory / "evil.tar"
    with tarfile.open(archive, "w") as tar:
        link = tarfile.TarInfo("etc")
        link.type, link.linkname = tarfile.SYMTYPE, str(machine.directory)
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("etc/planted"))
    root = Root(kind=RootKind.ARCHIVE, path=str(archive))
    failed = machine.ask(Launch(spec=machine.spec("c1", "true", root=root)), LaunchFailed)
    assert failed.reason is LaunchFailure.INVALID
    assert not (machine.directory / "planted").exists()


def test_volumes(machine: Any, rootfs: Root) -> None:
    data = machine.directory / "data"
    data.mkdir()
    (data / "file").write_text("from the host\n")
    volumes = (
        Volume(kind=VolumeKind.HOST_PATH, path="/data", source=str(data), read_only=True),
        Volume(kind=VolumeKind.SANDBOX_PATH, path="/shared", source="nested/directory"),
        Volume(kind=VolumeKind.TMPFS, path="/memory", size_bytes=1 << 20),
        Volume(kind=VolumeKind.SECRET, path="/secret/key", content="xyzzy"),
    )
    program = (
        "cat /data/file; touch /data/x || echo refused; touch /shared/made; touch /memory/x; cat /secret/key; "
        "stat -c ' %a' /secret/key"
    )
    said = say(machine, program, root=rootfs, volumes=volumes)
    assert said == "from the host\nrefused\nxyzzy 400\n"
    sandbox = machine.directory / "sandboxes" / "c1"
    assert (sandbox / "nested" / "directory" / "made").exists()
    assert not list(sandbox.rglob("key"))


def test_a_volume_on_the_hosts_root_needs_a_place(machine: Any) -> None:
    volume = Volume(kind=VolumeKind.TMPFS, path="/no/such/place", size_bytes=1 << 20)
    failed = machine.ask(Launch(spec=machine.spec("c1", "true", volumes=(volume,))), LaunchFailed)
    assert "/no/such/place" in failed.message


def test_a_nested_container_shares_network_and_name_and_has_processes_of_its_own(machine: Any) -> None:
    machine.launch("pod", "sleep 600", namespaces=ALL_BUT_USER, hostname="pod")
    program = "hostname; readlink /proc/self/ns/net; ls -d /proc/[0-9]* | wc -l"
    name, network, processes = say(machine, program, "pod.web").split()
    pid = machine.state.containers["pod"].process.pid
    assert (name, network) == ("pod", str(Path(f"/proc/{pid}/ns/net").readlink()))
    assert int(processes) <= 4


def test_a_debug_container_sees_what_its_parent_sees(machine: Any) -> None:
    machine.launch("pod", "touch here; exec sleep 600", namespaces=ALL_BUT_USER)
    machine.until((machine.directory / "sandboxes" / "pod" / "here").exists, "a file")
    said = say(machine, "ls; cat /proc/2/cmdline | tr '\\0' ' '", "pod.debug", debug=True)
    assert "here" in said.split()
    assert "sleep 600" in said


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gpus": 1}, "gpus is 1, and this agent grants none"),
        ({"network": "bridge"}, "network is 'bridge', and this agent has none: start it with"),
        ({"namespaces": (Namespace.NET,)}, "a net namespace is demanded"),
    ],
    ids=["gpus", "network", "namespace"],
)
def test_what_cannot_be_had_is_refused_and_not_ignored(real: Real, fields: dict[str, Any], words: str) -> None:
    machine = real("plain")
    machine.attach()
    failed = machine.ask(Launch(spec=machine.spec("c1", "true", **fields)), LaunchFailed)
    assert failed.reason is LaunchFailure.UNSUPPORTED
    assert words in failed.message


def test_signals_reach_the_command_through_its_init(machine: Any) -> None:
    machine.launch("c1", "trap 'echo heard; exit 9' USR1; echo ready; while :; do sleep 0.01; done")
    machine.await_output("c1", "ready")
    machine.kill("c1", signal.SIGUSR1)
    assert machine.exit_of("c1").exit_code == 9
    assert "heard" in machine.output("c1")


def test_orphans_are_reaped_in_the_container(machine: Any) -> None:
    machine.launch("c1", "for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; exec sleep 600")
    pid = machine.state.containers["c1"].process.pid
    machine.until(lambda: len(machine.descendants(pid)) == 1, "reaping")


def test_five_hundred_at_once(machine: Any, left: Callable[[Any], list[str]]) -> None:
    ids = [f"c{number}" for number in range(500)]
    machine.launch_all(ids, argv=("sleep", "600"))
    alive = [container.process.command for container in machine.state.containers.values()]
    assert len({pid for pid in alive if not machine.is_gone(pid)}) == 500
    machine.destroy_all(ids)
    assert [pid for pid in alive if not machine.is_gone(pid)] == []
    for container_id in ids:
        machine.collect(container_id)
    assert left(machine) == []
