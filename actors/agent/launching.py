"""From a task to a running container: validation, records, sandbox, key, launch.

Everything is written before it is acted on. A command task gets a container of its own; a task with an executor waits
for that executor's container and subscription (Mesos: `Slave::runTask` to `Slave::executorLaunched`).
"""

from __future__ import annotations

from actors.agent.base import log
from actors.agent.command_executor import CommandExecutor, CommandExecutorState
from actors.agent.constants import LAUNCH_TIMEOUT_SECONDS, NO_COMMAND_STATUS, PREPARE_TIMEOUT_SECONDS
from actors.agent.endings import InContainer
from actors.agent.events import (
    AuthoriseKey,
    ContainerStarted,
    EdgeRefused,
    ExecutorOverdue,
    KeyAuthorised,
    PrepareSandbox,
    SandboxPrepared,
)
from actors.agent.executors import Executors
from actors.agent.names import COMMAND_PREFIX, FILES_NAME, KEYS_NAME
from actors.agent.records import ExecutorPlanned, FrameworkSeen, TaskPlanned
from actors.agent.sandbox import command_spec, complaint, executor_spec, limits_of, sandbox_path
from actors.agent.state import Executor, LaunchStep
from actors.messages.executing import LaunchTask
from actors.messages.records import ExecutorInfo, Reason, Task, TaskInfo, TaskState
from actors.messages.tasks import RunTask
from containerizer.messages import Launch, Launched, LaunchFailed, LaunchFailure
from containerizer.spec import ContainerSpec
from runtime.actor import receive
from runtime.message import AskFailed, Message
from runtime.pid import PID


