"""What each registry operation changes, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.master.registry_operations import Changes, Refused, outdated, perform
from actors.messages.records import AgentInfo
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
from allocator.resources import Resources


def info(agent_id: str, hostname: str = "h") -> AgentInfo:
    return AgentInfo(hostname=hostname, resources=Resources.parse("cpus:1"), agent_id=agent_id)


AGENTS = {
    "here": RegisteredAgent(info=info("here")),
    "away": RegisteredAgent(info=info("away"), unreachable_since=5.0),
    "gone": RegisteredAgent(info=info("gone"), gone_since=6.0),
}


@pytest.mark.parametrize(
    ("operation", "changes"),
    [
        (AdmitAgent(agent=info("new")), {"new": RegisteredAgent(info=info("new"))}),
        (UpdateAgentInfo(agent=info("here", "moved")), {"here": RegisteredAgent(info=info("here", "moved"))}),
        (UpdateAgentInfo(agent=info("here")), {}),
        (MarkReachable(agent=info("away")), {"away": RegisteredAgent(info=info("away"))}),
        (MarkReachable(agent=info("here")), {}),
        (MarkReachable(agent=info("forgotten")), {"forgotten": RegisteredAgent(info=info("forgotten"))}),
        (
            MarkUnreachable(agent_id="here", since=9.0),
            {"here": RegisteredAgent(info=info("here"), unreachable_since=9.0)},
        ),
        (MarkUnreachable(agent_id="away", since=9.0), {}),
        (RemoveAgent(agent_id="here"), {"here": None}),
        (Prune(before=5.5, keep=10), {"away": None}),
        (Prune(before=0.0, keep=0), {"away": None, "gone": None}),
        (Prune(before=5.0, keep=1), {}),
    ],
)
def test_operation_changes_what_it_names_and_nothing_else(operation: RegistryOperation, changes: Changes) -> None:
    assert perform(AGENTS, operation) == changes


@pytest.mark.parametrize(
    "operation",
    [
        AdmitAgent(agent=info("here")),
        AdmitAgent(agent=info("gone")),
        UpdateAgentInfo(agent=info("away")),
        UpdateAgentInfo(agent=info("unknown")),
        MarkReachable(agent=info("gone")),
        MarkUnreachable(agent_id="gone", since=9.0),
        MarkUnreachable(agent_id="unknown", since=9.0),
        RemoveAgent(agent_id="unknown"),
    ],
)
def test_operation_that_makes_no_sense_is_refused_with_a_sentence(operation: RegistryOperation) -> None:
    refused = perform(AGENTS, operation)
    assert isinstance(refused, Refused)
    assert "agent" in refused.reason


ages = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(0, 100))


@given(ages, st.floats(0, 100), st.integers(0, 10))
def test_pruning_keeps_the_newest_and_no_more_than_it_may(since: dict[str, float], before: float, keep: int) -> None:
    pruned = outdated(since.items(), before, keep)
    kept = since.keys() - set(pruned)
    assert len(kept) <= keep
    assert all(since[agent_id] >= before for agent_id in kept)
    recent = [at for at in since.values() if at >= before]
    assert sorted(since[agent_id] for agent_id in kept) == sorted(sorted(recent, reverse=True)[:keep])
