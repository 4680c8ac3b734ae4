"""Cycles of the allocator actor: who gets what and when. After Mesos's HierarchicalAllocatorTest."""

from __future__ import annotations

from typing import Any

import pytest

from allocator import messages as m


def test_unreserved_drf(driver: Any, given: Any) -> None:
    """UnreservedDRF: shares of roles first, then of the frameworks in the role."""
    world = driver()
    world.framework("f1", "role1")
    # total cpus=2, mem=1024
    assert given(world.agent("s1", "cpus:2;mem:1024")) == {"f1": ["s1 cpus:2; mem:1024"]}
    # role1 share = 1
    world.framework("f2", "role2")
    # total cpus=3, mem=1536; role1 share = 0.66, role2 share = 0
    assert given(world.agent("s2", "cpus:1;mem:512")) == {"f2": ["s2 cpus:1; mem:512"]}
    # total cpus=6, mem=3584; role1 share = 0.33, role2 share = 0.16
    assert given(world.agent("s3", "cpus:3;mem:2048")) == {"f2": ["s3 cpus:3; mem:2048"]}
    world.framework("f3", "role1")
    # total cpus=10, mem=7680; role1 share = 0.2 (f1 0.2, f3 0), role2 share = 0.4
    assert given(world.agent("s4", "cpus:4;mem:4096")) == {"f3": ["s4 cpus:4; mem:4096"]}
    world.framework("f4", "role1")
    # total cpus=11, mem=8192; role1 share = 0.63 (f4 0), role2 share = 0.36: the role decides
    assert given(world.agent("s5", "cpus:1;mem:512")) == {"f2": ["s5 cpus:1; mem:512"]}


def test_nested_role_drf(driver: Any, given: Any) -> None:
    """NestedRoleDRF: subtrees compete before the roles in them do."""
    world = driver()
    world.framework("f1", "a/b")
    assert given(world.agent("s1", "cpus:2;mem:1024")) == {"f1": ["s1 cpus:2; mem:1024"]}
    world.framework("f2", "a/c")
    world.framework("f3", "d/e")
    # total cpus=3; a share = 0.67 (a/b 0.67, a/c 0), d share = 0
    assert given(world.agent("s2", "cpus:1;mem:512")) == {"f3": ["s2 cpus:1; mem:512"]}
    world.framework("f4", "d/f")
    # total cpus=5; a share = 0.4, d share = 0.2 (d/e 0.2, d/f 0)
    assert given(world.agent("s3", "cpus:2;mem:1024")) == {"f4": ["s3 cpus:2; mem:1024"]}


def test_equal_frameworks_take_turns(driver: Any) -> None:
    """SameShareFairness."""
    world = driver()
    world.framework("f1")
    world.framework("f2")
    counts = {"f1": 0, "f2": 0}
    offers = world.agent("s", "cpus:2;mem:1024")
    for _ in range(10):
        (offer,) = offers
        counts[offer.framework_id] += 1
        world.tell(m.Rescind(allocation_id=offer.allocation_id))
        offers = world.batch()
    assert counts == {"f1": 5, "f2": 5}


def test_agents_are_handed_out_whole(driver: Any, given: Any) -> None:
    """CoarseGrained."""
    world = driver()
    world.agent("s1", "cpus:2;mem:1024")
    world.agent("s2", "cpus:2;mem:1024")
    offers = world.framework("f1", "role1")
    assert given(offers) == {"f1": ["s1 cpus:2; mem:1024", "s2 cpus:2; mem:1024"]}
    for offer in offers:
        world.decline(offer)
    both = given(world.framework("f2", "role2"))
    assert set(both) == {"f1", "f2"}
    assert all(len(texts) == 1 for texts in both.values())


def test_freed_resources_wait_for_the_batch(driver: Any, res: Any, given: Any) -> None:
    """MESOS-3078: a task's end triggers nothing; small pieces gather to one offer."""
    world = driver()
    world.framework("f")
    (offer,) = world.agent("s", "cpus:4;mem:4096")
    assert world.accept(offer, "cpus:4;mem:4096") == []
    for _ in range(2):
        recover = m.Recover(framework_id="f", role="*", agent_id="s", resources=res("cpus:1;mem:512"))
        assert world.tell(recover) == []
    assert given(world.batch()) == {"f": ["s cpus:2; mem:1024"]}


