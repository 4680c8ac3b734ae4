"""What every part of the agent's actor stands on."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, Final

from actors.agent import checkpoint
from actors.agent.constants import CAPABILITIES, CONTAINERIZER_RETRY_MAX_SECONDS, CONTAINERIZER_RETRY_SECONDS
from actors.agent.events import TryContainerizer
from actors.agent.records import AgentRecord
from actors.agent.state import AgentState, Executor
from actors.messages.records import AgentInfo, Reason, Source, TaskState, TaskStatus
from allocator.resources import EMPTY, Resources
from runtime.actor import Actor
from runtime.message import AskFailed, Message
from runtime.pid import PID

log = logging.getLogger("kaon.agent")

_UUID_VERSION: Final = 0x4000 << 64 | 0x8000 << 48
_UUID_CHANCE: Final = ~(0xF000 << 64 | 0xC000 << 48)
"""The bits of a random UUID that say what it is, and the others. `uuid.UUID` takes ten times as long."""


class AgentBase(Actor[AgentState]):
    """State, journal and master of an agent; the parts of it are classes on top of this one, one per subject."""

    records: ClassVar[Any] = AgentRecord

    def commit(self, record: AgentRecord) -> None:
        """Write a record and do what it says; what is sent from here on waits until it is on disk."""
        self.persist(record)
        checkpoint.apply(self.state, record)

    def new_uuid(self) -> str:
        """A random id (RFC 4122, version 4), from the actor's own chance."""
        text = f"{self.random.getrandbits(128) & _UUID_CHANCE | _UUID_VERSION:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def to_master(self, message: Message) -> None:
        """Send to the master that has registered this agent; nothing is sent while there is none."""
        if self.state.leader is not None:
            self.send(self.state.leader, message)

    def is_from_master(self, sender: PID, message: Message) -> bool:
        """Whether the leading master, and nobody else, says this; other senders are ignored and logged."""
        if sender == self.state.leader:
            return True
        log.warning("ignored %s from %s, which is not the leading master", type(message).__name__, sender)
        return False

    def is_from_self(self, sender: PID, message: Message) -> bool:
        """Whether this is a timer of the agent's own: any peer can send any message."""
        if sender == self.pid:
            return True
        log.warning("ignored %s from %s: it is the agent's own business", type(message).__name__, sender)
        return False

    def agent_info(self) -> AgentInfo:
        """Who this agent is, as the master knows it."""
        settings = self.state.settings
        return AgentInfo(
            hostname=settings.hostname,
            resources=settings.resources + self.own_gpus(),
            agent_id=self.state.agent_id,
            attributes=settings.attributes,
            address=settings.address,
            http_address=settings.http_address,
            version=settings.version,
            capabilities=CAPABILITIES,
            not_isolated=self.state.not_isolated,
        )

    def containerizer_gone(self, reason: str) -> None:
        """Containers run on without it; attach to its successor."""
        if self.state.ready:
            log.warning("the containerizer is gone (%s); containers run on, attaching again", reason)
        elif not self.state.containerizer_timer:
            log.warning("no containerizer (%s); trying again", reason, extra={"limited_by": "no containerizer"})
        self.state.ready = False
        self.attach_later(None)

    def attach_later(self, answer: Message | None) -> None:
        """One attempt at a time: the loss of the link and the failure of a question are told one after the other."""
        if self.state.containerizer_timer:
            return
        if isinstance(answer, AskFailed):
            log.warning("no containerizer (%s); trying again", answer.reason, extra={"limited_by": "no containerizer"})
        delay = min(
            CONTAINERIZER_RETRY_SECONDS * 2.0**self.state.containerizer_attempts, CONTAINERIZER_RETRY_MAX_SECONDS
        )
        self.state.containerizer_attempts += 1
        self.state.containerizer_timer = self.after(delay, TryContainerizer())

    def own_gpus(self) -> Resources:
        """The GPUs that the containerizer can grant, unless the agent was told how many to offer."""
        if not self.state.gpus or self.state.settings.resources.scalar("gpus"):
            return EMPTY
        return Resources.scalar_only(gpus=self.state.gpus)

    def executor_in(self, container_id: str) -> Executor | None:
        """The executor whose container that is."""
        ids = self.state.containers.get(container_id)
        return self.state.executor(*ids) if ids is not None else None

    def status(
        self,
        task_id: str,
        state: TaskState,
        reason: Reason | None,
        message: str,
        executor: Executor | None = None,
        exit_code: int | None = None,
    ) -> TaskStatus:
        """A status that the agent itself gives."""
        return TaskStatus(
            task_id=task_id,
            state=state,
            source=Source.AGENT,
            reason=reason,
            message=message,
            agent_id=self.state.agent_id,
            executor_id=executor.executor_id if executor is not None else "",
            container_id=executor.container_id if executor is not None else "",
            timestamp=self.now,
            uuid=self.new_uuid(),
            exit_code=exit_code,
        )

    def for_framework(self, framework_id: str, state: TaskState) -> TaskState:
        """`state`, or LOST in the place of states that only partition-aware frameworks know."""
        framework = self.state.frameworks.get(framework_id)
        aware = framework is None or "PARTITION_AWARE" in framework.info.capabilities
        return state if aware or state not in {TaskState.DROPPED, TaskState.GONE} else TaskState.LOST
