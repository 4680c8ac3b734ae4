"""What every part of the master uses: its neighbours, what it says to them, and who may speak to it at all."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from actors.master.constants import REGISTRY_ANSWER_SECONDS
from actors.master.state import Agent, Framework, MasterState
from actors.messages.records import Reason, Source, TaskState, TaskStatus
from actors.messages.registration import PongAgent, UnregisterAgent, UpdateAgentResources
from actors.messages.registry import Applied, Apply, NotApplied, RegistryOperation
from actors.messages.scheduling import Call, Event, SchedulerError, Update
from actors.messages.tasks import ExecutorEnded, FromExecutorOnAgent, StatusUpdate
from runtime.actor import Actor
from runtime.message import Message
from runtime.pid import PID

REGISTRAR_NAME = "registrar"
ALLOCATOR_NAME = "allocator"
MASTER_NAME = "master"

log = logging.getLogger("kaon.master")

M = TypeVar("M", bound=Message)
C = TypeVar("C", bound=Call)
B = TypeVar("B", bound="MasterBase")


FromAgent: TypeAlias = (
    PongAgent | UpdateAgentResources | UnregisterAgent | StatusUpdate | ExecutorEnded | FromExecutorOnAgent
)
R = TypeVar("R", bound=FromAgent)


class RegistryLost(Exception):
    """The registrar does not answer, or refuses what the master has checked: another master must take over."""


class MasterBase(Actor[MasterState]):
    """The master's neighbours, and its voice."""

    @property
    def registrar(self) -> PID:
        """Keeps what must survive this master."""
        return PID(REGISTRAR_NAME, self.pid.node, self.pid.incarnation)

    @property
    def allocator(self) -> PID:
        """Decides who is offered what."""
        return PID(ALLOCATOR_NAME, self.pid.node, self.pid.incarnation)

    # The registry ----------------------------------------------------------------------------------------------------

    def write(
        self,
        operation: RegistryOperation,
        then: Callable[[PID, Any, Any], None],
        context: msgspec.Struct,
    ) -> None:
        """Change the registry; `then` goes on once that is durable, and hands its answer to `check_written`."""
        self.ask(self.registrar, Apply(operation=operation), then, context, REGISTRY_ANSWER_SECONDS)

    def check_written(self, answer: Message) -> None:
        """Raise :class:`RegistryLost` unless the operation is in the registry."""
        if isinstance(answer, Applied):
            return
        reason = answer.reason if isinstance(answer, NotApplied) else str(answer)
        raise RegistryLost(f"the registry was not written: {reason}")

    # Schedulers ------------------------------------------------------------------------------------------------------

    def tell(self, framework: Framework, event: Event) -> bool:
        """Send an event to a framework's scheduler; False when none is connected."""
        if framework.pid is None or not framework.connected:
            return False
        self.send(framework.pid, event)
        return True

    def say_status(
        self,
        framework: Framework,
        task_id: str,
        state: TaskState,
        reason: Reason,
        message: str,
        *,
        agent_id: str = "",
        executor_id: str = "",
        unreachable_since: float | None = None,
    ) -> None:
        """Tell a framework what the master itself knows of a task: no uuid, so nothing to acknowledge."""
        shown = framework.visible(state)
        status = TaskStatus(
            task_id=task_id,
            state=shown,
            source=Source.MASTER,
            reason=reason,
            message=message,
            agent_id=agent_id,
            executor_id=executor_id,
            timestamp=self.now,
            unreachable_since=unreachable_since,
        )
        self.state.count(f"master/task_{shown.value.lower()}/source_master/reason_{reason.value.lower()}")
        self.tell(framework, Update(status=status))

    # Who may speak ---------------------------------------------------------------------------------------------------

    def drop(self, sender: PID, message: Message, why: str) -> None:
        """Ignore a message: it comes too early, too late, or from somebody who has no business to send it."""
        self.state.count("master/dropped_messages")
        log.info("dropped %s from %s: %s", type(message).__name__, sender, why, extra={"limited_by": "dropped"})

    def of_framework(self, sender: PID, message: Call) -> Framework | None:
        """The framework that a call is for; None, and the call is dropped, unless its connected scheduler sent it."""
        state = self.state
        if not state.recovered:
            self.drop(sender, message, "the registry is not recovered")
            return None
        framework_id = message.framework_id or state.framework_at.get(sender, "")
        framework = state.frameworks.get(framework_id)
        if framework is None:
            self.drop(sender, message, f"framework {framework_id!r} is not subscribed")
            if framework_id in state.completed:
                self.send(sender, SchedulerError(message=ended_text(framework_id)))
            return None
        if framework.pid != sender:
            self.drop(sender, message, f"another scheduler speaks for framework {framework_id}")
            if framework.pid is not None:
                self.send(sender, SchedulerError(message=superseded_text(framework_id)))
            return None
        if not framework.connected:
            self.drop(sender, message, "its scheduler must subscribe again")
            return None
        return framework

    def of_agent(self, sender: PID, message: Message, agent_id: str) -> Agent | None:
        """The agent that a message is from; None, and it is dropped, unless that agent itself sent it."""
        agent = self.state.agents.get(agent_id)
        if not self.state.recovered:
            self.drop(sender, message, "the registry is not recovered")
        elif agent is None:
            self.drop(sender, message, f"agent {agent_id!r} is not registered")
        elif agent.pid != sender:
            self.drop(sender, message, f"agent {agent_id} is at {agent.pid}")
        else:
            return agent
        return None


