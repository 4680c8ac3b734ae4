"""Killed at every single point: containerizer, zygote and inits die by SIGKILL before each of their acts in turn.

Acts are system calls that change something, see `crash_hook.py`. Whoever dies at whichever of them: nothing runs that
nobody knows of, what ran is not lost, and after recovery nothing is left.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from containerizer import zygote
from containerizer.messages import (
    ContainerExited,
    ContainerizerMessage,
    Kill,
    Launch,
    Launched,
    LaunchFailed,
    LaunchFailure,
    Update,
    Updated,
)
from containerizer.spec import Limits, Rlimit
from tests.containerizer.victims import Victims, end, recover

# Dozens of kills each: most of a minute on one processor that nobody else wants.
pytestmark = pytest.mark.timeout(600)

Real = Callable[..., Any]
Left = Callable[[Any], list[str]]

HERE = Path(__file__).parent

ISOLATION = ["plain", pytest.param("auto", marks=pytest.mark.root)]
ON_CGROUPS = [*ISOLATION, pytest.param("auto", marks=[pytest.mark.root, pytest.mark.cgroup2], id="cgroups")]


@pytest.fixture(params=ON_CGROUPS)
def machine(request: pytest.FixtureRequest, real: Real) -> Any:
    made = real(request.param)
    made.attach()
    made.run("warm", "true")
    made.collect("warm")
    return made


@pytest.fixture
def victims(machine: Any) -> Iterator[Victims]:
    made = Victims(machine)
    yield made
    made.close()


def live_zygote(machine: Any) -> int | None:
    """There may be none: a containerizer may die before it has started one, and a zygote before it is one."""
    text = (machine.runtime_directory / "zygote.lock").read_text()
    if not text:
        return None
    try:
        # Empty for one that nobody has buried; what is another process by now has other arguments.
        command = Path(f"/proc/{int(text)}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text) if str(machine.runtime_directory) in command else None


def kill_zygote(machine: Any) -> None:
    """While no containerizer lives."""
    pid = live_zygote(machine)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        machine.wait_gone(pid)


@pytest.mark.parametrize("also", ["alone", "with the zygote"])
def test_containerizer_killed_at_each_act_of_a_launch(machine: Any, victims: Victims, left: Left, also: str) -> None:
    acts = []
    for at in itertools.count(1):
        name = f"c{at}"
        machine.forget()
        act = victims.kill_at(at, "launch", name)
        if also != "alone":
            kill_zygote(machine)
        answer = recover(machine, name)
        end(machine, answer, name)
        ran = (machine.directory / "sandboxes" / name / "ran").exists()
        assert not (ran and answer.lost), f"killed before {act}, and nobody knows of what has run"
        assert left(machine) == [], f"killed before act {at}, {act}"
        if act is None:
            break
        acts.append(act)
    assert answer.alive == (name,)
    assert {"sendmsg", "send", "write", "open"} <= set(acts)


def test_containerizer_killed_at_each_act_of_a_destroy(machine: Any, victims: Victims, left: Left) -> None:
    for at in itertools.count(1):
        name = f"c{at}"
        machine.launch(name, "sleep 600 & sleep 600")
        machine.forget()
        act = victims.kill_at(at, "destroy", name)
        answer = recover(machine, name)
        assert not answer.lost, f"killed before act {at}, {act}"
        end(machine, answer, name)
        assert left(machine) == [], f"killed before act {at}, {act}"
        if act is None:
            break
    assert at > 3


def test_containerizer_killed_at_each_act_of_a_collection(machine: Any, victims: Victims, left: Left) -> None:
    for at in itertools.count(1):
        name = f"c{at}"
        machine.run(name, "exit 7")
        machine.forget()
        act = victims.kill_at(at, "collect", name)
        answer = recover(machine, name)
        assert not answer.alive
        if answer.exited:
            assert machine.exit_of(name).exit_code == 7, f"killed before act {at}, {act}"
        end(machine, answer, name)
        assert left(machine) == [], f"killed before act {at}, {act}"
        if act is None:
            break
    assert answer.lost


def test_containerizer_killed_at_each_act_of_its_start(machine: Any, victims: Victims, left: Left) -> None:
    """What runs goes on, what has ended is told, as if there had been no starts in between."""
    machine.launch("runs", "sleep 600")
    machine.run("ended", "exit 7")
    process = machine.state.containers["runs"].process
    for at in itertools.count(1):
        machine.forget()
        act = victims.kill_at(at, "start")
        answer = recover(machine, "runs", "ended")
        assert (answer.alive, answer.exited) == (("runs",), ("ended",)), f"killed before act {at}, {act}"
        assert machine.exit_of("ended").exit_code == 7
        assert machine.state.containers["runs"].process == process
        if act is None:
            break
    machine.destroy("runs")
    machine.collect("runs")
    machine.collect("ended")
    assert left(machine) == []


def test_containerizer_killed_at_each_act_of_a_recovery(machine: Any, victims: Victims, left: Left) -> None:
    for at in itertools.count(1):
        machine.launch("orphan", "sleep 600 & sleep 600")
        machine.run("ended", "true")
        held = machine.hold_before_go("half")
        machine.forget()
        machine.wait_gone(held.pid)
        act = victims.kill_at(at, "recover")
        recover(machine)
        assert not machine.state.containers, f"killed before act {at}, {act}"
        assert left(machine) == [], f"killed before act {at}, {act}"
        if act is None:
            break
    assert at > 3


@pytest.mark.cgroup2
@pytest.mark.root
def test_containerizer_killed_at_each_act_of_an_update(real: Real, left: Left) -> None:
    """Nobody was told that new limits hold; asked again they do."""
    machine = real("auto", "network/ports")
    machine.attach()
    victims = Victims(machine)
    limits = Limits(memory_bytes=64 << 20, port_ranges=((31000, 31000),))
    bind = f"{sys.executable} -I -S -c 'import socket, sys; socket.socket().bind((\"\", int(sys.argv[1])))'"
    for at in itertools.count(1):
        name = f"c{at}"
        machine.launch(name, "sleep 600", limits=Limits(memory_bytes=128 << 20))
        machine.forget()
        act = victims.kill_at(at, "update", name)
        answer = recover(machine, name)
        assert answer.alive == (name,), f"killed before act {at}, {act}"
        machine.ask(Update(container_id=name, limits=limits), Updated)
        cgroup = Path(machine.state.host.cgroup_root) / name
        assert int((cgroup / "memory.max").read_text()) == limits.memory_bytes
        assert machine.run(f"{name}.binds", f"{bind} 31000 && ! {bind} 31001").exit_code == 0
        machine.collect(f"{name}.binds")
        end(machine, answer, name)
        assert left(machine) == []
        if act is None:
            break
    victims.close()
    assert at > 3


def has_run(machine: Any, name: str) -> bool:
    """Whether the command did: an init that was not told to go on is alive for a moment."""
    ran = machine.sandboxes / name / "ran"
    machine.until(lambda: ran.exists() or machine.exits(name), "a command or an end")
    return bool(ran.exists())


@pytest.mark.cgroup2
@pytest.mark.root
@pytest.mark.parametrize("operation", ["launch_limited", "limit_disk", "destroy"])
def test_containerizer_killed_at_each_act_about_a_disk_quota(
    real: Real, quota_disk: Callable[[str], Any], left: Left, operation: str
) -> None:
    """Who runs has a limit, or is given it by the next attempt; no project is left with one."""
    disk = quota_disk("ext4")
    machine = real("auto", elsewhere=disk.path)
    machine.attach()
    machine.run("warm", "true")
    machine.collect("warm")
    victims = Victims(machine)
    limits = Limits(disk_bytes=1 << 20)
    for at in itertools.count(1):
        name = f"c{at}"
        if operation != "launch_limited":
            machine.launch(name, "touch ran; sleep 600", limits=limits if operation == "destroy" else Limits())
        machine.forget()
        act = victims.kill_at(at, operation, name)
        answer = recover(machine, name)
        if operation != "destroy" and name in answer.alive and has_run(machine, name):
            machine.ask(Update(container_id=name, limits=limits), Updated)
            assert disk.quota(disk.project_of(name)).limit_bytes == limits.disk_bytes
        end(machine, answer, name)
        assert left(machine) == [], f"killed before act {at}, {act}"
        assert not any(disk.quota(project).limit_bytes for project in range(5000, 5010)), (
            f"killed before act {at}, {act}"
        )
        # Its number is free again, or each act would come later than in the last round.
        shutil.rmtree(disk.path / name, ignore_errors=True)
        if act is None:
            break
    victims.close()
    assert at > 3


# The zygote and the inits ---------------------------------------------------------------------------------------------


@pytest.fixture
def crashing(machine: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Says which process is to be killed before which act, and replaces the zygote by one that sees to it."""
    monkeypatch.setattr(zygote, "PROGRAM", str(HERE / "crash_zygote.py"))
    machine.kill_zygote()
    file = machine.runtime_directory / "crash"

    def arm(role: str, at: int) -> None:
        file.write_text(f"{role} {at}") if role else file.unlink()

    return arm


