"""The executor of a command task: an actor of the agent's process, for the task itself is the container's process.

It speaks the protocol of any executor (:mod:`actors.messages.executing`) and does what in Mesos takes a process of its
own (`src/launcher/executor.cpp`): it says STARTING and RUNNING, kills within the grace, which later kills can only
shorten, ends a task that runs for too long, and turns the container's end into the task's last state.
"""

from __future__ import annotations

import signal
from typing import ClassVar

from actors.agent.events import ContainerEnded, ContainerStarted, EndContainer
from actors.agent.records import ExecutorEnding
from actors.messages.executing import ExecutorUpdate, KillExecutorTask, LaunchTask, UpdateAccepted
from actors.messages.records import Reason, Source, TaskState, TaskStatus
from containerizer.messages import ContainerExited, Limit
from runtime.actor import Actor, State, receive
from runtime.message import Message, Overflow
from runtime.pid import PID


class CompletionOverdue(Message, frozen=True, kw_only=True, tag="agent.CompletionOverdue"):
    """The task has run for as long as it may."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class CommandExecutorState(State):
    """One command task.

    agent         whom to tell
    kill_grace_seconds, max_completion_seconds  of the task's description
    says_killing  whether the framework wants to hear KILLING
    task_state    what was last said
    updates       said so far: numbers their ids
    """

    agent: PID
    framework_id: str
    container_id: str
    task_id: str
    kill_grace_seconds: float
    max_completion_seconds: float | None = None
    says_killing: bool = True
    task_state: TaskState = TaskState.STAGING
    updates: int = 0


class CommandExecutor(Actor[CommandExecutorState]):
    """See the module."""

    @receive(LaunchTask)
    def launch_task(self, sender: PID, message: LaunchTask) -> None:
        """The container is on its way."""
        if sender == self.state.agent and self.state.task_state is TaskState.STAGING:
            self._say(TaskState.STARTING)

    @receive(ContainerStarted)
    def container_started(self, sender: PID, message: ContainerStarted) -> None:
        """The command runs; after an agent's recovery it may have for long."""
        if sender != self.state.agent:
            return
        if self.state.task_state in {TaskState.STAGING, TaskState.STARTING}:
            self._say(TaskState.RUNNING)
        longest = self.state.max_completion_seconds
        if longest is not None:
            self.after(message.started_at + longest - self.now, CompletionOverdue())

    @receive(KillExecutorTask)
    def kill_task(self, sender: PID, message: KillExecutorTask) -> None:
        """End it within the grace."""
        if sender != self.state.agent:
            return
        grace = self.state.kill_grace_seconds if message.grace_seconds is None else message.grace_seconds
        if self.state.says_killing and self.state.task_state is TaskState.RUNNING:
            self._say(TaskState.KILLING)
        self.send(self.state.agent, EndContainer(container_id=self.state.container_id, grace_seconds=max(0.0, grace)))

    @receive(CompletionOverdue)
    def completion_overdue(self, sender: PID, message: CompletionOverdue) -> None:
        """End it without grace (Mesos: `TaskInfo.max_completion_time`)."""
        if sender != self.pid:
            return
        self.send(
            self.state.agent,
            EndContainer(
                container_id=self.state.container_id,
                grace_seconds=0.0,
                state=TaskState.FAILED,
                reason=Reason.MAX_COMPLETION_TIME_REACHED,
                message=f"it ran for longer than {self.state.max_completion_seconds:g} s, which is all it may",
            ),
        )

    @receive(ContainerEnded)
    def container_ended(self, sender: PID, message: ContainerEnded) -> None:
        """Say what became of it."""
        if sender != self.state.agent:
            return
        state, reason, text = verdict(message.exited, message.ending)
        self._say(state, reason, text, message.exited)

    @receive(UpdateAccepted)
    def update_accepted(self, sender: PID, message: UpdateAccepted) -> None:
        """Nothing to do: agent and executor live and die together, so nothing needs to be said again."""

    def _say(
        self, state: TaskState, reason: Reason | None = None, text: str = "", exited: ContainerExited | None = None
    ) -> None:
        self.state.task_state = state
        self.state.updates += 1
        task_id = self.state.task_id
        self.send(
            self.state.agent,
            ExecutorUpdate(
                framework_id=self.state.framework_id,
                executor_id=task_id,
                status=TaskStatus(
                    task_id=task_id,
                    state=state,
                    source=Source.EXECUTOR,
                    reason=reason,
                    message=text,
                    timestamp=self.now,
                    exit_code=exited.exit_code if exited is not None else None,
                    signal=exited.signal if exited is not None else None,
                ),
            ),
        )


def verdict(exited: ContainerExited, ending: ExecutorEnding | None) -> tuple[TaskState, Reason | None, str]:
    """What the end of a command's container makes of its task: state, reason, and a sentence.

    A limit that was hit comes first, then what the agent wanted; a task that was killed is KILLED though its command
    ended with status 0 (Mesos: `CommandExecutor::reaped`, `src/launcher/executor.cpp`).
    """
    limitation = exited.limitation
    if limitation is not None:
        reason = {
            Limit.MEMORY: Reason.CONTAINER_LIMITATION_MEMORY,
            Limit.DISK: Reason.CONTAINER_LIMITATION_DISK,
        }.get(limitation.limit, Reason.CONTAINER_LIMITATION)
        return TaskState.FAILED, reason, limitation.message
    if ending is not None:
        return ending.state, ending.reason, ending.message
    if exited.destroyed:
        return TaskState.KILLED, None, "killed"
    if exited.exit_code == 0:
        return TaskState.FINISHED, None, ""
    return TaskState.FAILED, Reason.COMMAND_EXECUTOR_FAILED, how_it_ended(exited)


def how_it_ended(exited: ContainerExited) -> str:
    """``exited with status 3``, ``ended by signal 9 (SIGKILL)``, and what the containerizer has to add."""
    if exited.exit_code is not None:
        text = f"exited with status {exited.exit_code}"
    elif exited.signal is not None:
        text = f"ended by signal {exited.signal} ({_name_of(exited.signal)})"
    else:
        text = "ended, its status is not known"
    return f"{text}: {exited.message}" if exited.message else text


def wait_status(exited: ContainerExited) -> int | None:
    """The status as wait(2) gives it; None if it is not known."""
    if exited.exit_code is not None:
        return exited.exit_code << 8
    return exited.signal


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"real-time signal {number}"
