"""How an agent finds its master, and how it stays with it."""

from __future__ import annotations

import pytest

from actors.agent.constants import REGISTRATION_BACKOFF_SECONDS
from actors.messages.detection import MasterDetected
from actors.messages.records import TaskState
from actors.messages.registration import (
    AgentRefused,
    AgentRegistered,
    PingAgent,
    PongAgent,
    RegisterAgent,
    ReregisterAgent,
)
from actors.messages.tasks import StatusUpdate
from runtime.pid import PID
from tests.actors.agent.cluster import AGENT_ID, FRAMEWORK, MASTER, PING_TIMEOUT_SECONDS, Cluster, command_task


def test_agent_registers_again_when_the_first_request_is_lost() -> None:
    cluster = Cluster()
    with cluster.world.drop(RegisterAgent, to="master", count=1) as lost:
        cluster.world.run(seconds=3 * REGISTRATION_BACKOFF_SECONDS)
    assert len(lost) == 1
    assert cluster.agent.agent_id == AGENT_ID


def test_gpus_of_the_containerizer_are_offered_unless_the_agent_was_told_how_many() -> None:
    def offered(cluster: Cluster) -> int:
        cluster.world.run(seconds=3 * REGISTRATION_BACKOFF_SECONDS)
        return cluster.heard(RegisterAgent)[0].agent.resources.scalar("gpus")

    assert offered(Cluster()) == 0
    assert offered(Cluster(gpus=2)) == 2_000
    assert offered(Cluster(gpus=2, resources="cpus:8;mem:8192;gpus:1")) == 1_000


def test_what_is_not_there_is_said(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    cluster.world.crash("m1")
    cluster.world.run(seconds=5.0)
    assert "no master at simulated://m1 (unreachable" in caplog.text
    cluster.crash_agent()
    cluster.crash_containerizer()
    cluster.start_agent()
    cluster.world.run(seconds=5.0)
    assert "no containerizer (unreachable" in caplog.text
    cluster.start_master()
    cluster.start_containerizer()
    cluster.world.run(seconds=120.0)
    assert cluster.agent.leader is not None


def test_attempts_double_their_distance_up_to_a_minute() -> None:
    cluster = Cluster()
    cluster.master.registers = False
    cluster.world.run(seconds=1200)
    assert 18 <= len(cluster.heard(RegisterAgent)) <= 60, "about one each 30 s, after a few quick ones"
    assert cluster.agent.leader is None


def test_agent_without_a_master_waits_for_a_detector() -> None:
    cluster = Cluster()
    cluster.crash_agent()
    master = cluster.settings.master
    cluster.settings = type(cluster.settings)(
        hostname="a1",
        resources=cluster.settings.resources,
        work_directory="/work_dir",
        containerizer=cluster.settings.containerizer,
    )
    cluster.start_agent()
    cluster.world.run(seconds=100)
    assert cluster.heard(RegisterAgent) == []
    detector = cluster.speaker("a1", "detector")
    cluster.say(detector, MasterDetected(master=master))
    cluster.world.run(seconds=2)
    assert cluster.agent.agent_id == AGENT_ID
    cluster.say(detector, MasterDetected(master=None))
    assert cluster.agent.leader is None


def test_detector_of_another_node_is_not_believed() -> None:
    cluster = Cluster().register()
    stranger = cluster.speaker("stranger", "detector")
    cluster.say(stranger, MasterDetected(master=PID("master", "simulated://stranger")))
    assert cluster.agent.leader is not None
    assert cluster.agent.master == cluster.settings.master


def test_agent_says_what_it_has_and_cannot_isolate() -> None:
    cluster = Cluster().register()
    (request,) = cluster.heard(RegisterAgent)
    assert request.agent.hostname == "a1"
    assert request.agent.resources == cluster.settings.resources
    assert request.agent.not_isolated == ()


def test_pings_are_answered() -> None:
    cluster = Cluster().register()
    cluster.world.run(seconds=31)
    assert cluster.heard(PongAgent) == [PongAgent(agent_id=AGENT_ID)] * 2


def test_silent_master_is_asked_again() -> None:
    cluster = Cluster().register()
    cluster.master.pings = False
    cluster.world.run(seconds=PING_TIMEOUT_SECONDS + 1)
    cluster.world.run(seconds=1)
    assert len(cluster.heard(ReregisterAgent)) == 1
    assert cluster.agent.leader is not None


def test_master_that_has_lost_the_agent_gets_everything_again() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 100"))
    cluster.world.run(seconds=1)
    cluster.order(PingAgent(connected=False))
    cluster.world.run(seconds=1)
    (request,) = cluster.heard(ReregisterAgent)
    (task,) = request.tasks
    assert (task.task_id, task.latest_state) == ("task-1", TaskState.RUNNING)
    assert request.frameworks == (FRAMEWORK,)
    assert request.agent.agent_id == AGENT_ID


def test_tasks_run_on_while_the_master_is_away() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 5"))
    cluster.world.run(seconds=1)
    cluster.world.crash("m1")
    cluster.world.run(seconds=10)
    assert cluster.agent.leader is None
    cluster.start_master()
    cluster.world.run(seconds=60)
    (request,) = cluster.heard(ReregisterAgent)
    assert [task.latest_state for task in request.tasks] == [TaskState.FINISHED]
    assert cluster.states("task-1") == [TaskState.FINISHED]
    assert cluster.is_clean()


def test_answer_for_tasks_that_never_arrived() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 1000"))
    cluster.world.run(seconds=1)
    cluster.master.missing = ((FRAMEWORK.framework_id, "lost"), (FRAMEWORK.framework_id, "task-1"))
    cluster.order(PingAgent(connected=False))
    cluster.world.run(seconds=2)
    assert cluster.states("lost") == [TaskState.DROPPED]
    assert cluster.states("task-1")[-1] is TaskState.RUNNING, "it is here: it was on its way when the master asked"


def test_refused_agent_ends_and_leaves_its_tasks() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 1000"))
    cluster.world.run(seconds=1)
    cluster.order(AgentRefused(reason="this machine is down for maintenance"))
    cluster.world.run(seconds=5)
    assert "agent" not in cluster.world.nodes["a1"].cells
    assert len(cluster.containerizer.containers) == 1


def test_agent_refused_for_good_ends_its_tasks_first() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 1000"))
    cluster.world.run(seconds=1)
    cluster.order(AgentRefused(reason="marked gone", shutdown=True))
    cluster.world.run(seconds=5)
    assert "agent" not in cluster.world.nodes["a1"].cells
    assert cluster.containerizer.containers == {}


def test_stranger_cannot_register_the_agent_elsewhere() -> None:
    cluster = Cluster().register()
    stranger = cluster.speaker("stranger")
    cluster.say(stranger, AgentRegistered(agent_id="other", master=MASTER, ping_timeout_seconds=1.0))
    cluster.say(stranger, AgentRefused(reason="because", shutdown=True))
    cluster.world.run(seconds=1)
    assert cluster.agent.agent_id == AGENT_ID
    assert cluster.agent.leader == PID("master", "m1", cluster.world.nodes["m1"].identity.incarnation)


def test_agent_registers_only_once_it_knows_what_runs() -> None:
    cluster = Cluster()
    cluster.crash_agent()
    cluster.crash_containerizer()
    cluster.start_agent()
    cluster.world.run(seconds=100)
    assert cluster.heard(RegisterAgent) == []
    cluster.start_containerizer()
    cluster.world.run(seconds=7)
    assert len(cluster.heard(RegisterAgent)) == 1
    assert cluster.heard(StatusUpdate) == []
