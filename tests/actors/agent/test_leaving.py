"""The end of the agent itself: restarted, drained, removed."""

from __future__ import annotations

from actors.messages.operating import Done, Refusal, StopAgent
from actors.messages.records import Reason, TaskState
from actors.messages.registration import RegisterAgent, ReregisterAgent, UnregisterAgent
from actors.messages.tasks import ShutdownAgent, StatusUpdate
from runtime.message import Terminate
from tests.actors.agent.cluster import AGENT_ID, Cluster, command_task, executor_task


def cluster_with_tasks() -> Cluster:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep infinity"))
    cluster.run_task(executor_task("task-2"))
    cluster.world.run(seconds=1)
    return cluster


def has_ended(cluster: Cluster) -> bool:
    return "agent" not in cluster.world.nodes["a1"].cells


def test_terminated_agent_leaves_its_tasks_to_the_next() -> None:
    cluster = cluster_with_tasks()
    node = cluster.world.nodes["a1"]
    node.post(node.pid("agent"), Terminate(deadline_seconds=10.0))
    cluster.world.run(seconds=1)
    assert has_ended(cluster)
    assert len(cluster.containerizer.containers) == 2
    cluster.crash_agent()
    cluster.start_agent()
    cluster.world.run(seconds=2)
    (request,) = cluster.heard(ReregisterAgent)
    assert request.agent.agent_id == AGENT_ID
    assert cluster.states("task-1") == [TaskState.STARTING, TaskState.RUNNING]


def test_drained_agent_kills_reports_and_leaves() -> None:
    cluster = cluster_with_tasks()
    executor = cluster.subscribe("task-2")
    tool = cluster.speaker("tool")
    cluster.say(tool, StopAgent(drain=True))
    cluster.run_task(command_task("late"))
    cluster.world.run(seconds=6)
    assert has_ended(cluster)
    assert tool.state.received == [Done()]
    for task_id in ("task-1", "task-2"):
        last = cluster.statuses(task_id)[-1]
        assert (last.state, last.reason) == (TaskState.KILLED, Reason.AGENT_DRAINING)
    assert cluster.states("late") == [TaskState.DROPPED]
    assert cluster.heard(UnregisterAgent) == [UnregisterAgent(agent_id=AGENT_ID)]
    assert cluster.containerizer.containers == {}
    assert executor.state.received != []
    registrations = len(cluster.heard(RegisterAgent))
    cluster.crash_agent()
    cluster.start_agent()
    cluster.world.run(seconds=2)
    assert len(cluster.heard(RegisterAgent)) == registrations + 1, "who has left comes back as somebody new"


def test_drained_agent_does_not_wait_for_ever_for_acknowledgements() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep infinity"))
    cluster.world.run(seconds=1)
    cluster.master.acknowledges = False
    tool = cluster.speaker("tool")
    cluster.say(tool, StopAgent(drain=True))
    cluster.world.run(seconds=9)
    assert not has_ended(cluster)
    cluster.world.run(seconds=2)
    assert has_ended(cluster)
    assert len(cluster.heard(UnregisterAgent)) == 1


def test_drained_agent_without_a_master_keeps_its_id_and_its_updates() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep infinity"))
    cluster.world.run(seconds=1)
    cluster.world.crash("m1")
    tool = cluster.speaker("tool")
    cluster.say(tool, StopAgent(drain=True))
    cluster.world.run(seconds=15)
    assert has_ended(cluster)
    cluster.crash_agent()
    cluster.start_master()
    cluster.start_agent()
    cluster.world.run(seconds=3)
    assert cluster.states("task-1")[-1] is TaskState.KILLED
    assert cluster.agent.agent_id == AGENT_ID


def test_stop_without_drain_leaves_the_tasks() -> None:
    cluster = cluster_with_tasks()
    tool = cluster.speaker("tool")
    cluster.say(tool, StopAgent())
    cluster.world.run(seconds=1)
    assert tool.state.received == [Done()]
    assert has_ended(cluster)
    assert len(cluster.containerizer.containers) == 2


def test_executors_may_not_stop_their_agent() -> None:
    cluster = cluster_with_tasks()
    executor = cluster.subscribe("task-2")
    cluster.say(executor, StopAgent(drain=True))
    cluster.world.run(seconds=1)
    assert isinstance(executor.state.received[-1], Refusal)
    assert not has_ended(cluster)


def test_removed_agent_ends_everything_and_waits_for_nobody() -> None:
    cluster = cluster_with_tasks()
    cluster.master.acknowledges = False
    cluster.order(ShutdownAgent(reason="marked gone"))
    cluster.world.run(seconds=4)
    assert has_ended(cluster)
    assert cluster.containerizer.containers == {}
    assert cluster.heard(UnregisterAgent) == []


def test_only_the_master_removes_the_agent() -> None:
    cluster = cluster_with_tasks()
    stranger = cluster.speaker("stranger", "master")
    cluster.say(stranger, ShutdownAgent(reason="because"))
    cluster.world.run(seconds=1)
    assert not has_ended(cluster)
    assert cluster.heard(StatusUpdate) != []