def test_what_is_left_below_the_minimum_is_not_offered(driver: Any, given: Any) -> None:
    world = driver()
    world.framework("f")
    (offer,) = world.agent("s", "cpus:1;mem:64;disk:1024")
    world.accept(offer, "cpus:0.995;mem:33")
    assert world.batch() == []  # 0.005 CPUs and 31 MiB
    offers = world.framework("g", terms=(m.RoleTerms(role="*", minimum=()),))
    assert given(offers) == {"g": ["s cpus:0.005; disk:1024; mem:31"]}


def test_a_framework_may_ask_for_bigger_offers(driver: Any, given: Any) -> None:
    world = driver()
    world.framework("picky", terms=(m.RoleTerms(role="*", minimum=((("cpus", 4000), ("mem", 1000)),)),))
    assert world.agent("small", "cpus:2;mem:1024") == []
    assert given(world.agent("big", "cpus:4;mem:1024")) == {"picky": ["big cpus:4; mem:1024"]}


def test_a_filter_holds_for_what_was_refused_and_no_more(driver: Any, res: Any, given: Any) -> None:
    """OfferFilter and SmallOfferFilterTimeout."""
    world = driver()
    world.framework("f1", "r1")
    (offer,) = world.agent("s", "cpus:2;mem:1024")
    world.accept(offer, "cpus:1;mem:512", refuse_seconds=1000)
    assert world.advance(10) == []
    assert given(world.framework("f2", "r2")) == {"f2": ["s cpus:1; mem:512"]}  # f1's filter is no one else's
    (other,) = world.ledger.open.values()
    world.accept(other, "cpus:1;mem:512")
    world.tell(m.RemoveFramework(framework_id="f2"))
    world.tell(m.Recover(framework_id="f2", role="r2", agent_id="s", resources=res("cpus:1;mem:512")))
    assert world.batch() == []
    world.tell(m.Recover(framework_id="f1", role="r1", agent_id="s", resources=res("cpus:1;mem:512")))
    assert given(world.batch()) == {"f1": ["s cpus:2; mem:1024"]}  # more than was refused


@pytest.mark.parametrize(
    ("refuse_seconds", "offered_after"), [(0.0, 1), (None, 1), (0.5, 2), (1.0, 2), (3.0, 4), (-1.0, 6)]
)
def test_how_long_a_filter_lasts(driver: Any, refuse_seconds: float | None, offered_after: int) -> None:
    """One interval at least, through the batch at its end; 0 sets none; negative means the default of 5 s."""
    world = driver()
    world.framework("f")
    (offer,) = world.agent("s", "cpus:2;mem:1024")
    world.decline(offer, refuse_seconds)
    for batch in range(1, offered_after):
        assert world.batch() == [], batch
    assert len(world.batch()) == 1


def test_a_filter_lasts_a_year_at_most(driver: Any) -> None:
    world = driver()
    world.framework("f")
    (offer,) = world.agent("s", "cpus:2;mem:1024")
    world.decline(offer, 1e300)
    ((refusal,),) = world.ledger.filters.by_agent["s"].values()
    assert refusal.until - world.now == 365 * 24 * 3600


def test_suppress_and_revive(driver: Any, given: Any) -> None:
    """SuppressAndReviveOffers: per role; reviving forgets filters and triggers a cycle."""
    world = driver()
    offers = world.framework("f", "a", "b") or world.agent("s", "cpus:2;mem:1024")
    world.decline(offers[0], 1000)
    (offer,) = world.batch()
    assert {offer.role, offers[0].role} == {"a", "b"}
    world.decline(offer, 1000)
    world.tell(m.Suppress(framework_id="f", roles=("a",)))
    (again,) = world.tell(m.Revive(framework_id="f", roles=("b",)))
    assert again.role == "b"
    world.decline(again)
    world.tell(m.Suppress(framework_id="f"))
    assert world.advance(3000) == []
    assert given(world.tell(m.Revive(framework_id="f"))) == {"f": ["s cpus:2; mem:1024"]}


