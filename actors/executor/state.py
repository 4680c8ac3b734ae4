"""What an executor keeps: who it is, its connection to the agent, its tasks, and the updates that are not safe yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from actors.messages.records import TaskInfo, TaskStatus
from runtime.actor import State
from runtime.effects import TimerId
from runtime.message import Message, Overflow
from runtime.pid import PID


class RunningTask(msgspec.Struct, kw_only=True):
    """A task that has not ended.

    accepted  the agent has an update of it in its journal, so it knows that the task arrived
    work      name of the actor whose thread works on it; empty when none does
    """

    info: TaskInfo
    accepted: bool = False
    work: str = ""


class AgentConnection(msgspec.Struct, kw_only=True):
    """Where an executor stands with its agent; kept by the executor, to be read by its author.

    agent           while it is connected; None otherwise
    tasks           those that have not ended, by id
    unacknowledged  updates that the agent has not accepted, by uuid, in order
    repeated        uuids of those that the subscription under way tells the agent
    linked          the loss of the agent's address will be told
    lost_timer      ends the executor when the agent stays away
    leaving         the executor ends when everything is said and accepted
    works           count of works begun: names their actors
    """

    agent: PID | None = None
    tasks: dict[str, RunningTask] = msgspec.field(default_factory=dict)
    unacknowledged: dict[str, TaskStatus] = msgspec.field(default_factory=dict)
    repeated: tuple[str, ...] = ()
    linked: bool = False
    lost_timer: TimerId | None = None
    retry_timer: TimerId | None = None
    leaving: bool = False
    works: int = 0


class ExecutorState(State, kw_only=True):
    """Base of an executor's state; the author's own fields stand beside these, which `run_executor` fills.

    agent  where the agent is dialled, ``PID("agent", "ipc:///...")``
    """

    agent: PID = PID("agent", "")
    framework_id: str = ""
    executor_id: str = ""
    container_id: str = ""
    connection: AgentConnection = msgspec.field(default_factory=AgentConnection)


class WorkState(State, kw_only=True):
    """Of the actor that works on one task: what to call, and whom to tell what it returned."""

    owner: PID
    task_id: str
    function: Callable[..., bytes | None]
    arguments: tuple[Any, ...] = ()


class ToSelf(Message, frozen=True, kw_only=True, tag="executor.{}".format):
    """Within an executor's process."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class WorkDone(ToSelf, frozen=True, kw_only=True):
    """The function returned."""

    task_id: str
    result: bytes


class WorkFailed(ToSelf, frozen=True, kw_only=True):
    """The function raised; `error` names the exception and says its text."""

    task_id: str
    error: str


class SubscribeAgain(ToSelf, frozen=True, kw_only=True):
    """The agent has not answered: try again."""


class AgentStayedAway(ToSelf, frozen=True, kw_only=True):
    """The agent was away for too long."""


class LeaveTimedOut(ToSelf, frozen=True, kw_only=True):
    """The agent has not accepted the last updates in time."""
