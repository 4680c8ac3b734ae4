"""What isolators ask of the kernel, and in which order, without being root: steps on a recording kernel."""

from __future__ import annotations

import asyncio
import marshal
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from containerizer.cgroups2.tree import Tree
from containerizer.errors import InvalidSpec, Unsupported
from containerizer.host import Host
from containerizer.isolator import Container, Isolator
from containerizer.isolators import AUTO, ISOLATED, KNOWN, PLAIN, choose
from containerizer.isolators.disk import DiskUsage, used_bytes
from containerizer.isolators.filesystem import Filesystem, MaskedPaths
from containerizer.isolators.namespaces import (
    IpcNamespace,
    MountNamespace,
    NetNamespace,
    PidNamespace,
    UserNamespace,
)
from containerizer.isolators.volumes import Volumes
from containerizer.kernel import STEPS, RecordingKernel
from containerizer.messages import Limitation
from containerizer.plan import LaunchPlan, User
from containerizer.records import STAGE
from containerizer.spec import ContainerSpec, Limits, Namespace, Root, RootKind, Volume, VolumeKind
from containerizer.standard import steps_for
from containerizer.steps import LinuxKernel


def host(**changes: Any) -> Host:
    facts = {"kernel": "6.1", "root": True, "clone3": True, "boot_id": "b", "cgroups": Tree(reason="none here")}
    return Host(**{**facts, **changes})


def container(tmp_path: Path, **fields: Any) -> Container:
    spec = ContainerSpec(**{"id": "c1", "sandbox": str(tmp_path / "sandbox"), "shell": "true", **fields})
    Path(spec.sandbox).mkdir(exist_ok=True)
    return Container(id=spec.id, spec=spec, directory=tmp_path / "work", user=User(0, 0), limits=spec.limits)


def plan_for(one: Container, *isolators: Isolator) -> LaunchPlan:
    plan = LaunchPlan(argv=one.spec.command)

    async def prepare() -> None:
        for isolator in isolators:
            await isolator.prepare(one, plan)

    asyncio.run(prepare())
    return plan


def record(plan: LaunchPlan) -> RecordingKernel:
    kernel = RecordingKernel()
    for name, *arguments in plan.steps:
        getattr(kernel, name)(*arguments)
    return kernel


def first(kernel: RecordingKernel, name: str, text: str) -> int:
    """Index of the first call of that name with an argument that holds `text`."""
    for index, (called, arguments) in enumerate(kernel.calls):
        if called == name and any(text in str(argument) for argument in arguments):
            return index
    raise AssertionError(f"no {name} with {text} in {kernel.calls}")


def test_every_step_has_a_method_in_the_real_kernel() -> None:
    assert all(callable(getattr(LinuxKernel, step)) for step in STEPS)


def test_a_recording_kernel_fails_where_it_is_told_to() -> None:
    kernel = RecordingKernel(fail_at=1)
    kernel.mask("/a")
    with pytest.raises(OSError, match="injected"):
        kernel.mask("/b")
    assert kernel.calls == [("mask", ("/a",))]


def test_mounts_are_kept_in_before_anything_is_mounted(tmp_path: Path) -> None:
    plan = plan_for(container(tmp_path), MountNamespace(host()), Filesystem(host()), PidNamespace(host()))
    assert plan.steps[0][:3] == ("mount", None, "/")
    assert plan.whole


def test_a_root_of_its_own_is_whole_before_it_is_changed_to(tmp_path: Path) -> None:
    root = Root(kind=RootKind.DIRECTORY, path=str(tmp_path))
    one = container(tmp_path, root=root, volumes=(Volume(kind=VolumeKind.TMPFS, path="/m", size_bytes=1),))
    here = host()
    isolators: Sequence[Isolator] = [
        cls(here) for cls in (MountNamespace, Filesystem, PidNamespace, IpcNamespace, Volumes, MaskedPaths)
    ]
    kernel = record(plan_for(one, *isolators))
    pivot = first(kernel, "pivot_root", "root")
    order = [
        first(kernel, "mount", "overlay"),
        first(kernel, "bind", "/mnt/mesos/sandbox"),
        first(kernel, "mount", "proc"),
        first(kernel, "mask", "/proc/kcore"),
        pivot,
    ]
    assert order == sorted(order)
    assert first(kernel, "bind", "/m") < pivot


