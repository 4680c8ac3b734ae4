"""The master between real agents and a real scheduler, on simulated containers, network and time."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import msgspec
import pytest

from actors.agent.compose import spawn_simulated_agent
from actors.agent.state import AgentSettings
from actors.master.compose import spawn_master
from actors.master.state import MasterState, contradictions, overcommitted
from actors.messages.records import CommandInfo, FrameworkInfo, Offer, TaskInfo, TaskState, TaskStatus
from actors.messages.registration import AgentRegistered, RegisterAgent
from actors.messages.scheduling import Accept, Acknowledge, Subscribed, Update
from actors.messages.tasks import AcknowledgeUpdate, RunTask, StatusUpdate
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import SchedulerRecords, SchedulerState
from allocator.resources import Resources
from containerizer.simulated import SimulatedContainerizer, SimulatedState
from runtime.message import Message
from runtime.pid import PID
from runtime.store import MemoryStore
from runtime.testing import World

NEED = Resources.parse("cpus:1;mem:64")
TASKS = 12
MASTER = PID("master", "simulated://m")


class BatchState(SchedulerState):
    """How far the batch is: what became of each task, and which wait."""

    waiting: list[str] = msgspec.field(default_factory=lambda: [f"t{number}" for number in range(TASKS)])
    ended: dict[str, TaskState] = msgspec.field(default_factory=dict)
    retries: int = 0


class Batch(Scheduler[BatchState]):
    """Runs each of its tasks until it has finished."""

    records: ClassVar[Any] = SchedulerRecords

    def offers(self, offers: tuple[Offer, ...]) -> None:
        for offer in offers:
            room = offer.resources
            tasks = []
            while self.state.waiting and NEED in room:
                room -= NEED
                tasks.append(
                    TaskInfo(
                        task_id=self.state.waiting.pop(0),
                        agent_id=offer.agent_id,
                        resources=NEED,
                        command=CommandInfo(shell="sleep 20"),
                    )
                )
            if tasks:
                self.launch(offer, *tasks, refuse_seconds=0.0)
            else:
                self.decline(offer, refuse_seconds=1.0)

    def update(self, status: TaskStatus) -> None:
        if not status.state.is_terminal:
            return
        self.state.ended[status.task_id] = status.state
        if status.state is not TaskState.FINISHED:
            self.state.retries += 1
            self.state.waiting.append(f"{status.task_id}.{self.state.retries}")


class Whole:
    """A master, two agents with a containerizer each, and one framework."""

    def __init__(self) -> None:
        self.world = World(seed=11)
        self.store = MemoryStore()
        self.machines = {name: SimulatedState() for name in ("a", "b")}
        self.start_master()
        for name, machine in self.machines.items():
            node = self.world.node(f"c-{name}", f"simulated://c-{name}")
            node.spawn(SimulatedContainerizer, "containerizer", machine)
            self.start_agent(name)
        scheduler = BatchState(framework=FrameworkInfo(name="batch"), masters=(MASTER,))
        self.world.node("s").spawn(Batch, "scheduler", scheduler)

    def start_master(self) -> None:
        spawn_master(self.world.node("m", MASTER.node), lambda: self.store, blocking_store=False)

    def start_agent(self, name: str) -> None:
        settings = AgentSettings(
            hostname=name,
            resources=Resources.parse("cpus:3;mem:1024"),
            work_directory="/work_dir",
            containerizer=PID("containerizer", f"simulated://c-{name}"),
            master=MASTER,
        )
        spawn_simulated_agent(self.world.node(name), settings)

    @property
    def master(self) -> MasterState:
        return cast(MasterState, self.world.nodes["m"].state_of("master"))

    @property
    def batch(self) -> BatchState:
        return cast(BatchState, self.world.nodes["s"].state_of("scheduler"))

    def finish(self) -> None:
        """Run until the batch is done, checking the books on the way."""
        for _ in range(600):
            self.world.run(2.0)
            assert contradictions(self.master) == []
            assert overcommitted(self.master) == []
            assert [node.failure for node in self.world.nodes.values() if node.failure] == []
            if len(self.finished) == TASKS and not self.master.tasks:
                return
        raise AssertionError(f"not done: {self.batch.ended}, {self.master.tasks}")

    @property
    def finished(self) -> list[str]:
        return [task_id for task_id, state in self.batch.ended.items() if state is TaskState.FINISHED]


def test_batch_runs_through_every_part() -> None:
    whole = Whole()
    whole.finish()
    assert whole.batch.retries == 0
    assert whole.master.counters["master/tasks_finished"] == TASKS
    assert whole.world.nodes["m"].state_of("allocator").counters.excess == 0


@pytest.mark.parametrize(
    "message_type",
    [RegisterAgent, AgentRegistered, Subscribed, StatusUpdate, Update, Acknowledge, AcknowledgeUpdate],
)
def test_batch_survives_the_loss_of_the_first_messages_of_a_kind(message_type: type[Message]) -> None:
    whole = Whole()
    with whole.world.drop(message_type, count=3) as lost:
        whole.finish()
    assert len(lost) == 3
    if message_type is not AgentRegistered:
        assert whole.batch.retries == 0


@pytest.mark.parametrize("after_seconds", [1.0, 5.0, 19.0, 31.0])
def test_batch_survives_its_master(after_seconds: float) -> None:
    whole = Whole()
    whole.world.run(after_seconds)
    whole.world.crash("m")
    whole.world.run(10.0)
    whole.start_master()
    whole.finish()


@pytest.mark.parametrize("away_seconds", [1.0, 200.0])
def test_batch_survives_an_agent_that_comes_back_with_its_tasks(away_seconds: float) -> None:
    whole = Whole()
    whole.world.run(8.0)
    whole.world.crash("a")
    whole.world.run(away_seconds)
    whole.start_agent("a")
    whole.finish()


def test_batch_survives_lost_launches() -> None:
    whole = Whole()
    with whole.world.drop(RunTask, count=2) as lost, whole.world.drop(Accept, count=1):
        whole.world.run(5.0)
        assert len(lost) == 2
        for session in list(whole.world.nodes["a"].peers.sessions):
            session.close("broken by the test")
        for session in list(whole.world.nodes["b"].peers.sessions):
            session.close("broken by the test")
        whole.finish()
