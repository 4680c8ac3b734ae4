"""Status updates: each written before it is sent, sent one at a time per task, and sent again until acknowledged.

As in Mesos (`src/slave/task_status_update_manager.cpp`): the first update of a task's stream is in flight, the next
goes out when it is acknowledged; it is repeated after 10 s, doubling to 10 min; while no master leads, none is sent.
"""

from __future__ import annotations

from actors.agent.base import AgentBase, log
from actors.agent.constants import UPDATE_RETRY_MAX_SECONDS, UPDATE_RETRY_SECONDS
from actors.agent.events import FarewellOver, RetryUpdate
from actors.agent.records import AgentLeft, UpdateAcknowledged, UpdateQueued
from actors.agent.state import UpdateStream
from actors.messages.operating import Done
from actors.messages.records import TaskStatus
from actors.messages.registration import UnregisterAgent
from actors.messages.tasks import AcknowledgeUpdate, StatusUpdate
from runtime.actor import receive
from runtime.pid import PID


class Updates(AgentBase):
    """The streams of updates, one per task; and the end of an agent that waits for nothing but them."""

    def queue_update(self, framework_id: str, status: TaskStatus) -> None:
        """Write an update of a task, and send it if it is the task's only one.

        Repetitions, and whatever follows a terminal state, are left out.
        """
        framework = self.state.frameworks.get(framework_id)
        if framework is not None:
            run = framework.tasks.get(status.task_id)
            stream = framework.streams.get(status.task_id)
            if run is not None and run.task.latest_state.is_terminal:
                log.warning("task %s has ended; ignored that it is %s", status.task_id, status.state.value)
                return
            if stream is not None and (run is None or status.uuid in stream.seen):
                return
        self.commit(UpdateQueued(framework_id=framework_id, status=status))
        framework = self.state.frameworks.get(framework_id)
        stream = framework.streams.get(status.task_id) if framework is not None else None
        if stream is not None and len(stream.pending) == 1:
            self._send_first(framework_id, status.task_id, stream)

    def was_queued(self, framework_id: str, status: TaskStatus) -> bool:
        """Whether this very update is known already."""
        framework = self.state.frameworks.get(framework_id)
        stream = framework.streams.get(status.task_id) if framework is not None else None
        return stream is not None and status.uuid in stream.seen

    @receive(AcknowledgeUpdate)
    def acknowledge_update(self, sender: PID, message: AcknowledgeUpdate) -> None:
        """Go on to the next update; acknowledgements of any but the one in flight are repetitions."""
        if not self.is_from_master(sender, message):
            return
        framework = self.state.frameworks.get(message.framework_id)
        stream = framework.streams.get(message.task_id) if framework is not None else None
        if stream is None or not stream.pending or stream.pending[0].uuid != message.uuid:
            return
        self.cancel(stream.timer)
        self.commit(UpdateAcknowledged(framework_id=message.framework_id, task_id=message.task_id, uuid=message.uuid))
        if stream.pending:
            stream.retry_seconds = UPDATE_RETRY_SECONDS
            self._send_first(message.framework_id, message.task_id, stream)
        self.finish_if_idle()

    @receive(RetryUpdate)
    def retry_update(self, sender: PID, message: RetryUpdate) -> None:
        """Say it again, later each time."""
        if not self.is_from_self(sender, message):
            return
        framework = self.state.frameworks.get(message.framework_id)
        stream = framework.streams.get(message.task_id) if framework is not None else None
        if stream is None or not stream.pending or stream.pending[0].uuid != message.uuid:
            return
        stream.retry_seconds = min(2 * stream.retry_seconds, UPDATE_RETRY_MAX_SECONDS)
        self._send_first(message.framework_id, message.task_id, stream)

    def _send_first(self, framework_id: str, task_id: str, stream: UpdateStream) -> None:
        if self.state.leader is None:
            return
        status = stream.pending[0]
        run = self.state.task(framework_id, task_id)
        latest = run.task.latest_state if run is not None else status.state
        self.to_master(
            StatusUpdate(agent_id=self.state.agent_id, framework_id=framework_id, status=status, latest_state=latest)
        )
        retry = RetryUpdate(framework_id=framework_id, task_id=task_id, uuid=status.uuid)
        stream.timer = self.after(stream.retry_seconds, retry)

    def pause_updates(self) -> None:
        """Nobody leads: no repetition makes sense."""
        for framework in self.state.frameworks.values():
            for stream in framework.streams.values():
                self.cancel(stream.timer)

    def resume_updates(self) -> None:
        """A master leads: it may have heard none of the updates in flight."""
        for framework_id, framework in self.state.frameworks.items():
            for task_id, stream in framework.streams.items():
                if stream.pending:
                    self.cancel(stream.timer)
                    stream.retry_seconds = UPDATE_RETRY_SECONDS
                    self._send_first(framework_id, task_id, stream)

    # The end of the agent ---------------------------------------------------------------------------------------------

    def finish_if_idle(self) -> None:
        """Stop, if the agent is to and nothing runs any more; one that leaves also waits for its last updates."""
        stopping = self.state.stopping
        if stopping is None or self.state.executors():
            return
        unheard = any(framework.streams for framework in self.state.frameworks.values())
        if stopping.leaves and self.state.agent_id and (unheard or self.state.leader is None):
            if stopping.until is None:
                stopping.until = self.now + self.state.settings.farewell_seconds
                self.after(self.state.settings.farewell_seconds, FarewellOver())
            if self.now < stopping.until:
                return
            log.warning("leaving without an acknowledgement of everything that was said")
        if stopping.leaves and self.state.leader is not None:
            self.to_master(UnregisterAgent(agent_id=self.state.agent_id))
            self.commit(AgentLeft())
        for request in stopping.waiting:
            self.reply(Done(), request)
        log.info("agent stops: %s", stopping.reason)
        self.state.stopping = None
        self.stop()

    @receive(FarewellOver)
    def farewell_over(self, sender: PID, message: FarewellOver) -> None:
        """Leave all the same."""
        if self.is_from_self(sender, message):
            self.finish_if_idle()