def test_weights_count_from_the_next_cycle(driver: Any) -> None:
    """UpdateWeight: six equal agents go 2 to 4, and after the change as 4 to 2."""
    world = driver()
    for agent in range(6):
        world.agent(f"s{agent}", "cpus:2;mem:1024")
    world.tell(m.UpdateWeights(weights=(("r2", 2.0),)))

    def counts(offers: list[m.Allocation]) -> dict[str, int]:
        return {role: sum(offer.role == role for offer in offers) for role in ("r1", "r2")}

    offers = world.framework("f1", "r1")
    for offer in offers:
        world.decline(offer)
    offers = world.framework("f2", "r2")
    assert counts(offers) == {"r1": 2, "r2": 4}
    for offer in offers:
        world.decline(offer)
    assert world.tell(m.UpdateWeights(weights=(("r1", 4.0),))) == []
    assert counts(world.batch()) == {"r1": 4, "r2": 2}


def test_whitelist(driver: Any, given: Any) -> None:
    """Whitelist."""
    world = driver()
    world.tell(m.UpdateWhitelist(hostnames=("dummy-agent",)))
    world.framework("f")
    assert world.agent("s", "cpus:2;mem:1024") == []
    assert world.tell(m.UpdateWhitelist(hostnames=("dummy-agent", "host-s"))) == []
    assert given(world.batch()) == {"f": ["s cpus:2; mem:1024"]}


def test_deactivated_agents_are_not_offered(driver: Any, given: Any) -> None:
    world = driver()
    world.framework("f")
    assert world.agent("s", "cpus:2;mem:1024", active=False) == []
    assert world.batch() == []
    world.tell(m.ActivateAgent(agent_id="s"))
    offers = world.batch()
    assert given(offers) == {"f": ["s cpus:2; mem:1024"]}
    world.tell(m.DeactivateAgent(agent_id="s"))
    world.decline(offers[0])
    assert world.advance(5) == []


def test_an_inactive_framework_gets_nothing_and_forgets_its_filters(driver: Any, given: Any) -> None:
    world = driver()
    world.framework("f")
    (offer,) = world.agent("s", "cpus:2;mem:1024")
    world.decline(offer, 1000)
    world.tell(m.DeactivateFramework(framework_id="f"))
    assert world.advance(5) == []
    assert given(world.tell(m.ActivateFramework(framework_id="f"))) == {"f": ["s cpus:2; mem:1024"]}


def test_changed_attributes_clear_the_filters_of_an_agent(driver: Any, given: Any) -> None:
    world = driver()
    world.framework("f")
    (offer,) = world.agent("s", "cpus:2;mem:1024")
    world.decline(offer, 1000)
    assert world.tell(m.UpdateAgent(agent_id="s", attributes=())) == []
    assert given(world.tell(m.UpdateAgent(agent_id="s", attributes=(("rack", "a"),)))) == {"f": ["s cpus:2; mem:1024"]}


def test_more_resources_on_an_agent_are_offered_at_once_and_fewer_hold_back(driver: Any, res: Any, given: Any) -> None:
    world = driver()
    world.framework("f")
    (offer,) = world.agent("s", "cpus:2;mem:1024")
    assert given(world.tell(m.UpdateAgent(agent_id="s", total=res("cpus:3;mem:1024")))) == {"f": ["s cpus:1"]}
    world.tell(m.UpdateAgent(agent_id="s", total=res("cpus:1;mem:512")))
    world.decline(offer)
    assert given(world.batch()) == {"f": ["s mem:512"]}  # the one CPU is still offered


def test_reservations_go_to_their_role_and_those_under_it(driver: Any, given: Any) -> None:
    world = driver()
    world.agent("s", "cpus(eng):1;mem(eng):64;cpus(ops):1;mem:64")
    assert given(world.framework("child", "eng/web")) == {"child": ["s cpus(eng):1; mem:64; mem(eng):64"]}
    assert given(world.framework("ops", "ops")) == {"ops": ["s cpus(ops):1"]}
    assert world.framework("parent", "other") == []


