"""How executors and their tasks end: kills, shutdowns, destroyed containers, and what is said of the tasks then."""

from __future__ import annotations

import msgspec

from actors.agent.base import log
from actors.agent.command_executor import how_it_ended, verdict, wait_status
from actors.agent.constants import DESTROY_TIMEOUT_SECONDS
from actors.agent.events import ContainerEnded, EndContainer, ExecutorOverdue, RevokeKey
from actors.agent.names import COMMAND_PREFIX, KEYS_NAME
from actors.agent.records import ExecutorEnding, ExecutorGone, FrameworkEnding
from actors.agent.state import Executor, LaunchStep, TaskRun
from actors.agent.updates import Updates
from actors.messages.executing import KillExecutorTask, ShutdownExecutor
from actors.messages.records import Reason, TaskState
from actors.messages.tasks import ExecutorEnded, KillTaskOnAgent, ShutdownExecutorOnAgent, ShutdownFramework
from containerizer.messages import Collected, ContainerExited, Destroy, Destroyed
from runtime.actor import receive
from runtime.message import AskFailed, Message
from runtime.pid import PID


class InContainer(msgspec.Struct, frozen=True):
    """Context of a question about one container."""

    container_id: str


class Endings(Updates):
    """Kills and shutdowns, and the last words about what was running."""

    # Tasks ------------------------------------------------------------------------------------------------------------

    @receive(KillTaskOnAgent)
    def kill_task_on_agent(self, sender: PID, message: KillTaskOnAgent) -> None:
        """End a task; of one that is not here, say so."""
        if not self.is_from_master(sender, message):
            return
        run = self.state.task(message.framework_id, message.task_id)
        if run is None:
            state = self.for_framework(message.framework_id, TaskState.DROPPED)
            text = "it is not on this agent"
            self.queue_update(message.framework_id, self.status(message.task_id, state, Reason.TASK_UNKNOWN, text))
        elif not run.task.latest_state.is_terminal:
            self._kill(message.framework_id, run, message.grace_seconds)

    def _kill(self, framework_id: str, run: TaskRun, grace_seconds: float | None) -> None:
        executor = self.state.executor(framework_id, run.executor_id)
        assert executor is not None, "a task that has not ended has an executor"
        task_id = run.task.task_id
        run.kill_asked = True
        run.kill_grace_seconds = grace_seconds
        if executor.info is None:
            if executor.step in {LaunchStep.PREPARING, LaunchStep.PREPARED}:
                self.say_of_tasks(executor, TaskState.KILLED, Reason.TASK_KILLED_DURING_LAUNCH, "killed in time")
                self.forget_executor(executor)
            elif executor.pid is not None:
                self.send(executor.pid, KillExecutorTask(task_id=task_id, grace_seconds=grace_seconds))
            else:
                self.end_executor(executor, TaskState.KILLED, None, "killed")
        elif not run.delivered:
            text = "killed before its executor had it"
            status = self.status(task_id, TaskState.KILLED, Reason.TASK_KILLED_DURING_LAUNCH, text, executor)
            self.queue_update(framework_id, status)
        elif executor.pid is not None:
            self.send(executor.pid, KillExecutorTask(task_id=task_id, grace_seconds=grace_seconds))

    @receive(EndContainer)
    def end_container(self, sender: PID, message: EndContainer) -> None:
        """The executor of a command task wants its container to end."""
        executor = self.executor_in(message.container_id)
        if executor is None or executor.pid != sender or executor.info is not None:
            log.warning("ignored EndContainer from %s", sender)
            return
        self.begin_ending(executor, message.state, message.reason, message.message or "killed")
        self.destroy(executor, message.grace_seconds)

    # Executors and frameworks -----------------------------------------------------------------------------------------

    @receive(ShutdownExecutorOnAgent)
    def shutdown_executor_on_agent(self, sender: PID, message: ShutdownExecutorOnAgent) -> None:
        """End one executor and its tasks."""
        if not self.is_from_master(sender, message):
            return
        executor = self.state.executor(message.framework_id, message.executor_id)
        if executor is not None:
            state = TaskState.KILLED if executor.info is None else TaskState.FAILED
            text = "its executor was shut down"
            self.shutdown_executor(executor, state, Reason.EXECUTOR_TERMINATED, text)

    @receive(ShutdownFramework)
    def shutdown_framework(self, sender: PID, message: ShutdownFramework) -> None:
        """End all of a framework; nobody is told of its tasks any more."""
        if not self.is_from_master(sender, message) or message.framework_id not in self.state.frameworks:
            return
        executors = [*self.state.frameworks[message.framework_id].executors.values()]
        self.commit(FrameworkEnding(framework_id=message.framework_id))
        for executor in executors:
            text = "its framework was removed"
            self.shutdown_executor(executor, TaskState.KILLED, Reason.FRAMEWORK_REMOVED, text)
        self.finish_if_idle()

    def begin_ending(self, executor: Executor, state: TaskState, reason: Reason | None, message: str) -> None:
        """Write that an executor is being ended, and why; the first reason stands."""
        if executor.ending is None:
            self.commit(
                ExecutorEnding(
                    framework_id=executor.framework_id,
                    executor_id=executor.executor_id,
                    state=state,
                    reason=reason,
                    message=message,
                )
            )

    def end_executor(self, executor: Executor, state: TaskState, reason: Reason | None, message: str) -> None:
        """End an executor at once."""
        self.begin_ending(executor, state, reason, message)
        self.destroy(executor, 0.0)

    def shutdown_executor(self, executor: Executor, state: TaskState, reason: Reason | None, message: str) -> None:
        """Ask an executor to end its tasks and itself within its grace, and end its container then."""
        asked_before = executor.ending is not None
        self.begin_ending(executor, state, reason, message)
        if executor.exited is not None:
            return
        if executor.step in {LaunchStep.PREPARING, LaunchStep.PREPARED}:
            self.say_of_tasks(executor, state, reason, message)
            self.forget_executor(executor)
        elif executor.info is None and executor.pid is not None:
            for run in self.state.tasks_of(executor):
                self.send(executor.pid, KillExecutorTask(task_id=run.task.task_id))
        elif executor.info is None or executor.pid is None:
            self.destroy(executor, 0.0)
        elif not asked_before:
            grace_seconds = executor.info.shutdown_grace_seconds
            self.send(executor.pid, ShutdownExecutor(grace_seconds=grace_seconds))
            self.cancel(executor.timer)
            overdue = ExecutorOverdue(container_id=executor.container_id, state=state, reason=reason, message=message)
            executor.timer = self.after(grace_seconds, overdue)

    # Containers -------------------------------------------------------------------------------------------------------

    def destroy(self, executor: Executor, grace_seconds: float | None) -> None:
        """End a container; once there is a containerizer, if there is none now. grace_seconds None: the container's."""
        executor.grace_seconds = grace_seconds
        if executor.step in {LaunchStep.PREPARING, LaunchStep.PREPARED}:
            ending = executor.ending
            if ending is not None:
                self.say_of_tasks(executor, ending.state, ending.reason, ending.message)
            self.forget_executor(executor)
        elif self.state.ready and executor.exited is None:
            self.ask(
                self.state.settings.containerizer,
                Destroy(container_id=executor.container_id, grace_seconds=grace_seconds),
                self.destroyed,
                InContainer(executor.container_id),
                (grace_seconds or 0.0) + DESTROY_TIMEOUT_SECONDS,
            )

    def destroyed(self, sender: PID, answer: Message, context: InContainer) -> None:
        """The exit was told before, unless there was no container; without an answer, ask again."""
        executor = self.executor_in(context.container_id)
        if executor is None or executor.exited is not None:
            return
        if isinstance(answer, Destroyed):
            if executor.step is LaunchStep.RUNNING:
                self.executor_ended(executor, None)
        elif isinstance(answer, AskFailed) and self.state.ready:
            log.warning("container %s was not destroyed: %s; asking again", context.container_id, answer.reason)
            self.destroy(executor, executor.grace_seconds)

    @receive(ContainerExited)
    def container_exited(self, sender: PID, message: ContainerExited) -> None:
        """A container has ended; it is told again until it is collected."""
        if not self.is_from_containerizer(sender, message):
            return
        executor = self.executor_in(message.container_id)
        if executor is None:
            self.send(sender, Collected(container_id=message.container_id))
        elif executor.exited is None:
            self.executor_ended(executor, message)

    def is_from_containerizer(self, sender: PID, message: Message) -> bool:
        """Whether the containerizer that this agent has attached to says this."""
        if sender == self.state.containerizer:
            return True
        log.warning("ignored %s from %s, which is not the containerizer", type(message).__name__, sender)
        return False

    def executor_ended(self, executor: Executor, exited: ContainerExited | None) -> None:
        """Nothing runs any more: say what became of the tasks. exited: None if it is not known how it ended."""
        exited = exited or ContainerExited(container_id=executor.container_id)
        executor.exited = exited
        if executor.info is None and executor.pid is not None:
            self.send(executor.pid, ContainerEnded(exited=exited, ending=executor.ending))
            return
        if executor.info is None or exited.limitation is not None:
            state, reason, text = verdict(exited, executor.ending)
        elif executor.ending is not None:
            state, reason, text = executor.ending.state, executor.ending.reason, executor.ending.message
        else:
            state, reason, text = TaskState.FAILED, Reason.EXECUTOR_TERMINATED, f"its executor {how_it_ended(exited)}"
        self.say_of_tasks(executor, state, reason, text)
        self.forget_executor(executor)

    def say_of_tasks(
        self, executor: Executor, state: TaskState, reason: Reason | None, message: str, exit_code: int | None = None
    ) -> None:
        """Write what became of the tasks of an executor that have not ended by themselves."""
        for run in self.state.tasks_of(executor):
            own = self.status(run.task.task_id, state, reason, message, executor, exit_code)
            self.queue_update(executor.framework_id, run.last_words or own)

    def forget_executor(self, executor: Executor) -> None:
        """All has been said: the containerizer may forget its container, and the master hears of its end."""
        self.cancel(executor.timer)
        self.commit(ExecutorGone(framework_id=executor.framework_id, executor_id=executor.executor_id))
        if executor.exited is not None:
            self.send(self.state.settings.containerizer, Collected(container_id=executor.container_id))
        if executor.info is None:
            self.stop(COMMAND_PREFIX + executor.container_id)
        else:
            self.to_master(
                ExecutorEnded(
                    agent_id=self.state.agent_id,
                    framework_id=executor.framework_id,
                    executor_id=executor.executor_id,
                    exit_status=wait_status(executor.exited) if executor.exited is not None else None,
                )
            )
            if self.state.settings.public_key:
                self.send(PID(KEYS_NAME, self.pid.node), RevokeKey(principal=executor.container_id))
        self.finish_if_idle()