def begin(machine: Any, container_id: str, **fields: Any) -> Launched | LaunchFailed:
    spec = machine.spec(container_id, "echo ran > ran; exec sleep 600", **fields)
    number = machine.begin(Launch(spec=spec))
    await_and_kill(machine, lambda: number in machine.agent.answers)
    answer = machine.answer(number)
    assert isinstance(answer, Launched | LaunchFailed)
    return answer


def await_and_kill(machine: Any, condition: Callable[[], object]) -> None:
    """Until the condition holds; meanwhile inits that wait to be killed are: nobody inside can do it."""

    def look() -> object:
        zygote_pid = live_zygote(machine)
        for pid in machine.descendants(zygote_pid) if zygote_pid else ():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "kaon-dying":
                    os.kill(pid, signal.SIGKILL)
        return condition()

    machine.until(look, "an answer or an end")


def test_zygote_killed_at_each_act(machine: Any, crashing: Callable[[str, int], None], left: Left) -> None:
    """From its start to the end of a launch: that fails or succeeds, and the next one starts another zygote."""
    failures = 0
    for at in itertools.count(1):
        crashing("zygote", at)
        answer = begin(machine, f"c{at}")
        alive = live_zygote(machine) is not None
        crashing("", 0)
        if isinstance(answer, LaunchFailed):
            failures += 1
            assert answer.reason is LaunchFailure.FAILED
            assert "zygote" in answer.message
            assert not (machine.directory / "sandboxes" / f"c{at}" / "ran").exists()
        else:
            machine.destroy(f"c{at}")
            machine.collect(f"c{at}")
        kill_zygote(machine)
        machine.agent.heard.clear()
        assert machine.run("next", "exit 3").exit_code == 3
        machine.collect("next")
        assert left(machine) == [], f"killed before act {at}: {answer}"
        if alive:
            break
        machine.kill_zygote()
    assert failures > 3