def test_a_framework_that_cannot_take_an_agent_keeps_it_from_nobody_behind_it(driver: Any) -> None:
    """MESOS-9554: the first of a role in the order of shares has no use for what is free; the second has."""
    world = driver()
    world.framework("first", "role1")
    world.framework("second", "role1", capabilities=("GPU_RESOURCES",))
    (offer,) = world.agent("s", "cpus:1;mem:1024;gpus:1")
    assert (offer.framework_id, offer.role) == ("second", "role1")
    assert offer.resources.scalars() == {"cpus": 1000, "mem": 1_024_000, "gpus": 1000}
    (plain,) = world.agent("t", "cpus:1;mem:1024")
    assert plain.framework_id == "first"


def test_capabilities(driver: Any, given: Any, res: Any) -> None:
    """GPU agents, revocable resources and other regions go only to those who can take them."""
    world = driver(region="here")
    revocable = res('[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"revocable":{}}]')
    world.framework("plain")
    assert world.agent("gpu", "cpus:1;mem:64;gpus:1") == []
    assert world.agent("far", "cpus:1;mem:64", region="there") == []
    world.tell(m.AddAgent(agent_id="over", hostname="h", total=revocable + res("cpus:2;mem:64")))
    assert given(world.ledger.open.values()) == {"plain": ["over cpus:2; mem:64"]}
    able = ("GPU_RESOURCES", "REVOCABLE_RESOURCES", "REGION_AWARE")
    assert given(world.framework("able", capabilities=able)) == {
        "able": ["far cpus:1; mem:64", "gpu cpus:1; gpus:1; mem:64", "over cpus{REV}:1"]
    }


def test_offer_constraints(driver: Any, given: Any) -> None:
    rack = m.Constraint(selector="rack", predicate="equals", value="a")
    host = m.Constraint(selector="@hostname", predicate="matches", value="host-[xy]")
    world = driver()
    world.framework("f", terms=(m.RoleTerms(role="*", constraints=((rack,), (host,))),))
    assert given(world.agent("a", "cpus:1;mem:64", attributes=(("rack", "a"),))) == {"f": ["a cpus:1; mem:64"]}
    assert world.agent("b", "cpus:1;mem:64", attributes=(("rack", "b"),)) == []
    assert given(world.agent("x", "cpus:1;mem:64")) == {"f": ["x cpus:1; mem:64"]}


def test_inverse_offers(driver: Any) -> None:
    """MaintenanceInverseOffers: to those with something there, once until answered, again after the filter."""
    world = driver()
    world.framework("f1", "r1")
    world.framework("f2", "r2")
    offers = world.agent("s1", "cpus:2;mem:1024") + world.agent("s2", "cpus:2;mem:1024")
    for offer in offers:
        world.accept(offer, "cpus:2;mem:1024")
    owner = {offer.agent_id: offer.framework_id for offer in offers}
    window = m.Unavailability(start=world.now + 60)

    def asked() -> list[tuple[str, str]]:
        found = [a for x in world.inbox if isinstance(x, m.InverseAllocated) for a in x.allocations]
        world.inbox.clear()
        return [(a.framework_id, a.agent_id) for a in found]

    world.tell(m.UpdateUnavailability(agent_id="s1", unavailability=window))
    assert asked() == [(owner["s1"], "s1")]
    world.advance(3)
    assert asked() == []
    world.tell(m.SettleInverse(framework_id=owner["s1"], agent_id="s1", accepted=False, refuse_seconds=5))
    world.advance(5)
    assert asked() == []
    world.advance(1)
    assert asked() == [(owner["s1"], "s1")]
    world.tell(m.UpdateUnavailability(agent_id="s1", unavailability=None))
    world.tell(m.UpdateUnavailability(agent_id="s1", unavailability=window))
    assert asked() == [(owner["s1"], "s1")]


def test_agents_without_any_scalar_are_no_trouble(driver: Any, given: Any) -> None:
    """Nothing of theirs can be an offer by itself, unless a framework asks for no minimum."""
    world = driver()
    world.framework("f")
    assert world.agent("s", "ports:[1-9]") == []
    offers = world.framework("g", terms=(m.RoleTerms(role="*", minimum=()),))
    assert given(offers) == {"g": ["s ports:[1-9]"]}
    assert world.actor.state.counters.policy_failures == 0
