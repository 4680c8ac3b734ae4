"""Policies by name, and what happens when one misbehaves."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from allocator import messages as m
from allocator.allocate import SortedPolicy
from allocator.drf import DRF
from allocator.plan import Grant, Plan
from allocator.plugin import BUILT_IN, PolicyFailed, decide, load_policy, order
from allocator.resources import Resources
from allocator.snapshot import Snapshot
from runtime.errors import ConfigurationError

SMALL = "cpus:2;mem:1024"


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_built_in_policies(name: str) -> None:
    assert isinstance(load_policy(name), BUILT_IN[name])


def test_a_policy_from_a_module() -> None:
    assert isinstance(load_policy("allocator.drf:DRF"), DRF)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fifo", "built in are HierarchicalDRF, drf"),
        ("no_such_module:Policy", "cannot be imported"),
        ("allocator.drf:Nothing", "has no 'Nothing'"),
        ("allocator.constants:TURN_STEPS", "a class is needed"),
        ("allocator.snapshot:Agent", "cannot be made without arguments"),
        ("allocator.filters:Filters", "it lacks name, stages, incremental, order, allocate"),
    ],
)
def test_what_is_no_policy(name: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_policy(name)
    assert said in str(caught.value)
    assert f"--allocator={name}" in str(caught.value)


class Broken(DRF):
    """Misbehaves as told."""

    def __init__(self, how: str) -> None:
        self.how = how

    def order(self, snapshot: Snapshot, agent_ids: Collection[str], chance: random.Random) -> list[str]:
        if self.how == "order raises":
            raise ValueError("no order")
        if self.how == "order loses agents":
            return []
        return sorted(agent_ids)

    def allocate(
        self, snapshot: Snapshot, agent_ids: Sequence[str], stage: Any, chance: random.Random, steps: int
    ) -> Plan:
        def grant(resources: str, framework_id: str = "f", role: str = "*", agent_id: str = "s") -> Plan:
            return Plan((Grant(framework_id, role, agent_id, Resources.parse(resources)),), visited=1)

        if self.how == "raises":
            raise KeyError("oops")
        if self.how == "returns none":
            return None  # type: ignore[return-value]
        return {
            "stands still": Plan(visited=0),
            "runs ahead": Plan(visited=9),
            "too much": grant("cpus:3"),
            "twice": Plan((*grant("cpus:2").grants, *grant("cpus:1").grants), visited=1),
            "nothing": grant(""),
            "unknown agent": grant("cpus:1", agent_id="ghost"),
            "unknown framework": grant("cpus:1", framework_id="ghost"),
            "wrong role": grant("cpus:1", role="eng"),
            "reserved": grant("cpus(eng):1"),
            "inactive agent": grant("cpus:1", agent_id="away"),
        }[self.how]


MISDEEDS = {
    "order raises": "raised ValueError: no order",
    "order loses agents": "was given 1 agents to order and returned others",
    "raises": "raised KeyError: 'oops'",
    "returns none": "returned None where a Plan is needed",
    "stands still": "visited 0 of 1",
    "runs ahead": "visited 9 of 1",
    "too much": "is free there",
    "twice": "is free there",
    "nothing": "is free there",
    "unknown agent": "is not there",
    "unknown framework": "takes no offers in that role",
    "wrong role": "takes no offers in that role",
    "reserved": "reserved for another role",
    "inactive agent": "not active",
}


@pytest.mark.parametrize("how", sorted(MISDEEDS))
def test_a_policy_that_breaks_a_rule_voids_the_cycle_and_the_allocator_lives(
    driver: Any, given: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = driver()
    world.tell(m.Hold())
    world.agent("s", SMALL + ";cpus(eng):1")
    world.agent("away", SMALL, active=False)
    world.framework("f")
    world.actor.policy = Broken(how)
    world.tell(m.Resume())
    with caplog.at_level(logging.ERROR, "kaon.allocator"):
        assert world.batch() == []
    assert MISDEEDS[how] in caplog.text
    assert world.ledger.open == {}
    assert world.actor.metrics()["allocator/mesos/policy_failures"] == 1
    world.actor.policy = DRF()
    assert given(world.batch()) == {"f": ["s cpus:2; mem:1024"]}


def test_a_plan_beyond_a_limit_is_refused(driver: Any) -> None:
    from allocator.quota import Quota

    world = driver()
    world.tell(m.Hold(), m.UpdateQuota(quotas=(("*", Quota(limits=(("cpus", 500),))),)))
    world.agent("s", SMALL)
    world.framework("f")

    class Generous(Broken):
        def allocate(self, *arguments: Any) -> Plan:
            return Plan((Grant("f", "*", "s", Resources.parse("cpus:1")),), visited=1)

    with pytest.raises(PolicyFailed, match=r"beyond the quota limit of '\*'"):
        decide(Generous(""), world.ledger.snapshot(0.0), ["s"], "fair", random.Random(1), 100)


def test_a_policy_may_be_any_class_of_that_shape(driver: Any) -> None:
    class Nobody:
        name = "nobody"
        stages = ("fair",)
        incremental = False

        def order(self, snapshot: Snapshot, agent_ids: Collection[str], chance: random.Random) -> list[str]:
            return list(agent_ids)

        def allocate(self, snapshot: Any, agent_ids: Sequence[str], *rest: Any) -> Plan:
            return Plan(visited=len(agent_ids))

    world = driver()
    world.actor.policy = Nobody()
    world.framework("f")
    assert world.agent("s", SMALL) == []
    assert order(Nobody(), world.ledger.snapshot(0.0), ["s"], random.Random(1)) == ["s"]  # type: ignore[arg-type]


def test_a_sorted_policy_must_sort() -> None:
    with pytest.raises(NotImplementedError, match="must say how it sorts"):
        SortedPolicy().sorter(None, random.Random(1))  # type: ignore[arg-type]
