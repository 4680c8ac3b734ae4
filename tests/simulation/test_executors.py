"""Executors in a simulated cluster: they run in containers, work on virtual time, and end in every way there is."""

from __future__ import annotations

import msgspec
import pytest

from actors.executor.executor import Executor
from actors.executor.state import ExecutorState
from actors.messages.records import (
    CommandInfo,
    ExecutorInfo,
    FrameworkInfo,
    Offer,
    Reason,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import Interrupt, SchedulerState
from actors.simulation.cluster import Cluster
from actors.simulation.shape import ClusterShape
from actors.simulation.violation import Violation
from allocator.resources import Resources

NEEDS = Resources.parse("cpus:1;mem:64")
SQUARING = ExecutorInfo(executor_id="squaring", command=CommandInfo(shell="python squaring.py"), resources=NEEDS)


class Squaring(Executor[ExecutorState]):
    def launch(self, task: TaskInfo) -> None:
        if task.data == b"bug":
            raise RuntimeError("an executor's bug")
        self.run(task, lambda: b"%d" % int(task.data) ** 2)


class SquaresState(SchedulerState, kw_only=True):
    numbers: list[bytes]
    heard: list[TaskStatus] = msgspec.field(default_factory=list)


class Squares(Scheduler[SquaresState]):
    """Launches each number once, on one offer if it is large enough, and notes how it ended."""

    def offers(self, offers: tuple[Offer, ...]) -> None:
        for offer in offers:
            numbers, self.state.numbers = self.state.numbers, []
            tasks = [
                TaskInfo(task_id=str(place), agent_id=offer.agent_id, resources=NEEDS, executor=SQUARING, data=number)
                for place, number in enumerate(numbers)
            ]
            self.launch(offer, *tasks)

    def update(self, status: TaskStatus) -> None:
        if status.state.is_terminal:
            self.state.heard.append(status)


@pytest.fixture(params=[False, True], ids=["apart", "together"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    made = Cluster(3, agents=1, shape=ClusterShape(together=request.param))
    made.executors.add(SQUARING, Squaring, work_seconds=10.0)
    return made


def launch(cluster: Cluster, *numbers: bytes) -> SquaresState:
    name = cluster.add_scheduler(Squares, SquaresState(framework=FrameworkInfo(name="squares"), numbers=[*numbers]))
    state: SquaresState = cluster.framework(name)
    cluster.run_until(lambda: bool(state.heard or cluster.executors.running()), 30.0, 0.05)
    return state


def containers(cluster: Cluster) -> int:
    return len(cluster.containerizer("a1").containers)


def test_an_executor_works_for_as_long_as_it_is_told(cluster: Cluster) -> None:
    state = launch(cluster, b"3", b"4")
    cluster.run(9.0)
    assert state.heard == []
    cluster.run(2.0)
    assert sorted(status.data for status in state.heard) == [b"16", b"9"]
    assert (len(cluster.executors.running()), containers(cluster)) == (1, 1)


def test_what_the_function_raises_is_the_tasks_failure(cluster: Cluster) -> None:
    state = launch(cluster, b"three")
    cluster.run(11.0)
    (status,) = state.heard
    assert (status.state, "ValueError" in status.message) == (TaskState.FAILED, True)


def test_a_killed_executor_takes_its_tasks_along_and_its_container_is_removed(cluster: Cluster) -> None:
    state = launch(cluster, b"3", b"4")
    cluster.run(5.0)
    (container,) = cluster.executors.running()
    cluster.executors.kill(container)
    cluster.run(20.0)
    assert [(status.state, status.reason) for status in state.heard] == [
        (TaskState.FAILED, Reason.EXECUTOR_TERMINATED)
    ] * 2
    assert (cluster.executors.running(), containers(cluster), cluster.is_up(container)) == ([], 0, False)


def test_a_bug_of_an_executor_is_a_violation(cluster: Cluster) -> None:
    with pytest.raises(Violation, match=r"(?s)no actor fails: .*an executor's bug"):
        launch(cluster, b"bug")


def test_an_executor_that_fails_ends_with_its_container() -> None:
    cluster = Cluster(3, agents=1, checkers=())
    cluster.executors.add(SQUARING, Squaring)
    state = launch(cluster, b"bug")
    cluster.run(30.0)
    assert [status.state for status in state.heard] == [TaskState.FAILED]
    assert (cluster.executors.running(), containers(cluster)) == ([], 0)


def test_an_executor_goes_on_while_its_daemons_are_away_and_its_end_is_found_out_later(cluster: Cluster) -> None:
    state = launch(cluster, b"3")
    cluster.run(1.0)
    node = cluster.containerizer_node("a1")
    cluster.crash(node)
    (container,) = cluster.executors.running()
    cluster.run(2.0)
    assert cluster.executors.running() == [container]
    cluster.executors.kill(container)
    cluster.start(node)
    cluster.run(20.0)
    assert [status.state for status in state.heard] == [TaskState.FAILED]
    assert containers(cluster) == 0


def test_a_reboot_ends_the_executors_of_the_host(cluster: Cluster) -> None:
    launch(cluster, b"3")
    (container,) = cluster.executors.running()
    cluster.reboot("a1", after_seconds=5.0)
    assert (cluster.executors.running(), cluster.is_up(container)) == ([], False)
    cluster.run(30.0)
    assert cluster.executors.running() == []


def test_executors_end_with_their_framework(cluster: Cluster) -> None:
    launch(cluster, b"3")
    node = cluster.world.nodes["f1"]
    node.post(node.pid("scheduler"), Interrupt())
    cluster.run_until(lambda: not cluster.executors.running(), 60.0)
    cluster.settle()
    assert containers(cluster) == 0
