"""Quota guarantees, limits and headroom, with the numbers of Mesos's HierarchicalAllocatorTest.Quota*."""

from __future__ import annotations

from typing import Any

import pytest

from allocator import messages as m
from allocator.quota import NO_QUOTA, InvalidQuota, Quota, check_quota
from allocator.resources_text import parse_amounts
from runtime.errors import KaonError

AGENT = "cpus:1;mem:512"


def quota(role: str, guarantees: str = "", limits: str | None = None) -> m.UpdateQuota:
    """As Mesos's tests make them: limits are the guarantees unless given."""
    both = parse_amounts(guarantees), parse_amounts(guarantees if limits is None else limits)
    return m.UpdateQuota(quotas=((role, Quota(*both)),))


def test_a_limit_holds(driver: Any, given: Any) -> None:
    """QuotaProvidesLimit."""
    world = driver()
    world.framework("f1", "*")
    world.tell(quota("*", "", "cpus:0;mem:0;disk:0"))
    assert world.agent("s1", "cpus:2;mem:1024;disk:1024") == []
    assert given(world.framework("f2", "free")) == {"f2": ["s1 cpus:2; disk:1024; mem:1024"]}
    world.tell(quota("*", "", "cpus:1;mem:512;disk:512"))
    half = ["s2 cpus:1; disk:512; mem:512"]
    assert given(world.agent("s2", "cpus:2;mem:1024;disk:1024")) == {"f1": half, "f2": half}


def test_a_guarantee_is_met_first_and_kept_through_a_refusal(driver: Any, given: Any) -> None:
    """QuotaProvidesGuarantee."""
    world = driver()
    world.framework("f1", "quota")
    world.tell(quota("quota", "cpus:2;mem:1024"))
    world.framework("f2", "free")
    assert given(world.agent("s1", AGENT)) == {"f1": ["s1 cpus:1; mem:512"]}
    offers = world.agent("s2", AGENT)
    assert given(offers) == {"f1": ["s2 cpus:1; mem:512"]}
    world.decline(offers[0], refuse_seconds=2)
    # The agent stays free: given to f2, it would be missing when the filter ends.
    assert world.batch() == []
    assert world.batch() == []
    assert given(world.batch()) == {"f1": ["s2 cpus:1; mem:512"]}


def test_a_guarantee_smaller_than_an_agent_is_cut_off_it(driver: Any, given: Any) -> None:
    """QuotaAllocationGranularity."""
    world = driver()
    world.framework("f1", "quota")
    world.tell(quota("quota", "cpus:0.5;mem:200"))
    assert given(world.agent("s", AGENT)) == {"f1": ["s cpus:0.5; mem:200"]}
    assert given(world.framework("f2", "free")) == {"f2": ["s cpus:0.5; mem:312"]}


def test_what_is_used_counts_and_metrics_say_so(driver: Any, given: Any, res: Any) -> None:
    """DRFWithQuota."""
    world = driver()
    world.tell(quota("quota", "cpus:0.25;mem:128"))
    world.framework("f1", "quota")
    world.framework("f2", "free")
    used = (m.Used("f1", "quota", res("cpus:0.25;mem:128")),)
    assert given(world.agent("s1", AGENT, used=used)) == {"f2": ["s1 cpus:0.75; mem:384"]}
    stem = "allocator/mesos/quota/roles/quota/resources"
    figures = {name: value for name, value in world.actor.metrics().items() if name.startswith(stem)}
    assert figures == {
        f"{stem}/{name}/{figure}": value
        for name, value in (("cpus", 0.25), ("mem", 128.0))
        for figure in ("guarantee", "limit", "offered_or_allocated", "consumed")
    }
    # All quotas are met: f2 gets it, though f1 has less.
    assert given(world.agent("s2", AGENT)) == {"f2": ["s2 cpus:1; mem:512"]}


def test_quota_ends_starvation(driver: Any, given: Any, res: Any) -> None:
    """QuotaAgainstStarvation."""
    world = driver()
    world.framework("f1", "quota")
    world.framework("f2", "free")
    world.agent("s1", AGENT, used=(m.Used("f1", "quota", res(AGENT)),))
    offers = world.agent("s2", AGENT)
    for _ in range(2):
        assert given(offers) == {"f2": ["s2 cpus:1; mem:512"]}
        world.decline(offers[0])
        offers = world.batch()
    world.decline(offers[0])
    assert world.tell(quota("quota", "cpus:2;mem:1024")) == []
    assert given(world.batch()) == {"f1": ["s2 cpus:1; mem:512"]}


def test_a_guarantee_without_frameworks_holds_nothing_back_from_another_guarantee(driver: Any, given: Any) -> None:
    """MultiQuotaAbsentFrameworks."""
    world = driver()
    world.agent("s", "cpus:2;mem:2048")
    world.tell(quota("quota1", "cpus:1;mem:1024"), quota("quota2", "cpus:2;mem:2048"))
    assert given(world.framework("f", "quota2")) == {"f": ["s cpus:2; mem:2048"]}


