"""What every policy must keep, as tests that any policy can run against itself.

In a test module that pytest collects::

    from allocator.contract import PolicyContract
    from my_policies import BestFit

    class TestBestFit(PolicyContract):
        policy_class = BestFit

Each test runs on many generated clusters: with nested roles, quotas, weights, reservations, filters, agents in use,
frameworks that are suppressed or away. The rules are those of `allocator.plan.check_plan`, which guards the allocator
at run time as well, and some more that only a test can afford.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import ClassVar, Final

from allocator.allocate import Policy, may_see
from allocator.ledger import Ledger
from allocator.plan import Plan
from allocator.plugin import decide, order
from allocator.quota import Quota
from allocator.records import Used
from allocator.resource import Reservation, Resource
from allocator.resources import EMPTY, Resources
from allocator.snapshot import Agent, Framework

NOW: Final = 100.0
STEPS: Final = 10_000
_ROLES: Final = ("eng", "eng/web", "eng/web/api", "ops", "ops/ci", "ads")


def generated(seed: int) -> Ledger:
    """Books of a cluster in the middle of its life; the same seed gives the same books."""
    chance = random.Random(seed)
    ledger = Ledger()
    for n in range(chance.randint(1, 8)):
        roles = tuple(sorted(chance.sample(_ROLES, chance.randint(1, 2))))
        ledger.set_framework(
            Framework(
                framework_id=f"framework-{n}",
                roles=roles,
                suppressed=roles[:1] if chance.random() < 0.1 else (),
                capabilities=("GPU_RESOURCES",) if chance.random() < 0.5 else (),
                active=chance.random() < 0.9,
            )
        )
    for n in range(chance.randint(1, 12)):
        _add_agent(ledger, f"agent-{n}", chance)
    ledger.weights = {role: chance.choice((0.5, 2.0, 3.0)) for role in _ROLES if chance.random() < 0.3}
    ledger.priorities = {role: chance.randint(0, 3) for role in _ROLES if chance.random() < 0.3}
    for role in ("eng", "ops", "ads"):
        if chance.random() < 0.3:
            guarantee = chance.randrange(0, 6000, 500)
            limit = guarantee + chance.randrange(0, 6000, 500)
            ledger.quotas[role] = Quota((("cpus", guarantee),), (("cpus", limit),))
    for framework in tuple(ledger.frameworks.values()):
        for agent in tuple(ledger.agents.values()):
            if chance.random() < 0.2:
                client = (framework.roles[0], framework.framework_id)
                ledger.filters.refuse(client, agent.agent_id, agent.total, NOW + chance.choice((-1, 60)), 0.0)
    return ledger


def _add_agent(ledger: Ledger, agent_id: str, chance: random.Random) -> None:
    parts = [
        Resource("cpus", chance.randrange(0, 8000, 500)),
        Resource("mem", 1000 * chance.randrange(0, 4096, 256)),
        Resource("ports", ranges=((31000, 31000 + chance.randrange(100)),)),
    ]
    if chance.random() < 0.2:
        parts.append(Resource("gpus", 1000 * chance.randint(1, 4)))
    if chance.random() < 0.3:
        parts.append(Resource("cpus", 2000, reservations=(Reservation(chance.choice(_ROLES)),)))
    total = Resources.of(*parts)
    used: list[Used] = []
    if chance.random() < 0.5 and total.scalar("cpus") > 1000:
        framework = chance.choice(list(ledger.frameworks.values()))
        part = Resources.scalar_only(cpus=0.5) if Resources.scalar_only(cpus=0.5) in total else EMPTY
        used.append(Used(framework.framework_id, framework.roles[0], part))
    agent = Agent(
        agent_id=agent_id,
        hostname=f"host-of-{agent_id}",
        number=chance.randrange(1, 2**60),
        total=total,
        active=chance.random() < 0.9,
    )
    ledger.add_agent(agent, used)


class PolicyContract:
    """Derive from it in a test module and name the class of the policy."""

    policy_class: ClassVar[type[Policy]]
    seeds: ClassVar[range] = range(60)

    def clusters(self) -> Iterator[Ledger]:
        """Generated clusters, always the same."""
        return (generated(seed) for seed in self.seeds)

    def test_it_says_what_it_is(self) -> None:
        """Name, stages, and whether it works in increments."""
        policy = self.policy_class()
        assert policy.name
        assert isinstance(policy.name, str)
        assert policy.stages
        assert isinstance(policy.incremental, bool)

    def test_whole_cycles_break_no_rule(self) -> None:
        """Nothing is handed out that is not free, to nobody who does not want it, beyond no limit."""
        for ledger in self.clusters():
            for _, plan in _cycle(self.policy_class(), ledger, STEPS):
                ledger.grant_all(plan.grants)

    def test_it_goes_on_when_there_is_time_for_one_agent_only(self) -> None:
        """A call with hardly any steps still decides about an agent, and the cycle ends."""
        for ledger in self.clusters():
            calls = 0
            for _, plan in _cycle(self.policy_class(), ledger, 1):
                ledger.grant_all(plan.grants)
                calls += 1
            assert calls <= len(self.policy_class().stages) * len(ledger.agents)

    def test_it_changes_nothing_of_what_it_reads(self) -> None:
        """A snapshot is a view of the books: whoever decides must leave them as they are."""
        for ledger in self.clusters():
            before = copy.deepcopy(ledger)
            for _ in _cycle(self.policy_class(), ledger, STEPS):
                assert ledger == before
                break

    def test_equal_books_and_equal_chance_give_equal_plans(self) -> None:
        """Replaying a recording repeats its decisions: no clock, no set order, no chance but the one given."""
        for seed in self.seeds:
            first, second = generated(seed), generated(seed)
            plans = [plan for _, plan in _cycle(self.policy_class(), first, STEPS)]
            assert plans == [plan for _, plan in _cycle(self.policy_class(), second, STEPS)]

    def test_what_a_framework_refused_is_not_offered_to_it(self) -> None:
        """Filters hold."""
        for ledger in self.clusters():
            for _, plan in _cycle(self.policy_class(), ledger, STEPS):
                for grant in plan.grants:
                    client = (grant.role, grant.framework_id)
                    refusals = ledger.filters.by_agent.get(grant.agent_id, {}).get(client, ())
                    assert not any(refusal.refuses(grant.resources, NOW) for refusal in refusals), grant
                ledger.grant_all(plan.grants)

    def test_agents_with_gpus_are_for_frameworks_that_can_use_them(self) -> None:
        """Capabilities hold."""
        for ledger in self.clusters():
            snapshot = ledger.snapshot(NOW)
            for _, plan in _cycle(self.policy_class(), ledger, STEPS):
                for grant in plan.grants:
                    framework, agent = ledger.frameworks[grant.framework_id], ledger.agents[grant.agent_id]
                    assert may_see(snapshot, agent, framework), grant
                ledger.grant_all(plan.grants)

    def test_a_cluster_without_frameworks_or_agents_is_no_error(self) -> None:
        """There is nothing to decide, and it says so."""
        policy = self.policy_class()
        for stage in policy.stages:
            plan = decide(policy, Ledger().snapshot(NOW), [], stage, random.Random(1), STEPS)
            assert plan.grants == ()


def _cycle(policy: Policy, ledger: Ledger, steps: int) -> Iterator[tuple[str, Plan]]:
    """All plans of one cycle; the books may change between two of them, as they do in the allocator."""
    chance = random.Random(7)
    for stage in policy.stages:
        offerable = [agent_id for agent_id, agent in ledger.agents.items() if agent.active and agent.free]
        remaining = order(policy, ledger.snapshot(NOW), offerable, chance)
        while remaining:
            plan = decide(policy, ledger.snapshot(NOW), remaining, stage, chance, steps)
            yield stage, plan
            del remaining[: plan.visited]
