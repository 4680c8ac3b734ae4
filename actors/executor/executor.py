"""The executor: base of every framework's half that runs tasks, for those that are more than a command.

::

    class Counting(Executor[ExecutorState]):
        def launch(self, task: TaskInfo) -> None:
            self.run(task, count_words, task.data)      # in a thread; what it returns is the FINISHED update's data

A callback for each event, a method for each action; callbacks run within turns and do not wait. The executor itself
finds the agent, comes back to it when it was restarted, repeats what the agent has not accepted, and ends only when it
has (Mesos: `src/exec/exec.cpp`, `src/executor/executor.cpp`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar

from actors.executor.state import (
    AgentStayedAway,
    ExecutorState,
    LeaveTimedOut,
    RunningTask,
    SubscribeAgain,
    WorkDone,
    WorkFailed,
    WorkState,
)
from actors.executor.work import ThreadWork
from actors.messages.executing import (
    ExecutorMessage,
    ExecutorRefused,
    ExecutorSubscribed,
    ExecutorUpdate,
    KillExecutorTask,
    LaunchTask,
    MessageForExecutor,
    ShutdownExecutor,
    SubscribeExecutor,
    UpdateAccepted,
)
from actors.messages.records import AgentInfo, ExecutorInfo, FrameworkInfo, Source, TaskInfo, TaskState, TaskStatus
from runtime.actor import Actor, receive
from runtime.message import Exited, Message, Terminate
from runtime.pid import PID

S = TypeVar("S", bound=ExecutorState)

SUBSCRIBE_SECONDS: Final = 1.0
"""Between two subscriptions: an agent that comes back waits for its executors for 15 s."""

RECOVERY_TIMEOUT_SECONDS: Final = 900.0
"""How long an executor outlives its agent (Mesos: `recovery_timeout`, `src/slave/flags.cpp`)."""

LEAVE_TIMEOUT_SECONDS: Final = 60.0
"""How long it waits for its last updates to be accepted (Mesos: `src/launcher/default_executor.cpp`)."""


class Executor(Actor[S]):
    """Base of executors: override the callbacks, call the actions."""

    work: ClassVar[type[Actor[WorkState]]] = ThreadWork
    """What works on a task; `actors.executor.work.InlineWork` for simulations."""

    # Callbacks ------------------------------------------------------------------------------------------------------

    def registered(self, executor: ExecutorInfo, framework: FrameworkInfo, agent: AgentInfo) -> None:
        """The agent is there: for the first time, or again."""

    def launch(self, task: TaskInfo) -> None:
        """Run this task, and say what becomes of it with `update`; or let `run` do both."""
        raise NotImplementedError(f"{type(self).__name__} has no launch: an executor says how to run a task")

    def kill(self, task_id: str, grace_seconds: float) -> None:
        """End that task and say so. By default its work is given up at once; a thread goes on, unheard."""
        self.give_up(task_id)
        self.update(task_id, TaskState.KILLED)

    def message(self, data: bytes) -> None:
        """Bytes from the scheduler; they may be lost on the way."""

    def disconnected(self) -> None:
        """The agent is gone, perhaps to be restarted: go on working, what is said is kept."""

    def shutdown(self, grace_seconds: float) -> None:
        """End: by default every task is killed. When all have ended and the agent knows, so does the executor."""
        for task_id in tuple(self.state.connection.tasks):
            self.kill(task_id, grace_seconds)

    def done(self, task_id: str, result: bytes) -> None:
        """What `run` was given has returned `result`. By default the task is FINISHED, the result its data."""
        self.update(task_id, TaskState.FINISHED, data=result)

    def failed(self, task_id: str, error: str) -> None:
        """What `run` was given has raised. By default the task is FAILED, the error its message."""
        self.update(task_id, TaskState.FAILED, message=error)

    # Actions --------------------------------------------------------------------------------------------------------

    def update(
        self, task_id: str, state: TaskState, message: str = "", data: bytes = b"", healthy: bool | None = None
    ) -> None:
        """Say what has become of a task: told at least once, also across restarts of the agent.

        message  for people
        data     for the scheduler; it travels in one message and stands in two journals: keep it well below
                 `runtime.constants.MAX_MESSAGE_BYTES`
        Raises ValueError for a task that is not there or has ended.
        """
        connection = self.state.connection
        task = connection.tasks.get(task_id)
        if task is None:
            raise ValueError(f"there is no task {task_id!r} here, or it has ended")
        status = TaskStatus(
            task_id=task_id,
            state=state,
            source=Source.EXECUTOR,
            message=message,
            data=data,
            agent_id=task.info.agent_id,
            executor_id=self.state.executor_id,
            container_id=self.state.container_id,
            timestamp=self.now,
            healthy=healthy,
            uuid=f"{self.random.getrandbits(128):032x}",
        )
        connection.unacknowledged[status.uuid] = status
        if state.is_terminal:
            del connection.tasks[task_id]
        self._say(self._as_update(status))

    def run(self, task: TaskInfo, function: Callable[..., bytes | None], *arguments: Any) -> None:
        """Say that the task is RUNNING, call the function in a thread, and hand what it returns to `done`, what it
        raises to `failed`. The function and its arguments are all that the thread may touch."""
        running = self.state.connection.tasks[task.task_id]
        self.state.connection.works += 1
        running.work = f"work-{self.state.connection.works}"
        self.update(task.task_id, TaskState.RUNNING)
        self.spawn(
            self.work,
            running.work,
            WorkState(owner=self.pid, task_id=task.task_id, function=function, arguments=arguments),
        )

    def give_up(self, task_id: str) -> None:
        """Hear no more of what `run` was given for that task."""
        task = self.state.connection.tasks.get(task_id)
        if task is not None and task.work:
            self.stop(task.work)
            task.work = ""

    def send_to_scheduler(self, data: bytes) -> None:
        """Send bytes to the scheduler; they may be lost on the way."""
        self._say(ExecutorMessage(framework_id=self.state.framework_id, executor_id=self.state.executor_id, data=data))

    def leave(self) -> None:
        """End as soon as no task is left and the agent has accepted everything; after 60 s in any case."""
        if not self.state.connection.leaving:
            self.state.connection.leaving = True
            self.after(LEAVE_TIMEOUT_SECONDS, LeaveTimedOut())
        self._leave_if_all_is_said()

    # The way to the agent -------------------------------------------------------------------------------------------

    def started(self) -> None:
        """Subscribe. An author's own `started` calls this one."""
        self._await_agent()
        self._subscribe()

    def _await_agent(self) -> None:
        self.state.connection.lost_timer = self.after(RECOVERY_TIMEOUT_SECONDS, AgentStayedAway())

    def _subscribe(self) -> None:
        connection = self.state.connection
        if not connection.linked:
            connection.linked = True
            self.link(self.state.agent)
        connection.repeated = tuple(connection.unacknowledged)
        self.send(
            self.state.agent,
            SubscribeExecutor(
                framework_id=self.state.framework_id,
                executor_id=self.state.executor_id,
                container_id=self.state.container_id,
                unacknowledged_updates=tuple(connection.unacknowledged.values()),
                unacknowledged_tasks=tuple(task.info for task in connection.tasks.values() if not task.accepted),
            ),
        )
        connection.retry_timer = self.after(SUBSCRIBE_SECONDS, SubscribeAgain())

    @receive(SubscribeAgain)
    def _on_subscribe_again(self, sender: PID, message: SubscribeAgain) -> None:
        if sender == self.pid and self.state.connection.agent is None:
            self._subscribe()

    @receive(ExecutorSubscribed)
    def _on_subscribed(self, sender: PID, message: ExecutorSubscribed) -> None:
        connection = self.state.connection
        if connection.agent is not None:
            return
        connection.agent = sender
        self.link(sender)
        for timer in (connection.lost_timer, connection.retry_timer):
            if timer is not None:
                self.cancel(timer)
        connection.lost_timer = connection.retry_timer = None
        for uuid, status in connection.unacknowledged.items():
            if uuid not in connection.repeated:
                self._say(self._as_update(status))
        self.registered(message.executor, message.framework, message.agent)

    @receive(Exited)
    def _on_exited(self, sender: PID, message: Exited) -> None:
        connection = self.state.connection
        if message.pid == self.state.agent:
            connection.linked = False
        elif message.pid == connection.agent:
            connection.agent = None
            self._await_agent()
            connection.retry_timer = self.after(SUBSCRIBE_SECONDS * self.random.random(), SubscribeAgain())
            self.disconnected()

    @receive(ExecutorRefused)
    def _on_refused(self, sender: PID, message: ExecutorRefused) -> None:
        if self.state.connection.agent in (None, sender):
            self.stop(reason=f"failed: the agent does not want this executor: {message.reason}")

    @receive(AgentStayedAway)
    def _on_agent_stayed_away(self, sender: PID, message: AgentStayedAway) -> None:
        if sender == self.pid:
            self.stop(reason=f"failed: no agent in {RECOVERY_TIMEOUT_SECONDS:g} s")

    def _say(self, message: Message) -> None:
        """Tell the agent, if it is there."""
        if self.state.connection.agent is not None:
            self.send(self.state.connection.agent, message)

    def _as_update(self, status: TaskStatus) -> ExecutorUpdate:
        return ExecutorUpdate(framework_id=self.state.framework_id, executor_id=self.state.executor_id, status=status)

    # What the agent says --------------------------------------------------------------------------------------------

    @receive(LaunchTask)
    def _on_launch(self, sender: PID, message: LaunchTask) -> None:
        tasks = self.state.connection.tasks
        if sender == self.state.connection.agent and message.task.task_id not in tasks:
            tasks[message.task.task_id] = RunningTask(info=message.task)
            self.launch(message.task)

    @receive(KillExecutorTask)
    def _on_kill(self, sender: PID, message: KillExecutorTask) -> None:
        task = self.state.connection.tasks.get(message.task_id)
        if sender == self.state.connection.agent and task is not None:
            grace = task.info.kill_grace_seconds if message.grace_seconds is None else message.grace_seconds
            self.kill(message.task_id, grace)

    @receive(UpdateAccepted)
    def _on_accepted(self, sender: PID, message: UpdateAccepted) -> None:
        connection = self.state.connection
        if sender != connection.agent:
            return
        connection.unacknowledged.pop(message.uuid, None)
        if message.task_id in connection.tasks:
            connection.tasks[message.task_id].accepted = True
        self._leave_if_all_is_said()

    @receive(MessageForExecutor)
    def _on_message(self, sender: PID, message: MessageForExecutor) -> None:
        if sender == self.state.connection.agent:
            self.message(message.data)

    @receive(ShutdownExecutor)
    def _on_shutdown(self, sender: PID, message: ShutdownExecutor) -> None:
        if sender == self.state.connection.agent:
            self.shutdown(message.grace_seconds)
            self.leave()

    # What its own process says --------------------------------------------------------------------------------------

    @receive(WorkDone)
    def _on_work_done(self, sender: PID, message: WorkDone) -> None:
        if self._is_work_of(sender, message.task_id):
            self.done(message.task_id, message.result)

    @receive(WorkFailed)
    def _on_work_failed(self, sender: PID, message: WorkFailed) -> None:
        if self._is_work_of(sender, message.task_id):
            self.failed(message.task_id, message.error)

    def _is_work_of(self, sender: PID, task_id: str) -> bool:
        task = self.state.connection.tasks.get(task_id)
        return task is not None and sender == PID(task.work, self.pid.node, self.pid.incarnation)

    @receive(Terminate)
    def _on_terminate(self, sender: PID, message: Terminate) -> None:
        self.shutdown(message.deadline_seconds)
        self.leave()

    @receive(LeaveTimedOut)
    def _on_leave_timed_out(self, sender: PID, message: LeaveTimedOut) -> None:
        if sender == self.pid:
            self.stop(reason=f"the agent accepted no last updates in {LEAVE_TIMEOUT_SECONDS:g} s")

    def _leave_if_all_is_said(self) -> None:
        connection = self.state.connection
        if connection.leaving and not connection.tasks and not connection.unacknowledged:
            self.stop()
