"""What holds for every cluster: plans are those of an allocator that recomputes everything, and nothing gets lost."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocator import messages as m
from allocator.drf import DRF
from allocator.ledger import Ledger
from allocator.plan import check_plan
from allocator.priority import StrictPriority
from allocator.quota import Quota
from allocator.random_order import RandomOrder
from allocator.resource import Reservation, Resource
from allocator.resources import EMPTY, Quantities, Resources, shrink, total
from allocator.roles import is_within, lineage, top_level
from allocator.snapshot import Agent, Framework, Snapshot, scalars_of

ROLES = ("a", "a/b", "a/b/c", "d", "d/e", "f")
NAMES = ("cpus", "mem")
STEPS = 10**9

amount = st.integers(0, 8).map(lambda n: n * 500)
tops = st.sampled_from(("a", "d", "f"))


@st.composite
def resources(draw: Any) -> Resources:
    """Some CPUs and memory, perhaps ports, perhaps partly reserved or revocable."""
    parts = [Resource(name, draw(amount)) for name in NAMES]
    if draw(st.booleans()):
        parts.append(Resource("ports", ranges=((1, draw(st.integers(1, 5))),)))
    if draw(st.integers(0, 3)) == 0:
        parts.append(Resource("cpus", draw(amount), reservations=(Reservation(draw(st.sampled_from(ROLES))),)))
    if draw(st.integers(0, 5)) == 0:
        parts.append(Resource("cpus", draw(amount), revocable=True))
    return Resources.of(*parts)


@st.composite
def ledgers(draw: Any) -> Ledger:
    """A cluster in the middle of its life."""
    ledger = Ledger(minimum=draw(st.sampled_from([(), ((("cpus", 10),), (("mem", 32),))])))
    frameworks = draw(st.lists(st.tuples(st.sampled_from(ROLES), st.sampled_from(ROLES)), min_size=1, max_size=6))
    for n, roles in enumerate(frameworks):
        able = ("REVOCABLE_RESOURCES",) if draw(st.booleans()) else ()
        active = draw(st.integers(0, 5)) > 0
        ledger.set_framework(
            Framework(framework_id=f"f{n}", roles=tuple(sorted(set(roles))), capabilities=able, active=active)
        )
    for n in range(draw(st.integers(1, 6))):
        has = draw(resources())
        use = draw(st.lists(st.tuples(st.integers(0, len(frameworks) - 1), resources()), max_size=2))
        used: list[m.Used] = []
        left = has
        for number, wanted in use:
            role = frameworks[number][0]
            part = (wanted - (wanted - left)).allocatable_to(role)
            left -= part
            used.append(m.Used(f"f{number}", role, part))
        number = draw(st.integers(1, 10**6)) * 10 + n
        ledger.add_agent(Agent(agent_id=f"s{n}", hostname=f"h{n}", number=number, total=has), used)
    ledger.weights = draw(st.dictionaries(st.sampled_from(ROLES), st.sampled_from([0.5, 2.0, 3.0])))
    for role in draw(st.sets(tops)):
        guarantees = {name: draw(amount) for name in NAMES if draw(st.booleans())}
        limits = {name: guarantees.get(name, 0) + draw(amount) for name in NAMES if draw(st.booleans())}
        ledger.quotas[role] = Quota(tuple(guarantees.items()), tuple(limits.items()))
    for _ in range(draw(st.integers(0, 6))):
        number = draw(st.integers(0, len(frameworks) - 1))
        client = (draw(st.sampled_from(frameworks[number])), f"f{number}")
        agent_id = draw(st.sampled_from(sorted(ledger.agents)))
        ledger.filters.refuse(client, agent_id, draw(resources()), draw(st.sampled_from([50.0, 150.0])), 0.0)
    return ledger


class BruteForce:
    """The two stages as MESOS-9249 found them: every share and sum is made anew whenever it is needed."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.s = snapshot
        self.held = {a: dict(agent.held) for a, agent in snapshot.agents.items()}
        self.counts = {client: totals.count for client, totals in snapshot.clients.items()}
        self.node_counts = {path: (t.own_count, t.subtree_count) for path, t in snapshot.roles.items()}
        self.grants: list[tuple[str, str, str, Resources]] = []

    def free(self, agent_id: str) -> Resources:
        return self.s.agents[agent_id].total - total(self.held[agent_id].values())

    def share(self, belongs: Any, weight: float) -> float:
        cluster = total(agent.total for agent in self.s.agents.values()).scalars()
        mine = total(r for held in self.held.values() for client, r in held.items() if belongs(client)).scalars()
        return max((value / cluster[name] for name, value in mine.items() if cluster.get(name)), default=0.0) / weight

    def roles(self) -> list[str]:
        roles = [role for role, members in self.s.wanting.items() if members]
        paths = {path for role in roles for path in lineage(role)}

        def key(path: str) -> tuple[float, int, str]:
            share = self.share(lambda client: is_within(client[0], path), self.s.weights.get(path, 1.0))
            return (share, self.node_counts.get(path, (0, 0))[1], path)

        def walk(parent: str) -> list[str]:
            below = [path for path in paths if path.rpartition("/")[0] == parent]
            keys = [(key(path), path) for path in below]
            if parent and parent in roles:
                own = self.share(lambda client: client[0] == parent, 1.0)
                keys.append(((own, self.node_counts.get(parent, (0, 0))[0], parent + "/."), ""))
            found: list[str] = []
            for _, path in sorted(keys):
                if not path:
                    found.append(parent)
                elif any(other.startswith(path + "/") for other in paths):
                    found += walk(path)
                else:
                    found.append(path)
            return found

        return walk("")

    def frameworks(self, role: str) -> list[str]:
        def key(framework_id: str) -> tuple[float, int, str]:
            share = self.share(lambda client: client == (role, framework_id), 1.0)
            return (share, self.counts.get((role, framework_id), 0), framework_id)

        return sorted(self.s.wanting[role], key=key)

    def consumed(self, top: str) -> Quantities:
        reserved = total(agent.total.reserved_within(top) for agent in self.s.agents.values())
        held = [r for held in self.held.values() for client, r in held.items() if top_level(client[0]) == top]
        return (reserved.flatten() + total(held).unreserved().non_revocable()).scalars()

    def missing(self, top: str) -> Quantities:
        quota, consumed = self.s.quota(top), self.consumed(top)
        gaps = {name: value - consumed.get(name, 0) for name, value in quota.guarantees}
        return {name: gap for name, gap in gaps.items() if gap > 0}

    def room(self, top: str) -> Quantities:
        consumed = self.consumed(top)
        room = {name: max(0, limit - consumed.get(name, 0)) for name, limit in self.s.quota(top).limits}
        required: Quantities = {}
        for role in self.s.quotas:
            for name, gap in self.missing(role).items():
                required[name] = required.get(name, 0) + gap
        if required:
            surplus = total(self.free(a).unreserved().non_revocable() for a in self.s.agents).scalars()
            for name in self.s.names:
                spare = max(0, surplus.get(name, 0) - required.get(name, 0))
                room[name] = min(room.get(name, spare), spare)
        return room

    def offer(self, agent_id: str, role: str, framework_id: str, stage: str) -> Resources:
        able = "REVOCABLE_RESOURCES" in self.s.frameworks[framework_id].capabilities
        mine = self.free(agent_id).allocatable_to(role)
        mine = mine if able else mine.non_revocable()
        quota = mine.unreserved().non_revocable().filter(lambda resource: resource.scalar > 0)
        top = top_level(role)
        if stage == "fair":
            offer = mine - quota + shrink(quota, self.room(top))
        else:
            missing = dict.fromkeys(self.s.names, 0) | self.missing(top)
            progress = shrink(quota, missing)
            if not progress:
                return EMPTY
            limits = dict(self.s.quota(top).limits)
            consumed = self.consumed(top)
            room = self.room(top)
            for name, value in progress.scalars().items():
                if name in limits:
                    left = max(0, limits[name] - consumed.get(name, 0) - value)
                    room[name] = min(room[name], left) if name in room else left
            offer = mine - quota + progress + shrink(quota - progress, room)
        enough = not self.s.minimum or any(
            all(offer.scalar(name) >= value for name, value in needed) for needed in self.s.minimum
        )
        refused = self.s.refusals.get(agent_id, {}).get((role, framework_id), ())
        return offer if enough and not any(r.refuses(offer, self.s.now) for r in refused) else EMPTY

    def run(self, order: list[str], stage: str) -> None:
        for agent_id in order:
            for role in self.roles():
                if stage == "guarantees" and not self.missing(top_level(role)):
                    continue
                for framework_id in self.frameworks(role):
                    if stage == "guarantees" and not self.missing(top_level(role)):
                        break
                    offer = self.offer(agent_id, role, framework_id, stage)
                    if offer:
                        self.grant(agent_id, role, framework_id, offer)

    def grant(self, agent_id: str, role: str, framework_id: str, offer: Resources) -> None:
        client = (role, framework_id)
        self.held[agent_id][client] = self.held[agent_id].get(client, EMPTY) + offer
        self.counts[client] = self.counts.get(client, 0) + 1
        for path in lineage(role):
            own, subtree = self.node_counts.get(path, (0, 0))
            self.node_counts[path] = (own + (path == role), subtree + 1)
        self.grants.append((framework_id, role, agent_id, offer))


