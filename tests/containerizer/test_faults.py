"""A failure at any step of a launch leaves nothing: no process, mount, cgroup, file or record."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer.errors import ContainerizerError
from containerizer.isolator import Container, Isolator
from containerizer.isolators.disk import DiskUsage
from containerizer.messages import Launch, LaunchFailed, LaunchFailure
from containerizer.plan import LaunchPlan
from containerizer.spec import Limits, Namespace, Volume, VolumeKind

Real = Callable[..., Any]
Left = Callable[[Any], list[str]]

EVERYTHING = {
    "namespaces": tuple(namespace for namespace in Namespace if namespace is not Namespace.USER),
    "user": "nobody",
    "tty": True,
    "volumes": (
        Volume(kind=VolumeKind.TMPFS, path="memory", size_bytes=1 << 20),
        Volume(kind=VolumeKind.SECRET, path="secret", content="xyzzy"),
        Volume(kind=VolumeKind.SANDBOX_PATH, path="shared", source="data"),
    ),
}
"""Fields of a spec that have many steps."""

INJECTED = "/nonexistent/injected"


class FailingIsolator(Isolator):
    """Fails at one call of its lifecycle."""

    name = "test/failing"

    def __init__(self, at: str) -> None:
        self.at = at

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        if self.at == "prepare":
            raise ContainerizerError("injected into prepare")

    async def isolate(self, container: Container) -> None:
        if self.at == "isolate":
            raise ContainerizerError("injected into isolate")


class FailingStep(Isolator):
    """Puts a step that fails among those of one stage."""

    name = "test/failing_step"

    def __init__(self) -> None:
        self.stage = "mounts"
        self.index = 0
        self.length = 0

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        steps = getattr(plan, self.stage)
        self.length = len(steps)
        steps.insert(self.index, ("write_file", INJECTED, ""))


def own_descriptors(machine: Any) -> int:
    """Once nobody looks into sandboxes any more, which opens their directories."""
    disk = next(one for one in machine.node.cells["containerizer"].actor.work.isolators if isinstance(one, DiskUsage))
    machine.until(lambda: disk.looking is None, "the end of looking")
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(params=["plain", pytest.param("auto", marks=pytest.mark.root)])
def machine(request: pytest.FixtureRequest, real: Real) -> Any:
    made = real(request.param)
    made.attach()
    made.run("warm", "true")
    made.collect("warm")
    return made


@pytest.mark.parametrize("at", ["prepare", "isolate"])
def test_a_failing_isolator_at_every_place(machine: Any, left: Left, at: str) -> None:
    isolators = machine.node.cells["containerizer"].actor.work.isolators
    descriptors = own_descriptors(machine)
    for place in range(len(isolators) + 1):
        isolators.insert(place, FailingIsolator(at))
        failed = machine.ask(Launch(spec=machine.spec(f"c{place}", "sleep 600")), LaunchFailed)
        del isolators[place]
        assert failed.reason is LaunchFailure.FAILED
        assert failed.message == f"injected into {at}"
        assert left(machine) == []
    assert own_descriptors(machine) == descriptors


@pytest.mark.root
@pytest.mark.cgroup2
@pytest.mark.parametrize("at", ["prepare", "isolate"])
def test_a_failing_isolator_beside_a_disk_quota(disk: Any, real: Real, left: Left, at: str) -> None:
    machine = real("auto", elsewhere=disk.path)
    machine.attach()
    machine.run("warm", "true")
    machine.collect("warm")
    isolators = machine.node.cells["containerizer"].actor.work.isolators
    descriptors = own_descriptors(machine)
    for place in range(len(isolators) + 1):
        isolators.insert(place, FailingIsolator(at))
        spec = machine.spec(f"c{place}", "sleep 600", limits=Limits(disk_bytes=1 << 20))
        failed = machine.ask(Launch(spec=spec), LaunchFailed)
        del isolators[place]
        assert failed.message == f"injected into {at}"
        assert left(machine) == []
        assert disk.quota(disk.project_of(f"c{place}")).limit_bytes is None
    assert own_descriptors(machine) == descriptors


@pytest.mark.root
@pytest.mark.parametrize("stage", ["mounts", "settling", "privileges", "last_steps"])
def test_a_failing_step_at_every_place(real: Real, left: Left, stage: str) -> None:
    machine = real("auto")
    machine.attach()
    machine.run("warm", "true")
    machine.collect("warm")
    failing = FailingStep()
    failing.stage = stage
    machine.node.cells["containerizer"].actor.work.isolators.append(failing)
    descriptors = own_descriptors(machine)
    while failing.index <= failing.length:
        spec = machine.spec(f"c{failing.index}", "sleep 600", **EVERYTHING)
        failed = machine.ask(Launch(spec=spec), LaunchFailed)
        assert INJECTED in failed.message
        assert left(machine) == []
        failing.index += 1
    assert failing.index > 0
    assert own_descriptors(machine) == descriptors


def test_a_failing_command_leaves_nothing(machine: Any, left: Left) -> None:
    failed = machine.ask(Launch(spec=machine.spec("c1", argv=("/nonexistent/program",))), LaunchFailed)
    assert failed.reason is LaunchFailure.NO_COMMAND
    assert left(machine) == []


def test_a_file_that_cannot_be_executed_says_so(machine: Any) -> None:
    sandbox = machine.directory / "sandboxes" / "c1"
    sandbox.mkdir(parents=True)
    (sandbox / "data").write_bytes(b"\x7fELF no program")
    (sandbox / "data").chmod(0o755)
    failed = machine.ask(Launch(spec=machine.spec("c1", argv=("./data",))), LaunchFailed)
    assert failed.reason is LaunchFailure.NO_COMMAND
    assert "cannot be executed" in failed.message


def test_a_sandbox_that_cannot_be_made_says_so(machine: Any) -> None:
    (machine.directory / "sandboxes" / "c1").write_text("a file")
    failed = machine.ask(Launch(spec=machine.spec("c1", "true")), LaunchFailed)
    assert "sandbox" in failed.message


def test_standard_output_that_is_a_link_or_a_pipe_is_refused(machine: Any) -> None:
    victim = machine.directory / "victim"
    victim.write_text("precious")
    for name, make in (("link", lambda path: path.symlink_to(victim)), ("pipe", os.mkfifo)):
        sandbox = machine.directory / "sandboxes" / name
        sandbox.mkdir(parents=True)
        make(sandbox / "stdout")
        failed = machine.ask(Launch(spec=machine.spec(name, "echo overwritten")), LaunchFailed)
        assert failed.reason is LaunchFailure.INVALID
        assert "stdout" in failed.message
    assert victim.read_text() == "precious"
