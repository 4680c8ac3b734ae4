"""One of the paper's two frameworks."""

from __future__ import annotations

import msgspec

from actors.scheduler import (
    CommandInfo,
    FrameworkInfo,
    Offer,
    Resources,
    Scheduler,
    SchedulerState,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from actors.scheduler.state import Connection
from runtime.actor import receive
from runtime.message import Message
from runtime.pid import PID

WANTED = 10
"""Tasks that each framework would like to run."""

FAILURES = 3
"""Tasks that may fail before the example gives up."""


class Begin(Message, frozen=True, kw_only=True, tag="drf_paper.{}".format):
    """To a framework, from its own process: now you may have offers."""


class PaperState(SchedulerState, kw_only=True):
    """Of one framework.

    demand      what each of its tasks needs
    declined    offers in a row that it could not use
    failures    what was said of tasks that failed
    """

    demand: Resources
    connection: Connection
    launched: int = 0
    declined: int = 0
    failures: list[str] = msgspec.field(default_factory=list)

    @property
    def tasks(self) -> int:
        """How many it has now."""
        return len(self.connection.tasks)

    @property
    def all_run(self) -> bool:
        """Whether each of them runs."""
        return all(task.state is TaskState.RUNNING for task in self.connection.tasks.values())


def initial_state(name: str, demand: Resources) -> PaperState:
    """A framework that wants no offers before `Begin`: the paper's two begin together."""
    info = FrameworkInfo(name=name, failover_timeout_seconds=10.0)
    return PaperState(framework=info, demand=demand, connection=Connection(suppressed=info.roles))


class PaperFramework(Scheduler[PaperState]):
    """Launches one task per offer and declines the rest for no time, so that it may go to the other at once."""

    @receive(Begin)
    def begin(self, sender: PID, message: Begin) -> None:
        """Ask for offers."""
        if sender == self.pid:
            self.revive()

    def offers(self, offers: tuple[Offer, ...]) -> None:
        """One task if it fits; the rest goes back."""
        for offer in offers:
            if self.state.tasks < WANTED and self.state.demand in offer.resources.unreserved():
                self.state.launched += 1
                self.state.declined = 0
                self.launch(offer, self.next_task(offer), refuse_seconds=0.0)
            else:
                self.state.declined += 1
                self.decline(offer, refuse_seconds=0.0)

    def next_task(self, offer: Offer) -> TaskInfo:
        """A task that holds its resources and does nothing."""
        return TaskInfo(
            task_id=f"{self.state.framework.name}-{self.state.launched}",
            name=self.state.framework.name,
            agent_id=offer.agent_id,
            resources=self.state.demand,
            command=CommandInfo(argv=("sleep", "3600")),
        )

    def update(self, status: TaskStatus) -> None:
        """A task of this example ends only when something is wrong."""
        if status.state.is_terminal:
            self.state.failures.append(f"{status.task_id} {status.state.value}: {status.message}")
