"""Why a framework is not offered an agent, and who is next."""

from __future__ import annotations

from typing import Any

import pytest

from allocator import messages as m
from allocator.explain import CODES
from allocator.quota import Quota

SMALL = "cpus:2;mem:1024"
GPU = "cpus:2;mem:1024;gpus:1"


def why(world: Any, framework_id: str, agent_id: str, role: str = "*") -> m.Reason:
    reason: m.Reason
    (reason,) = world.ask(m.Explain(framework_id=framework_id, role=role, agent_id=agent_id)).reasons
    assert reason.code in CODES
    assert reason.text
    return reason


def held(world: Any) -> None:
    world.framework("f")
    world.agent("s", SMALL)
    world.tell(m.Hold())


def unknown_framework(world: Any) -> None:
    world.agent("s", SMALL)


def unknown_agent(world: Any) -> None:
    world.framework("f")


def inactive(world: Any) -> None:
    world.framework("f", active=False)
    world.agent("s", SMALL)


def other_role(world: Any) -> None:
    world.framework("f", "eng")
    world.agent("s", SMALL)


def suppressed(world: Any) -> None:
    world.framework("f", suppressed=("*",))
    world.agent("s", SMALL)


def draining(world: Any) -> None:
    world.framework("f")
    world.agent("s", SMALL, active=False)


def not_whitelisted(world: Any) -> None:
    world.tell(m.UpdateWhitelist(hostnames=()))
    world.framework("f")
    world.agent("s", SMALL)


def taken(world: Any) -> None:
    world.framework("f")
    world.agent("s", SMALL)


def gpus(world: Any) -> None:
    world.framework("f")
    world.agent("s", GPU)


def region(world: Any) -> None:
    world.framework("f")
    world.agent("s", SMALL, region="far")


def constrained(world: Any) -> None:
    rack = m.Constraint(selector="rack", predicate="exists")
    world.framework("f", terms=(m.RoleTerms(role="*", constraints=((rack,),)),))
    world.agent("s", SMALL)


def reserved(world: Any) -> None:
    world.framework("f")
    world.agent("s", "cpus(eng):2;mem(eng):1024")


def revocable(world: Any) -> None:
    world.framework("f")
    world.agent("s", '[{"name":"cpus","type":"SCALAR","scalar":{"value":2},"revocable":{}}]')


def limited(world: Any) -> None:
    world.tell(m.UpdateQuota(quotas=(("*", Quota(limits=(("cpus", 0), ("mem", 0)))),)))
    world.framework("f")
    world.agent("s", SMALL)


def headroom(world: Any) -> None:
    world.tell(m.UpdateQuota(quotas=(("eng", Quota(guarantees=(("cpus", 2000), ("mem", 1_024_000)))),)))
    world.framework("f")
    world.agent("s", SMALL)


def little(world: Any) -> None:
    world.framework("f")
    world.agent("s", "cpus:0.001;mem:31")


def refused(world: Any) -> None:
    world.framework("f")
    (offer,) = world.agent("s", SMALL)
    world.decline(offer, 60)


def due(world: Any) -> None:
    world.framework("f")
    (offer,) = world.agent("s", SMALL)
    world.decline(offer)


@pytest.mark.parametrize(
    ("case", "code", "said"),
    [
        (held, "held", "waits"),
        (unknown_framework, "no_such_framework", "did it subscribe"),
        (unknown_agent, "no_such_agent", "no agent 's'"),
        (inactive, "framework_inactive", "not connected"),
        (other_role, "not_in_role", "subscribed to eng"),
        (suppressed, "suppressed", "until it revives"),
        (draining, "agent_inactive", "draining"),
        (not_whitelisted, "not_whitelisted", "host-s is not on"),
        (taken, "nothing_free", "f in * has cpus:2; mem:1024"),
        (gpus, "gpus_hidden", "GPU_RESOURCES"),
        (region, "other_region", "region far"),
        (constrained, "constraints", "offer constraints"),
        (reserved, "reserved", "cpus(eng):2"),
        (revocable, "no_capability", "cpus{REV}:2"),
        (limited, "quota_limit", "limit of cpus:0; mem:0"),
        (headroom, "headroom", "not met yet: cpus:2; mem:1024"),
        (little, "too_little", "minimum of an offer, cpus:0.01 or mem:32"),
        (refused, "refused", "for 60 s more"),
        (due, "due", "in the next cycle"),
    ],
)
def test_each_reason(driver: Any, case: Any, code: str, said: str) -> None:
    world = driver(region="here")
    case(world)
    reason = why(world, "f", "s")
    assert reason.code == code
    assert said in reason.text


def test_every_code_is_tested_and_looked_for_in_order() -> None:
    tested = [mark.args[1] for mark in test_each_reason.pytestmark]
    assert sorted(code for cases in tested for _, code, _ in cases) == sorted(CODES)


def test_due_says_the_truth(driver: Any) -> None:
    world = driver()
    due(world)
    assert why(world, "f", "s").code == "due"
    assert len(world.batch()) == 1
    assert why(world, "f", "s").code == "nothing_free"


def test_questions_may_be_open_and_answers_are_bounded(driver: Any) -> None:
    world = driver()
    for n in range(3):
        world.framework(f"f{n}", "a", "b")
    for n in range(5):
        world.agent(f"s{n}", SMALL)
    everything = world.ask(m.Explain())
    assert len(everything.reasons) == 3 * 2 * 5
    assert everything.left_out == 0
    some = world.ask(m.Explain(limit=4))
    assert some.reasons == everything.reasons[:4]
    assert some.left_out == 26
    assert len(world.ask(m.Explain(framework_id="f1")).reasons) == 10
    assert len(world.ask(m.Explain(agent_id="s1", role="a")).reasons) == 3


def test_asking_changes_nothing(driver: Any) -> None:
    import copy

    world = driver("random")
    world.framework("f", "a")
    world.agent("s", SMALL)
    before, chance = copy.deepcopy(world.actor.state), world.actor.random.getstate()
    world.ask(m.Explain(wanted=(("cpus", 4000),)))
    assert world.actor.state == before
    assert world.actor.random.getstate() == chance


def test_who_would_get_the_next_four_cpus_and_why(driver: Any) -> None:
    world = driver()
    world.tell(m.UpdateWeights(weights=(("b", 4.0),)))
    world.framework("f1", "a")
    (offer,) = world.agent("s1", "cpus:8;mem:1024")
    world.accept(offer, "cpus:2;mem:1024")
    world.framework("f2", "b")
    world.framework("f3", "c")
    world.tell(m.UpdateQuota(quotas=(("c", Quota(limits=(("cpus", 1000),))),)))
    candidates = world.ask(m.Explain(wanted=(("cpus", 4000),))).candidates
    assert [(c.framework_id, c.role, c.position) for c in candidates] == [
        ("f3", "c", 0),
        ("f2", "b", 1),
        ("f1", "a", 2),
    ]
    assert "quota limit of c, cpus:1, does not leave that much" in candidates[0].text
    assert "b has 18.8% at weight 4" in candidates[1].text  # it was offered 6 of 8 CPUs: 75 % by weight 4
    assert "the framework has 100.0% of the cluster" in candidates[2].text
