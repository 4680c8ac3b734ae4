"""What each registry operation does, as a pure function (Mesos: `src/master/registry_operations.hpp`).

A change names only the agents that it touches, so that its cost, and that of writing it, does not follow the size of
the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias, assert_never

import msgspec

from actors.messages.registry import (
    AdmitAgent,
    MarkReachable,
    MarkUnreachable,
    Prune,
    RegisteredAgent,
    RegistryOperation,
    RemoveAgent,
    UpdateAgentInfo,
)

Agents: TypeAlias = Mapping[str, RegisteredAgent]
"""The registry's agents by id."""

Changes: TypeAlias = Mapping[str, RegisteredAgent | None]
"""The agents that an operation changes: their new entry, or None for those that are forgotten."""


class Refused(msgspec.Struct, frozen=True):
    """The operation makes no sense for the registry as it is."""

    reason: str


def perform(agents: Agents, operation: RegistryOperation) -> Changes | Refused:
    """What `operation` changes; empty when all is as it says already."""
    match operation:
        case AdmitAgent(agent=info):
            if info.agent_id in agents:
                return Refused(f"agent {info.agent_id} is in the registry already: ask for another id")
            return {info.agent_id: RegisteredAgent(info=info)}
        case UpdateAgentInfo(agent=info):
            present = agents.get(info.agent_id)
            if present is None or present.unreachable_since is not None or present.gone_since is not None:
                return Refused(f"agent {info.agent_id} is not admitted: it must register again")
            return _changed(agents, RegisteredAgent(info=info))
        case MarkReachable(agent=info):
            present = agents.get(info.agent_id)
            if present is not None and present.gone_since is not None:
                return Refused(f"agent {info.agent_id} was marked gone: it cannot come back under this id")
            return _changed(agents, RegisteredAgent(info=info))
        case MarkUnreachable(agent_id=agent_id, since=since):
            present = agents.get(agent_id)
            if present is None or present.gone_since is not None:
                return Refused(f"agent {agent_id} is not admitted, so it cannot become unreachable")
            if present.unreachable_since is not None:
                return {}
            return {agent_id: msgspec.structs.replace(present, unreachable_since=since)}
        case RemoveAgent(agent_id=agent_id):
            if agent_id not in agents:
                return Refused(f"agent {agent_id} is not in the registry")
            return {agent_id: None}
        case Prune(before=before, keep=keep):
            return dict.fromkeys(_prunable(agents, before, keep))
        case _:
            assert_never(operation)


def _changed(agents: Agents, entry: RegisteredAgent) -> Changes:
    agent_id = entry.info.agent_id
    return {} if agents.get(agent_id) == entry else {agent_id: entry}


def _prunable(agents: Agents, before: float, keep: int) -> list[str]:
    entries = agents.values()
    unreachable = [
        (entry.info.agent_id, entry.unreachable_since) for entry in entries if entry.unreachable_since is not None
    ]
    gone = [(entry.info.agent_id, entry.gone_since) for entry in entries if entry.gone_since is not None]
    return [*outdated(unreachable, before, keep), *outdated(gone, before, keep)]


def outdated(since: Iterable[tuple[str, float]], before: float, keep: int) -> list[str]:
    """Of agents and times since when they are away: those of earlier than `before`, and the oldest beyond `keep`."""
    oldest_first = sorted(since, key=lambda entry: (entry[1], entry[0]))
    beyond = max(0, len(oldest_first) - keep)
    return [agent_id for place, (agent_id, at) in enumerate(oldest_first) if place < beyond or at < before]