class Launching(Executors):
    """Tasks on their way into a container."""

    @receive(RunTask)
    def run_task(self, sender: PID, message: RunTask) -> None:
        """Take a task, or say why not."""
        if not self.is_from_master(sender, message):
            return
        framework_id, task = message.framework.framework_id, message.task
        framework = self.state.frameworks.get(framework_id)
        if framework is not None and (task.task_id in framework.tasks or task.task_id in framework.streams):
            log.warning("ignored task %s of %s: one of that id is here", task.task_id, framework_id)
            return
        executor_id = task.executor.executor_id if task.executor is not None else task.task_id
        executor = self.state.executor(framework_id, executor_id)
        refusal = self._refusal(message, executor)
        if refusal is not None:
            state, reason, text = refusal
            if framework is None:
                self.commit(FrameworkSeen(framework=message.framework))
            state = self.for_framework(framework_id, state)
            self.queue_update(framework_id, self.status(task.task_id, state, reason, text))
            return
        if framework is None or framework.info != message.framework:
            self.commit(FrameworkSeen(framework=message.framework))
        if executor is None:
            planned = ExecutorPlanned(
                framework_id=framework_id,
                executor_id=executor_id,
                container_id=self.new_uuid(),
                role=message.role,
                info=task.executor,
            )
            self.commit(planned)
        self.commit(
            TaskPlanned(executor_id=executor_id, task=Task(info=task, framework_id=framework_id, role=message.role))
        )
        if executor is not None:
            self.deliver_tasks(executor)
            return
        executor = self.state.executor(framework_id, executor_id)
        assert executor is not None, "it has just been planned"
        if task.executor is None:
            self.spawn_command_executor(executor, task)
        self.prepare(executor)

    def _refusal(self, message: RunTask, executor: Executor | None) -> tuple[TaskState, Reason, str] | None:
        """State, reason and sentence for a task that is not run."""
        task, framework = message.task, self.state.frameworks.get(message.framework.framework_id)
        if text := complaint(task, message.framework, self.state.agent_id):
            return TaskState.ERROR, Reason.TASK_INVALID, text
        if self.state.stopping is not None:
            return TaskState.DROPPED, Reason.AGENT_DRAINING, "the agent is stopping"
        if framework is not None and framework.ending:
            return TaskState.DROPPED, Reason.FRAMEWORK_REMOVED, "its framework is being removed"
        if executor is None:
            if task.executor is not None and not message.launch_executor:
                text = f"executor {task.executor.executor_id!r}, which it was meant for, does not run here any more"
                return TaskState.DROPPED, Reason.EXECUTOR_TERMINATED, text
            if task.executor is not None and not self.state.settings.executor_address:
                return TaskState.ERROR, Reason.TASK_INVALID, "this agent is set up without a socket for executors"
            return None
        if executor.info is None or executor.info != task.executor:
            text = f"executor id {executor.executor_id!r} is taken by another executor or task of the framework"
            return TaskState.ERROR, Reason.TASK_INVALID, text
        if executor.ending is not None or executor.exited is not None:
            return TaskState.DROPPED, Reason.EXECUTOR_TERMINATED, f"executor {executor.executor_id!r} is ending"
        return None

    def spawn_command_executor(self, executor: Executor, task: TaskInfo, said: TaskState = TaskState.STAGING) -> None:
        """Start the actor that is a command task's executor. said: what its framework knows of the task."""
        framework = self.state.frameworks[executor.framework_id]
        executor.pid = self.spawn(
            CommandExecutor,
            COMMAND_PREFIX + executor.container_id,
            CommandExecutorState(
                agent=self.pid,
                framework_id=executor.framework_id,
                container_id=executor.container_id,
                task_id=task.task_id,
                kill_grace_seconds=task.kill_grace_seconds,
                max_completion_seconds=task.max_completion_seconds,
                says_killing="TASK_KILLING_STATE" in framework.info.capabilities,
                task_state=said,
            ),
        )
        self.link(executor.pid)

    # Sandbox and key --------------------------------------------------------------------------------------------------

    def prepare(self, executor: Executor) -> None:
        """Make what the container stands on."""
        executor.step = LaunchStep.PREPARING
        path = sandbox_path(
            self.state.settings.work_directory,
            self.state.agent_id,
            executor.framework_id,
            executor.executor_id,
            executor.container_id,
        )
        files = PID(FILES_NAME, self.pid.node)
        context = InContainer(executor.container_id)
        self.ask(files, PrepareSandbox(path=path), self.sandbox_prepared, context, PREPARE_TIMEOUT_SECONDS)

    def sandbox_prepared(self, sender: PID, answer: Message, context: InContainer) -> None:
        """Go on with the key, for an executor that has to dial an agent with keys."""
        executor = self.executor_in(context.container_id)
        if executor is None:
            return
        if not isinstance(answer, SandboxPrepared):
            self._cannot_launch(executor, f"its sandbox cannot be made: {_why(answer)}")
        elif executor.info is None or not self.state.settings.public_key:
            self.launch_when_ready(executor)
        else:
            keys = PID(KEYS_NAME, self.pid.node)
            authorise = AuthoriseKey(principal=executor.container_id)
            self.ask(keys, authorise, self.key_authorised, context, PREPARE_TIMEOUT_SECONDS)

    def key_authorised(self, sender: PID, answer: Message, context: InContainer) -> None:
        """Go on with the launch."""
        executor = self.executor_in(context.container_id)
        if executor is None:
            return
        if isinstance(answer, KeyAuthorised):
            executor.secret = answer.key
            self.launch_when_ready(executor)
        else:
            self._cannot_launch(executor, f"no key can be made for it: {_why(answer)}")

    def _cannot_launch(self, executor: Executor, message: str, exit_code: int | None = None) -> None:
        ending = executor.ending
        if ending is not None:
            self.say_of_tasks(executor, ending.state, ending.reason, ending.message)
        else:
            self.say_of_tasks(executor, TaskState.FAILED, Reason.CONTAINER_LAUNCH_FAILED, message, exit_code)
        self.forget_executor(executor)

    # Launch -----------------------------------------------------------------------------------------------------------

    def launch_when_ready(self, executor: Executor) -> None:
        """Launch a prepared container; it waits for the containerizer while there is none."""
        executor.step = LaunchStep.PREPARED
        if not self.state.ready:
            return
        runs = self.state.tasks_of(executor)
        tasks = [run.task.info for run in runs]
        if not tasks:
            self.forget_executor(executor)
            return
        executor.step = LaunchStep.ASKED
        executor.attempts += 1
        executor.limits = limits_of(executor.info, tasks)
        if executor.info is None and executor.pid is not None:
            runs[0].delivered = True
            executor.used = True
            self.send(executor.pid, LaunchTask(task=tasks[0]))
        self.ask(
            self.state.settings.containerizer,
            Launch(spec=self.container_spec(executor, executor.info, tasks)),
            self.launched,
            InContainer(executor.container_id),
            LAUNCH_TIMEOUT_SECONDS,
        )

    def container_spec(self, executor: Executor, info: ExecutorInfo | None, tasks: list[TaskInfo]) -> ContainerSpec:
        """What the container of an executor, or of a command task, is asked to be."""
        settings, agent_id = self.state.settings, self.state.agent_id
        framework = self.state.frameworks[executor.framework_id].info
        if info is None:
            return command_spec(settings, agent_id, framework, executor, tasks[0])
        return executor_spec(settings, agent_id, framework, executor, info, tasks)

    def launched(self, sender: PID, answer: Message, context: InContainer) -> None:
        """The container runs, or does not."""
        executor = self.executor_in(context.container_id)
        if executor is None or executor.exited is not None:
            return
        if isinstance(answer, Launched):
            self.container_runs(executor)
        elif isinstance(answer, LaunchFailed):
            no_command = executor.info is None and answer.reason is LaunchFailure.NO_COMMAND
            self._cannot_launch(executor, answer.message, NO_COMMAND_STATUS if no_command else None)
        elif isinstance(answer, AskFailed) and answer.reason == "timeout":
            executor.step = LaunchStep.RUNNING
            text = f"the containerizer did not launch it within {LAUNCH_TIMEOUT_SECONDS:g} s"
            self.end_executor(executor, TaskState.FAILED, Reason.CONTAINER_LAUNCH_FAILED, text)
        elif self.state.ready:
            # Whatever stood in the way: only a recovery tells whether the container was launched.
            self.containerizer_gone(f"launch of {context.container_id}: {_why(answer)}")

    def container_runs(self, executor: Executor, started_at: float | None = None) -> None:
        """Tell a command's executor; wait for the subscription of a custom one. started_at: None for now."""
        executor.step = LaunchStep.RUNNING
        if executor.info is None:
            if executor.pid is not None:
                self.send(executor.pid, ContainerStarted(started_at=self.now if started_at is None else started_at))
        elif executor.pid is None and executor.ending is None:
            seconds = self.state.settings.executor_registration_seconds
            overdue = ExecutorOverdue(
                container_id=executor.container_id,
                state=TaskState.FAILED,
                reason=Reason.EXECUTOR_REGISTRATION_TIMEOUT,
                message=f"its executor did not subscribe within {seconds:g} s; see stderr in its sandbox",
            )
            executor.timer = self.after(seconds, overdue)


def _why(answer: Message) -> str:
    if isinstance(answer, EdgeRefused):
        return answer.message
    return answer.reason if isinstance(answer, AskFailed) else str(answer)
