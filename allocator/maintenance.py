"""Inverse offers: asking frameworks to leave agents that are to be maintained.

One per framework and agent is outstanding at a time; what the framework says is recorded, no more. A new window starts
afresh. Inverse offers carry no resources: the whole machine is meant (`hierarchical.cpp`, generateInverseOffers).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from allocator.records import InverseAllocation
from allocator.snapshot import Snapshot


class Inverse(msgspec.Struct):
    """What is known about one agent's window.

    outstanding    frameworks that were asked and have not answered
    refused_until  when a framework may be asked again
    answers        the last answer of each: True for accepted
    """

    outstanding: set[str] = set()
    refused_until: dict[str, float] = {}
    answers: dict[str, bool] = {}


def inverse_allocations(
    snapshot: Snapshot, inverses: dict[str, Inverse], agent_ids: Iterable[str]
) -> list[InverseAllocation]:
    """Whom to ask now. Marks nothing: see :func:`mark`."""
    asked: list[InverseAllocation] = []
    for agent_id in sorted(agent_ids):
        agent = snapshot.agents.get(agent_id)
        if agent is None or agent.unavailability is None:
            continue
        inverse = inverses.get(agent_id, Inverse())
        for framework_id in sorted({framework_id for _, framework_id in agent.held}):
            framework = snapshot.frameworks.get(framework_id)
            if framework is None or not framework.active or framework_id in inverse.outstanding:
                continue
            if snapshot.now <= inverse.refused_until.get(framework_id, float("-inf")):
                continue
            asked.append(InverseAllocation(framework_id, agent_id, agent.unavailability))
    return asked


def mark(inverses: dict[str, Inverse], asked: Iterable[InverseAllocation]) -> None:
    """Remember that these were asked."""
    for allocation in asked:
        inverses.setdefault(allocation.agent_id, Inverse()).outstanding.add(allocation.framework_id)


def settle(
    inverses: dict[str, Inverse], framework_id: str, agent_id: str, accepted: bool | None, refused_until: float | None
) -> None:
    """Record an answer; one about a window that is no more says nothing."""
    inverse = inverses.get(agent_id)
    if inverse is None:
        return
    inverse.outstanding.discard(framework_id)
    if accepted is not None:
        inverse.answers[framework_id] = accepted
    if refused_until is not None:
        inverse.refused_until[framework_id] = refused_until
