"""The containerizer: attaching to it, and sorting out after a restart, of either process, what runs and what not."""

from __future__ import annotations

from actors.agent.base import log
from actors.agent.constants import (
    ATTACH_TIMEOUT_SECONDS,
    LAUNCH_ATTEMPTS,
    RECOVER_TIMEOUT_SECONDS,
)
from actors.agent.events import RevokeKey, TryContainerizer
from actors.agent.names import KEYS_NAME
from actors.agent.registration import Registration
from actors.agent.state import Executor, LaunchStep
from actors.messages.records import Reason, Source, TaskState
from containerizer.messages import Attach, Attached, Limitation, Recover, Recovered
from runtime.actor import receive
from runtime.message import Message
from runtime.pid import PID


class Containers(Registration):
    """Attach, recover, and what becomes of containers that nobody watched for a while."""

    def attach_to_containerizer(self) -> None:
        """Say hello to the containerizer; again and again until it answers."""
        containerizer = self.state.settings.containerizer
        self.state.ready = False
        self.link(containerizer)
        self.ask(
            containerizer, Attach(agent_id=self.state.agent_id), self.attached, timeout_seconds=ATTACH_TIMEOUT_SECONDS
        )

    def attached(self, sender: PID, answer: Message, context: None) -> None:
        """Tell it what should run here."""
        if not isinstance(answer, Attached):
            self.attach_later(answer)
            return
        self.state.containerizer = sender
        self.state.not_isolated = tuple(missing.what for missing in answer.host.missing)
        self.state.gpus = len(answer.host.gpus)
        self.ask(
            self.state.settings.containerizer,
            Recover(containers=tuple(self.state.containers)),
            self.containers_recovered,
            timeout_seconds=RECOVER_TIMEOUT_SECONDS,
        )

    @receive(TryContainerizer)
    def try_containerizer(self, sender: PID, message: TryContainerizer) -> None:
        """Attach again."""
        if self.is_from_self(sender, message):
            self.state.containerizer_timer = 0
            self.attach_to_containerizer()

    def containers_recovered(self, sender: PID, answer: Message, context: None) -> None:
        """Every container is alive, or has ended, or is lost; then the agent may go to the master.

        Not every one: what was prepared while the question was on its way is in none of the three, and is launched now.
        """
        if not isinstance(answer, Recovered):
            self.attach_later(answer)
            return
        self.state.ready = True
        self.state.containerizer_attempts = 0
        alive, exited, lost = set(answer.alive), set(answer.exited), set(answer.lost)
        for executor in self.state.executors():
            if executor.container_id in alive:
                self._found_alive(executor)
            elif executor.container_id in lost:
                self._found_lost(executor)
            elif executor.container_id in exited:
                executor.step = LaunchStep.RUNNING
        for executor in self.state.executors():
            if executor.step is LaunchStep.PREPARED:
                self.launch_when_ready(executor)
        if self.state.settings.public_key:
            for container_id in answer.destroyed:
                self.send(PID(KEYS_NAME, self.pid.node), RevokeKey(principal=container_id))
        if not self.state.recovered:
            self.state.recovered = True
            log.info("recovered: %d containers run, %d are lost", len(answer.alive), len(answer.lost))
            self.begin_registration()
        self.finish_if_idle()

    def _found_alive(self, executor: Executor) -> None:
        step, executor.step = executor.step, LaunchStep.RUNNING
        if executor.info is None and not self.state.tasks_of(executor):
            self.destroy(executor, 0.0)
        elif executor.ending is not None:
            self.destroy(executor, executor.grace_seconds)
        elif step is LaunchStep.RECOVERED:
            if executor.info is None:
                self.container_runs(executor, self._started_at(executor))
            elif executor.pid is None:
                self.expect_return(executor)
        elif step is LaunchStep.ASKED:
            self.container_runs(executor)

    def _found_lost(self, executor: Executor) -> None:
        """Nothing is known of it there: it was never launched, or its machine has started anew."""
        if executor.step in {LaunchStep.PREPARING, LaunchStep.PREPARED} or executor.exited is not None:
            return
        ending = executor.ending
        if ending is not None:
            self.say_of_tasks(executor, ending.state, ending.reason, ending.message)
        elif executor.step is LaunchStep.ASKED and executor.attempts < LAUNCH_ATTEMPTS:
            executor.step = LaunchStep.PREPARED
            return
        elif executor.step is LaunchStep.ASKED:
            text = f"the containerizer was asked {executor.attempts} times to launch the container, and never answered"
            self.say_of_tasks(executor, TaskState.FAILED, Reason.CONTAINER_LAUNCH_FAILED, text)
        else:
            self._say_lost(executor)
        self.forget_executor(executor)

    def _say_lost(self, executor: Executor) -> None:
        """Tasks that were heard of are gone, the others were never begun."""
        for run in self.state.tasks_of(executor):
            if run.task.latest_state in {TaskState.STAGING, TaskState.STARTING}:
                state, text = TaskState.DROPPED, "the agent restarted before its container was launched"
            else:
                state, text = TaskState.GONE, "its container is gone; has the machine restarted?"
            state = self.for_framework(executor.framework_id, state)
            status = self.status(run.task.task_id, state, Reason.AGENT_RESTARTED, text, executor)
            self.queue_update(executor.framework_id, run.last_words or status)

    def _started_at(self, executor: Executor) -> float:
        """When a recovered command began to run, as its executor said then."""
        for run in self.state.tasks_of(executor):
            for status in run.task.statuses:
                if status.state is TaskState.RUNNING and status.source is Source.EXECUTOR:
                    return status.timestamp
        return self.now

    @receive(Limitation)
    def limitation(self, sender: PID, message: Limitation) -> None:
        """For the log: if it was the end of the container, its exit says so too."""
        if self.is_from_containerizer(sender, message):
            log.info("container %s: %s", message.container_id, message.message)
