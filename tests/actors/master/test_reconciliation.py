"""Reconciliation: the six cases of Mesos's `_reconcileTasks`, and what partition-unaware frameworks hear instead."""

from __future__ import annotations

import pytest

from actors.messages.records import AgentInfo, Reason, Source, TaskState
from actors.messages.registry import RegisteredAgent
from actors.messages.scheduling import Reconcile
from allocator.resources import Resources
from tests.actors.master.cluster import Cluster, a_task


def info(agent_id: str) -> AgentInfo:
    return AgentInfo(hostname="h", resources=Resources.parse("cpus:1"), agent_id=agent_id)


def know(cluster: Cluster, *, absent: bool = False) -> None:
    """Let the master know of an unreachable and a gone agent, and of one that has yet to come back."""
    state = cluster.state
    state.unreachable["unreachable"] = RegisteredAgent(info=info("unreachable"), unreachable_since=5.0)
    state.gone["gone"] = RegisteredAgent(info=info("gone"), gone_since=6.0)
    if absent:
        state.absent["absent"] = info("absent")


@pytest.mark.parametrize(
    ("place", "told", "told_unaware"),
    [
        ("registered", TaskState.GONE, TaskState.LOST),
        ("unreachable", TaskState.UNREACHABLE, TaskState.LOST),
        ("gone", TaskState.GONE_BY_OPERATOR, TaskState.LOST),
        ("never heard of", TaskState.UNKNOWN, TaskState.LOST),
        ("", TaskState.UNKNOWN, TaskState.LOST),
    ],
)
@pytest.mark.parametrize("aware", [True, False])
def test_unknown_task_by_where_its_agent_is(
    cluster: Cluster, place: str, told: TaskState, told_unaware: TaskState, aware: bool
) -> None:
    scheduler = cluster.scheduler(capabilities=("PARTITION_AWARE",) if aware else ())
    agent = cluster.agent()
    know(cluster)
    scheduler.say(Reconcile(tasks=(("t", agent.agent_id if place == "registered" else place),)))
    status = scheduler.status()
    assert status.state is (told if aware else told_unaware)
    assert (status.source, status.reason, status.uuid) == (Source.MASTER, Reason.RECONCILIATION, "")
    assert status.unreachable_since == (5.0 if place == "unreachable" else None)


@pytest.mark.parametrize("agent_id", ["absent", ""])
def test_no_answer_while_the_agent_may_still_come_back(cluster: Cluster, agent_id: str) -> None:
    scheduler = cluster.scheduler()
    know(cluster, absent=True)
    scheduler.say(Reconcile(tasks=(("t", agent_id),)))
    assert scheduler.statuses() == []
    scheduler.say(Reconcile(tasks=(("t", "gone"),)))
    assert scheduler.status().state is TaskState.GONE_BY_OPERATOR


def test_known_task_is_told_as_last_sent_not_as_it_is(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.running_task(agent, scheduler)
    agent.update(scheduler.framework_id, "t", TaskState.RUNNING, "u", latest=TaskState.FINISHED)
    scheduler.statuses()
    scheduler.say(Reconcile(tasks=(("t", ""),)))
    status = scheduler.status()
    assert (status.state, status.uuid, status.agent_id) == (TaskState.RUNNING, "", agent.agent_id)


def test_terminal_task_that_is_not_acknowledged_is_told_as_terminal(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.running_task(agent, scheduler)
    agent.update(scheduler.framework_id, "t", TaskState.FAILED, "u")
    scheduler.statuses()
    scheduler.say(Reconcile(tasks=(("t", agent.agent_id),)))
    assert scheduler.status().state is TaskState.FAILED


def test_empty_list_means_all_tasks_in_memory(cluster: Cluster) -> None:
    scheduler, _ = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.launch(offer, a_task(offer, "first"), a_task(offer, "second"))
    scheduler.say(Reconcile())
    assert [(status.task_id, status.state) for status in scheduler.statuses()] == [
        ("first", TaskState.STAGING),
        ("second", TaskState.STAGING),
    ]


def test_task_on_an_unreachable_agent_needs_no_agent_id(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.running_task(agent, scheduler)
    agent.state.answers_pings = False
    cluster.run(90.0)
    scheduler.statuses()
    scheduler.say(Reconcile(tasks=(("t", ""),)))
    assert scheduler.status().state is TaskState.UNREACHABLE
