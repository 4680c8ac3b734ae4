"""What every containerizer promises, in the words of `containerizer/messages.py`."""

from __future__ import annotations

from typing import Any

import pytest

from containerizer.messages import (
    Attach,
    Attached,
    Collected,
    ContainerExited,
    Describe,
    Destroy,
    Destroyed,
    HostCapabilities,
    Kill,
    Killed,
    Launch,
    Launched,
    LaunchFailed,
    LaunchFailure,
    Recover,
    Recovered,
    Refused,
    Update,
    Updated,
    Usage,
    UsageReport,
)
from containerizer.spec import Limits


def test_a_command_runs_and_its_status_is_told(machine: Any) -> None:
    assert machine.run("c1", "exit 7").exit_code == 7
    assert machine.run("c2", "true").exit_code == 0


def test_a_command_that_a_signal_ends_is_told_with_the_signal(machine: Any) -> None:
    exited = machine.run("c1", "kill -15 $$")
    assert (exited.exit_code, exited.signal, exited.destroyed) == (None, 15, False)


def test_arguments_are_run_without_a_shell(machine: Any) -> None:
    assert machine.run("c1", argv=("sh", "-c", "exit 3")).exit_code == 3 or machine.directory.name == "simulated"


def test_launched_says_who_runs(machine: Any) -> None:
    launched = machine.launch("c1", "sleep infinity")
    assert launched.container_id == "c1"
    assert launched.process_id > 1


def test_a_command_that_does_not_exist_fails_the_launch(machine: Any) -> None:
    failed = machine.ask(Launch(spec=machine.spec("c1", argv=("/nonexistent/program",))), LaunchFailed)
    assert failed.reason is LaunchFailure.NO_COMMAND
    assert "cannot be executed" in failed.message
    assert machine.launch("c1", "true").container_id == "c1", "the id is free again"


def test_an_invalid_spec_fails_the_launch(machine: Any) -> None:
    failed = machine.ask(Launch(spec=machine.spec("no/slash", "true")), LaunchFailed)
    assert failed.reason is LaunchFailure.INVALID
    assert "no/slash" in failed.message


def test_a_launch_may_be_repeated_but_not_changed(machine: Any) -> None:
    first = machine.launch("c1", "sleep infinity")
    assert machine.launch("c1", "sleep infinity") == first
    failed = machine.ask(Launch(spec=machine.spec("c1", "sleep 1")), LaunchFailed)
    assert failed.reason is LaunchFailure.EXISTS


def test_a_repeated_launch_under_way_gets_its_answer_too(machine: Any) -> None:
    numbers = [machine.begin(Launch(spec=machine.spec("c1", "sleep infinity"))) for _ in range(2)]
    answers = [machine.answer(number) for number in numbers]
    assert all(isinstance(answer, Launched) for answer in answers)


def test_destroy_ends_a_container_and_its_exit_comes_first(machine: Any) -> None:
    machine.launch("c1", "sleep infinity")
    machine.destroy("c1")
    (exited,) = machine.exits("c1")
    assert exited.destroyed
    assert exited.signal == 9


def test_destroy_with_grace_lets_the_command_end_itself(machine: Any) -> None:
    machine.launch("c1", "sleep 600")
    machine.destroy("c1", grace_seconds=20.0)
    (exited,) = machine.exits("c1")
    assert (exited.signal, exited.destroyed) == (15, True)


def test_grace_ends(machine: Any) -> None:
    machine.launch("c1", "trap '' TERM; echo deaf; sleep 600")
    machine.await_output("c1", "deaf")
    machine.destroy("c1", grace_seconds=0.2)
    assert machine.exit_of("c1").signal == 9


def test_a_second_destroy_shortens_the_grace_of_the_first(machine: Any) -> None:
    machine.launch("c1", "trap '' TERM; echo deaf; sleep 600")
    machine.await_output("c1", "deaf")
    first = machine.begin(Destroy(container_id="c1", grace_seconds=10_000.0))
    machine.destroy("c1", grace_seconds=0.0)
    assert machine.answer(first) == Destroyed(container_id="c1")


def test_destroying_what_is_not_there_is_done_already(machine: Any) -> None:
    machine.destroy("never")
    machine.run("c1", "true")
    machine.destroy("c1")


def test_destroy_while_launching_takes_effect(machine: Any) -> None:
    launch = machine.begin(Launch(spec=machine.spec("c1", "sleep infinity")))
    destroy = machine.begin(Destroy(container_id="c1", grace_seconds=0.0))
    assert isinstance(machine.answer(launch), Launched | LaunchFailed)
    assert machine.answer(destroy) == Destroyed(container_id="c1")
    assert machine.ask(Recover(containers=()), Recovered).destroyed in {(), ("c1",)}


def test_kill_sends_one_signal(machine: Any) -> None:
    machine.launch("c1", "sleep 600")
    assert machine.ask(Kill(container_id="c1", signal=15), Killed).container_id == "c1"
    exited = machine.exit_of("c1")
    assert (exited.signal, exited.destroyed) == (15, False)