def test_what_is_hidden_is_covered_and_the_sandbox_is_kept(tmp_path: Path) -> None:
    here = host(hidden=(str(tmp_path), "/run/elsewhere"))
    kernel = record(plan_for(container(tmp_path), MountNamespace(here), Filesystem(here)))
    covers = [arguments for name, arguments in kernel.calls if name == "cover"][:2]
    assert [(arguments[0], arguments[2]) for arguments in covers] == [
        (str(tmp_path), [str(tmp_path / "sandbox")]),
        ("/run/elsewhere", []),
    ]


def test_a_container_without_a_mount_namespace_mounts_nothing(tmp_path: Path) -> None:
    one = container(tmp_path, namespaces=(Namespace.PID,))
    plan = plan_for(one, *(cls(host()) for cls in (MountNamespace, Filesystem, PidNamespace, MaskedPaths)))
    assert plan.mounts == []
    assert plan.namespaces == {Namespace.PID}


@pytest.mark.parametrize(
    ("fields", "step"),
    [
        ({}, []),
        ({"tty": True}, [("open_terminal", "/dev/pts/ptmx", 0, 0, 24, 80, "/dev/console")]),
        ({"tty": True, "rows": 5, "debug": True}, [("open_terminal", "/dev/pts/ptmx", 0, 0, 5, 80, "")]),
        ({"interactive": True}, [("open_pipes", [0], 0, 0)]),
        ({"interactive": True, "stdout": "", "stderr": ""}, [("open_pipes", [0, 1, 2], 0, 0)]),
        ({"stderr": ""}, [("open_pipes", [2], 0, 0)]),
    ],
)
def test_terminal_and_pipes_are_made_inside(tmp_path: Path, fields: dict[str, Any], step: list[Any]) -> None:
    parent = container(tmp_path)
    one = container(tmp_path, id="c1.exec" if "debug" in fields else "c1", **fields)
    one.parent = parent if "debug" in fields else None
    plan = plan_for(one, MountNamespace(host()), Filesystem(host()))
    assert steps_for(one, plan) == step


def test_without_a_mount_namespace_a_terminal_is_the_hosts(tmp_path: Path) -> None:
    one = container(tmp_path, tty=True)
    ((name, multiplexer, *_, console),) = steps_for(one, plan_for(one))
    assert (name, multiplexer, console) == ("open_terminal", str(Path("/dev/ptmx").resolve()), "")


def test_an_overlay_needs_paths_that_the_kernel_can_read(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    one = container(tmp_path, root=Root(kind=RootKind.DIRECTORY, path=str(tmp_path / "a,b")))
    with pytest.raises(InvalidSpec, match="a,b"):
        plan_for(one, MountNamespace(host()), Filesystem(host()))


def test_a_plan_travels_whole() -> None:
    plan = LaunchPlan(argv=("true",), mounts=[("mask", "/proc/kcore")], environment={"A": "1"})
    sent = marshal.loads(plan.encode())
    assert (sent["steps"], sent["environment"], sent["whole"]) == ([("mask", "/proc/kcore")], {"A": "1"}, False)


def test_a_step_that_no_kernel_knows_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="fly"):
        LaunchPlan(argv=("true",), mounts=[("fly",)]).encode()


# Choosing isolators --------------------------------------------------------------------------------------------------


def names(isolators: Sequence[Isolator]) -> list[str]:
    return [isolator.name for isolator in isolators]


def test_auto_takes_what_is_there_and_names_the_rest() -> None:
    chosen, missing = choose(host(root=False), [AUTO])
    assert "posix/rlimits" in names(chosen)
    assert "namespaces/pid" not in names(chosen)
    assert {"namespaces/pid", "cgroups/mem"} <= {lack.what for lack in missing}


def test_what_is_named_is_required() -> None:
    with pytest.raises(Unsupported, match=r"cgroups/mem.*none here"):
        choose(host(), ["cgroups/mem"])
    with pytest.raises(Unsupported, match="not root"):
        choose(host(root=False), [ISOLATED])


def test_plain_is_the_same_everywhere() -> None:
    assert names(choose(host(), [PLAIN])[0]) == names(choose(host(root=False), [PLAIN])[0])


def test_an_unknown_isolation_lists_those_that_there_are() -> None:
    with pytest.raises(Unsupported, match=r"walls.*namespaces/pid"):
        choose(host(), ["walls"])


def test_names_of_isolators_are_unique() -> None:
    assert len({cls.name for cls in KNOWN}) == len(KNOWN)


