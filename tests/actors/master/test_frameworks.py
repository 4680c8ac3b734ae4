"""Frameworks: subscription, failover and the end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.master.settings import MasterSettings
from actors.messages.records import FrameworkInfo, TaskState
from actors.messages.scheduling import (
    Decline,
    Offers,
    Reconcile,
    RescindOffer,
    SchedulerError,
    Subscribe,
    Teardown,
    UpdateFrameworkCall,
)
from actors.messages.tasks import ShutdownFramework
from allocator.resources import Resources
from tests.actors.master.cluster import Cluster, SchedulerClient, a_task


def test_framework_gets_an_id_of_its_master(cluster: Cluster) -> None:
    first, second = cluster.scheduler("first"), cluster.scheduler("second")
    assert first.framework_id == f"{cluster.state.master.master_id}-0000"
    assert second.framework_id == f"{cluster.state.master.master_id}-0001"


def test_repeated_subscription_gets_the_same_id_and_new_offers(cluster: Cluster) -> None:
    scheduler, _ = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    assert scheduler.subscribe() == scheduler.framework_id
    assert list(cluster.state.frameworks) == [scheduler.framework_id]
    assert scheduler.got_one(RescindOffer).offer_id == offer.offer_id
    cluster.run(1.5)
    assert len(scheduler.offers()) == 1


@pytest.mark.parametrize(
    ("fields", "text"), [({"roles": ()}, "no role"), ({"failover_timeout_seconds": -1.0}, "failover_timeout")]
)
def test_subscription_that_makes_no_sense_is_refused(cluster: Cluster, fields: dict[str, Any], text: str) -> None:
    scheduler = SchedulerClient(cluster, "s")
    scheduler.say(Subscribe(framework=FrameworkInfo(name="s", **fields)))
    assert text in scheduler.got_one(SchedulerError).message
    assert cluster.state.frameworks == {}


def test_id_of_an_earlier_master_is_kept(cluster: Cluster) -> None:
    assert cluster.scheduler(framework_id="earlier-0007").framework_id == "earlier-0007"


def test_new_scheduler_supersedes_the_old_one_and_takes_its_tasks(cluster: Cluster) -> None:
    old, agent = cluster.scheduler("old"), cluster.agent()
    cluster.running_task(agent, old)
    cluster.run(1.5)
    (offer,) = old.offers()
    new = cluster.scheduler("new", framework_id=old.framework_id)
    assert new.framework_id == old.framework_id
    assert "failed over" in old.got_one(SchedulerError).message
    assert list(cluster.state.tasks) == [(old.framework_id, "t")]
    old.say(Decline(framework_id=old.framework_id, offer_ids=(offer.offer_id,)))
    assert "failed over" in old.got_one(SchedulerError).message
    agent.update(old.framework_id, "t", TaskState.FINISHED, "u")
    assert new.status().state is TaskState.FINISHED
    assert old.statuses() == []
    cluster.run(1.5)
    assert sum((offer.resources for offer in new.offers()), start=Resources()) == Resources.parse("cpus:4;mem:4096")


def test_tasks_live_on_until_the_failover_timeout(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(failover_timeout_seconds=100.0), cluster.agent()
    cluster.running_task(agent, scheduler)
    scheduler.crash()
    cluster.run(99.0)
    assert list(cluster.state.tasks) == [(scheduler.framework_id, "t")]
    cluster.run(2.0)
    assert cluster.state.tasks == {}
    assert agent.got_one(ShutdownFramework).framework_id == scheduler.framework_id
    assert list(cluster.state.completed[scheduler.framework_id].completed) == ["t"]
    assert cluster.allocator.ledger.frameworks == {}


def test_scheduler_that_comes_back_in_time_stops_the_failover_timeout(cluster: Cluster) -> None:
    first, agent = cluster.scheduler("one", failover_timeout_seconds=100.0), cluster.agent()
    cluster.running_task(agent, first)
    first.crash()
    cluster.run(99.0)
    second = cluster.scheduler("two", framework_id=first.framework_id, failover_timeout_seconds=100.0)
    cluster.run(50.0)
    second.crash()
    cluster.run(99.0)
    assert list(cluster.state.tasks) == [(first.framework_id, "t")]
    cluster.run(2.0)
    assert cluster.state.tasks == {}


def test_disconnected_framework_is_offered_nothing(cluster: Cluster) -> None:
    scheduler, _ = cluster.scheduler("gone"), cluster.agent()
    other = cluster.scheduler("other")
    scheduler.crash()
    cluster.run(1.5)
    assert sum((offer.resources for offer in other.offers()), start=Resources()) == Resources.parse("cpus:4;mem:4096")


def test_torn_down_framework_is_gone_with_all_its_tasks(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.running_task(agent, scheduler)
    scheduler.say(Teardown(framework_id=scheduler.framework_id))
    assert cluster.state.tasks == {}
    assert agent.got_one(ShutdownFramework).framework_id == scheduler.framework_id
    assert cluster.state.completed[scheduler.framework_id].completed["t"].latest_state is TaskState.KILLED
    scheduler.say(Subscribe(framework=FrameworkInfo(name="s", framework_id=scheduler.framework_id)))
    assert "has been removed" in scheduler.got_one(SchedulerError).message
    scheduler.say(Reconcile(framework_id=scheduler.framework_id))
    assert "has been removed" in scheduler.got_one(SchedulerError).message


def test_call_of_a_framework_that_nobody_knows_is_dropped(cluster: Cluster) -> None:
    scheduler = SchedulerClient(cluster, "s")
    scheduler.say(Reconcile(framework_id="unknown"))
    assert scheduler.state.received == []
    assert cluster.state.counters["master/dropped_messages"] == 1


def test_update_of_a_framework_changes_its_roles_and_withdraws_offers_of_others(cluster: Cluster) -> None:
    scheduler, _ = cluster.scheduler(roles=("a",)), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    info = FrameworkInfo(name="s", roles=("b",))
    scheduler.say(UpdateFrameworkCall(framework_id=scheduler.framework_id, framework=info))
    assert scheduler.got_one(RescindOffer).offer_id == offer.offer_id
    cluster.run(1.5)
    assert [offer.role for offer in scheduler.offers()] == ["b"]


def test_user_of_a_framework_stays_and_its_principal_too(cluster: Cluster) -> None:
    scheduler = cluster.scheduler(user="alice", principal="p")
    info = FrameworkInfo(name="s", user="bob", principal="p")
    scheduler.say(UpdateFrameworkCall(framework=info))
    assert cluster.state.frameworks[scheduler.framework_id].info.user == "alice"
    scheduler.say(UpdateFrameworkCall(framework=msgspec.structs.replace(info, principal="q")))
    assert "'p'" in scheduler.got_one(SchedulerError).message


def test_scheduler_that_speaks_for_two_frameworks_is_refused(cluster: Cluster) -> None:
    scheduler = cluster.scheduler()
    scheduler.say(Subscribe(framework=FrameworkInfo(name="s", framework_id="another")))
    assert scheduler.framework_id in scheduler.got_one(SchedulerError).message


def test_only_so_many_ended_frameworks_are_remembered() -> None:
    cluster = Cluster(MasterSettings(max_completed_frameworks=2))
    ended = []
    for name in ("a", "b", "c"):
        scheduler = cluster.scheduler(name)
        scheduler.say(Teardown())
        ended.append(scheduler.framework_id)
    assert list(cluster.state.completed) == ended[1:]
    cluster.check()


def test_only_so_many_ended_tasks_are_remembered() -> None:
    cluster = Cluster(MasterSettings(max_completed_tasks_per_framework=1))
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.launch(offer, a_task(offer, "first"), a_task(offer, "second"))
    for task_id in ("first", "second"):
        agent.update(scheduler.framework_id, task_id, TaskState.FINISHED, task_id)
        scheduler.acknowledge(agent, task_id, task_id)
    assert list(cluster.state.frameworks[scheduler.framework_id].completed) == ["second"]
    assert scheduler.got(Offers) == []
    cluster.check()
