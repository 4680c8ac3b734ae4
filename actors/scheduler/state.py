"""What a scheduler keeps: who its framework is, its connection to the master, and the journal records of both."""

from __future__ import annotations

from typing import ClassVar, Final, TypeAlias

import msgspec

from actors.messages.records import FrameworkInfo, Offer, Reason, Source, TaskInfo, TaskState, TaskStatus
from runtime.actor import State
from runtime.effects import TimerId
from runtime.message import Message, Overflow
from runtime.pid import PID

OUT_OF_REACH: Final = frozenset({TaskState.UNKNOWN, TaskState.UNREACHABLE})
"""A kill of such a task is answered with the same again; it is killed when it is heard of."""


class KnownTask(msgspec.Struct, kw_only=True):
    """A task that has not ended, as far as this scheduler was told.

    state  the newest that `update` was told; STAGING before the first
    uuid   of the update that said so; empty when it had none
    info   as it was launched; None for one that an earlier life launched
    kill_grace_seconds  of a kill that was asked for and is repeated until the task has ended; None for the task's own
    """

    agent_id: str
    state: TaskState = TaskState.STAGING
    uuid: str = ""
    info: TaskInfo | None = None
    killed: bool = False
    kill_grace_seconds: float | None = None


class Connection(msgspec.Struct, kw_only=True):
    """Where a scheduler stands with the master; kept by the scheduler, to be read by its author.

    framework_id  as the master gave it; empty before
    master        the leading master while subscribed; None otherwise
    epoch         of that master: an answer of an older one is ignored
    offers        those that may still be accepted, by id
    tasks         those that have not ended, by id
    ended         task id and uuid of the last update of tasks that have, the latest last
    unacknowledged  updates that `update` was told and that wait for `acknowledge`, by uuid
    reconciling   tasks that the master was asked about and has not answered for
    suppressed    roles in which no offers are wanted
    announced     what subscriptions have named as such, each once: any of them may be what a master has taken
    linked        addresses of masters whose loss will be told
    attempt       count of subscriptions tried since the last that succeeded
    target        which of the masters is tried
    trouble       why there is no master at present
    ignored       messages that came from others than the leading master
    """

    framework_id: str = ""
    master: PID | None = None
    master_id: str = ""
    epoch: int = 0
    offers: dict[str, Offer] = msgspec.field(default_factory=dict)
    tasks: dict[str, KnownTask] = msgspec.field(default_factory=dict)
    ended: dict[str, str] = msgspec.field(default_factory=dict)
    unacknowledged: dict[str, TaskStatus] = msgspec.field(default_factory=dict)
    reconciling: dict[str, None] = msgspec.field(default_factory=dict)
    reconcile_attempt: int = 0
    reconcile_timer: TimerId | None = None
    suppressed: tuple[str, ...] = ()
    announced: list[tuple[str, ...]] = msgspec.field(default_factory=list)
    linked: dict[PID, None] = msgspec.field(default_factory=dict)
    attempt: int = 0
    target: int = 0
    trouble: str = ""
    retry_timer: TimerId | None = None
    finishing: bool = False
    ignored: int = 0


class SchedulerState(State, kw_only=True):
    """Base of a scheduler's state; the author's own fields stand beside these.

    framework   who the framework is; with a `framework_id`, whose work it takes over
    masters     where to look for the leading master, ``PID("master", "tcp://10.0.0.1:5040")``; `run_scheduler` fills it
    connection  kept by the scheduler itself
    """

    framework: FrameworkInfo
    masters: tuple[PID, ...] = ()
    connection: Connection = msgspec.field(default_factory=Connection)


# What a scheduler with a journal writes down --------------------------------------------------------------------------


class JournalRecord(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """Base of what schedulers persist; the class's name is the tag, so it is unique within a scheduler's `records`."""


class FrameworkIdentified(JournalRecord, frozen=True, kw_only=True):
    """The master gave the framework this id: the next life subscribes with it."""

    framework_id: str


class TaskLaunched(JournalRecord, frozen=True, kw_only=True):
    """That task was handed to the master, or is about to be: the next life asks what became of it."""

    task_id: str
    agent_id: str


class TaskEnded(JournalRecord, frozen=True, kw_only=True):
    """`update` was told that the task ended, by the update of that uuid (empty if it had none)."""

    task_id: str
    uuid: str = ""


class FrameworkEnded(JournalRecord, frozen=True, kw_only=True):
    """The framework is torn down: what stands before this in the journal is over, and the next life begins anew."""


SchedulerRecords: TypeAlias = FrameworkIdentified | TaskLaunched | TaskEnded | FrameworkEnded
"""What a scheduler itself persists: ``records = SchedulerRecords``, or ``SchedulerRecords | MyRecord``."""


# What a scheduler tells itself ----------------------------------------------------------------------------------------


class ToSelf(Message, frozen=True, kw_only=True, tag="scheduler.{}".format):
    """Scheduler -> itself."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class SubscribeAgain(ToSelf, frozen=True, kw_only=True):
    """No master has answered yet: try again."""


class ReconcileAgain(ToSelf, frozen=True, kw_only=True):
    """Ask about the tasks whose state the master has not told."""


class NotLaunched(ToSelf, frozen=True, kw_only=True):
    """A task never reached the master; its status says why."""

    status: TaskStatus

    @classmethod
    def because(cls, reason: Reason, task: TaskInfo, now: float) -> NotLaunched:
        """Say so of a task whose offer is void (INVALID_OFFERS) or went with the master (MASTER_DISCONNECTED)."""
        void = "the offer is void" if reason is Reason.INVALID_OFFERS else "the master is lost, and the offer with it"
        return cls(
            status=TaskStatus(
                task_id=task.task_id,
                state=TaskState.DROPPED,
                source=Source.MASTER,
                reason=reason,
                message=f"not launched: {void}",
                agent_id=task.agent_id,
                timestamp=now,
            )
        )


class Interrupt(ToSelf, frozen=True, kw_only=True):
    """The user wants the framework to end (^C)."""


class FinishTimedOut(ToSelf, frozen=True, kw_only=True):
    """No master was found to tear the framework down."""
