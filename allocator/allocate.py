"""One decision: which free resources go to whom. A pure function of a snapshot, an order of agents and a sorter.

As in Mesos (`hierarchical.cpp`, __generateOffers) a cycle has two stages, each over all agents in question:

1. *guarantees*: roles whose quota guarantee is not met get what is missing, and with it whatever else of that agent is
   neither under a guarantee nor beyond a limit.
2. *fair*: what is left goes to everybody in the sorter's order, up to quota limits, and as long as enough stays free
   in the whole cluster for the guarantees that are still not met (headroom).

An agent's resources are handed out coarsely: the first framework that may have them gets all that its role may have.
A quota covers a top-level role with all roles under it, here also for nested roles (Mesos checks the role itself).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from allocator.constants import AGENT_STEPS, UNLIMITED
from allocator.constraints import holds_for
from allocator.plan import Grant, Plan, charged_part
from allocator.resources import EMPTY, Amounts, Quantities, Resources, shrink
from allocator.roles import top_level
from allocator.snapshot import (
    MODULUS,
    Agent,
    Client,
    Framework,
    Refusal,
    Snapshot,
    Vector,
    add,
    fits,
    in_random_order,
    scalars_of,
    subtract,
)
from allocator.sorter import Sorter, Turn

Stage: TypeAlias = Literal["guarantees", "fair"]


class Policy(Protocol):
    """What decides. A class of this shape is what ``--allocator module:Class`` names; it is made without arguments.

    name         for logs and metrics
    stages       of a cycle, in order; one call for each (part of the) stage
    incremental  whether an agent that nobody took stays untaken until something about it, or anybody's wishes, change;
                 if not, every batch considers all agents
    """

    name: str
    stages: tuple[Stage, ...]
    incremental: bool

    def order(self, snapshot: Snapshot, agent_ids: Collection[str], chance: random.Random) -> list[str]:
        """The agents of a stage, first to be considered first."""

    def allocate(
        self, snapshot: Snapshot, agent_ids: Sequence[str], stage: Stage, chance: random.Random, steps: int
    ) -> Plan:
        """Decide about these agents, or as many from the front as about `steps` looks at a framework allow."""


class SortedPolicy:
    """Base of policies that differ only in the order of service: quota, filters and all other rules are shared."""

    name: str = "sorted"
    stages: tuple[Stage, ...] = ("guarantees", "fair")
    incremental: bool = True

    def sorter(self, snapshot: Snapshot, chance: random.Random) -> Sorter:
        """The order of service for one decision."""
        raise NotImplementedError(f"{type(self).__name__} must say how it sorts: define sorter(snapshot, chance)")

    def starved(self, snapshot: Snapshot) -> Sequence[Client]:
        """Who gets nothing because the policy means it so; fair policies starve nobody."""
        return ()

    def order(self, snapshot: Snapshot, agent_ids: Collection[str], chance: random.Random) -> list[str]:
        """At random, so that the effect of one stage is spread over all agents."""
        return in_random_order(snapshot.agents, agent_ids, chance.randrange(1, MODULUS))

    def allocate(
        self, snapshot: Snapshot, agent_ids: Sequence[str], stage: Stage, chance: random.Random, steps: int
    ) -> Plan:
        """Serve the agents one after the other."""
        if stage == "guarantees":
            wanting = {
                role: members
                for role, members in snapshot.wanting.items()
                if snapshot.quota(top_level(role)).guarantees
            }
            if not wanting:
                return Plan(visited=len(agent_ids))
            snapshot = msgspec.structs.replace(snapshot, wanting=wanting)
        return _Round(snapshot, self.sorter(snapshot, chance), stage).run(agent_ids, steps)


class _Round:
    """The working figures of one decision: what the snapshot says, and what was granted since."""

    def __init__(self, snapshot: Snapshot, sorter: Sorter, stage: Stage) -> None:
        self._snapshot = snapshot
        self._sorter = sorter
        self._guarantees_only = stage == "guarantees"
        self._zero: Vector = (0,) * len(snapshot.names)
        self._unlimited: Vector = (UNLIMITED,) * len(snapshot.names)
        self._limits = {role: limit for role in snapshot.quotas if (limit := snapshot.limit(role)) is not None}
        # A guarantee beyond the limit, which only a forced quota can have, ends at the limit.
        self._guarantees = {
            role: tuple(map(min, snapshot.vector(dict(quota.guarantees)), self._limits.get(role, self._unlimited)))
            for role, quota in snapshot.quotas.items()
            if quota.guarantees
        }
        self._consumed = {role: snapshot.consumed(role) for role in snapshot.quotas}
        self._rooms = {role: subtract(limit, self._consumed[role]) for role, limit in self._limits.items()}
        self._spare = snapshot.surplus
        self._unmet: dict[str, Vector] = {}
        for role in self._guarantees:
            self._measure_guarantee(role)
        self._particular = {framework.framework_id for framework in snapshot.frameworks.values() if framework.terms}
        self._minimum = _compiled(snapshot, snapshot.minimum)
        self._grants: list[Grant] = []
        self._held_back: list[str] = []
        self._shared: dict[str, Resources] = {}
        # Of the agent that is being served:
        self._rest: Resources = EMPTY
        self._pending: Iterator[Turn] = iter(())
        self._was_held_back = False

    def run(self, agent_ids: Sequence[str], steps: int) -> Plan:
        """Serve agents in order until they, or the steps, are used up; at least one."""
        visited = spent = 0
        agents, is_offerable = self._snapshot.agents, self._snapshot.is_offerable
        for agent_id in agent_ids:
            visited += 1
            agent = agents[agent_id]
            if agent.free.items and is_offerable(agent):
                spent += AGENT_STEPS + self._serve(agent)
            else:
                spent += 1
            if self._guarantees_only and not self._unmet:
                return Plan(tuple(self._grants), tuple(self._held_back), len(agent_ids), spent)
            if spent >= steps:
                break
        return Plan(tuple(self._grants), tuple(self._held_back), visited, spent)

    # One agent -------------------------------------------------------------------------------------------------------

    def _serve(self, agent: Agent) -> int:
        """Hand out what is free on one agent; how many frameworks were looked at."""
        self._rest = agent.free
        self._pending = self._sorter.roles()
        self._was_held_back = False
        looked = 0
        while self._rest.items:
            turn = next(self._pending, None)
            if turn is None:
                break
            if self._guarantees_only and top_level(turn[0]) not in self._unmet:
                continue
            looked += self._serve_role(agent, turn)
        if self._was_held_back and self._rest.items:
            self._held_back.append(agent.agent_id)
        return looked

    def _serve_role(self, agent: Agent, turn: Turn) -> int:
        """Offer the rest of an agent to the frameworks of one role, in order."""
        role = turn[0]
        now = self._snapshot.now
        refusals = self._snapshot.refusals.get(agent.agent_id)
        easy = agent.plain and not agent.has_gpus and not (agent.region and is_remote(self._snapshot, agent))
        particular = self._particular
        common: Resources | None = None
        looked = 0
        pending: Iterator[str] | None = self._sorter.frameworks(turn)
        while pending is not None:
            after: Iterator[str] | None = None
            for framework_id in pending:
                looked += 1
                if easy and framework_id not in particular:
                    # All such frameworks of a role would get the same: work it out once.
                    offer = common = self._common(agent, role) if common is None else common
                    if not offer.items and not particular:
                        break
                else:
                    offer = self._tailored(agent, role, self._snapshot.frameworks[framework_id])
                if not offer.items:
                    continue
                if refusals is not None and (refused := refusals.get((role, framework_id))) is not None:
                    last = refused[-1]
                    if (last.resources is offer and now <= last.until) or _is_refused(refused, offer, now):
                        continue
                self._rest = EMPTY if offer is self._rest else (self._rest - offer).non_shared()
                if self._rest.items:
                    # The grant changes both orders; who comes after is decided by how they were before.
                    self._pending, after = iter(list(self._pending)), iter(list(pending))
                self._commit(agent, role, framework_id, offer)
                common = None
                break
            pending = None if self._guarantees_only and top_level(role) not in self._unmet else after
        return looked

    def _common(self, agent: Agent, role: str) -> Resources:
        """What every framework of a role that has no terms of its own would get."""
        offer = self._bounded(agent, self._rest, role)
        return offer if self._is_enough(agent, offer, self._minimum) else EMPTY

    def _commit(self, agent: Agent, role: str, framework_id: str, offer: Resources) -> None:
        """Grant an offer and keep all figures right."""
        whole = offer is agent.free
        vector = agent.vector if whole else scalars_of(self._snapshot.names, offer)
        self._sorter.allocated(role, framework_id, vector)
        self._grants.append(Grant(framework_id, role, agent.agent_id, offer))
        if not agent.plain and offer.has_shared():
            self._shared[agent.agent_id] = self._shared.get(agent.agent_id, EMPTY) + offer.shared()
        if self._consumed:
            charged = agent.surplus if whole else scalars_of(self._snapshot.names, charged_part(offer))
            top = top_level(role)
            if self._unmet:
                self._spare = subtract(self._spare, charged)
            if top in self._consumed:
                self._consumed[top] = add(self._consumed[top], charged)
                if top in self._rooms:
                    self._rooms[top] = subtract(self._rooms[top], charged)
                if top in self._unmet:
                    self._measure_guarantee(top)

    # What one client may have ----------------------------------------------------------------------------------------

    def _tailored(self, agent: Agent, role: str, framework: Framework) -> Resources:
        """What one framework may have of the rest: what it can handle, at least what it asks for."""
        snapshot = self._snapshot
        terms = framework.terms.get(role)
        if terms is not None and not holds_for(terms.constraints, agent):
            return EMPTY
        if not may_see(snapshot, agent, framework):
            return EMPTY
        mine = self._rest
        if not agent.plain:
            seen = snapshot.shared.get(agent.agent_id, EMPTY) + self._shared.get(agent.agent_id, EMPTY)
            mine = usable(mine.allocatable_to(role) - seen, framework)
        offer = self._bounded(agent, mine, role)
        own = terms.minimum if terms is not None else None
        minimum = self._minimum if own is None else _compiled(snapshot, own)
        return offer if self._is_enough(agent, offer, minimum) else EMPTY

    def _bounded(self, agent: Agent, mine: Resources, role: str) -> Resources:
        """As much of `mine` as quota and headroom leave."""
        if not self._consumed:
            return mine
        top = top_level(role)
        if self._guarantees_only:
            return self._towards_guarantee(agent, mine, top)
        room = self._rooms.get(top)
        if (
            mine is agent.free
            and (room is None or fits(agent.surplus, room))
            and (not self._unmet or fits(agent.surplus, self._spare))
        ):
            return mine
        bound = self._room(top)
        if bound is None:
            return mine
        bounded = self._within(mine, bound)
        if bounded is not mine:
            self._was_held_back = True
        return bounded

    def _towards_guarantee(self, agent: Agent, mine: Resources, top: str) -> Resources:
        """What a role may have in the first stage: nothing, unless some of it is missing from its guarantee."""
        unmet = self._unmet[top]
        if mine is agent.free and agent.plain and any(map(min, agent.surplus, unmet)):
            # Usually all of it may be had: what is missing without condition, and the rest within quota and headroom.
            beyond = tuple([max(0, part) for part in subtract(agent.surplus, unmet)])
            room = self._rooms.get(top)
            if fits(beyond, self._spare) and (room is None or fits(agent.surplus, room)):
                return mine
        quota = charged_part(mine).filter(lambda resource: resource.scalar > 0)
        progress = shrink(quota, self._named(unmet))
        if not progress:
            return EMPTY
        extra = quota - progress
        bound = self._room(top, scalars_of(self._snapshot.names, progress))
        if bound is not None:
            extra = shrink(extra, self._named(bound))
        return mine - quota + progress + extra

    def _room(self, top: str, promised: Vector | None = None) -> Vector | None:
        """How much a role may grow by, beside what is promised to it by its guarantee; None for without bound."""
        bound = self._rooms.get(top)
        if bound is not None and promised is not None:
            bound = subtract(bound, promised)
        if self._unmet:
            bound = self._spare if bound is None else tuple(map(min, bound, self._spare))
        return bound

    def _within(self, mine: Resources, bound: Vector) -> Resources:
        """All of `mine` that no quota is about, and of the rest as much as `bound` allows."""
        charged = charged_part(mine)
        limited = shrink(charged, self._named(bound))
        return mine if limited is charged else mine - charged + limited

    def _named(self, vector: Vector) -> Quantities:
        """A vector as amounts by name, nothing below zero."""
        return {name: max(part, 0) for name, part in zip(self._snapshot.names, vector, strict=True)}

    def _measure_guarantee(self, top: str) -> None:
        """Work out what is missing from a role's guarantee, and what may go to others with that kept free."""
        missing = tuple([max(0, part) for part in subtract(self._guarantees[top], self._consumed[top])])
        self._spare = subtract(add(self._spare, self._unmet.pop(top, self._zero)), missing)
        if any(missing):
            self._unmet[top] = missing

    def _is_enough(self, agent: Agent, offer: Resources, minimum: _Minimum | None) -> bool:
        """Whether an offer has one of the minimum amounts."""
        if not offer.items:
            return False
        if minimum is None:
            return True
        vector = agent.vector if offer is agent.free else scalars_of(self._snapshot.names, offer)
        for needed in minimum:
            for at, amount in needed:
                if vector[at] < amount:
                    break
            else:
                return True
        return False