def test_only_what_is_missing_from_a_guarantee(driver: Any, given: Any) -> None:
    """DisproportionateQuotaVsAllocation."""
    world = driver()
    world.tell(quota("quota", "cpus:4;mem:1024"))
    world.framework("f", "quota")
    assert given(world.agent("s1", "cpus:2;mem:1024")) == {"f": ["s1 cpus:2; mem:1024"]}
    assert given(world.agent("s2", "cpus:2;mem:1024")) == {"f": ["s2 cpus:2"]}


def test_headroom_counts_what_nested_roles_have(driver: Any, given: Any) -> None:
    """QuotaHeadroomWithNestedRoleAllocation."""
    world = driver()
    world.framework("f1", "a/b")
    assert given(world.agent("s1", "cpus:1;mem:100")) == {"f1": ["s1 cpus:1; mem:100"]}
    world.framework("f2", "a")
    assert given(world.agent("s2", "cpus:1;mem:100")) == {"f2": ["s2 cpus:1; mem:100"]}
    world.tell(quota("quota", "cpus:1;mem:100"))
    assert world.agent("s3", "cpus:1;mem:100") == []
    offers = world.agent("s4", "cpus:1;mem:100") + world.batch()
    assert len(offers) == 1  # one of the two is set aside
    # What is set aside is offered as soon as the quota is gone.
    world.tell(m.UpdateQuota(quotas=(("quota", NO_QUOTA),)))
    assert len(world.batch()) == 1


def test_reservations_count_towards_quota(driver: Any, given: Any, res: Any) -> None:
    """ReservationWithinQuota."""
    world = driver()
    world.tell(quota("quota", "cpus:2;mem:256"))
    world.framework("f1", "quota")
    world.framework("f2", "free")
    used = (m.Used("f1", "quota", res("cpus:2;mem(quota):256")),)
    assert given(world.agent("s1", "cpus:8;mem(quota):256", used=used)) == {"f2": ["s1 cpus:6"]}
    assert given(world.agent("s2", "cpus:4;mem:128")) == {"f2": ["s2 cpus:4; mem:128"]}


def test_quota_covers_the_roles_under_it(driver: Any, given: Any) -> None:
    world = driver()
    world.tell(quota("eng", "", "cpus:1"))
    world.framework("f", "eng/web")
    assert given(world.agent("s1", "cpus:2;mem:64")) == {"f": ["s1 cpus:1; mem:64"]}
    world.tell(quota("eng", "cpus:3"))
    assert given(world.batch()) == {"f": ["s1 cpus:1"]}


def test_a_limit_that_was_reached_frees_the_rest_when_something_comes_back(driver: Any, res: Any, given: Any) -> None:
    world = driver()
    world.tell(quota("r", "", "cpus:1"))
    world.framework("f", "r")
    (offer,) = world.agent("s1", "cpus:1;mem:64")
    world.accept(offer, "cpus:1;mem:64")
    assert given(world.agent("s2", "cpus:1;mem:64")) == {"f": ["s2 mem:64"]}
    world.tell(m.Recover(framework_id="f", role="r", agent_id="s1", resources=res("cpus:1;mem:64")))
    texts = given(world.batch())["f"]
    assert len([text for text in texts if "cpus:1" in text]) == 1  # one CPU in all, on whichever agent


def test_a_guarantee_beyond_the_limit_ends_at_the_limit(driver: Any, given: Any) -> None:
    """Only a forced quota can say so; it must not stop the cycles of the others."""
    world = driver()
    world.tell(quota("r", "cpus:2", "cpus:1"))
    world.framework("f", "r")
    world.framework("g", "free")
    assert given(world.agent("s", "cpus:4;mem:64")) == {"f": ["s cpus:1; mem:64"], "g": ["s cpus:3"]}


CAPACITY = {"cpus": 10_000, "mem": 1_000_000}


@pytest.mark.parametrize(
    ("role", "guarantees", "limits", "said"),
    [
        ("*", "cpus:1", "", "default role"),
        ("a/b", "cpus:1", "", "set quota on 'a'"),
        ("a", "cpus:4", "cpus:2", "above the limit, 2"),
        ("a", "cpus:9", "", "2 of it guaranteed to other roles"),
        ("a", "gpus:1", "", "the cluster has 0"),
        ("a", "", "cpus:0.5", "already consumes cpus:1"),
        ("a/", "cpus:1", "", "empty component"),
    ],
)
def test_bad_quotas_are_refused(role: str, guarantees: str, limits: str, said: str) -> None:
    wanted = Quota(parse_amounts(guarantees), parse_amounts(limits))
    with pytest.raises(KaonError) as caught:
        check_quota(role, wanted, capacity=CAPACITY, guaranteed={"cpus": 2_000}, consumed={"cpus": 1_000})
    assert said in str(caught.value)


def test_good_quotas_pass() -> None:
    wanted = Quota(parse_amounts("cpus:8"), parse_amounts("cpus:8;gpus:0"))
    check_quota("a", wanted, capacity=CAPACITY, guaranteed={"cpus": 2_000}, consumed={"cpus": 1_000})


def test_negative_amounts_are_refused() -> None:
    with pytest.raises(InvalidQuota, match="guarantee of 'a' for cpus is -1: it cannot be negative"):
        check_quota("a", Quota((("cpus", -1000),)), capacity=CAPACITY, guaranteed={}, consumed={})
