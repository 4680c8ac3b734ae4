"""Reconciliation: after each subscription, and now and then, a scheduler asks what became of its tasks.

An answer may take a while (the task's agent has not come back yet), so the question is repeated, with backoff, until
each task was answered for (Mesos: `docs/reconciliation.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from actors.messages.scheduling import KillTask, Reconcile
from actors.scheduler.state import ReconcileAgain, SchedulerState
from actors.scheduler.subscription import Subscriber
from runtime.actor import receive
from runtime.message import Busy
from runtime.pid import PID

S = TypeVar("S", bound=SchedulerState)

RECONCILE_BACKOFF_SECONDS: Final = 2.0
RECONCILE_BACKOFF_MAX_SECONDS: Final = 60.0
"""Until the same question is asked again: the first, doubling up to the second."""

RECONCILE_INTERVAL_SECONDS: Final = 900.0
"""Between two rounds when nothing has happened."""


class Reconciler(Subscriber[S]):
    """Knows which tasks the master has to answer for, and asks until it has."""

    def reconcile(self, task_ids: Sequence[str] = ()) -> None:
        """Ask what is known of these tasks, or of all that the master knows; answers come as updates."""
        self._call(Reconcile(framework_id=self.framework_id, tasks=self._pairs(task_ids)))

    def _send_kill(self, task_id: str, grace_seconds: float | None) -> None:
        ((_, agent_id),) = self._pairs((task_id,))
        self._call(
            KillTask(framework_id=self.framework_id, task_id=task_id, agent_id=agent_id, grace_seconds=grace_seconds)
        )

    def _pairs(self, task_ids: Sequence[str]) -> tuple[tuple[str, str], ...]:
        tasks = self.state.connection.tasks
        return tuple((task_id, tasks[task_id].agent_id if task_id in tasks else "") for task_id in task_ids)

    def _reconcile_all(self) -> None:
        """Begin a round: ask about every task that has not ended, and repeat the kills among them."""
        connection = self.state.connection
        connection.reconciling = dict.fromkeys(connection.tasks)
        connection.reconcile_attempt = 0
        self._ask_for_tasks()

    def _reconcile_agent(self, agent_id: str) -> None:
        """An agent is lost, and with it perhaps the last updates of its tasks: ask about those now."""
        connection = self.state.connection
        connection.reconciling |= {key: None for key, task in connection.tasks.items() if task.agent_id == agent_id}
        if connection.reconciling and connection.master is not None:
            connection.reconcile_attempt = 0
            self._ask_for_tasks()

    def _ask_for_tasks(self) -> None:
        connection = self.state.connection
        if connection.reconciling:
            self.reconcile(tuple(connection.reconciling))
        for task_id, task in connection.tasks.items():
            if task.killed:
                self._send_kill(task_id, task.kill_grace_seconds)
        self._ask_again_in(
            min(RECONCILE_BACKOFF_SECONDS * 2.0**connection.reconcile_attempt, RECONCILE_BACKOFF_MAX_SECONDS)
            if connection.reconciling
            else RECONCILE_INTERVAL_SECONDS
        )

    def _answered(self, task_id: str) -> None:
        """Something was said of a task; when nothing is left to be answered, the round is over."""
        reconciling = self.state.connection.reconciling
        if task_id in reconciling:
            del reconciling[task_id]
            if not reconciling:
                self._ask_again_in(RECONCILE_INTERVAL_SECONDS)

    def _ask_again_in(self, delay_seconds: float) -> None:
        connection = self.state.connection
        if connection.reconcile_timer is not None:
            self.cancel(connection.reconcile_timer)
        connection.reconcile_timer = self.after(delay_seconds, ReconcileAgain())

    @receive(ReconcileAgain)
    def _on_reconcile_again(self, sender: PID, message: ReconcileAgain) -> None:
        connection = self.state.connection
        if sender != self.pid:
            return
        connection.reconcile_timer = None
        if connection.master is None:
            return
        if connection.reconciling:
            connection.reconcile_attempt += 1
            self._ask_for_tasks()
        else:
            self._reconcile_all()

    @receive(Busy)
    def _on_busy(self, sender: PID, message: Busy) -> None:
        """The master refused a call: ask what it knows once it has caught up."""
        if self._is_master(sender):
            self._ask_again_in(RECONCILE_BACKOFF_SECONDS)