_Minimum: TypeAlias = tuple[tuple[tuple[int, int], ...], ...]
"""Sets of amounts of which an offer must have one, as positions in vectors and thousandths."""


def _compiled(snapshot: Snapshot, minimum: tuple[Amounts, ...]) -> _Minimum | None:
    """Amounts by position, without sets that have a name that no agent has; None where no minimum is asked for."""
    if not minimum:
        return None
    at = {name: position for position, name in enumerate(snapshot.names)}
    return tuple(
        tuple((at[name], amount) for name, amount in needed)
        for needed in minimum
        if all(name in at for name, _ in needed)
    )


def is_remote(snapshot: Snapshot, agent: Agent) -> bool:
    """Whether an agent is in another region than the master."""
    return bool(agent.region) and bool(snapshot.region) and agent.region != snapshot.region


def _is_refused(refusals: tuple[Refusal, ...], offer: Resources, now: float) -> bool:
    return any(refusal.refuses(offer, now) for refusal in refusals)


def may_see(snapshot: Snapshot, agent: Agent, framework: Framework) -> bool:
    """Whether agents of that kind are offered to that framework at all: GPUs, and other regions, need a capability."""
    if agent.has_gpus and snapshot.filter_gpus and "GPU_RESOURCES" not in framework.capabilities:
        return False
    return not is_remote(snapshot, agent) or "REGION_AWARE" in framework.capabilities


def usable(resources: Resources, framework: Framework) -> Resources:
    """Without what the framework has no capability for (Mesos: stripIncapableResources)."""
    can = framework.capabilities
    shared, revocable = "SHARED_RESOURCES" in can, "REVOCABLE_RESOURCES" in can
    refined = "RESERVATION_REFINEMENT" in can
    return resources.filter(
        lambda resource: (
            (shared or not resource.shared)
            and (revocable or not resource.revocable)
            and (refined or not resource.refined)
        )
    )
