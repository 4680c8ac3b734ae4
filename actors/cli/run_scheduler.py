"""The framework behind `kaon run`: so many tasks of one command, each once, wherever they fit."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from actors.messages.records import CommandInfo, Offer, Reason, TaskInfo, TaskState, TaskStatus
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import SchedulerState
from allocator.resources import Resources
from runtime.actor import receive
from runtime.message import Message, Overflow
from runtime.pid import PID

LONG_REFUSAL_SECONDS = 3600.0
"""For offers that cannot be used: they come again when there is more to offer, which a filter lets through."""

LEAVE_SECONDS = 5.0
"""After ^C, beyond the tasks' grace: for the news of their end. A master or an agent that is away may take for ever."""


class Constraint(msgspec.Struct, frozen=True):
    """A condition on one attribute of agents. operator: ``=``, ``!=``, or ``exists``."""

    attribute: str
    operator: str
    value: str = ""

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read ``rack=a``, ``rack!=a`` or ``rack``; raises ValueError for anything else."""
        for operator in ("!=", "="):
            name, found, value = text.partition(operator)
            if found:
                if not name.strip() or not value.strip():
                    break
                return cls(name.strip(), operator, value.strip())
        if not text.strip() or "=" in text:
            raise ValueError(f"{text!r} is no constraint: write attribute=value, attribute!=value or attribute")
        return cls(text.strip(), "exists")

    def holds(self, attributes: dict[str, list[str]]) -> bool:
        """Whether an agent with these attributes will do."""
        values = attributes.get(self.attribute, [])
        if self.operator == "exists":
            return bool(values)
        return (self.value in values) is (self.operator == "=")


class RunState(SchedulerState, kw_only=True):
    """What to run and how far it is.

    screen     actor that is told of every change
    instances  how many in all
    place      of the next task, from 0
    living     tasks that were launched and have not ended
    again      places of tasks that were dropped before they ran
    stopping   killed by the user: launch no more
    was_lost   the master was there and is not
    """

    screen: PID
    name: str
    command: CommandInfo
    resources: Resources
    role: str
    instances: int = 1
    constraints: tuple[Constraint, ...] = ()
    max_completion_seconds: float | None = None
    kill_grace_seconds: float = 3.0
    place: int = 0
    living: dict[str, int] = msgspec.field(default_factory=dict)
    again: list[int] = msgspec.field(default_factory=list)
    attempts: int = 0
    done: int = 0
    stopping: bool = False
    was_lost: bool = False


class TaskChanged(Message, frozen=True, kw_only=True, tag="run.TaskChanged"):
    """Scheduler -> screen: something is new about the task at `place`."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    place: int
    framework_id: str
    status: TaskStatus


class NoFit(Message, frozen=True, kw_only=True, tag="run.NoFit"):
    """Scheduler -> screen: an offer could not be used; `why` says for what."""

    overflow: ClassVar[Overflow] = Overflow.DROP

    why: str


class Notice(Message, frozen=True, kw_only=True, tag="run.Notice"):
    """Scheduler -> screen: a line for the user."""

    overflow: ClassVar[Overflow] = Overflow.DROP

    text: str


class LeaveAnyway(Message, frozen=True, kw_only=True, tag="run.LeaveAnyway"):
    """To itself: the tasks had their time to end."""

    overflow: ClassVar[Overflow] = Overflow.NEVER
    local: ClassVar[bool] = True


