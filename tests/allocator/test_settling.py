"""What is said about allocations: accepts with operations, ends of tasks, and messages that cross one another."""

from __future__ import annotations

from typing import Any

import pytest

from allocator import messages as m
from allocator.resource import Disk, Reservation, Resource
from allocator.resources import EMPTY, Resources

SMALL = "cpus:2;mem:1024"
ENG = Reservation("eng", "dynamic", "alice")


@pytest.fixture
def world(driver: Any) -> Any:
    """A framework in role eng that was offered one agent."""
    made = driver()
    made.framework("f", "eng")
    (made.offer,) = made.agent("s", "cpus:2;mem:1024;disk:100")
    return made


def volume(volume_id: str, mib: int, *, shared: bool = False) -> Resources:
    disk = Disk(volume_id, "alice", "data")
    return Resources.of(Resource("disk", mib * 1000, reservations=(ENG,), disk=disk, shared=shared))


def test_an_accept_that_reserves_changes_the_agent(world: Any, res: Any, given: Any) -> None:
    cpu = res("cpus:1")
    reserved = cpu.push_reservation(ENG)
    left = world.offer.resources - cpu + reserved
    settle = m.Settle(
        allocation_id=world.offer.allocation_id, returned=left, conversions=(m.Conversion(cpu, reserved),)
    )
    world.tell(settle)
    agent = world.ledger.agents["s"]
    assert agent.total == left == agent.free
    assert world.ledger.roles["eng"].reserved == world.ledger.snapshot(0.0).vector({"cpus": 1000})
    world.tell(m.Suppress(framework_id="f"))
    assert given(world.framework("other", "ops")) == {"other": ["s cpus:1; disk:100; mem:1024"]}
    assert given(world.tell(m.Revive(framework_id="f"))) == {"f": ["s cpus(reservations: [(DYNAMIC,eng,alice)]):1"]}


def test_an_accept_may_reserve_create_and_launch_in_one(world: Any, res: Any) -> None:
    disk, cpu = res("disk:100"), res("cpus:1")
    reserved = disk.push_reservation(ENG)
    created = volume("v1", 100)
    world.tell(
        m.Settle(
            allocation_id=world.offer.allocation_id,
            conversions=(m.Conversion(disk, reserved), m.Conversion(reserved, created)),
            used=created + cpu,
            returned=world.offer.resources - disk - cpu,
            refuse_seconds=100,
        )
    )
    agent = world.ledger.agents["s"]
    assert agent.held == {("eng", "f"): created + cpu}
    assert agent.free == res("cpus:1;mem:1024")
    assert created in agent.total
    assert world.actor.state.counters.excess == 0
    world.tell(m.Recover(framework_id="f", role="eng", agent_id="s", resources=created + cpu))
    assert agent.free == agent.total
    (offer,) = world.batch()
    assert created in offer.resources


def test_an_operation_on_what_is_not_there_is_left_out_and_said(world: Any, res: Any, caplog: Any) -> None:
    world.tell(
        m.Settle(
            allocation_id=world.offer.allocation_id,
            conversions=(m.Conversion(res("cpus:9"), res("cpus:9").push_reservation(ENG)),),
            returned=world.offer.resources,
        )
    )
    assert "cpus:9 is not in it" in caplog.text
    assert world.actor.state.counters.excess == 1
    assert world.ledger.agents["s"].total == res("cpus:2;mem:1024;disk:100")
    assert world.ledger.agents["s"].free == world.ledger.agents["s"].total


def test_no_more_comes_back_than_was_offered(world: Any, res: Any, caplog: Any) -> None:
    world.tell(m.Settle(allocation_id=world.offer.allocation_id, used=res("cpus:2"), returned=res("cpus:2;mem:1024")))
    assert world.ledger.agents["s"].free == res("mem:1024")
    assert world.ledger.agents["s"].held == {("eng", "f"): res("cpus:2;disk:100")}  # what was not spoken of stays
    assert "mem:1024 was taken back" in caplog.text
    world.tell(m.Recover(framework_id="f", role="eng", agent_id="s", resources=res("cpus:5")))
    assert world.ledger.agents["s"].free == res("cpus:2;mem:1024")
    assert world.actor.state.counters.excess == 2


def test_operators_reserve_what_is_free(driver: Any, res: Any) -> None:
    world = driver()
    world.agent("s", SMALL)
    reserved = res("cpus:1").push_reservation(ENG)
    answer = world.ask(m.Converted(agent_id="s", conversion=m.Conversion(res("cpus:1"), reserved)))
    assert answer.refused == ""
    assert world.ledger.agents["s"].free == res("cpus:1;mem:1024") + reserved
    answer = world.ask(m.Converted(agent_id="s", conversion=m.Conversion(res("cpus:2"), EMPTY)))
    assert "cpus:2 is not free on agent s" in answer.refused
    assert world.ask(m.Converted(agent_id="x", conversion=m.Conversion(EMPTY, EMPTY))).refused == "there is no agent x"