def test_an_ordinary_user_has_namespaces_where_the_kernel_lets_him() -> None:
    chosen, missing = choose(host(root=False, no_namespaces=""), [AUTO])
    assert {"namespaces/user", "namespaces/pid", "filesystem/linux", "volumes/linux"} <= set(names(chosen))
    assert {"disk/quota", "linux/capabilities"} <= {lack.what for lack in missing}
    chosen, missing = choose(host(root=False, no_namespaces="not here"), [AUTO])
    assert {lack.reason for lack in missing if lack.what.startswith("namespaces/")} == {"not here"}


def test_a_user_s_namespaces_have_himself_in_them_and_nobody_else(tmp_path: Path) -> None:
    here = host(root=False, no_namespaces="")
    isolators = (MountNamespace(here), UserNamespace(here), NetNamespace(here), Filesystem(here), PidNamespace(here))
    pod = container(tmp_path)
    pod.user = User(1000, 1001)
    (tmp_path / STAGE).mkdir()
    plan = plan_for(pod, *isolators)
    assert plan.namespaces == {Namespace.MOUNT, Namespace.USER, Namespace.PID}
    assert (plan.uid_map, plan.gid_map, plan.single_user) == ("1000 1000 1", "1001 1001 1", True)
    assert "make_device" not in [name for name, *_ in plan.mounts]
    pod.process_id, pod.whole = 4711, True
    nested = container(tmp_path, id="c1.web")
    nested.parent = pod
    plan = plan_for(nested, *isolators)
    # The network is the host's, and not theirs to join.
    assert plan.joined == {Namespace.USER, Namespace.PID}
    assert plan.namespaces == {Namespace.MOUNT, Namespace.PID}
    assert not plan.uid_map
    with pytest.raises(Unsupported, match="made by a containerizer that is root"):
        plan_for(container(tmp_path, id="c2", namespaces=(Namespace.MOUNT, Namespace.USER)), *isolators)


# Disk ----------------------------------------------------------------------------------------------------------------


def test_a_file_is_counted_once_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    once = used_bytes(tmp_path)
    (tmp_path / "hard").hardlink_to(tmp_path / "file")
    (tmp_path / "soft").symlink_to("/usr")
    assert 100_000 <= once <= used_bytes(tmp_path) < 120_000


def test_a_sandbox_that_holds_too_much_is_reported(tmp_path: Path) -> None:
    one = container(tmp_path, limits=Limits(disk_bytes=50_000))
    (Path(one.spec.sandbox) / "file").write_bytes(b"x" * 100_000)
    reported: list[Limitation] = []

    async def scenario() -> dict[str, Any]:
        told = asyncio.Event()

        def report(limitation: Limitation) -> None:
            reported.append(limitation)
            told.set()

        isolator = DiskUsage(host(), check_seconds=0.01)
        isolator.watch(one, report)
        await asyncio.wait_for(told.wait(), 30)
        usage = isolator.usage(one)
        await isolator.cleanup(one)
        return usage

    usage = asyncio.run(scenario())
    (limitation,) = reported
    assert limitation.fatal
    assert limitation.limit_value == 50_000
    assert usage["disk_bytes"] == limitation.used_value
    assert (limitation.used_value or 0) >= 100_000


def test_a_sandbox_is_walked_through_again_when_space_is_lost_that_it_may_have_taken(tmp_path: Path) -> None:
    """And not before, but for once in a long while: here that is never."""
    (tmp_path / "elsewhere").mkdir()
    roomy = container(tmp_path / "elsewhere", id="roomy", limits=Limits(disk_bytes=1 << 50))
    narrow = container(tmp_path, limits=Limits(disk_bytes=4 << 20))
    reported: list[Limitation] = []
    walked: list[str] = []

    class Counting(DiskUsage):
        async def walk(self, one: Any) -> None:
            walked.append(one.container.id)
            await super().walk(one)

    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.001)

    async def scenario() -> None:
        isolator = Counting(host(), check_seconds=3600)
        for one in (roomy, narrow):
            isolator.watch(one, reported.append)
        await until(lambda: len(walked) == 2)
        (Path(narrow.spec.sandbox) / "file").write_bytes(b"x" * (5 << 20))
        await until(lambda: reported)
        for one in (roomy, narrow):
            await isolator.cleanup(one)
        isolator.close()

    asyncio.run(scenario())
    assert walked.count("roomy") == 1
    assert [one.container_id for one in reported] == ["c1"]


def test_a_directory_that_no_path_leads_to_is_not_passed_over(tmp_path: Path) -> None:
    before = Path.cwd()
    os.chdir(tmp_path)
    for _ in range(20):
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)
    os.chdir(before)
    with pytest.raises(OSError, match="File name too long"):
        used_bytes(tmp_path)
