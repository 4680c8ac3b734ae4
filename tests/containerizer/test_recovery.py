"""Crash points: whoever is killed, running containers go on, no exit status is lost, half-made things are undone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer.messages import Kill, Killed, Launch, LaunchFailed, LaunchFailure, Recover, Recovered
from containerizer.records import LaunchRecord, Line, Records
from containerizer.spec import ContainerSpec

Real = Callable[..., Any]

ISOLATION = ["plain", pytest.param("isolated", marks=pytest.mark.root)]


@pytest.fixture(params=ISOLATION)
def machine(request: pytest.FixtureRequest, real: Real) -> Any:
    made = real(request.param)
    made.attach()
    return made


def recover(machine: Any, *known: str) -> Recovered:
    machine.attach()
    answer = machine.ask(Recover(containers=known), Recovered)
    assert isinstance(answer, Recovered)
    return answer


def test_status_of_a_container_that_ends_while_no_containerizer_lives(machine: Any) -> None:
    pipe = machine.directory / "sandboxes" / "c1" / "go"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    machine.launch("c1", "read line < go; exit 7")
    process = machine.state.containers["c1"].process
    machine.forget()
    pipe.write_text("go\n")
    machine.wait_gone(process.pid)
    machine.revive()
    assert recover(machine, "c1").exited == ("c1",)
    assert machine.exit_of("c1").exit_code == 7


def test_zygote_killed_containers_go_on_and_the_next_launch_starts_another(machine: Any) -> None:
    machine.launch("c1", "sleep 600")
    first = machine.zygote_pid()
    machine.kill_zygote()
    machine.launch("c2", "sleep 600")
    assert machine.zygote_pid() != first
    assert not machine.exits("c1")
    machine.ask(Kill(container_id="c1", signal=signal.SIGTERM), Killed)
    assert machine.exit_of("c1").signal == signal.SIGTERM


def test_containerizer_and_zygote_killed_statuses_survive(machine: Any) -> None:
    machine.launch("ends", "exec sleep 600")
    machine.launch("runs", "sleep 600")
    ends = machine.state.containers["ends"].process
    machine.kill_zygote()
    machine.forget()
    os.kill(ends.command, signal.SIGTERM)
    machine.wait_gone(ends.pid)
    machine.revive()
    answer = recover(machine, "ends", "runs")
    assert (answer.alive, answer.exited) == (("runs",), ("ends",))
    assert machine.exit_of("ends").signal == signal.SIGTERM
    machine.destroy("runs")
    assert machine.exit_of("runs").destroyed


def test_orphans_are_destroyed_after_everything_was_killed(machine: Any) -> None:
    machine.launch("orphan", "sleep 600 & sleep 600")
    process = machine.state.containers["orphan"].process
    machine.kill_zygote()
    machine.restart()
    assert recover(machine).destroyed == ("orphan",)
    assert machine.is_gone(process.pid)
    assert not machine.state.containers


def test_a_containerizer_killed_between_record_and_clone_undoes_the_launch(machine: Any) -> None:
    """The record is all there is of it: as after a crash right before the zygote was asked."""
    machine.forget()
    records = Records(machine.runtime_directory)
    spec = ContainerSpec(id="half", sandbox=str(machine.directory / "half"), shell="true")
    os.close(records.create(LaunchRecord(spec=spec, boot_id="another boot", isolators=())))
    machine.revive()
    assert recover(machine, "half").lost == ("half",)
    machine.until(lambda: "half" not in machine.state.containers, "undoing")
    assert records.read("half") is None
    assert machine.run("half", "exit 2").exit_code == 2


def test_a_containerizer_killed_between_clone_and_go_leaves_no_process(machine: Any) -> None:
    """The init waits for a word on a socket; the containerizer's end is the end of that wait."""
    held = machine.hold_before_go("c1")
    machine.forget()
    machine.wait_gone(held.pid)
    machine.revive()
    answer = recover(machine, "c1")
    assert answer.alive == ()
    machine.until(lambda: machine.state.containers.get("c1") is None or machine.exits("c1"), "undoing")
    assert not (machine.directory / "sandboxes" / "c1" / "ran").exists()


def test_an_init_that_is_born_after_its_containerizer_was_killed_ends(machine: Any) -> None:
    """Nobody has told it to wait; that nobody knows of it, it sees for itself."""
    machine.run("warm", "true")
    zygote = machine.zygote_pid()
    os.kill(zygote, signal.SIGSTOP)
    sandbox = machine.directory / "sandboxes" / "c1"
    machine.begin(Launch(spec=machine.spec("c1", "touch ran; exec sleep 600")))
    # The zygote is asked in the same go in which this is made.
    machine.until((sandbox / "stdout").exists, "a request to the zygote")
    machine.restart()
    os.kill(zygote, signal.SIGCONT)
    assert recover(machine, "c1").lost == ("c1",)
    # Requests are served in the order of their connections.
    machine.run("later", "true")
    assert machine.zygote_pid() == zygote
    machine.until(lambda: not machine.descendants(zygote), "the end of the init")
    assert not (sandbox / "ran").exists()


def test_zygote_killed_between_clone_and_go_fails_or_finishes_the_launch(machine: Any) -> None:
    """The init is a process of its own by then: the launch succeeds, and its end is seen all the same."""
    held = machine.hold_before_go("c1")
    machine.kill_zygote()
    held.release()
    assert machine.exit_of("c1").exit_code == 0
    assert (machine.directory / "sandboxes" / "c1" / "ran").exists()


def test_a_stopped_zygote_fails_launches_clearly_when_it_is_killed(machine: Any) -> None:
    machine.run("warm", "true")
    os.kill(machine.zygote_pid(), signal.SIGSTOP)
    number = machine.begin(Launch(spec=machine.spec("c1", "true")))
    machine.until(lambda: "c1" in machine.state.containers, "the launch's beginning")
    machine.kill_zygote()
    failed = machine.answer(number)
    assert isinstance(failed, LaunchFailed)
    assert failed.reason is LaunchFailure.FAILED
    assert "zygote" in failed.message
    assert machine.run("c1", "exit 3").exit_code == 3


def test_an_init_killed_from_outside_is_told_as_such_and_nothing_stays(machine: Any) -> None:
    machine.launch("c1", "setsid sleep 600 & sleep 600")
    process = machine.state.containers["c1"].process
    machine.until(lambda: len(machine.descendants(process.pid)) >= 2, "two processes")
    below = machine.descendants(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    exited = machine.exit_of("c1")
    assert (exited.signal, exited.destroyed) == (9, False)
    assert "first process was killed" in exited.message
    assert [pid for pid in below if not machine.is_gone(pid)] == []


def test_a_file_that_was_cut_off_is_read_up_to_the_cut(tmp_path: Path) -> None:
    records = Records(tmp_path)
    spec = ContainerSpec(id="c1", sandbox="/tmp/c1", shell="true")
    descriptor = records.create(LaunchRecord(spec=spec, boot_id="b", isolators=()))
    os.write(descriptor, b'{"status": {"exit"')
    os.close(descriptor)
    found = records.read("c1")
    assert found is not None
    assert found.launch.spec == spec
    assert found.status is None


def test_secrets_are_not_written_down(tmp_path: Path) -> None:
    records = Records(tmp_path)
    spec = ContainerSpec(id="c1", sandbox="/tmp/c1", shell="true", secrets=(("PASSWORD", "xyzzy"),))
    os.close(records.create(LaunchRecord(spec=spec, boot_id="b", isolators=())))
    records.append("c1", Line(exit=None))
    assert b"xyzzy" not in (tmp_path / "containers" / "c1").read_bytes()
