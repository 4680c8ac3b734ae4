"""Status updates: one in flight per task, repeated until acknowledged, durable before they are sent."""

from __future__ import annotations

from actors.agent.agent import Agent
from actors.agent.records import FrameworkSeen, UpdateAcknowledged, UpdateQueued
from actors.agent.state import AgentState
from actors.messages.records import FrameworkInfo, TaskState
from actors.messages.registration import PingAgent
from actors.messages.tasks import AcknowledgeUpdate, KillTaskOnAgent, StatusUpdate
from runtime.effects import Persist
from runtime.testing import make, sent, turn
from tests.actors.agent.cluster import FRAMEWORK, Cluster, acknowledgement, command_task


def cluster_with_a_task() -> Cluster:
    """One whose master acknowledges nothing, with a task that has STARTING in flight and RUNNING behind it."""
    cluster = Cluster().register()
    cluster.master.acknowledges = False
    cluster.run_task(command_task(shell="sleep 100000"))
    cluster.world.run(seconds=1)
    return cluster


def test_next_update_waits_for_the_acknowledgement() -> None:
    cluster = cluster_with_a_task()
    (first,) = cluster.heard(StatusUpdate)
    assert (first.status.state, first.latest_state) == (TaskState.STARTING, TaskState.STARTING)
    cluster.order(acknowledgement(first))
    second = cluster.heard(StatusUpdate)[-1]
    assert (second.status.state, second.latest_state) == (TaskState.RUNNING, TaskState.RUNNING)


def test_unacknowledged_update_is_repeated_after_10_s_doubling_to_10_min() -> None:
    cluster = cluster_with_a_task()
    counts = []
    for seconds in (8, 2, 18, 2, 40, 80, 160, 320, 600, 600):
        cluster.world.run(seconds=seconds)
        counts.append(len(cluster.heard(StatusUpdate)))
    assert counts == [1, 2, 2, 3, 4, 5, 6, 7, 8, 9]
    assert len({update.status.uuid for update in cluster.heard(StatusUpdate)}) == 1
    assert cluster.heard(StatusUpdate)[-1].latest_state is TaskState.RUNNING


def test_acknowledgement_of_another_update_changes_nothing() -> None:
    cluster = cluster_with_a_task()
    wrong = AcknowledgeUpdate(framework_id=FRAMEWORK.framework_id, task_id="task-1", uuid="none")
    cluster.order(wrong)
    assert len(cluster.heard(StatusUpdate)) == 1


def test_acknowledgement_twice_is_one() -> None:
    cluster = cluster_with_a_task()
    (first,) = cluster.heard(StatusUpdate)
    cluster.order(acknowledgement(first))
    cluster.order(acknowledgement(first))
    assert cluster.states("task-1") == [TaskState.STARTING, TaskState.RUNNING]
    assert len(cluster.heard(StatusUpdate)) == 2


def test_nothing_is_repeated_while_no_master_leads_and_all_when_one_does() -> None:
    cluster = cluster_with_a_task()
    cluster.world.crash("m1")
    cluster.world.run(seconds=1000)
    cluster.start_master()
    cluster.world.run(seconds=120)
    assert cluster.states("task-1") == [TaskState.STARTING, TaskState.RUNNING]


def test_reregistration_repeats_what_was_in_flight() -> None:
    cluster = cluster_with_a_task()
    cluster.order(PingAgent(connected=False))
    cluster.world.run(seconds=2)
    assert [update.status.state for update in cluster.heard(StatusUpdate)] == [TaskState.STARTING] * 2


def test_update_is_durable_before_it_is_sent() -> None:
    cluster = Cluster().register()
    cluster.world.disks["a1"].latency_seconds = 0.5
    cluster.kill_task("ghost")
    cluster.world.run(seconds=0.4)
    assert cluster.heard(StatusUpdate) == []
    cluster.world.run(seconds=0.2)
    assert cluster.states("ghost") == [TaskState.DROPPED]


def test_update_that_did_not_become_durable_was_never_said() -> None:
    cluster = Cluster().register()
    cluster.world.disks["a1"].latency_seconds = 0.5
    cluster.kill_task("ghost")
    cluster.world.run(seconds=0.4)
    cluster.crash_agent()
    cluster.world.disks["a1"].latency_seconds = 0.0
    cluster.start_agent()
    cluster.world.run(seconds=30)
    assert cluster.heard(StatusUpdate) == []


def test_turn_writes_the_update_before_it_sends_it() -> None:
    agent = make(Agent, AgentState(settings=Cluster().settings))
    agent.state.leader = leader = agent.pid
    agent.state.agent_id = "agent-1"
    kill = KillTaskOnAgent(framework_id="f", task_id="ghost")
    effects = turn(agent, kill, sender=leader, now=5.0)
    persisted = [effect.record for effect in effects if isinstance(effect, Persist)]
    (queued,) = persisted
    assert isinstance(queued, UpdateQueued)
    (update,) = sent(effects, StatusUpdate)
    assert update == StatusUpdate(
        agent_id="agent-1", framework_id="f", status=queued.status, latest_state=TaskState.DROPPED
    )
    effects = turn(agent, acknowledgement(update), sender=leader, now=6.0)
    record = UpdateAcknowledged(framework_id="f", task_id="ghost", uuid=queued.status.uuid)
    assert [effect.record for effect in effects if isinstance(effect, Persist)] == [record]
    assert agent.state.frameworks == {}


def test_old_frameworks_hear_lost_in_the_place_of_dropped() -> None:
    agent = make(Agent, AgentState(settings=Cluster().settings))
    agent.state.leader = agent.pid
    old = FrameworkInfo(name="old", framework_id="f", capabilities=())
    agent.commit(FrameworkSeen(framework=old))
    effects = turn(agent, KillTaskOnAgent(framework_id="f", task_id="ghost"), sender=agent.pid)
    (update,) = sent(effects, StatusUpdate)
    assert update.status.state is TaskState.LOST