def planned(
    ledger: Ledger, policy: Any, stage: Any, order: list[str], steps: int
) -> list[tuple[str, str, str, Resources]]:
    """Plan and carry out one stage, in as many calls as `steps` needs."""
    made = []
    chance = random.Random(1)
    rest = list(order)
    while rest:
        snapshot = ledger.snapshot(100.0)
        plan = policy.allocate(snapshot, rest, stage, chance, steps)
        check_plan(snapshot, plan)
        ledger.grant_all(plan.grants)
        made += [(g.framework_id, g.role, g.agent_id, g.resources) for g in plan.grants]
        del rest[: plan.visited]
    return made


def recounted(ledger: Ledger) -> None:
    """All sums are what a count gives."""
    names = ledger.names
    held = {
        (agent_id, client): scalars_of(names, r)
        for agent_id, a in ledger.agents.items()
        for client, r in a.held.items()
    }
    zero = (0,) * len(names)

    def summed(vectors: list[tuple[int, ...]]) -> tuple[int, ...]:
        return tuple(map(sum, zip(*vectors, strict=True))) if vectors else zero

    for client, totals in ledger.clients.items():
        assert totals.allocated == summed([v for (_, c), v in held.items() if c == client]), client
    for path, role in ledger.roles.items():
        assert role.own == summed([v for (_, c), v in held.items() if c[0] == path]), path
        assert role.subtree == summed([v for (_, c), v in held.items() if is_within(c[0], path)]), path
        reserved = total(a.total.reserved_within(path) for a in ledger.agents.values())
        assert role.reserved == scalars_of(names, reserved), path
        if "/" not in path:
            unreserved = [
                r.unreserved().non_revocable() for a in ledger.agents.values() for c, r in a.held.items()
                if is_within(c[0], path)
            ]  # fmt: skip
            assert role.charged == scalars_of(names, total(unreserved)), path
    for agent in ledger.agents.values():
        assert agent.free == agent.total - total(agent.held.values())
        assert agent.vector == scalars_of(names, agent.free)
        assert agent.surplus == scalars_of(names, agent.free.unreserved().non_revocable())
    assert ledger.surplus == summed([agent.surplus for agent in ledger.agents.values()])
    assert ledger.total == scalars_of(names, total(agent.total for agent in ledger.agents.values()))
    assert sorted(ledger.open) == sorted(i for agent in ledger.agents.values() for i in agent.open)