def launch_and_end(machine: Any, left: Left, at: int, **fields: Any) -> ContainerExited | None:
    """A container one of whose first processes is killed: how it ended, None when its launch failed."""
    name = f"c{at}"
    answer = begin(machine, name, **fields)
    if isinstance(answer, LaunchFailed):
        assert answer.reason is LaunchFailure.FAILED, answer
        assert "killed" in answer.message
        assert left(machine) == [], f"killed before act {at}"
        return None
    # Refused if it has met its end already.
    machine.ask(Kill(container_id=name, signal=signal.SIGTERM), ContainerizerMessage)
    await_and_kill(machine, lambda: machine.exits(name))
    exited = machine.exit_of(name)
    assert isinstance(exited, ContainerExited)
    machine.collect(name)
    assert left(machine) == [], f"killed before act {at}"
    return exited


def test_init_killed_at_each_act(machine: Any, crashing: Callable[[str, int], None], left: Left) -> None:
    """From its birth to its end: what the launch has made is taken away, the command is not left behind."""
    for at in itertools.count(1):
        crashing("init", at)
        exited = launch_and_end(machine, left, at)
        if exited is not None and exited.signal == signal.SIGTERM:
            break
        assert exited is None or "first process was killed" in exited.message
    assert at > 5


def test_command_killed_at_each_act_before_it_is_one(
    machine: Any, crashing: Callable[[str, int], None], left: Left
) -> None:
    """Where it sets resource limits: whoever kills it then has killed the command, which is told as its end."""
    for at in itertools.count(1):
        crashing("command", at)
        exited = launch_and_end(machine, left, at, rlimits=(Rlimit(name="nofile", soft=100, hard=100),))
        assert exited is not None
        if exited.signal == signal.SIGTERM:
            break
        assert exited.signal == signal.SIGKILL
    assert at > 1