class RunEnded(Message, frozen=True, kw_only=True, tag="run.RunEnded"):
    """Scheduler -> screen: nothing more comes. failure: empty, or why it ended early."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    failure: str = ""


class RunScheduler(Scheduler[RunState]):
    """Launches `instances` tasks and is finished when all of them are."""

    def offers(self, offers: tuple[Offer, ...]) -> None:
        """Put as many tasks on each offer as fit; refuse the rest of it for long, there is nothing else to run."""
        for offer in offers:
            tasks = self._fill(offer)
            if tasks:
                self.launch(offer, *tasks, refuse_seconds=LONG_REFUSAL_SECONDS)
            else:
                self.decline(offer, refuse_seconds=LONG_REFUSAL_SECONDS)
        if not self._left:
            self.suppress()

    @property
    def _left(self) -> int:
        """Tasks that wait to be launched."""
        state = self.state
        return 0 if state.stopping else state.instances - state.place + len(state.again)

    def _fill(self, offer: Offer) -> list[TaskInfo]:
        state = self.state
        attributes: dict[str, list[str]] = {}
        for name, value in offer.attributes:
            attributes.setdefault(name, []).append(value)
        if self._left and not all(constraint.holds(attributes) for constraint in state.constraints):
            self.send(state.screen, NoFit(why=f"{offer.hostname} does not meet the constraints"))
            return []
        tasks: list[TaskInfo] = []
        left = offer.resources
        while self._left and state.resources in left:
            left = left - state.resources
            tasks.append(self._next(offer))
        if self._left and not tasks:
            self.send(state.screen, NoFit(why=f"{offer.hostname} offers {offer.resources}, not {state.resources}"))
        return tasks

    def _next(self, offer: Offer) -> TaskInfo:
        state = self.state
        if state.again:
            place = state.again.pop(0)
        else:
            place = state.place
            state.place += 1
        state.attempts += 1
        suffix = f".{place}" if state.instances > 1 else ""
        retry = f"-{state.attempts}" if state.attempts > state.instances else ""
        task_id = f"{state.name}{suffix}{retry}"
        state.living[task_id] = place
        return TaskInfo(
            task_id=task_id,
            name=state.name,
            agent_id=offer.agent_id,
            resources=state.resources,
            command=state.command,
            max_completion_seconds=state.max_completion_seconds,
            kill_grace_seconds=state.kill_grace_seconds,
        )

    def update(self, status: TaskStatus) -> None:
        """Tell the screen; launch again what was dropped before it ran."""
        state = self.state
        place = state.living.get(status.task_id)
        if place is None:
            return
        if status.state.is_terminal:
            del state.living[status.task_id]
            if _may_try_again(status) and not state.stopping:
                state.again.append(place)
                self.revive()
                return
            state.done += 1
        self.send(state.screen, TaskChanged(place=place, framework_id=self.framework_id, status=status))
        if state.done == state.instances or (state.stopping and not state.living):
            self.send(state.screen, RunEnded())
            self.finish()

    def subscribed(self, framework_id: str) -> None:
        """The master is there; a second time, that is news."""
        if self.state.was_lost:
            self.send(self.state.screen, Notice(text="the master is back"))
        self.state.was_lost = False

    def disconnected(self) -> None:
        """Tasks run on; whoever waits for them should know why nothing moves."""
        self.state.was_lost = True
        trouble = self.state.connection.trouble
        self.send(self.state.screen, Notice(text=f"lost the master ({trouble}); tasks run on, looking for it"))

    def interrupted(self) -> None:
        """^C: end the tasks with their grace; the second time, or when they take longer than that, leave."""
        state = self.state
        if state.stopping or not state.living:
            self._leave()
            return
        state.stopping = True
        for task_id in state.living:
            self.kill(task_id)
        seconds = state.kill_grace_seconds + LEAVE_SECONDS
        self.after(seconds, LeaveAnyway())
        if not self.is_subscribed:
            text = f"no master is there to end the tasks: waiting {seconds:g} s for it; ^C again to leave at once"
            self.send(state.screen, Notice(text=text))

    @receive(LeaveAnyway)
    def _on_leave_anyway(self, sender: PID, message: LeaveAnyway) -> None:
        self._leave()

    def _leave(self) -> None:
        """Tear the framework down; the master does it after the failover timeout if it hears no more of us."""
        state = self.state
        if state.living:
            patience = state.framework.failover_timeout_seconds
            text = f"left {', '.join(sorted(state.living)[:5])} behind: not seen to end"
            if not self.is_subscribed:
                text += f"; when a master is back it ends what runs within {patience:g} s"
            self.send(state.screen, Notice(text=text))
        self.send(state.screen, RunEnded(failure="interrupted"))
        self.finish()

    def error(self, message: str) -> None:
        """The master will not have us."""
        self.send(self.state.screen, RunEnded(failure=message))


def _may_try_again(status: TaskStatus) -> bool:
    """Whether the task never ran, through no fault of its own."""
    return status.state is TaskState.DROPPED and status.reason is not Reason.TASK_INVALID
