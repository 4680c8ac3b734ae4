"""The allocator actor itself: intervals, turns, holds, its end, its state and its figures."""

from __future__ import annotations

from typing import Any

import msgspec

from allocator import messages as m
from allocator.quota import Quota
from allocator.state import AllocatorState
from runtime import testing
from runtime.effects import Link, Stop
from runtime.message import Exited


def test_an_interval_begins_when_the_cycle_before_has_ended(driver: Any) -> None:
    world = driver()
    for _ in range(3):
        world.batch()
    assert world.actor.state.counters.runs == 3
    assert world.actor.metrics()["allocator/mesos/allocation_runs"] == 3


def test_requests_that_come_together_are_one_cycle(driver: Any, res: Any) -> None:
    world = driver()
    world.framework("f")
    runs = world.actor.state.counters.runs
    world.post(*(m.AddAgent(agent_id=f"s{n}", hostname="h", total=res("cpus:1;mem:64")) for n in range(20)))
    world.settle()
    assert len(world.take()) == 20
    assert world.actor.state.counters.runs == runs + 1


def test_a_cycle_is_a_chain_of_bounded_turns_and_messages_come_between(driver: Any, res: Any) -> None:
    world = driver()
    world.actor.turn_steps = 100
    agents = [m.AddAgent(agent_id=f"s{n:02}", hostname="h", total=res("cpus:1;mem:64")) for n in range(30)]
    world.tell(*agents)
    world.post(m.AddFramework(framework_id="f", roles=("*",)))
    world.step()
    world.step()  # the first turn of the cycle
    first = world.take()
    assert 0 < len(first) <= 6
    gone = {f"s{n:02}" for n in range(30)} - {offer.agent_id for offer in first}
    world.post(*(m.RemoveAgent(agent_id=agent_id) for agent_id in sorted(gone)))
    world.settle()
    assert world.take() == [] or all(offer.agent_id not in gone for offer in world.take())
    assert {offer.agent_id for offer in world.ledger.open.values()} == {offer.agent_id for offer in first}


def test_a_hold_stops_cycles_until_it_is_resumed(driver: Any) -> None:
    world = driver()
    world.tell(m.Hold())
    world.framework("f")
    world.agent("s", "cpus:1;mem:64")
    assert world.advance(10) == []
    assert world.tell(m.Resume()) == []
    assert len(world.batch()) == 1


def test_recovery_waits_for_most_agents_only_if_there_are_quotas(driver: Any) -> None:
    """Until 80 % of the expected agents are back, or ten minutes have passed."""
    world = driver()
    world.tell(m.Hold(expected_agents=5))
    world.framework("f")
    assert len(world.agent("s0", "cpus:1;mem:64")) == 1  # no quota, no waiting

    world = driver()
    world.tell(m.UpdateQuota(quotas=(("r", Quota(guarantees=(("cpus", 1000),))),)), m.Hold(expected_agents=5))
    world.framework("f", "r")
    for n in range(3):
        assert world.agent(f"s{n}", "cpus:1;mem:64") == []
    assert world.advance(5) == []
    world.agent("s3", "cpus:1;mem:64")
    world.batch()
    assert world.actor.state.held is None
    assert len(world.ledger.open) == 4

    world = driver()
    world.tell(m.UpdateQuota(quotas=(("r", Quota(guarantees=(("cpus", 1000),))),)), m.Hold(expected_agents=5))
    world.framework("f", "r")
    world.agent("s", "cpus:1;mem:64")
    assert world.advance(599) == []
    assert len(world.advance(2)) == 1


def test_the_allocator_ends_with_its_master(driver: Any) -> None:
    world = driver()
    effects = testing.start(testing.make(type(world.actor), world.actor.state))
    assert Link(world.actor.state.master) in effects
    stop = testing.turn(world.actor, Exited(pid=world.actor.state.master, reason="stopped"))
    assert [type(effect) for effect in stop] == [Stop]


def test_the_state_can_be_written_and_read_again(driver: Any, res: Any) -> None:
    """All of it in one struct: recordings, replays and comparisons live on that."""
    world = driver()
    world.framework("f", "a/b", terms=(m.RoleTerms(role="a/b", priority=1),))
    for offer in world.agent("s", "cpus:2;mem:1024;ports:[1-9];cpus(a):1"):
        world.accept(offer, "cpus:1", refuse_seconds=30)
    world.agent("t", "cpus:1;mem:64")
    world.tell(m.UpdateUnavailability(agent_id="s", unavailability=m.Unavailability(start=5.0)))
    state = world.actor.state
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=AllocatorState)
    assert again == state
    assert again.ledger.agents["s"].held == {("a/b", "f"): res("cpus:1")}


def test_figures_have_mesos_names(driver: Any) -> None:
    world = driver()
    world.framework("f", "a/b")
    (offer,) = world.agent("s", "cpus:4;mem:1024")
    world.accept(offer, "cpus:1", refuse_seconds=30)
    world.batch()
    figures = world.actor.metrics()
    expected = {
        "resources/cpus/total": 4.0,
        "resources/cpus/offered_or_allocated": 1.0,
        "resources/mem/offered_or_allocated": 0.0,
        "roles/a/shares/dominant": 0.25,
        "roles/a/b/shares/dominant": 0.25,
        "offer_filters/roles/a/b/active": 1.0,
        "open_allocations": 0.0,
    }
    assert {name: figures[f"allocator/mesos/{name}"] for name in expected} == expected
    assert {f"allocator/mesos/allocation_run_ms/{part}" for part in ("count", "min", "max", "p50", "p9999")} <= set(
        figures
    )
    assert "allocator/mesos/allocation_run_latency_ms/p99" in figures
