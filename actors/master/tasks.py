"""Tasks that run: their updates on the way up, acknowledgements, kills and messages on the way down."""

from __future__ import annotations

import msgspec

from actors.master.base import MasterBase, from_agent, from_scheduler
from actors.master.constants import STATUSES_PER_TASK
from actors.master.reconciliation import ReconciliationPart
from actors.master.state import Agent, Framework, TaskKey
from actors.messages.records import TRANSITIONS, Source, Task, TaskState, TaskStatus
from actors.messages.scheduling import (
    Acknowledge,
    AgentFailure,
    FromExecutor,
    KillTask,
    SendToExecutor,
    ShutdownExecutorCall,
    Update,
)
from actors.messages.tasks import (
    AcknowledgeUpdate,
    ExecutorEnded,
    FromExecutorOnAgent,
    KillTaskOnAgent,
    ShutdownExecutorOnAgent,
    ShutdownFramework,
    StatusUpdate,
    ToExecutor,
)
from allocator.messages import Recover
from allocator.resources import Resources
from runtime.actor import receive


class TasksPart(ReconciliationPart, MasterBase):
    """Relays between frameworks and agents, and keeps what is known of each task."""

    # From agents -----------------------------------------------------------------------------------------------------

    @receive(StatusUpdate)
    @from_agent
    def status_update(self, agent: Agent, message: StatusUpdate) -> None:
        """Forward an update, and take over what it says; the agent repeats it until the framework acknowledges."""
        framework = self.state.frameworks.get(message.framework_id)
        if framework is None:
            self.state.count("master/invalid_status_updates")
            if message.framework_id in self.state.completed:
                self.send(agent.pid, ShutdownFramework(framework_id=message.framework_id))
            return
        self.tell(framework, Update(status=message.status))
        task = self.state.tasks.get((message.framework_id, message.status.task_id))
        if task is None or task.info.agent_id != agent.agent_id:
            self.state.count("master/invalid_status_updates")
            return
        self.state.count("master/valid_status_updates")
        self.note_latest(task, message.latest_state, message.status)
        if task.info.executor is not None:
            self._note_executor(agent, task, task.info.executor.executor_id, message.status)

    def _note_executor(self, agent: Agent, task: Task, executor_id: str, status: TaskStatus) -> None:
        """An executor that was to be started for a task that never began will not end either: it is forgotten here."""
        if agent.launchers.get((task.framework_id, executor_id)) != task.task_id:
            return
        del agent.launchers[task.framework_id, executor_id]
        if status.source is Source.AGENT and status.state.is_terminal and not status.container_id:
            self.forget_executor(agent, task.framework_id, executor_id)

    def forget_executor(self, agent: Agent, framework_id: str, executor_id: str) -> None:
        """Take an executor out, and free what it itself used."""
        executor = self.state.remove_executor(agent, framework_id, executor_id)
        if executor is not None:
            self.free(framework_id, executor.role, agent.agent_id, executor.info.resources)

    def note_latest(self, task: Task, latest_state: TaskState, status: TaskStatus | None = None) -> None:
        """Take over what an agent says of a task; the first terminal state frees what it uses."""
        changes: dict[str, object] = {}
        if latest_state is not task.latest_state and latest_state in TRANSITIONS.get(task.latest_state, ()):
            changes["latest_state"] = latest_state
        if status is not None:
            changes["statuses"] = _with_status(task.statuses, status)
            if status.uuid:
                changes |= {"status_uuid": status.uuid, "status_state": status.state}
        if not changes:
            return
        self.state.put_task(msgspec.structs.replace(task, **changes))
        if "latest_state" in changes and latest_state.is_terminal:
            self.state.count(f"master/tasks_{latest_state.value.lower()}")
            self.state.agents[task.info.agent_id].kills.pop((task.framework_id, task.task_id), None)
            self.free(task.framework_id, task.role, task.info.agent_id, task.info.resources)

    def free(self, framework_id: str, role: str, agent_id: str, resources: Resources) -> None:
        """Give back what a task or an executor has used."""
        if resources:
            recover = Recover(framework_id=framework_id, role=role, agent_id=agent_id, resources=resources)
            self.send(self.allocator, recover)

    def complete(self, key: TaskKey) -> None:
        """Move a task to those of its framework that have ended."""
        task = self.state.remove_task(key)
        framework = self.state.frameworks[task.framework_id]
        framework.completed.pop(task.task_id, None)
        framework.completed[task.task_id] = task
        if len(framework.completed) > self.state.settings.max_completed_tasks_per_framework:
            del framework.completed[next(iter(framework.completed))]

    @receive(ExecutorEnded)
    @from_agent
    def executor_ended(self, agent: Agent, message: ExecutorEnded) -> None:
        """Free what the executor itself used, and tell its scheduler."""
        self.forget_executor(agent, message.framework_id, message.executor_id)
        framework = self.state.frameworks.get(message.framework_id)
        if framework is not None:
            failure = AgentFailure(
                agent_id=agent.agent_id, executor_id=message.executor_id, exit_status=message.exit_status
            )
            self.tell(framework, failure)

    @receive(FromExecutorOnAgent)
    @from_agent
    def from_executor(self, agent: Agent, message: FromExecutorOnAgent) -> None:
        """Relay an executor's bytes; at most once."""
        framework = self.state.frameworks.get(message.framework_id)
        relayed = framework is not None and self.tell(
            framework, FromExecutor(agent_id=agent.agent_id, executor_id=message.executor_id, data=message.data)
        )
        self.state.count(f"master/{'valid' if relayed else 'invalid'}_executor_to_framework_messages")

    # From schedulers -------------------------------------------------------------------------------------------------

    @receive(Acknowledge)
    @from_scheduler
    def acknowledge(self, framework: Framework, message: Acknowledge) -> None:
        """Pass it to the agent; a task whose terminal update is acknowledged has ended here as well."""
        agent = self.state.agents.get(message.agent_id)
        if agent is None or not agent.connected:
            self.state.count("master/invalid_status_update_acknowledgements")
            return
        key = (framework.framework_id, message.task_id)
        task = self.state.tasks.get(key)
        if task is not None and not task.status_uuid:
            self.state.count("master/invalid_status_update_acknowledgements")
            return
        self.state.count("master/valid_status_update_acknowledgements")
        if (
            task is not None
            and task.status_uuid == message.uuid
            and task.status_state is not None
            and task.status_state.is_terminal
        ):
            self.complete(key)
        acknowledge = AcknowledgeUpdate(framework_id=framework.framework_id, task_id=message.task_id, uuid=message.uuid)
        self.send(agent.pid, acknowledge)

    @receive(KillTask)
    @from_scheduler
    def kill_task(self, framework: Framework, message: KillTask) -> None:
        """End a task; of one that is not known, say what is."""
        task = self.state.tasks.get((framework.framework_id, message.task_id))
        if task is None:
            self.reconcile_one(framework, message.task_id, message.agent_id)
        else:
            self.kill(task, message.grace_seconds)

    def kill(self, task: Task, grace_seconds: float | None = None) -> None:
        """Tell a task's agent to end it, now and each time that the agent comes back without having done so."""
        agent = self.state.agents[task.info.agent_id]
        agent.kills[task.framework_id, task.task_id] = grace_seconds
        if agent.connected:
            order = KillTaskOnAgent(framework_id=task.framework_id, task_id=task.task_id, grace_seconds=grace_seconds)
            self.send(agent.pid, order)

    @receive(ShutdownExecutorCall)
    @from_scheduler
    def shutdown_executor(self, framework: Framework, message: ShutdownExecutorCall) -> None:
        """Pass it on."""
        agent = self.state.agents.get(message.agent_id)
        if agent is not None and agent.connected:
            order = ShutdownExecutorOnAgent(framework_id=framework.framework_id, executor_id=message.executor_id)
            self.send(agent.pid, order)

    @receive(SendToExecutor)
    @from_scheduler
    def send_to_executor(self, framework: Framework, message: SendToExecutor) -> None:
        """Relay a scheduler's bytes; at most once."""
        agent = self.state.agents.get(message.agent_id)
        relayed = agent is not None and agent.connected
        self.state.count(f"master/{'valid' if relayed else 'invalid'}_framework_to_executor_messages")
        if agent is not None and relayed:
            relay = ToExecutor(framework_id=framework.framework_id, executor_id=message.executor_id, data=message.data)
            self.send(agent.pid, relay)


def _with_status(statuses: tuple[TaskStatus, ...], status: TaskStatus) -> tuple[TaskStatus, ...]:
    """A task's history with one more: of equal states in a row only the last is kept, and no executor's data."""
    kept = statuses[:-1] if statuses and statuses[-1].state is status.state else statuses
    return (*kept[-STATUSES_PER_TASK + 1 :], msgspec.structs.replace(status, data=b""))
