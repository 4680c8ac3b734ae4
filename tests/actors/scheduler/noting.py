"""A scheduler that writes down what it is told, and the messages of a master."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from actors.messages.records import FrameworkInfo, MasterInfo, Offer, Source, TaskInfo, TaskState, TaskStatus
from actors.messages.scheduling import Offers, Subscribed, Update
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import SchedulerRecords, SchedulerState
from allocator.resources import Resources
from runtime.effects import Effect
from runtime.pid import PID
from runtime.testing import make, start, turn

ADDRESS = PID("master", "simulated://m1")
MASTER = PID("master", "m1", 7)
STRANGER = PID("master", "elsewhere", 9)
RESOURCES = Resources.scalar_only(cpus=1, mem=64)


class NotedState(SchedulerState, kw_only=True):
    told: list[Any] = msgspec.field(default_factory=list)


class Noting(Scheduler[NotedState]):
    """Keeps every callback as a tuple of its name and arguments."""

    def subscribed(self, framework_id: str) -> None:
        self.state.told.append(("subscribed", framework_id))

    def offers(self, offers: tuple[Offer, ...]) -> None:
        self.state.told.append(("offers", tuple(offer.offer_id for offer in offers)))

    def rescinded(self, offer_id: str) -> None:
        self.state.told.append(("rescinded", offer_id))

    def update(self, status: TaskStatus) -> None:
        self.state.told.append(("update", status.task_id, status.state))

    def message(self, agent_id: str, executor_id: str, data: bytes) -> None:
        self.state.told.append(("message", agent_id, executor_id, data))

    def agent_lost(self, agent_id: str) -> None:
        self.state.told.append(("agent_lost", agent_id))

    def executor_lost(self, agent_id: str, executor_id: str, exit_status: int | None) -> None:
        self.state.told.append(("executor_lost", agent_id, executor_id, exit_status))

    def disconnected(self) -> None:
        self.state.told.append(("disconnected",))

    def error(self, message: str) -> None:
        self.state.told.append(("error", message))


class Durable(Noting):
    records: ClassVar[Any] = SchedulerRecords


class Explicit(Noting):
    acknowledges = False


def state(**given: Any) -> NotedState:
    return NotedState(framework=FrameworkInfo(name="test"), masters=(ADDRESS,), **given)


def welcome(framework_id: str = "f1", epoch: int = 0) -> Subscribed:
    return Subscribed(framework_id=framework_id, master=MasterInfo(master_id="m", epoch=epoch))


def offer(offer_id: str = "o1", agent_id: str = "a1") -> Offer:
    return Offer(
        offer_id=offer_id, framework_id="f1", role="*", agent_id=agent_id, hostname="h", resources=RESOURCES + RESOURCES
    )


def task(task_id: str = "t1", agent_id: str = "a1") -> TaskInfo:
    return TaskInfo(task_id=task_id, agent_id=agent_id, resources=RESOURCES)


def status(task_state: TaskState, uuid: str = "u1", task_id: str = "t1") -> Update:
    return Update(
        status=TaskStatus(task_id=task_id, state=task_state, source=Source.EXECUTOR, agent_id="a1", uuid=uuid)
    )


def called(scheduler: Any, name: str, *arguments: Any, **options: Any) -> list[Effect]:
    """Call an action as a callback would; returns its effects."""
    getattr(scheduler, name)(*arguments, **options)
    effects, scheduler._outbox = scheduler._outbox, []
    return list(effects)


def connected(scheduler_class: type[Noting] = Noting, **given: Any) -> Any:
    """A scheduler that is subscribed and holds the offers o1 and o2."""
    scheduler = make(scheduler_class, state(**given))
    start(scheduler)
    turn(scheduler, welcome(), sender=MASTER)
    turn(scheduler, Offers(offers=(offer("o1"), offer("o2"))), sender=MASTER)
    scheduler.state.told.clear()
    return scheduler