def test_what_is_used_may_change_its_form_later(world: Any, res: Any) -> None:
    world.accept(world.offer, "cpus:2;mem:1024;disk:100")
    change = m.Conversion(res("disk:100"), volume("v", 100))
    answer = world.ask(m.Converted(agent_id="s", conversion=change, framework_id="f", role="eng"))
    assert answer.refused == ""
    assert world.ledger.agents["s"].held == {("eng", "f"): res(SMALL) + volume("v", 100)}
    again = world.ask(m.Converted(agent_id="s", conversion=change, framework_id="f", role="eng"))
    assert "is not held by framework f in role 'eng'" in again.refused


def test_a_shared_volume_is_offered_to_many_but_once_in_a_cycle(driver: Any, res: Any) -> None:
    shared = volume("v", 50, shared=True)
    world = driver()
    world.tell(m.Hold())
    for name in ("f", "g"):
        world.framework(name, "eng", capabilities=("SHARED_RESOURCES",))
    world.tell(m.AddAgent(agent_id="s", hostname="h", total=res("cpus:4;mem:1024") + shared))
    world.tell(m.Resume())
    (first,) = world.batch()
    assert shared in first.resources
    # Two tasks on the volume, though it was offered once; the rest comes back.
    task = res("cpus:1;mem:256")
    world.tell(
        m.Settle(
            allocation_id=first.allocation_id,
            used=task + task + shared + shared,
            returned=first.resources - task - task,
            refuse_seconds=100,
        )
    )
    (second,) = world.batch()
    assert second.framework_id != first.framework_id
    assert shared in second.resources
    role = world.ledger.roles["eng"]
    assert role.subtree[world.ledger.names.index("disk")] == 50_000  # once, for all who have it
    world.tell(m.Rescind(allocation_id=second.allocation_id))
    recover = m.Recover(framework_id=first.framework_id, role="eng", agent_id="s", resources=task + shared)
    world.tell(recover, recover)
    assert role.subtree == world.ledger.snapshot(0.0).vector({})
    assert world.ledger.agents["s"].held == {}


def test_who_cannot_share_is_not_offered_what_is_shared(driver: Any, res: Any) -> None:
    world = driver()
    world.framework("f", "eng")
    world.tell(m.AddAgent(agent_id="s", hostname="h", total=res(SMALL) + volume("v", 50, shared=True)))
    (allocation,) = world.ledger.open.values()
    assert allocation.resources == res(SMALL)


def test_a_removed_framework_is_counted_until_its_tasks_have_ended(world: Any, res: Any, given: Any) -> None:
    world.accept(world.offer, "cpus:1")
    world.batch()
    world.tell(m.RemoveFramework(framework_id="f"))
    assert world.ledger.open == {}
    assert world.ledger.agents["s"].held == {("eng", "f"): res("cpus:1")}
    assert world.ledger.roles["eng"].subtree == world.ledger.snapshot(0.0).vector({"cpus": 1000})
    assert given(world.framework("g", "eng")) == {"g": ["s cpus:1; disk:100; mem:1024"]}
    world.tell(m.Recover(framework_id="f", role="eng", agent_id="s", resources=res("cpus:1")))
    assert "f" not in world.ledger.frameworks
    assert given(world.batch()) == {"g": ["s cpus:1"]}


def test_a_settlement_that_crosses_a_removal_is_counted_and_no_more(world: Any) -> None:
    offer = world.offer
    world.tell(m.RemoveAgent(agent_id="s"))
    settle = m.Settle(allocation_id=offer.allocation_id, returned=offer.resources, refuse_seconds=9)
    world.tell(settle, m.Rescind(allocation_id=offer.allocation_id))
    world.tell(m.Recover(framework_id="f", role="eng", agent_id="s", resources=offer.resources))
    world.tell(m.ActivateAgent(agent_id="s"), m.Suppress(framework_id="nobody"))
    assert world.actor.state.counters.stale == 5
    assert world.ledger.filters.by_agent == {}


def test_an_agent_that_registers_again_begins_afresh(world: Any, res: Any, given: Any) -> None:
    used = (m.Used("f", "eng", res("cpus:1")),)
    offers = world.agent("s", SMALL, used=used)
    assert given(offers) == {"f": ["s cpus:1; mem:1024"]}
    world.decline(world.offer)  # of the agent's former life
    assert world.ledger.agents["s"].free == EMPTY
    assert world.actor.state.counters.stale == 1


def test_ids_are_never_used_again(world: Any) -> None:
    seen = {world.offer.allocation_id}
    for _ in range(5):
        world.tell(m.Rescind(allocation_id=max(seen)))
        (offer,) = world.batch()
        assert offer.allocation_id not in seen
        seen.add(offer.allocation_id)


def test_what_is_used_by_a_framework_that_is_not_known_yet_counts(driver: Any, res: Any, given: Any) -> None:
    """After a failover agents may come back before their frameworks do."""
    world = driver()
    world.agent("s", SMALL, used=(m.Used("late", "a", res("cpus:2;mem:1024")),))
    world.framework("late", "a")
    world.framework("other", "b")
    assert given(world.agent("t", SMALL)) == {"other": ["t cpus:2; mem:1024"]}
