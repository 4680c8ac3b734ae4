"""Scheduler and master: the v1 scheduler API of Mesos, as messages.

A scheduler dials the leading master, links to it and sends :class:`Subscribe` until :class:`Subscribed` comes. Then
offers come; each is accepted (with operations on it), declined, or taken back by the master (:class:`RescindOffer`).
Updates come at least once and are acknowledged by their uuid. Calls that make no sense get :class:`SchedulerError`, or
a terminal status of the task that they were about.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from actors.messages.records import FrameworkInfo, MasterInfo, Offer, Record, TaskInfo, TaskStatus
from runtime.message import Message, Overflow

DEFAULT_REFUSE_SECONDS = 5.0
"""How long what is declined, or left over from an accept, is not offered again (Mesos: `Filters.refuse_seconds`)."""


class Call(Message, frozen=True, kw_only=True):
    """Scheduler -> master."""

    framework_id: str = ""


class Event(Message, frozen=True, kw_only=True):
    """Master -> scheduler: bounded by what the scheduler asked for, so none is dropped."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


# Calls ----------------------------------------------------------------------------------------------------------------


class Subscribe(Message, frozen=True, kw_only=True):
    """Here I am; with a framework id: here I am again, and whoever else speaks for it is superseded.

    suppressed_roles  those in which no offers are wanted for now
    """

    overflow: ClassVar[Overflow] = Overflow.DROP

    framework: FrameworkInfo
    suppressed_roles: tuple[str, ...] = ()


class Launch(Record, frozen=True, kw_only=True, tag=True):
    """Run these tasks on what the accepted offers hold."""

    tasks: tuple[TaskInfo, ...]


Operation: TypeAlias = Launch
"""What can be done with offers, applied in order; RESERVE, CREATE and LAUNCH_GROUP join this union."""


class Accept(Call, frozen=True, kw_only=True):
    """Use offers of one agent and one role; what the operations leave is refused for `refuse_seconds`."""

    offer_ids: tuple[str, ...]
    operations: tuple[Operation, ...] = ()
    refuse_seconds: float = DEFAULT_REFUSE_SECONDS


class Decline(Call, frozen=True, kw_only=True):
    """Do not want these; refused for `refuse_seconds` (0: may be offered again at once)."""

    offer_ids: tuple[str, ...]
    refuse_seconds: float = DEFAULT_REFUSE_SECONDS


class Revive(Call, frozen=True, kw_only=True):
    """Forget what was refused, and offer again in these roles (empty: all)."""

    roles: tuple[str, ...] = ()


class Suppress(Call, frozen=True, kw_only=True):
    """No offers in these roles (empty: all) until Revive."""

    roles: tuple[str, ...] = ()


class KillTask(Call, frozen=True, kw_only=True):
    """End a task. An unknown one is reconciled instead. grace_seconds None: the task's own."""

    task_id: str
    agent_id: str = ""
    grace_seconds: float | None = None


class ShutdownExecutorCall(Call, frozen=True, kw_only=True):
    """End an executor and all its tasks."""

    agent_id: str
    executor_id: str


class Acknowledge(Call, frozen=True, kw_only=True):
    """The update of that uuid is safe with me."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    agent_id: str
    task_id: str
    uuid: str


class Reconcile(Call, frozen=True, kw_only=True):
    """What about these tasks? Pairs of task id and agent id (which may be empty); none means all that are known."""

    tasks: tuple[tuple[str, str], ...] = ()


class SendToExecutor(Call, frozen=True, kw_only=True):
    """Opaque bytes for an executor; at most once."""

    agent_id: str
    executor_id: str
    data: bytes


class UpdateFrameworkCall(Call, frozen=True, kw_only=True):
    """The framework's description has changed (name, roles, capabilities, failover timeout)."""

    framework: FrameworkInfo
    suppressed_roles: tuple[str, ...] = ()


class Teardown(Call, frozen=True, kw_only=True):
    """End the framework: all its tasks and executors are killed, its id is never used again."""


# Events ---------------------------------------------------------------------------------------------------------------


class Subscribed(Event, frozen=True, kw_only=True):
    """You are connected under this id."""

    framework_id: str
    master: MasterInfo


class Offers(Event, frozen=True, kw_only=True):
    """These resources are yours to use or refuse."""

    offers: tuple[Offer, ...]


class RescindOffer(Event, frozen=True, kw_only=True):
    """That offer is void."""

    offer_id: str


class Update(Event, frozen=True, kw_only=True):
    """What is known of a task; acknowledge it if it has a uuid."""

    status: TaskStatus


class FromExecutor(Event, frozen=True, kw_only=True):
    """Opaque bytes from an executor; at most once."""

    agent_id: str
    executor_id: str
    data: bytes


class AgentFailure(Event, frozen=True, kw_only=True):
    """An agent is unreachable or gone (executor_id empty), or an executor ended with `exit_status` (a wait status)."""

    agent_id: str
    executor_id: str = ""
    exit_status: int | None = None


class SchedulerError(Event, frozen=True, kw_only=True):
    """The subscription is over: `message` says why and what to do."""

    message: str
