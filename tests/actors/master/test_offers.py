"""Offers: one allocation, one settlement, whatever crosses what."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from actors.master.settings import MasterSettings
from actors.messages.records import Reason, TaskState
from actors.messages.scheduling import Accept, Decline, Launch, RescindOffer, Revive, Suppress
from actors.messages.tasks import RunTask
from allocator.resources import Resources
from tests.actors.master.cluster import Cluster, a_task


def test_an_agent_is_offered_whole_to_the_only_framework(cluster: Cluster) -> None:
    scheduler = cluster.scheduler()
    agent = cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    assert (offer.agent_id, offer.hostname, offer.role) == (agent.agent_id, "a", "*")
    assert offer.resources == Resources.parse("cpus:4;mem:4096")
    assert offer.offer_id == f"{cluster.state.master.master_id}-O0"


def test_accepted_resources_are_used_and_the_rest_is_offered_after_the_refusal(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.launch(offer, a_task(offer), refuse_seconds=5.0)
    run = agent.got_one(RunTask)
    assert (run.task.task_id, run.role, run.launch_executor) == ("t", "*", True)
    cluster.run(4.0)
    assert scheduler.offers() == []
    cluster.run(3.0)
    (rest,) = scheduler.offers()
    assert rest.resources == Resources.parse("cpus:3;mem:3584")


def test_declined_offer_comes_back_only_after_the_refusal(cluster: Cluster) -> None:
    scheduler, _ = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.say(Decline(offer_ids=(offer.offer_id,), refuse_seconds=10.0))
    cluster.run(9.0)
    assert scheduler.offers() == []
    cluster.run(3.0)
    assert len(scheduler.offers()) == 1


def test_refusal_that_is_no_number_is_the_default(cluster: Cluster) -> None:
    scheduler, _ = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.say(Decline(offer_ids=(offer.offer_id,), refuse_seconds=math.nan))
    cluster.run(4.0)
    assert scheduler.offers() == []
    cluster.run(3.0)
    assert len(scheduler.offers()) == 1


def test_revive_forgets_refusals_and_suppress_stops_offers(cluster: Cluster) -> None:
    scheduler, _ = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.say(Decline(offer_ids=(offer.offer_id,), refuse_seconds=3600.0))
    scheduler.say(Revive())
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.say(Suppress())
    scheduler.say(Decline(offer_ids=(offer.offer_id,), refuse_seconds=0.0))
    cluster.run(5.0)
    assert scheduler.offers() == []
    scheduler.say(Revive(roles=("*", "not-a-role-of-it")))
    cluster.run(1.5)
    assert len(scheduler.offers()) == 1


def test_two_offers_of_one_agent_are_used_together(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.launch(offer, a_task(offer, "first", "cpus:3;mem:1024"), refuse_seconds=0.0)
    cluster.run(1.5)
    (rest,) = scheduler.offers()
    agent.update(scheduler.framework_id, "first", TaskState.FINISHED, "u")
    cluster.run(1.5)
    (freed,) = scheduler.offers()
    assert (rest.resources, freed.resources) == (
        Resources.parse("cpus:1;mem:3072"),
        Resources.parse("cpus:3;mem:1024"),
    )
    both = Launch(tasks=(a_task(rest, "second", "cpus:4;mem:2048"),))
    scheduler.say(Accept(offer_ids=(rest.offer_id, freed.offer_id), operations=(both,), refuse_seconds=0.0))
    cluster.run(1.5)
    (left,) = scheduler.offers()
    assert left.resources == Resources.parse("mem:2048")


def test_stale_offer_drops_the_tasks_and_gives_the_other_offers_back(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.say(Accept(offer_ids=(offer.offer_id, "no-such-offer"), operations=(Launch(tasks=(a_task(offer),)),)))
    status = scheduler.status()
    assert (status.state, status.reason, status.uuid) == (TaskState.DROPPED, Reason.INVALID_OFFERS, "")
    assert "no-such-offer" in status.message
    assert agent.got(RunTask) == []
    cluster.run(1.5)
    assert len(scheduler.offers()) == 1


def test_framework_that_knows_no_partitions_hears_lost(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(capabilities=()), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.say(Accept(offer_ids=("stale",), operations=(Launch(tasks=(a_task(offer),)),)))
    assert scheduler.status().state is TaskState.LOST
    assert agent.got(RunTask) == []


@pytest.mark.parametrize("named", ["none", "twice", "of two agents"])
def test_offers_that_cannot_be_used_together(cluster: Cluster, named: str) -> None:
    scheduler, _, _ = cluster.scheduler(), cluster.agent("a"), cluster.agent("b")
    cluster.run(1.5)
    first, second = scheduler.offers()
    offer_ids = {
        "none": (),
        "twice": (first.offer_id, first.offer_id),
        "of two agents": (first.offer_id, second.offer_id),
    }[named]
    scheduler.say(Accept(offer_ids=offer_ids, operations=(Launch(tasks=(a_task(first),)),)))
    assert scheduler.status().reason is Reason.INVALID_OFFERS
    assert cluster.state.tasks == {}


def test_decline_that_crosses_a_rescind_settles_nothing_twice(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    agent.crash()
    assert scheduler.got_one(RescindOffer).offer_id == offer.offer_id
    scheduler.say(Decline(offer_ids=(offer.offer_id,), refuse_seconds=0.0))
    assert cluster.state.counters["master/stale_declines"] == 1
    assert cluster.allocator.counters.stale == 0


def test_offer_named_twice_in_a_decline_is_settled_once(cluster: Cluster) -> None:
    scheduler, _ = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.say(Decline(offer_ids=(offer.offer_id, offer.offer_id)))
    assert cluster.allocator.counters.stale == 0


def test_offer_of_another_framework_cannot_be_used(cluster: Cluster) -> None:
    first, _ = cluster.scheduler("first"), cluster.agent()
    cluster.run(1.5)
    (offer,) = first.offers()
    thief = cluster.scheduler("thief")
    thief.launch(offer, a_task(offer))
    assert thief.status().reason is Reason.INVALID_OFFERS
    assert list(cluster.state.offers) == [offer.offer_id]


@pytest.fixture
def impatient() -> Iterator[Cluster]:
    cluster = Cluster(MasterSettings(offer_timeout_seconds=30.0))
    yield cluster
    cluster.check()


def test_offer_that_nobody_answers_is_rescinded_without_a_filter(impatient: Cluster) -> None:
    scheduler, _ = impatient.scheduler(), impatient.agent()
    impatient.run(1.5)
    (offer,) = scheduler.offers()
    impatient.run(30.0)
    assert scheduler.got_one(RescindOffer).offer_id == offer.offer_id
    impatient.run(1.5)
    assert len(scheduler.offers()) == 1


def test_allocation_for_a_scheduler_that_has_just_gone_is_given_back(cluster: Cluster) -> None:
    scheduler, _ = cluster.scheduler(), cluster.agent()
    scheduler.crash()
    cluster.run(3.0)
    assert cluster.state.offers == {}
    assert cluster.allocator.ledger.open == {}
