"""Master and registrar: what must outlive every master, changed one pure operation at a time.

The registry knows which agents are admitted, unreachable and gone, never which tasks run. An :class:`Apply` is answered
by :class:`Applied` once a batch of operations is in the store, or :class:`NotApplied`; nothing is spoken of before.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec

from actors.messages.records import AgentInfo, Record
from runtime.message import Message, Overflow


class RegisteredAgent(Record, frozen=True, kw_only=True):
    """An admitted agent. unreachable_since, gone_since: seconds since the epoch, or None."""

    info: AgentInfo
    unreachable_since: float | None = None
    gone_since: float | None = None


class AdmitAgent(Record, frozen=True, kw_only=True, tag=True):
    """A new agent is admitted; refused if its id is known."""

    agent: AgentInfo


class UpdateAgentInfo(Record, frozen=True, kw_only=True, tag=True):
    """An admitted agent came back with another description."""

    agent: AgentInfo


class MarkReachable(Record, frozen=True, kw_only=True, tag=True):
    """An unreachable agent, or one that the registry had forgotten, is back."""

    agent: AgentInfo


class MarkUnreachable(Record, frozen=True, kw_only=True, tag=True):
    """An agent does not answer since that time."""

    agent_id: str
    since: float


class RemoveAgent(Record, frozen=True, kw_only=True, tag=True):
    """An agent has left for good."""

    agent_id: str


class Prune(Record, frozen=True, kw_only=True, tag=True):
    """Forget unreachable and gone agents of before `before`, and the oldest beyond `keep`."""

    before: float
    keep: int


RegistryOperation: TypeAlias = AdmitAgent | UpdateAgentInfo | MarkReachable | MarkUnreachable | RemoveAgent | Prune


class Registry(msgspec.Struct, frozen=True, gc=False):
    """All of it."""

    agents: tuple[RegisteredAgent, ...] = ()


class RegistryMessage(Message, frozen=True, kw_only=True, tag="registry.{}".format):
    """Base of this conversation."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class RecoverRegistry(RegistryMessage, frozen=True, kw_only=True):
    """Read the registry, and take it over under a new epoch; answered by :class:`RegistryRecovered`."""


class RegistryRecovered(RegistryMessage, frozen=True, kw_only=True):
    """This is the registry, and from now on nobody of an older epoch can write it."""

    registry: Registry
    epoch: int


class Apply(RegistryMessage, frozen=True, kw_only=True):
    """Change the registry."""

    operation: RegistryOperation


class Applied(RegistryMessage, frozen=True, kw_only=True):
    """It is in the store."""


class NotApplied(RegistryMessage, frozen=True, kw_only=True):
    """The operation makes no sense for the registry as it is; nothing was changed."""

    reason: str