many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(ledgers(), st.sampled_from([1, 50, STEPS]))
def test_drf_equals_brute_force_however_it_is_cut_into_turns(ledger: Ledger, steps: int) -> None:
    recounted(ledger)
    order = sorted(ledger.agents, key=lambda agent_id: ledger.agents[agent_id].number)
    brute = BruteForce(ledger.snapshot(100.0))
    made = []
    for stage in DRF.stages:
        made += planned(ledger, DRF(), stage, order, steps)
        brute.run(order, stage)
    assert made == brute.grants
    recounted(ledger)


@many
@given(
    ledgers(),
    st.sampled_from([DRF, StrictPriority, RandomOrder]),
    st.dictionaries(st.sampled_from(ROLES), st.integers(0, 3)),
)
def test_plans_conserve_resources_and_keep_limits(ledger: Ledger, policy: Any, priorities: dict[str, int]) -> None:
    ledger.priorities = priorities
    free = {agent_id: agent.free for agent_id, agent in ledger.agents.items()}
    before = {role: ledger.snapshot(0.0).consumed(role) for role in ledger.quotas}
    given_out: dict[str, Resources] = {}
    for stage in policy.stages:
        for _, role, agent_id, offer in planned(ledger, policy(), stage, sorted(ledger.agents), STEPS):
            assert offer.allocatable_to(role) == offer
            given_out[agent_id] = given_out.get(agent_id, EMPTY) + offer
    assert all(offer in free[agent_id] for agent_id, offer in given_out.items())
    for role, quota in ledger.quotas.items():
        after = ledger.snapshot(0.0).consumed(role)
        for name, limit in quota.limits:
            if name in ledger.names:
                at = ledger.names.index(name)
                assert after[at] <= max(limit, before[role][at])
    recounted(ledger)


@many
@given(ledgers())
def test_settling_everything_gives_back_the_books_of_before(ledger: Ledger) -> None:
    before = {agent_id: agent.free for agent_id, agent in ledger.agents.items()}
    for stage in DRF.stages:
        planned(ledger, DRF(), stage, sorted(ledger.agents), STEPS)
    for allocation in tuple(ledger.open.values()):
        assert ledger.close(allocation, EMPTY, allocation.resources) == allocation.resources
    assert {agent_id: agent.free for agent_id, agent in ledger.agents.items()} == before
    recounted(ledger)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 2**32))
def test_nobody_starves_under_fair_sharing(frameworks: int, agents: int, seed: int) -> None:
    """Though all decline always, everybody's turn comes: with equal shares those with fewer allocations go first.

    At most 3 x 2 x 2 x 4 turns pass between two of one client: siblings on the way down, and frameworks in the role.
    """
    ledger = Ledger()
    chance = random.Random(seed)
    for n in range(frameworks):
        ledger.set_framework(Framework(framework_id=f"f{n}", roles=(chance.choice(ROLES),)))
    for n in range(agents):
        has = Resources.scalar_only(cpus=chance.randint(1, 8), mem=chance.randint(64, 1024))
        ledger.add_agent(Agent(agent_id=f"s{n}", hostname="h", number=chance.randrange(2**60), total=has), ())
    served: set[str] = set()
    for _ in range(48):
        order = DRF().order(ledger.snapshot(0.0), sorted(ledger.agents), chance)
        served |= {framework_id for framework_id, *_ in planned(ledger, DRF(), "fair", order, STEPS)}
        for allocation in tuple(ledger.open.values()):
            ledger.close(allocation, EMPTY, allocation.resources)
    assert served == set(ledger.frameworks)
