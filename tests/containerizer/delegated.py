"""Tests of a containerizer that is not root and has a cgroup: `test_rootless.py` has them run by such a user."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer.cgroups2 import Cgroup
from containerizer.messages import (
    Describe,
    HostCapabilities,
    Launch,
    LaunchFailed,
    LaunchFailure,
    Update,
    Updated,
    Usage,
    UsageReport,
)
from containerizer.spec import Limits, Namespace, Root, RootKind, Volume, VolumeKind

pytestmark = pytest.mark.cgroup2

Real = Callable[..., Any]

HAD = {
    *("posix/usage", "disk/du", "cgroups/core", "cgroups/cpu", "cgroups/mem", "cgroups/pids", "linux/seccomp"),
    *("filesystem/linux", "linux/masked_paths", "volumes/linux"),
    *(f"namespaces/{name}" for name in ("mount", "pid", "ipc", "uts", "net", "user", "cgroup")),
}
NEEDS_ROOT = {"disk/quota", "cgroups/devices", "linux/capabilities"}

MIB = 1 << 20


@pytest.fixture
def machine(real: Real, caplog: pytest.LogCaptureFixture) -> Any:
    made = real("auto")
    made.attach()
    return made


def test_nobody_here_is_root(machine: Any) -> None:
    assert os.geteuid() != 0
    assert not machine.ask(Describe(), HostCapabilities).root


def test_what_is_missing_is_named_once_and_for_each_container(machine: Any, caplog: pytest.LogCaptureFixture) -> None:
    host = machine.ask(Describe(), HostCapabilities)
    assert set(host.isolators) >= HAD
    missing = Counter(lack.what for lack in host.missing)
    assert set(missing) >= NEEDS_ROOT
    assert set(missing.values()) == {1}
    assert not set(missing) & set(host.isolators)
    assert all(lack.reason and lack.mend for lack in host.missing if lack.what in NEEDS_ROOT)
    warned = [record.getMessage() for record in caplog.get_records("setup") if "cannot be had" in record.getMessage()]
    assert sum("the containerizer is not root (start it as root)" in text for text in warned) == 1
    launched = machine.launch("c1", "sleep 600", limits=Limits(disk_bytes=MIB))
    assert launched.isolation == "isolated"
    assert set(launched.not_isolated) >= NEEDS_ROOT
    assert not set(launched.not_isolated) & HAD


def test_it_stands_aside_in_its_own_cgroup(machine: Any) -> None:
    """A cgroup whose children have controllers may have no processes: ours are in one beside the tree."""
    tree = Path(machine.state.host.cgroup_root)
    (own,) = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    assert Path(own).name == "kaon-daemons"
    assert Path(own).parent.name == tree.parent.name
    assert not (tree.parent / "cgroup.procs").read_text()


def test_a_container_s_whole_life(machine: Any, left: Callable[[Any], list[str]]) -> None:
    machine.launch("c1", "setsid sleep 600 & sleep 600", limits=Limits(cpus=1.0, memory_bytes=64 * MIB, pids=9))
    cgroup = Cgroup(Path(machine.state.host.cgroup_root)).child("c1")
    machine.until(lambda: len(cgroup.leaf.read("cgroup.procs").split()) == 4, "all processes in their cgroup")
    machine.ask(Update(container_id="c1", limits=Limits(cpus=0.5, memory_bytes=96 * MIB, pids=9)), Updated)
    assert [cgroup.read(name) for name in ("cpu.weight", "memory.max", "pids.max")] == ["50", str(96 * MIB), "10"]
    machine.restart()
    machine.attach()
    assert machine.recover(("c1",)).alive == ("c1",)
    (usage,) = machine.ask(Usage(containers=("c1",)), UsageReport).usages
    assert usage.memory_bytes > 0
    assert usage.processes == 3
    machine.destroy("c1")
    machine.collect("c1")
    assert not cgroup.exists()
    assert left(machine) == []


# Namespaces, which the user has in a user namespace of his own --------------------------------------------------------


def say(machine: Any, shell: str, container_id: str = "c1", **fields: Any) -> list[str]:
    """Words of a command that must succeed."""
    exited = machine.run(container_id, shell, **fields)
    assert exited.exit_code == 0, machine.output(container_id, "stderr")
    return str(machine.output(container_id)).split()


def test_namespaces_are_its_own_but_for_the_network(machine: Any) -> None:
    kinds = ("mnt", "pid", "ipc", "uts", "cgroup", "net", "user")
    said = say(machine, "cd /proc/self/ns; for n in mnt pid ipc uts cgroup net user; do readlink $n; done")
    own = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds]
    differing = {kind for kind, inside, outside in zip(kinds, said, own, strict=True) if inside != outside}
    assert differing == {"mnt", "pid", "ipc", "uts", "cgroup", "user"}


def test_it_is_itself_without_capabilities(machine: Any) -> None:
    said = say(machine, "id -u; id -g; cat /proc/self/uid_map; grep -E 'Cap(Prm|Eff|Amb)' /proc/self/status | cut -f2")
    uid, gid = str(os.getuid()), str(os.getgid())
    assert said == [uid, gid, uid, uid, "1", *["0" * 16] * 3]
    sandbox = machine.directory / "sandboxes" / "c1"
    assert (sandbox / "stdout").stat().st_uid == os.getuid()


def test_it_sees_its_own_processes_and_devices_only(machine: Any) -> None:
    machine.launch("other", "sleep 600")
    said = say(machine, "cd /proc; ls -d [0-9]* | sort -n | head -2; ls /dev; head -c 1 /dev/zero | wc -c")
    assert said[:2] == ["1", "2"]
    assert said[-1] == "1"
    assert {"null", "zero", "pts", "shm"} <= set(said)
    assert not [name for name in said if name.startswith(("ubd", "loop", "sd", "mem", "kmsg"))]


def test_a_network_and_a_name_of_its_own_when_it_asks(machine: Any) -> None:
    namespaces = tuple(one for one in Namespace if one is not Namespace.USER)
    said = say(machine, "hostname; cat /proc/net/dev | grep -c :", namespaces=namespaces, hostname="inside")
    assert said == ["inside", "1"]


def test_a_root_of_its_own(machine: Any, build_rootfs: Callable[[Path], Path]) -> None:
    rootfs = build_rootfs(machine.directory / "rootfs")
    (rootfs / "mnt/mesos/sandbox").mkdir(parents=True)
    for read_only in (False, True):
        root = Root(kind=RootKind.DIRECTORY, path=str(rootfs), read_only=read_only)
        volumes = (Volume(kind=VolumeKind.SECRET, path="secret", content="xyzzy"),)
        name = f"c{read_only:d}"
        said = say(machine, "cat secret; echo; ls /; touch /new && echo made || true", name, root=root, volumes=volumes)
        assert said[0] == "xyzzy"
        assert ("made" in said) is not read_only
    assert not (rootfs / "new").exists()


def test_a_nested_and_a_debug_container(machine: Any) -> None:
    machine.launch("pod", "echo here > file; sleep 600")
    machine.until((machine.directory / "sandboxes" / "pod" / "file").exists, "a file")
    web, more = (say(machine, "readlink /proc/self/ns/user", name) for name in ("pod.web", "pod.more"))
    assert web == more
    assert say(machine, "cat file; ls -d /proc/1", "pod.exec", debug=True) == ["here", "/proc/1"]
    machine.destroy("pod")


def test_what_it_may_not(machine: Any) -> None:
    attempts = (
        "cat /proc/1/environ",
        "mount -t tmpfs none /mnt",
        "echo 1 > /proc/sys/vm/drop_caches",
        f"ls {machine.runtime_directory}/zygote.sock",
        f"kill -0 {os.getpid()}",
        "echo x > /sys/fs/cgroup/cgroup.procs",
    )
    machine.run("c1", "; ".join(f"{one} && echo ESCAPED" for one in attempts))
    assert "ESCAPED" not in machine.output("c1")


def test_a_root_of_a_user_namespace_takes_root(machine: Any) -> None:
    spec = machine.spec("c1", "true", namespaces=(Namespace.MOUNT, Namespace.USER))
    refused = machine.ask(Launch(spec=spec), LaunchFailed)
    assert refused.reason is LaunchFailure.UNSUPPORTED
    assert "made by a containerizer that is root" in refused.message