@pytest.mark.parametrize("everyone", [False, True])
def test_kill_with_sigkill(machine: Any, everyone: bool) -> None:
    machine.launch("c1", "sleep 600")
    machine.ask(Kill(container_id="c1", signal=9, everyone=everyone), Killed)
    assert machine.exit_of("c1").signal == 9


def test_kill_of_what_does_not_run_is_refused(machine: Any) -> None:
    assert "c9" in machine.ask(Kill(container_id="c9"), Refused).message
    machine.launch("c1", "sleep infinity")
    assert "4711" in machine.ask(Kill(container_id="c1", signal=4711), Refused).message


def test_an_exit_is_repeated_until_collected(machine: Any) -> None:
    exited = machine.run("c1", "exit 4")
    machine.until(lambda: len(machine.exits("c1")) >= 2, "a second telling")
    assert set(machine.exits("c1")) == {exited}
    machine.tell(Collected(container_id="c1"))
    machine.until(lambda: "c1" not in machine.state.containers, "forgetting")
    assert machine.launch("c1", "true"), "a collected id is free"


def test_exits_are_told_to_an_agent_that_attaches_later(machine: Any) -> None:
    machine.run("c1", "exit 5")
    machine.agent.heard.clear()
    assert machine.ask(Attach(), Attached).containers == ("c1",)
    assert machine.exit_of("c1").exit_code == 5


def test_nested_containers_end_before_their_parent(machine: Any) -> None:
    machine.launch("pod", "sleep 600")
    machine.launch("pod.web", "sleep 600")
    machine.launch("pod.web.check", "sleep 600")
    machine.destroy("pod")
    order = [one.container_id for one in machine.agent.heard if isinstance(one, ContainerExited)]
    assert order[-1] == "pod"
    assert set(order) == {"pod", "pod.web", "pod.web.check"}


def test_a_parent_that_ends_takes_its_nested_containers_along(machine: Any) -> None:
    machine.launch("pod", "sleep 600")
    machine.launch("pod.web", "sleep 600")
    machine.ask(Kill(container_id="pod", signal=9), Killed)
    assert machine.exit_of("pod").signal == 9
    assert machine.exit_of("pod.web").destroyed


def test_nothing_is_nested_in_what_does_not_run(machine: Any) -> None:
    failed = machine.ask(Launch(spec=machine.spec("pod.web", "true")), LaunchFailed)
    assert failed.reason is LaunchFailure.FAILED
    assert "pod does not run" in failed.message


def test_recover_sorts_containers_and_destroys_orphans(machine: Any) -> None:
    machine.launch("alive", "sleep 600")
    machine.launch("orphan", "sleep 600")
    machine.run("ended", "true")
    answer = machine.ask(Recover(containers=("alive", "ended", "never")), Recovered)
    assert answer == Recovered(alive=("alive",), exited=("ended",), lost=("never",), destroyed=("orphan",))
    assert sorted(machine.state.containers) == ["alive", "ended"]
    assert not machine.exits("orphan")


def test_a_restarted_containerizer_finds_its_containers(machine: Any) -> None:
    machine.launch("runs", "sleep 600")
    machine.run("ended", "exit 6")
    machine.restart()
    machine.attach()
    answer = machine.ask(Recover(containers=("runs", "ended")), Recovered)
    assert (answer.alive, answer.exited) == (("runs",), ("ended",))
    assert machine.exit_of("ended").exit_code == 6
    machine.destroy("runs", grace_seconds=20.0)
    assert machine.exit_of("runs").signal == 15


def test_limits_can_change_on_a_live_container(machine: Any) -> None:
    machine.launch("c1", "sleep 600")
    limits = Limits(cpus=0.5, memory_bytes=64 * 1024 * 1024)
    assert machine.ask(Update(container_id="c1", limits=limits), Updated).container_id == "c1"
    (usage,) = machine.ask(Usage(), UsageReport).usages
    assert usage.limits == limits
    assert "above 0" in machine.ask(Update(container_id="c1", limits=Limits(cpus=-1.0)), Refused).message
    assert "c9" in machine.ask(Update(container_id="c9", limits=limits), Refused).message


def test_usage_names_those_that_run(machine: Any) -> None:
    machine.launch("c1", "sleep 600")
    machine.launch("c2", "sleep 600")
    machine.run("c3", "true")
    report = machine.ask(Usage(), UsageReport)
    assert [usage.container_id for usage in report.usages] == ["c1", "c2"]
    assert [usage.container_id for usage in machine.ask(Usage(containers=("c2", "c9")), UsageReport).usages] == ["c2"]


def test_anybody_may_ask_what_the_host_can_do(machine: Any) -> None:
    assert machine.ask(Describe(), HostCapabilities).isolation in {"simulated", "plain", "isolated"}
