"""Work on a task in a thread of its own, and its twin that works within a turn, for simulations and tests."""

from __future__ import annotations

import contextlib
import threading

from actors.executor.state import ToSelf, WorkDone, WorkFailed, WorkState
from runtime.actor import Actor, Edge, receive
from runtime.pid import PID


def call(state: WorkState) -> WorkDone | WorkFailed:
    """Call the function; what it raises becomes a message."""
    try:
        result = state.function(*state.arguments)
    except Exception as error:  # noqa: BLE001  whatever an author's function raises is the task's failure
        text = str(error)
        return WorkFailed(task_id=state.task_id, error=f"{type(error).__name__}: {text}" if text else repr(error))
    return WorkDone(task_id=state.task_id, result=result or b"")


class ThreadWork(Edge[WorkState]):
    """Calls a function in a thread, tells its owner what it returned, and ends.

    A thread cannot be ended: when this actor is stopped first, the thread goes on and what it returns is ignored. It
    does not keep the process from ending.
    """

    def started(self) -> None:
        """Begin."""
        threading.Thread(target=self._work, name=self.pid.name, daemon=True).start()

    def _work(self) -> None:
        message = call(self.state)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            self.post(message)

    @receive(WorkDone)
    def _on_done(self, sender: PID, message: WorkDone) -> None:
        self._report(message)

    @receive(WorkFailed)
    def _on_failed(self, sender: PID, message: WorkFailed) -> None:
        self._report(message)

    def _report(self, message: ToSelf) -> None:
        self.send(self.state.owner, message)
        self.stop()


class InlineWork(Actor[WorkState]):
    """The same within one turn: for a virtual clock."""

    def started(self) -> None:
        """Work, tell, and end."""
        self.send(self.state.owner, call(self.state))
        self.stop()
