"""The allocator actor against a model, for any order of what a master may say; and against itself run in other ways."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from allocator import messages as m
from allocator.drf import DRF
from allocator.quota import Quota
from allocator.resources import EMPTY, Resources, total

ROLES = ("a", "a/b", "c")
FRAMEWORKS = ("f1", "f2", "f3")
AGENTS = ("s1", "s2", "s3", "s4")
TOTALS = tuple(
    Resources.parse(text) for text in ("cpus:2;mem:1024", "cpus:4;mem:512;ports:[1-9]", "cpus:1;cpus(a):2;mem:256")
)

Choose = Callable[[Sequence[Any]], Any]


class EveryBatchOverAllAgents(DRF):
    incremental = False


class Model:
    """What a master knows: which allocations are open, what is used where, who is there.

    Three allocators hear the same: one as it is, one that looks at every agent in every batch, and one whose turns
    decide about a single agent each.
    """

    def __init__(self, driver: Any) -> None:
        self.world, self.full, self.cut = driver(), driver(), driver()
        self.full.actor.policy = EveryBatchOverAllAgents()
        self.cut.actor.turn_steps = 1
        self.agents: dict[str, Resources] = {}
        self.frameworks: dict[str, tuple[str, ...]] = {}
        self.inactive: set[str] = set()
        self.suppressed: set[tuple[str, str]] = set()
        self.open: dict[int, m.Allocation] = {}
        self.used: dict[tuple[str, str, str], Resources] = {}
        self.offers = 0
        for n, roles in enumerate((("a/b",), ("a", "c")), start=1):
            self.add_framework(f"f{n}", roles)
            self.add_agent(f"s{n}", TOTALS[n])

    def say(self, *messages: Any) -> None:
        self.heard([world.tell(*messages) for world in (self.world, self.full, self.cut)])

    def let_time_pass(self, seconds: float) -> None:
        self.heard([world.advance(seconds) for world in (self.world, self.full, self.cut)])

    def heard(self, heard: list[list[m.Allocation]]) -> None:
        allocations = heard[0]
        assert heard[1] == allocations, "looking only at what changed gives what looking at everything does"
        assert heard[2] == allocations, "a cycle cut into many turns gives what one turn does"
        self.offers += len(allocations)
        for allocation in allocations:
            assert allocation.allocation_id not in self.open
            assert allocation.resources
            assert allocation.agent_id in self.agents
            assert allocation.role in self.frameworks[allocation.framework_id]
            assert allocation.framework_id not in self.inactive
            assert (allocation.framework_id, allocation.role) not in self.suppressed
            assert allocation.resources.allocatable_to(allocation.role) == allocation.resources
            self.open[allocation.allocation_id] = allocation

    def add_agent(self, agent_id: str, has: Resources) -> None:
        self.forget(agent_id)
        self.agents[agent_id] = has
        self.say(m.AddAgent(agent_id=agent_id, hostname=agent_id, total=has))

    def forget(self, agent_id: str) -> None:
        self.open = {key: value for key, value in self.open.items() if value.agent_id != agent_id}
        self.used = {key: value for key, value in self.used.items() if key[2] != agent_id}

    def add_framework(self, framework_id: str, roles: tuple[str, ...]) -> None:
        self.frameworks[framework_id] = roles
        self.inactive.discard(framework_id)
        self.suppressed = {client for client in self.suppressed if client[0] != framework_id}
        self.say(m.AddFramework(framework_id=framework_id, roles=roles))

    # What may happen -------------------------------------------------------------------------------------------------

    def agent_comes(self, choose: Choose) -> None:
        self.add_agent(choose(AGENTS), choose(TOTALS))

    def agent_goes(self, choose: Choose) -> None:
        agent_id = choose(AGENTS)
        self.forget(agent_id)
        self.agents.pop(agent_id, None)
        self.say(m.RemoveAgent(agent_id=agent_id))

    def framework_comes(self, choose: Choose) -> None:
        self.add_framework(choose(FRAMEWORKS), choose([("a",), ("a/b",), ("a", "c"), ROLES]))

    def framework_goes(self, choose: Choose) -> None:
        framework_id = choose(FRAMEWORKS)
        self.frameworks.pop(framework_id, None)
        self.open = {key: value for key, value in self.open.items() if value.framework_id != framework_id}
        self.say(m.RemoveFramework(framework_id=framework_id))

    def framework_disconnects(self, choose: Choose) -> None:
        if self.frameworks:
            framework_id = choose(sorted(self.frameworks))
            self.inactive.add(framework_id)
            rescinded = [key for key, value in self.open.items() if value.framework_id == framework_id]
            self.open = {key: value for key, value in self.open.items() if key not in rescinded}
            self.say(
                m.DeactivateFramework(framework_id=framework_id), *(m.Rescind(allocation_id=key) for key in rescinded)
            )

    def framework_reconnects(self, choose: Choose) -> None:
        away = sorted(self.inactive & set(self.frameworks))
        if away:
            framework_id = choose(away)
            self.inactive.discard(framework_id)
            self.say(m.ActivateFramework(framework_id=framework_id))

    def framework_suppresses_or_revives(self, choose: Choose) -> None:
        if self.frameworks:
            framework_id = choose(sorted(self.frameworks))
            role = choose(self.frameworks[framework_id])
            if choose([True, False]):
                self.suppressed.discard((framework_id, role))
                self.say(m.Revive(framework_id=framework_id, roles=(role,)))
            else:
                self.suppressed.add((framework_id, role))
                self.say(m.Suppress(framework_id=framework_id, roles=(role,)))

    def offer_is_settled(self, choose: Choose) -> None:
        if self.open:
            allocation = self.open.pop(choose(sorted(self.open)))
            offered = allocation.resources
            used = choose([EMPTY, EMPTY, offered.filter(lambda resource: resource.name == "cpus"), offered])
            key = (allocation.framework_id, allocation.role, allocation.agent_id)
            self.used[key] = self.used.get(key, EMPTY) + used
            self.say(
                m.Settle(
                    allocation_id=allocation.allocation_id,
                    used=used,
                    returned=offered - used,
                    refuse_seconds=choose([None, 0.0, 1.0, 2.0, 7.0]),
                )
            )

    def task_ends(self, choose: Choose) -> None:
        busy = sorted(key for key, value in self.used.items() if value)
        if busy:
            key = choose(busy)
            freed = self.used.pop(key)
            self.say(m.Recover(framework_id=key[0], role=key[1], agent_id=key[2], resources=freed))

    def something_stale_is_said(self, choose: Choose) -> None:
        stale = choose([n for n in range(1, 60) if n not in self.open])
        self.say(m.Settle(allocation_id=stale, returned=TOTALS[0], refuse_seconds=5.0), m.Rescind(allocation_id=stale))
        agent_id = choose(AGENTS)
        if agent_id not in self.agents:
            self.say(m.Recover(framework_id="f1", role="a", agent_id=agent_id, resources=TOTALS[0]))

    def quota_changes(self, choose: Choose) -> None:
        guarantee, limit = choose([(0, None), (2000, None), (2000, 3000), (0, 1000)])
        limits = () if limit is None else (("cpus", limit),)
        self.say(m.UpdateQuota(quotas=((choose(("a", "c")), Quota((("cpus", guarantee),), limits)),)))

    def weight_changes(self, choose: Choose) -> None:
        self.say(m.UpdateWeights(weights=((choose(ROLES), choose([0.5, 1.0, 3.0])),)))

    def time_passes(self, choose: Choose) -> None:
        self.let_time_pass(choose([0.4, 1.0, 1.0, 5.0]))

    def act(self, choose: Choose) -> None:
        """One of these, what happens often more often than what happens seldom."""
        often = [self.offer_is_settled] * 8 + [self.time_passes] * 6 + [self.task_ends] * 4
        seldom = [
            self.agent_comes,
            self.agent_goes,
            self.framework_comes,
            self.framework_goes,
            self.framework_disconnects,
            self.framework_reconnects,
            self.framework_suppresses_or_revives,
            self.something_stale_is_said,
            self.quota_changes,
            self.weight_changes,
        ]
        choose(often + seldom)(choose)

    # What always holds -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        ledger = self.world.ledger
        assert set(ledger.open) == set(self.open)
        assert set(ledger.agents) == set(self.agents)
        for agent_id, agent in ledger.agents.items():
            offered = total(a.resources for a in self.open.values() if a.agent_id == agent_id)
            used = total(r for key, r in self.used.items() if key[2] == agent_id)
            assert offered + used in agent.total, "nothing is handed out twice"
            assert agent.free + offered + used == agent.total, "nothing is lost"
        assert self.world.actor.state.counters.policy_failures == 0

    def check_end(self) -> None:
        """When one wants everything and no quota keeps it back, whatever may be offered is."""
        for role in ("a", "c"):
            self.say(m.UpdateQuota(quotas=((role, Quota()),)))
        self.add_framework("f1", ROLES)
        self.say(m.Revive(framework_id="f1"))
        self.let_time_pass(1.0)
        for agent in self.world.ledger.agents.values():
            assert agent.free.scalar("cpus") < 10
            assert agent.free.scalar("mem") < 32_000


@pytest.mark.parametrize("seed", range(25))
def test_a_long_walk(driver: Any, seed: int) -> None:
    chance = random.Random(seed)
    model = Model(driver)
    for _ in range(250):
        model.act(chance.choice)
        model.check()
    model.check_end()
    assert model.offers > 15


def test_any_short_history(driver: Any) -> None:
    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.model = Model(driver)

        @rule(data=st.data())
        def act(self, data: Any) -> None:
            self.model.act(lambda options: data.draw(st.sampled_from(options)))

        @invariant()
        def check(self) -> None:
            self.model.check()

        def teardown(self) -> None:
            self.model.check_end()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
