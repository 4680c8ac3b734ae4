"""Strict priority: order, starvation, and whose tasks would have to go."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from allocator import messages as m
from allocator.ledger import Ledger
from allocator.priority import Preemption, RunningTask, preemption_plan, priority_of, starved
from allocator.quota import Quota
from allocator.resources import Resources
from allocator.snapshot import Agent, Framework

TWO = "cpus:2;mem:1024"


def with_priority(role: str, priority: int) -> tuple[m.RoleTerms, ...]:
    return (m.RoleTerms(role=role, priority=priority),)


def test_the_highest_gets_all_it_can_take_before_anybody_else(driver: Any, given: Any) -> None:
    world = driver("priority")
    for n in range(3):
        world.agent(f"s{n}", TWO)
    world.tell(m.Hold())
    world.framework("low", "a")
    world.framework("high", "b", terms=with_priority("b", 5))
    world.tell(m.Resume())
    offers = world.batch()
    assert {offer.framework_id for offer in offers} == {"high"}
    world.decline(offers[0], 100)  # what it does not take goes on to the next
    assert given(world.batch()) == {"low": [f"{offers[0].agent_id} cpus:2; mem:1024"]}


def test_equals_share_fairly(driver: Any) -> None:
    world = driver("priority")
    world.tell(m.Hold(), m.UpdatePriorities(priorities=(("a", 3), ("b", 3), ("c", 1))))
    for n in range(4):
        world.agent(f"s{n}", TWO)
    for role in ("a", "b", "c"):
        world.framework(f"in {role}", role)
    world.tell(m.Resume())
    assert sorted(offer.role for offer in world.batch()) == ["a", "a", "b", "b"]


def test_a_guarantee_comes_before_priority(driver: Any, given: Any) -> None:
    world = driver("priority")
    world.tell(m.UpdateQuota(quotas=(("low", Quota((("cpus", 2000), ("mem", 1_024_000)))),)))
    world.framework("low", "low")
    world.framework("high", "high", terms=with_priority("high", 9))
    assert given(world.agent("s1", TWO)) == {"low": ["s1 cpus:2; mem:1024"]}
    assert given(world.agent("s2", TWO)) == {"high": ["s2 cpus:2; mem:1024"]}


def books(*frameworks: tuple[str, str, int]) -> Ledger:
    ledger = Ledger()
    for framework_id, role, priority in frameworks:
        terms = {role: m.RoleTerms(role=role, priority=priority)}
        ledger.set_framework(Framework(framework_id=framework_id, roles=(role,), terms=terms))
    return ledger


def test_where_a_priority_comes_from() -> None:
    ledger = books(("own", "a/b/c", 7), ("inherits", "a/b/c", 0))
    assert priority_of(ledger.snapshot(0.0), ("a/b/c", "own")) == 7
    assert priority_of(ledger.snapshot(0.0), ("a/b/c", "inherits")) == 0
    ledger.priorities = {"a": 2, "a/b": 3}
    assert priority_of(ledger.snapshot(0.0), ("a/b/c", "inherits")) == 3
    assert priority_of(ledger.snapshot(0.0), ("a/b/c", "own")) == 7
    assert priority_of(ledger.snapshot(0.0), ("x", "unknown")) == 0


def test_starvation_is_measured_and_said(driver: Any, caplog: pytest.LogCaptureFixture) -> None:
    world = driver("priority")
    world.framework("high", "a", terms=with_priority("a", 1))
    (offer,) = world.agent("s", TWO)
    world.accept(offer, TWO)
    world.framework("low", "b")
    assert starved(world.ledger.snapshot(world.now)) == [("b", "low")]
    with caplog.at_level(logging.WARNING, "kaon.allocator"):
        world.advance(62)
        assert [tuple(record.args or ())[:2] for record in caplog.records] == [("low", "b")]
        world.advance(30)
        assert len(caplog.records) == 1  # said again only when the time has doubled
        world.advance(60)
        assert len(caplog.records) == 2
    assert world.actor.metrics()["allocator/mesos/starving_frameworks"] == 1
    world.tell(m.RemoveFramework(framework_id="low"))
    world.batch()
    assert world.actor.metrics()["allocator/mesos/starving_frameworks"] == 0


def test_fair_policies_starve_nobody(driver: Any) -> None:
    world = driver()
    world.framework("f", "a", terms=with_priority("a", 1))
    (offer,) = world.agent("s", TWO)
    world.accept(offer, TWO)
    world.framework("g", "b")
    world.advance(5)
    assert world.actor.state.starving == {}


def cpus(amount: float) -> Resources:
    return Resources.scalar_only(cpus=amount)


@pytest.fixture
def crowded() -> Ledger:
    """Two agents of 4 CPUs, full with tasks of priority 1 to 3."""
    ledger = books(("one", "r1", 1), ("two", "r2", 2), ("three", "r3", 3), ("new", "new", 3))
    for name, users in {"s1": ("one", "two"), "s2": ("two", "three")}.items():
        used = [m.Used(user, f"r{1 + ('one', 'two', 'three').index(user)}", cpus(2)) for user in users]
        ledger.add_agent(Agent(agent_id=name, hostname="h", number=1, total=cpus(4)), used)
    return ledger


def task(task_id: str, owner: str, role: str, agent_id: str, amount: float, started: float = 0.0) -> RunningTask:
    return RunningTask(task_id, owner, role, agent_id, cpus(amount), started)


def test_the_lowest_and_then_the_youngest_go(crowded: Ledger) -> None:
    tasks = [
        task("a-old", "one", "r1", "s1", 1, started=1),
        task("a-young", "one", "r1", "s1", 1, started=2),
        task("b", "two", "r2", "s1", 2),
        task("c", "two", "r2", "s2", 2),
        task("d", "three", "r3", "s2", 2),
    ]
    snapshot = crowded.snapshot(0.0)
    assert preemption_plan(snapshot, ("new", "new"), {"cpus": 1000}, tasks) == Preemption("s1", (tasks[1],))
    assert preemption_plan(snapshot, ("new", "new"), {"cpus": 2000}, tasks) == Preemption("s1", (tasks[1], tasks[0]))
    # Equals are never touched: s2 can give 2 CPUs only, so s1 must give up what is of priority 2 as well.
    four = preemption_plan(snapshot, ("new", "new"), {"cpus": 4000}, tasks)
    assert four == Preemption("s1", (tasks[1], tasks[0], tasks[2]))
    assert preemption_plan(snapshot, ("new", "new"), {"cpus": 4001}, tasks) is None
    assert preemption_plan(snapshot, ("r1", "one"), {"cpus": 1000}, tasks) is None


def test_no_task_goes_that_does_not_help(crowded: Ledger) -> None:
    small, big = task("small", "one", "r1", "s1", 0.5, started=9), task("big", "one", "r1", "s1", 1.5)
    plan = preemption_plan(crowded.snapshot(0.0), ("new", "new"), {"cpus": 1500}, [small, big])
    assert plan == Preemption("s1", (big,))


def test_nothing_goes_where_enough_is_free(crowded: Ledger) -> None:
    crowded.add_agent(Agent(agent_id="s3", hostname="h", number=3, total=cpus(1)), ())
    tasks = [task("b", "two", "r2", "s1", 2)]
    plan = preemption_plan(crowded.snapshot(0.0), ("new", "new"), {"cpus": 1000}, tasks)
    assert plan == Preemption("s3", ())
