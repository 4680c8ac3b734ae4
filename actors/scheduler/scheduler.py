"""The scheduler: base of every framework's half that decides what runs where.

::

    class Hello(Scheduler[HelloState]):
        def offers(self, offers: tuple[Offer, ...]) -> None:
            for offer in offers:
                self.launch(offer, TaskInfo(task_id="hello", agent_id=offer.agent_id, ...))

        def update(self, status: TaskStatus) -> None:
            if status.state.is_terminal:
                self.finish()

A callback for each event, a method for each action. Callbacks run within turns: they do not wait, and what they ask for
is done when they have returned. The scheduler itself finds the master, subscribes, comes back with the same framework
id when it has lost it, acknowledges updates, tells each of them once, and asks about tasks that it has not heard of
(Mesos: `src/sched/sched.cpp`, `docs/reconciliation.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, TypeVar

import msgspec

from actors.messages.records import TERMINAL, Offer, Reason, TaskInfo, TaskState, TaskStatus
from actors.messages.scheduling import (
    DEFAULT_REFUSE_SECONDS,
    Accept,
    Acknowledge,
    AgentFailure,
    Decline,
    FromExecutor,
    Launch,
    Offers,
    Operation,
    RescindOffer,
    Revive,
    SchedulerError,
    SendToExecutor,
    ShutdownExecutorCall,
    Subscribed,
    Suppress,
    Teardown,
    Update,
)
from actors.scheduler.journal import records_of, remember_end, replay, since_last_end
from actors.scheduler.reconciliation import Reconciler
from actors.scheduler.state import (
    OUT_OF_REACH,
    FinishTimedOut,
    FrameworkEnded,
    FrameworkIdentified,
    Interrupt,
    KnownTask,
    NotLaunched,
    SchedulerRecords,
    SchedulerState,
    TaskEnded,
    TaskLaunched,
)
from runtime.actor import receive
from runtime.message import Terminate
from runtime.pid import PID

S = TypeVar("S", bound=SchedulerState)

ENDS_WITH_UPDATE: Final = TERMINAL - {TaskState.GONE, TaskState.GONE_BY_OPERATOR, TaskState.LOST}
"""When the master answers that a task has ended so, the update that says it, with its data, is on its way."""

FINISH_TIMEOUT_SECONDS: Final = 30.0
"""How long a scheduler that has lost the master looks for it to tear its framework down."""


class Scheduler(Reconciler[S]):
    """Base of schedulers: override the callbacks, call the actions; `self.state` is the author's, and the journal too.

    With ``records = SchedulerRecords`` (or ``SchedulerRecords | MyRecord``) the framework outlives its scheduler's
    process: the next life subscribes with the same framework id and asks about the tasks that were launched.
    """

    acknowledges: ClassVar[bool] = True
    """Whether an update is acknowledged when `update` has returned; False: the author calls `acknowledge`."""

    # Callbacks ------------------------------------------------------------------------------------------------------

    def subscribed(self, framework_id: str) -> None:
        """The leading master is there: for the first time, or again."""

    def offers(self, offers: tuple[Offer, ...]) -> None:
        """Resources to use: accept, `launch` or `decline` each of them, now or later. By default all are declined."""
        for offer in offers:
            self.decline(offer)

    def rescinded(self, offer_id: str) -> None:
        """That offer is void."""

    def update(self, status: TaskStatus) -> None:
        """Something is new about a task. Each update is told once; nothing follows a terminal state."""

    def message(self, agent_id: str, executor_id: str, data: bytes) -> None:
        """Bytes from an executor; they may be lost on the way."""

    def agent_lost(self, agent_id: str) -> None:
        """An agent is out of reach; updates tell what became of its tasks."""

    def executor_lost(self, agent_id: str, executor_id: str, exit_status: int | None) -> None:
        """An executor ended, with this wait status if it is known; updates tell what became of its tasks."""

    def error(self, message: str) -> None:
        """The master will not have this framework, and says why; the scheduler ends after this callback."""

    def interrupted(self) -> None:
        """The user wants an end (^C). By default the framework is torn down."""
        self.finish()

    def restore(self, record: msgspec.Struct) -> None:
        """One of the author's own records, persisted in an earlier life; called in order before the first turn."""

    def checkpoint(self) -> Sequence[msgspec.Struct] | None:
        """The author's records that say all that the journal does, so that it can be shortened; None: keep it whole."""
        return () if type(self).records == SchedulerRecords else None

    # Actions: offers ------------------------------------------------------------------------------------------------

    def launch(
        self,
        offers: Offer | Sequence[Offer],
        *tasks: TaskInfo,
        refuse_seconds: float = DEFAULT_REFUSE_SECONDS,
    ) -> None:
        """Launch tasks on an offer, or on several of one agent; see `accept`."""
        self.accept(offers, [Launch(tasks=tasks)], refuse_seconds=refuse_seconds)

    def accept(
        self,
        offers: Offer | Sequence[Offer],
        operations: Sequence[Operation],
        refuse_seconds: float = DEFAULT_REFUSE_SECONDS,
    ) -> None:
        """Use offers of one agent and one role. What is left of them is not offered again for `refuse_seconds`.

        Tasks on an offer that is void by now are DROPPED, which `update` is told. Raises ValueError for a task whose id
        a living task has.
        """
        connection = self.state.connection
        given = (offers,) if isinstance(offers, Offer) else tuple(offers)
        tasks = [task for operation in operations for task in operation.tasks]
        for task in tasks:
            if task.task_id in connection.tasks:
                raise ValueError(f"task {task.task_id!r} is still alive: give each task an id of its own")
        held = [offer.offer_id for offer in given if connection.offers.pop(offer.offer_id, None) is not None]
        if len(held) < len(given):
            reason = Reason.INVALID_OFFERS if self.is_subscribed else Reason.MASTER_DISCONNECTED
            for task in tasks:
                self.send(self.pid, NotLaunched.because(reason, task, self.now))
            operations = ()
        else:
            for task in tasks:
                self._remember_launch(task)
        if held:
            self._call(
                Accept(
                    framework_id=self.framework_id,
                    offer_ids=tuple(held),
                    operations=tuple(operations),
                    refuse_seconds=refuse_seconds,
                )
            )

    def decline(self, offers: Offer | Sequence[Offer], refuse_seconds: float = DEFAULT_REFUSE_SECONDS) -> None:
        """Do not use offers. What they hold is not offered again for `refuse_seconds`; 0: it may be at once.

        A framework with nothing to do declines for long, or calls `suppress`: else it keeps others waiting.
        """
        given = (offers,) if isinstance(offers, Offer) else tuple(offers)
        mine = self.state.connection.offers
        held = tuple(offer.offer_id for offer in given if mine.pop(offer.offer_id, None) is not None)
        if held:
            self._call(Decline(framework_id=self.framework_id, offer_ids=held, refuse_seconds=refuse_seconds))

    def revive(self, roles: Sequence[str] = ()) -> None:
        """Want offers again in these roles (none: all), also those that were declined."""
        connection = self.state.connection
        connection.suppressed = tuple(role for role in connection.suppressed if roles and role not in roles)
        self._call(Revive(framework_id=self.framework_id, roles=tuple(roles)))

    def suppress(self, roles: Sequence[str] = ()) -> None:
        """Want no offers in these roles (none: all) until `revive`."""
        connection = self.state.connection
        connection.suppressed = tuple(dict.fromkeys((*connection.suppressed, *(roles or self.state.framework.roles))))
        self._call(Suppress(framework_id=self.framework_id, roles=tuple(roles)))

    # Actions: tasks and executors -----------------------------------------------------------------------------------

    def kill(self, task_id: str, grace_seconds: float | None = None) -> None:
        """End a task: asked again until an update says that it has ended. grace_seconds None: the task's own."""
        known = self.state.connection.tasks.get(task_id)
        if known is not None:
            known.killed = True
            known.kill_grace_seconds = grace_seconds
        self._send_kill(task_id, grace_seconds)

    def acknowledge(self, status: TaskStatus) -> None:
        """Say that an update is safe with this framework; without, it comes again. Twice is once."""
        if self.state.connection.unacknowledged.pop(status.uuid, None) is not None:
            self._send_acknowledgement(status)

    def forget(self, task_id: str) -> None:
        """Count a task as ended that nobody knows about (UNKNOWN, UNREACHABLE): `update` is told no more of it, and
        it is killed if it is back, or comes back."""
        self._send_kill(task_id, 0.0)
        self._remember_end(task_id, "")

    def send_to_executor(self, agent_id: str, executor_id: str, data: bytes) -> None:
        """Send bytes to an executor; they may be lost on the way."""
        self._call(
            SendToExecutor(framework_id=self.framework_id, agent_id=agent_id, executor_id=executor_id, data=data)
        )

    def shutdown_executor(self, agent_id: str, executor_id: str) -> None:
        """End an executor and its tasks."""
        self._call(ShutdownExecutorCall(framework_id=self.framework_id, agent_id=agent_id, executor_id=executor_id))

    # Actions: the end -----------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """End the framework: its tasks and executors are killed, its id is void. See `finish`."""
        self._call(Teardown(framework_id=self.framework_id))
        if type(self).records is not None:
            self.persist(FrameworkEnded())

    def finish(self) -> None:
        """Tear the framework down and end this scheduler; when the master is away, wait a while for it first."""
        connection = self.state.connection
        if connection.master is not None:
            self.teardown()
            self.stop()
        elif not self.framework_id:
            self.stop()
        elif not connection.finishing:
            self.after(FINISH_TIMEOUT_SECONDS, FinishTimedOut())
        connection.finishing = True

    # What the master says -------------------------------------------------------------------------------------------

    @receive(Subscribed)
    def _on_subscribed(self, sender: PID, message: Subscribed) -> None:
        connection = self.state.connection
        takes_over = bool(self.framework_id) and not connection.master_id
        if not self._accept_master(sender, message):
            return
        if connection.framework_id != message.framework_id:
            connection.framework_id = message.framework_id
            if type(self).records is not None:
                self.persist(FrameworkIdentified(framework_id=message.framework_id))
        if connection.finishing:
            self.finish()
            return
        self._catch_up_suppression()
        self.subscribed(message.framework_id)
        if takes_over and not connection.finishing:
            self.reconcile()
        if not connection.finishing:
            self._reconcile_all()

    @receive(Offers)
    def _on_offers(self, sender: PID, message: Offers) -> None:
        if self._is_master(sender):
            self.state.connection.offers.update({offer.offer_id: offer for offer in message.offers})
            self.offers(message.offers)

    @receive(RescindOffer)
    def _on_rescinded(self, sender: PID, message: RescindOffer) -> None:
        if self._is_master(sender) and self.state.connection.offers.pop(message.offer_id, None) is not None:
            self.rescinded(message.offer_id)

    @receive(Update)
    def _on_update(self, sender: PID, message: Update) -> None:
        if self._is_master(sender):
            self._answered(message.status.task_id)
            self._take(message.status)

    @receive(NotLaunched)
    def _on_not_launched(self, sender: PID, message: NotLaunched) -> None:
        if sender == self.pid:
            self.update(message.status)

    @receive(FromExecutor)
    def _on_message(self, sender: PID, message: FromExecutor) -> None:
        if self._is_master(sender):
            self.message(message.agent_id, message.executor_id, message.data)

    @receive(AgentFailure)
    def _on_failure(self, sender: PID, message: AgentFailure) -> None:
        if not self._is_master(sender):
            return
        if message.executor_id:
            self.executor_lost(message.agent_id, message.executor_id, message.exit_status)
        else:
            self.agent_lost(message.agent_id)
            self._reconcile_agent(message.agent_id)

    @receive(SchedulerError)
    def _on_error(self, sender: PID, message: SchedulerError) -> None:
        # Before the first Subscribed there is no leading master yet, and this may be its answer.
        if self.is_subscribed and not self._is_master(sender):
            return
        self.error(message.message)
        self.stop(reason=f"failed: {message.message}")

    # What its own process says --------------------------------------------------------------------------------------

    @receive(Interrupt)
    def _on_interrupt(self, sender: PID, message: Interrupt) -> None:
        if sender == self.pid:
            self.interrupted()

    @receive(Terminate)
    def _on_terminate(self, sender: PID, message: Terminate) -> None:
        """With a journal the framework waits for its next life; without, nobody could take it over."""
        if type(self).records is not None:
            self.stop()
        else:
            self.finish()

    @receive(FinishTimedOut)
    def _on_finish_timed_out(self, sender: PID, message: FinishTimedOut) -> None:
        if sender == self.pid:
            self.stop(
                reason=f"failed: framework {self.framework_id} was not torn down, no master was found in "
                f"{FINISH_TIMEOUT_SECONDS:g} s; its tasks run until its failover timeout, "
                f"{self.state.framework.failover_timeout_seconds:g} s"
            )

    # Updates, each once ---------------------------------------------------------------------------------------------

    def _take(self, status: TaskStatus) -> None:
        """Tell the author what is new in a status, and acknowledge it."""
        connection = self.state.connection
        known = connection.tasks.get(status.task_id)
        if self._is_old(status, known):
            if status.uuid and status.uuid not in connection.unacknowledged:
                self._send_acknowledgement(status)
            if known is None and not status.state.is_terminal and status.state not in OUT_OF_REACH:
                self._send_kill(status.task_id, 0.0)
            return
        if status.state.is_terminal:
            self._remember_end(status.task_id, status.uuid)
        else:
            if known is None:
                known = connection.tasks[status.task_id] = KnownTask(agent_id=status.agent_id)
            known.state = status.state
            known.uuid = status.uuid or known.uuid
        if status.uuid:
            connection.unacknowledged[status.uuid] = status
        self.update(status)
        if self.acknowledges and not connection.finishing:  # a framework that was torn down has nothing to acknowledge
            self.acknowledge(status)

    def _is_old(self, status: TaskStatus, known: KnownTask | None) -> bool:
        """Whether a status says nothing new: it was told, the task has ended, or it answers what is known."""
        if status.reason is Reason.RECONCILIATION and not status.uuid and status.state in ENDS_WITH_UPDATE:
            return True
        if known is None:
            return status.task_id in self.state.connection.ended
        return status.uuid == known.uuid if status.uuid else status.state is known.state

    def _remember_launch(self, task: TaskInfo) -> None:
        connection = self.state.connection
        connection.ended.pop(task.task_id, None)
        connection.tasks[task.task_id] = KnownTask(agent_id=task.agent_id, info=task)
        if type(self).records is not None:
            self.persist(TaskLaunched(task_id=task.task_id, agent_id=task.agent_id))

    def _remember_end(self, task_id: str, uuid: str) -> None:
        remember_end(self.state.connection, task_id, uuid)
        if type(self).records is not None:
            self.persist(TaskEnded(task_id=task_id, uuid=uuid))

    def _send_acknowledgement(self, status: TaskStatus) -> None:
        self._call(
            Acknowledge(
                framework_id=self.framework_id, agent_id=status.agent_id, task_id=status.task_id, uuid=status.uuid
            )
        )

    # The journal ----------------------------------------------------------------------------------------------------

    def recover(self, records: Sequence[msgspec.Struct]) -> None:
        """Go on where the last life ended, unless it tore the framework down; see `restore`."""
        for record in since_last_end(records):
            if not replay(self.state.connection, record):
                self.restore(record)

    def snapshot(self) -> Sequence[msgspec.Struct] | None:
        """The journal in as few records as say the same; see `checkpoint`."""
        own = self.checkpoint()
        return None if own is None else [*records_of(self.state.connection), *own]
