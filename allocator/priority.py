"""Strict priority: who comes first gets all it can take before anybody after gets anything.

A framework's priority in a role is its own (`RoleTerms.priority`) where it is not 0, else the role's, else that of the
nearest ancestor that has one, else 0. Higher comes first; among equals the least dominant share does (`allocator.drf`).
Quota comes before priority: guarantees are met first, whoever they are for, and limits hold for all.

Starvation is what this policy means: as long as somebody of higher priority takes every offer, nobody below gets any.
:func:`starved` says who that is; the allocator actor counts how long and warns. What would have to end to make room is
:func:`preemption_plan`, which is a plan only: nothing here ends a task. Mesos has no such allocator.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from allocator.allocate import SortedPolicy
from allocator.drf import ShareSorter
from allocator.resources import Quantities, Resources, contains_quantities
from allocator.roles import lineage
from allocator.snapshot import Client, Snapshot
from allocator.sorter import Sorter


class StrictPriority(SortedPolicy):
    """Higher priority first, dominant resource fairness among equals."""

    name = "priority"

    def sorter(self, snapshot: Snapshot, chance: random.Random) -> Sorter:
        """One rank for each priority."""
        ranks: dict[int, dict[str, set[str]]] = {}
        for role, members in snapshot.wanting.items():
            for framework_id in members:
                rank = ranks.setdefault(priority_of(snapshot, (role, framework_id)), {})
                rank.setdefault(role, set()).add(framework_id)
        return ShareSorter(snapshot, [ranks[priority] for priority in sorted(ranks, reverse=True)])

    def starved(self, snapshot: Snapshot) -> Sequence[Client]:
        """Those without anything below those with something."""
        return starved(snapshot)


def priority_of(snapshot: Snapshot, client: Client) -> int:
    """The priority of a framework in a role."""
    role, framework_id = client
    framework = snapshot.frameworks.get(framework_id)
    terms = framework.terms.get(role) if framework is not None else None
    if terms is not None and terms.priority:
        return terms.priority
    for path in lineage(role):
        if path in snapshot.priorities:
            return snapshot.priorities[path]
    return 0


def starved(snapshot: Snapshot) -> list[Client]:
    """Clients that want offers and have nothing at all, while one of higher priority has something; sorted."""
    ranked = [
        (priority_of(snapshot, (role, framework_id)), (role, framework_id))
        for role, members in snapshot.wanting.items()
        for framework_id in members
    ]
    served = [priority for priority, client in ranked if _has_something(snapshot, client)]
    if not served:
        return []
    highest = max(served)
    return sorted(client for priority, client in ranked if priority < highest and not _has_something(snapshot, client))


def _has_something(snapshot: Snapshot, client: Client) -> bool:
    totals = snapshot.clients.get(client)
    return totals is not None and any(totals.allocated)


class RunningTask(msgspec.Struct, frozen=True, gc=False):
    """A task that could be ended to make room."""

    task_id: str
    framework_id: str
    role: str
    agent_id: str
    resources: Resources
    started: float = 0.0


class Preemption(msgspec.Struct, frozen=True, gc=False):
    """Which tasks of one agent would have to end so that a client can have what it needs there."""

    agent_id: str
    tasks: tuple[RunningTask, ...]


def preemption_plan(
    snapshot: Snapshot, client: Client, needed: Quantities, tasks: Iterable[RunningTask]
) -> Preemption | None:
    """Where and of whom resources would have to be taken so that `client` gets `needed` on one agent.

    Only tasks of lower priority are considered, the lowest and among these the youngest first, and none that turns out
    not to be needed. The agent on which the highest priority that must go is lowest, then the fewest tasks, is chosen.
    None when no such set exists; an empty set of tasks when enough is free already.
    """
    mine = priority_of(snapshot, client)
    by_agent: dict[str, list[RunningTask]] = {}
    for task in tasks:
        if priority_of(snapshot, (task.role, task.framework_id)) < mine:
            by_agent.setdefault(task.agent_id, []).append(task)
    found: list[tuple[int, int, str, tuple[RunningTask, ...]]] = []
    for agent_id, agent in sorted(snapshot.agents.items()):
        if not snapshot.is_offerable(agent):
            continue
        free = agent.free.allocatable_to(client[0]).scalars()
        victims = _victims(snapshot, free, needed, by_agent.get(agent_id, ()), client[0])
        if victims is not None:
            worst = max((priority_of(snapshot, (task.role, task.framework_id)) for task in victims), default=mine)
            found.append((worst if victims else -(2**63), len(victims), agent_id, victims))
    if not found:
        return None
    _, _, agent_id, chosen = min(found, key=lambda entry: entry[:3])
    return Preemption(agent_id, chosen)


def _victims(
    snapshot: Snapshot, free: Mapping[str, int], needed: Quantities, tasks: Sequence[RunningTask], role: str
) -> tuple[RunningTask, ...] | None:
    """The tasks of one agent that must go, or None when all of them are not enough."""
    order = sorted(
        tasks, key=lambda task: (priority_of(snapshot, (task.role, task.framework_id)), -task.started, task.task_id)
    )
    have = dict(free)
    chosen: list[RunningTask] = []
    for task in order:
        if contains_quantities(have, needed):
            break
        _gain(have, task.resources.allocatable_to(role).scalars(), 1)
        chosen.append(task)
    if not contains_quantities(have, needed):
        return None
    for task in tuple(chosen):
        gain = task.resources.allocatable_to(role).scalars()
        _gain(have, gain, -1)
        if contains_quantities(have, needed):
            chosen.remove(task)
        else:
            _gain(have, gain, 1)
    return tuple(chosen)


def _gain(have: Quantities, amounts: Mapping[str, int], sign: int) -> None:
    for name, amount in amounts.items():
        have[name] = have.get(name, 0) + sign * amount