def ended_text(framework_id: str) -> str:
    """For a scheduler whose framework is no more."""
    return f"framework {framework_id} has been removed: subscribe without an id to start a new one"


def superseded_text(framework_id: str) -> str:
    """For a scheduler that another one has replaced."""
    return f"framework {framework_id} failed over: another scheduler has subscribed with its id"


def from_scheduler(method: Callable[[B, Framework, C], None]) -> Callable[[B, PID, C], None]:
    """Give a handler of calls the framework that they are for; what nobody may say is dropped before."""

    @functools.wraps(method)
    def handle(self: B, sender: PID, message: C) -> None:
        framework = self.of_framework(sender, message)
        if framework is not None:
            self.state.count(f"master/messages_{_call_name(type(message))}")
            method(self, framework, message)

    return handle


def from_agent(method: Callable[[B, Agent, R], None]) -> Callable[[B, PID, R], None]:
    """Give a handler of agents' messages the agent that they are from; what nobody may say is dropped before."""

    @functools.wraps(method)
    def handle(self: B, sender: PID, message: R) -> None:
        agent = self.of_agent(sender, message, message.agent_id)
        if agent is not None:
            method(self, agent, message)

    return handle


def own_timer(method: Callable[[B, M], None]) -> Callable[[B, PID, M], None]:
    """Mark a handler of what the master tells itself: from anybody else it is dropped."""

    @functools.wraps(method)
    def handle(self: B, sender: PID, message: M) -> None:
        if sender == self.pid:
            method(self, message)
        else:
            self.drop(sender, message, "only the master tells itself this")

    return handle


_CALL_NAMES: Mapping[str, str] = {
    "Accept": "accept_offers",
    "Decline": "decline_offers",
    "Revive": "revive_offers",
    "Suppress": "suppress_offers",
    "KillTask": "kill_task",
    "ShutdownExecutorCall": "shutdown_executor",
    "Acknowledge": "status_update_acknowledgement",
    "Reconcile": "reconcile_tasks",
    "SendToExecutor": "framework_to_executor",
    "UpdateFrameworkCall": "update_framework",
    "Teardown": "unregister_framework",
}
"""Mesos's name of the counter of each call (`src/master/metrics.hpp`)."""


def _call_name(call: type[Call]) -> str:
    return _CALL_NAMES[call.__name__]
