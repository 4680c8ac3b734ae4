"""Reconciliation: what a framework may believe of its tasks (Mesos: `Master::_reconcileTasks`).

Answers are made by the master and carry no uuid: they are not acknowledged.
"""

from __future__ import annotations

from actors.master.base import MasterBase, from_scheduler
from actors.master.state import Framework
from actors.messages.records import Reason, Source, Task, TaskState, TaskStatus
from actors.messages.scheduling import Reconcile, Update
from runtime.actor import receive


class ReconciliationPart(MasterBase):
    """Says what is known of tasks."""

    @receive(Reconcile)
    @from_scheduler
    def reconcile(self, framework: Framework, message: Reconcile) -> None:
        """Answer for each task that is named, or for all that are known."""
        if not message.tasks:
            for task in self.state.tasks_of(framework):
                self._say_known(framework, task)
        for task_id, agent_id in message.tasks:
            self.reconcile_one(framework, task_id, agent_id)

    def reconcile_one(self, framework: Framework, task_id: str, agent_id: str) -> None:
        """Say what is known of a task; nothing while its agent may still come back and tell."""
        state = self.state
        task = state.tasks.get((framework.framework_id, task_id))
        if task is not None:
            self._say_known(framework, task)
            return
        if not agent_id and task_id in framework.unreachable:
            agent_id = framework.unreachable[task_id].info.agent_id
        if agent_id in state.absent or (not agent_id and state.absent):
            return
        since = None
        if agent_id in state.agents:
            known, text = TaskState.GONE, f"agent {agent_id} is there and does not have it"
        elif agent_id in state.unreachable:
            since = state.unreachable[agent_id].unreachable_since
            known, text = TaskState.UNREACHABLE, f"agent {agent_id} is unreachable"
        elif agent_id in state.gone:
            known, text = TaskState.GONE_BY_OPERATOR, f"agent {agent_id} was marked gone"
        else:
            known, text = TaskState.UNKNOWN, "neither the task nor its agent is known"
        self.say_status(
            framework,
            task_id,
            known,
            Reason.RECONCILIATION,
            f"reconciliation: {text}",
            agent_id=agent_id,
            unreachable_since=since,
        )

    def _say_known(self, framework: Framework, task: Task) -> None:
        """The state that the framework was last told, which may be older than the agent's."""
        last = task.statuses[-1] if task.statuses else None
        status = TaskStatus(
            task_id=task.task_id,
            state=framework.visible(task.status_state or (last.state if last is not None else TaskState.STAGING)),
            source=Source.MASTER,
            reason=Reason.RECONCILIATION,
            message="reconciliation: latest known state",
            agent_id=task.info.agent_id,
            executor_id=task.info.executor.executor_id if task.info.executor is not None else "",
            timestamp=self.now,
            healthy=last.healthy if last is not None else None,
            container_id=last.container_id if last is not None else "",
        )
        self.tell(framework, Update(status=status))
