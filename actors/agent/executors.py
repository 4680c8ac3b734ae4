"""Executors that run: their subscriptions, their updates and messages, and the tasks that are handed to them."""

from __future__ import annotations

import msgspec

from actors.agent.base import log
from actors.agent.constants import UPDATE_LIMITS_TIMEOUT_SECONDS
from actors.agent.events import ExecutorOverdue
from actors.agent.leaving import Leaving
from actors.agent.sandbox import limits_of
from actors.agent.state import Executor
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
    ToAgent,
    UpdateAccepted,
)
from actors.messages.records import Reason, Source, TaskState, TaskStatus
from actors.messages.tasks import FromExecutorOnAgent, ToExecutor
from containerizer.messages import Update, Updated
from containerizer.spec import Limits
from runtime.actor import receive
from runtime.message import Message
from runtime.pid import PID


class Raising(msgspec.Struct, frozen=True):
    """Context of a change of limits before tasks are handed over."""

    container_id: str
    limits: Limits


class Lowering(msgspec.Struct, frozen=True):
    """Context of a change of limits before a task's last status is believed."""

    container_id: str
    limits: Limits
    status: TaskStatus


class Executors(Leaving):
    """The agent's side of :mod:`actors.messages.executing`."""

    # Subscription -----------------------------------------------------------------------------------------------------

    @receive(SubscribeExecutor)
    def subscribe_executor(self, sender: PID, message: SubscribeExecutor) -> None:
        """Connect a custom executor, take what it has to say, and hand over what it has not got."""
        executor = self.state.executor(message.framework_id, message.executor_id)
        refusal = _refusal(executor, sender, message)
        if executor is None or executor.info is None or refusal:
            log.warning(
                "refused executor %s of %s at %s: %s", message.executor_id, message.framework_id, sender, refusal
            )
            self.send(sender, ExecutorRefused(reason=refusal))
            return
        framework = self.state.frameworks[executor.framework_id]
        executor.pid = sender
        self.link(sender)
        self.send(
            sender,
            ExecutorSubscribed(
                executor=executor.info,
                framework=framework.info,
                agent=self.agent_info(),
                container_id=executor.container_id,
            ),
        )
        known = {task.task_id for task in message.unacknowledged_tasks}
        known.update(status.task_id for status in message.unacknowledged_updates)
        executor.used = executor.used or bool(known)
        for run in self.state.tasks_of(executor):
            run.delivered = run.task.task_id in known or run.task.latest_state is not TaskState.STAGING
            if run.delivered and run.kill_asked:
                kill = KillExecutorTask(task_id=run.task.task_id, grace_seconds=run.kill_grace_seconds)
                self.send(sender, kill)
        for status in message.unacknowledged_updates:
            self._take_update(executor, status)
        if executor.ending is not None:
            self.send(sender, ShutdownExecutor(grace_seconds=executor.info.shutdown_grace_seconds))
            return
        self.cancel(executor.timer)
        self.deliver_tasks(executor)

    def executor_disconnected(self, executor: Executor, reason: str) -> None:
        """Its connection broke: its container's end follows soon, or it comes back."""
        executor.pid = None
        if executor.ending is not None or executor.exited is not None:
            return
        if executor.info is None:
            text = f"the agent's executor of the command failed: {reason}"
            self.end_executor(executor, TaskState.FAILED, Reason.COMMAND_EXECUTOR_FAILED, text)
            return
        self.expect_return(executor)

    def expect_return(self, executor: Executor) -> None:
        """Give an executor that was connected time to dial again."""
        seconds = self.state.settings.executor_reregistration_seconds
        overdue = ExecutorOverdue(
            container_id=executor.container_id,
            state=self.for_framework(executor.framework_id, TaskState.GONE),
            reason=Reason.EXECUTOR_REREGISTRATION_TIMEOUT,
            message=f"its executor did not come back within {seconds:g} s",
        )
        executor.timer = self.after(seconds, overdue)

    @receive(ExecutorOverdue)
    def executor_overdue(self, sender: PID, message: ExecutorOverdue) -> None:
        """It has had its time: end its container."""
        executor = self.executor_in(message.container_id)
        if executor is not None and self.is_from_self(sender, message):
            self.begin_ending(executor, message.state, message.reason, message.message)
            self.destroy(executor, 0.0)

    # Tasks ------------------------------------------------------------------------------------------------------------

    def deliver_tasks(self, executor: Executor) -> None:
        """Hand over the tasks that a connected executor has not got, once its container may use what they need.

        One that never had a task, and has none to wait for, is of no use any more (Mesos: `Slave::subscribe`).
        """
        if executor.pid is None or executor.ending is not None:
            return
        runs = self.state.tasks_of(executor)
        if not runs and not executor.used:
            text = "all its tasks were killed before it was there"
            self.shutdown_executor(executor, TaskState.KILLED, Reason.EXECUTOR_TERMINATED, text)
            return
        limits = limits_of(executor.info, [run.task.info for run in runs])
        if limits == executor.limits or not self.state.ready or all(run.delivered for run in runs):
            self._hand_over(executor)
            return
        self._change_limits(executor, limits)

    def _change_limits(self, executor: Executor, limits: Limits) -> None:
        context = Raising(executor.container_id, limits)
        update = Update(container_id=executor.container_id, limits=limits)
        self.ask(self.state.settings.containerizer, update, self.limits_raised, context, UPDATE_LIMITS_TIMEOUT_SECONDS)

    def limits_raised(self, sender: PID, answer: Message, context: Raising) -> None:
        """The tasks may start; also when their room could not be made, for then the old limits hold them."""
        executor = self.executor_in(context.container_id)
        if executor is None:
            return
        if isinstance(answer, Updated):
            executor.limits = context.limits
        else:
            log.warning("limits of container %s could not be changed: %s", context.container_id, answer)
        self._hand_over(executor)

    def _hand_over(self, executor: Executor) -> None:
        if executor.pid is None or executor.ending is not None:
            return
        for run in self.state.tasks_of(executor):
            if not run.delivered:
                run.delivered = True
                executor.used = True
                self.send(executor.pid, LaunchTask(task=run.task.info))

    # What executors say -----------------------------------------------------------------------------------------------

    @receive(ExecutorUpdate)
    def executor_update(self, sender: PID, message: ExecutorUpdate) -> None:
        """Write what became of a task, and tell the executor that it is written."""
        executor = self._speaker(sender, message)
        if executor is not None:
            self._take_update(executor, message.status)

    def _take_update(self, executor: Executor, status: TaskStatus) -> None:
        run = self.state.task(executor.framework_id, status.task_id)
        if run is None or run.executor_id != executor.executor_id or run.task.latest_state.is_terminal:
            self._accept(executor, status)
            return
        if status.uuid and self.was_queued(executor.framework_id, status):
            self._accept(executor, status)
            return
        if status.state is TaskState.STAGING:
            text = "its executor reported STAGING, which is the master's word"
            self.end_executor(executor, TaskState.FAILED, Reason.EXECUTOR_TERMINATED, text)
            return
        status = msgspec.structs.replace(
            status,
            source=Source.EXECUTOR,
            agent_id=self.state.agent_id,
            executor_id=executor.executor_id,
            container_id=executor.container_id,
            timestamp=status.timestamp or self.now,
            uuid=status.uuid or self.new_uuid(),
        )
        if executor.info is not None and status.state.is_terminal and self.state.ready:
            run.last_words = status
            others = [other.task.info for other in self.state.tasks_of(executor) if other is not run]
            limits = limits_of(executor.info, others)
            if limits != executor.limits:
                context = Lowering(executor.container_id, limits, status)
                update = Update(container_id=executor.container_id, limits=limits)
                containerizer = self.state.settings.containerizer
                self.ask(containerizer, update, self.limits_lowered, context, UPDATE_LIMITS_TIMEOUT_SECONDS)
                return
        self._queue_and_accept(executor, status)

    def limits_lowered(self, sender: PID, answer: Message, context: Lowering) -> None:
        """What the task used is free: the master may hear of its end."""
        executor = self.executor_in(context.container_id)
        if executor is None:
            return
        if isinstance(answer, Updated):
            executor.limits = context.limits
        self._queue_and_accept(executor, context.status)

    def _queue_and_accept(self, executor: Executor, status: TaskStatus) -> None:
        self.queue_update(executor.framework_id, status)
        self._accept(executor, status)
        if executor.info is None and status.state.is_terminal:
            self.forget_executor(executor)

    def _accept(self, executor: Executor, status: TaskStatus) -> None:
        if executor.pid is not None:
            self.send(executor.pid, UpdateAccepted(task_id=status.task_id, uuid=status.uuid))

    @receive(ExecutorMessage)
    def executor_message(self, sender: PID, message: ExecutorMessage) -> None:
        """Pass it on, if a master is there."""
        if self._speaker(sender, message) is not None:
            self.to_master(
                FromExecutorOnAgent(
                    agent_id=self.state.agent_id,
                    framework_id=message.framework_id,
                    executor_id=message.executor_id,
                    data=message.data,
                )
            )

    @receive(ToExecutor)
    def to_executor(self, sender: PID, message: ToExecutor) -> None:
        """Pass it on, if the executor is there."""
        if not self.is_from_master(sender, message):
            return
        executor = self.state.executor(message.framework_id, message.executor_id)
        if executor is None or executor.info is None or executor.pid is None:
            log.info("a message for executor %s of %s is lost: it is not connected", message.executor_id, sender)
            return
        self.send(executor.pid, MessageForExecutor(data=message.data))

    def _speaker(self, sender: PID, message: ToAgent) -> Executor | None:
        """The executor that says this; None, and a refusal, if another says so in its name."""
        executor = self.state.executor(message.framework_id, message.executor_id)
        if executor is not None and executor.pid == sender:
            return executor
        log.warning("ignored %s from %s, which is no executor here", type(message).__name__, sender)
        self.send(sender, ExecutorRefused(reason="subscribe first: this connection is no executor's"))
        return None


def _refusal(executor: Executor | None, sender: PID, message: SubscribeExecutor) -> str:
    """Why a subscription is turned down; empty if it is good."""
    if executor is None or executor.container_id != message.container_id:
        return f"no executor {message.executor_id!r} of {message.framework_id!r} has container {message.container_id!r}"
    if executor.info is None:
        return f"{message.executor_id!r} is a command task: it has no executor process"
    if sender.node != executor.container_id:
        return f"the node of an executor is called as its container, {executor.container_id}, and this is {sender.node}"
    if executor.exited is not None:
        return "its container has ended"
    return ""
