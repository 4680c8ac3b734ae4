"""An agent, or its containerizer, that is killed at any point: nothing runs twice, nothing that was said is lost."""

from __future__ import annotations

import pytest
from msgspec.msgpack import Decoder

from actors.agent.agent import Agent
from actors.agent.checkpoint import apply, snapshot
from actors.agent.state import AgentState
from actors.messages.records import Reason, TaskState
from actors.messages.registration import ReregisterAgent
from containerizer.messages import Collected, ContainerExited, Launch, Launched, Recovered
from runtime.faults import PASS, Delay
from tests.actors.agent.cluster import AGENT_ID, Cluster, command_task

STARTED = [TaskState.STARTING, TaskState.RUNNING]


def restart(cluster: Cluster, seconds_down: float = 1.0) -> None:
    cluster.crash_agent()
    cluster.world.run(seconds=seconds_down)
    cluster.start_agent()
    cluster.world.run(seconds=2)


def test_running_command_is_found_again() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 30"))
    cluster.world.run(seconds=1)
    restart(cluster)
    (request,) = cluster.heard(ReregisterAgent)
    assert [(task.task_id, task.latest_state) for task in request.tasks] == [("task-1", TaskState.RUNNING)]
    assert request.agent.agent_id == AGENT_ID
    assert cluster.states("task-1") == STARTED, "nothing new has happened to it"
    cluster.world.run(seconds=30)
    assert cluster.states("task-1") == [*STARTED, TaskState.FINISHED]
    assert cluster.is_clean()


def test_command_that_ended_meanwhile_is_reaped_with_its_status() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 3; exit 7"))
    cluster.world.run(seconds=1)
    restart(cluster, seconds_down=10)
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.exit_code) == (TaskState.FAILED, 7)
    assert cluster.is_clean()


def test_unacknowledged_update_is_sent_again() -> None:
    cluster = Cluster().register()
    cluster.master.acknowledges = False
    cluster.run_task(command_task(shell="sleep 1000"))
    cluster.world.run(seconds=1)
    restart(cluster)
    assert cluster.states("task-1") == [TaskState.STARTING], "the same update, by its uuid"
    cluster.master.acknowledges = True
    cluster.world.run(seconds=11)
    assert cluster.states("task-1") == STARTED


def test_launch_that_never_reached_the_containerizer_is_dropped() -> None:
    cluster = Cluster().register()
    with cluster.world.drop(Launch) as lost:
        cluster.run_task(command_task())
        cluster.world.run(seconds=0.1)
    assert len(lost) == 1
    restart(cluster)
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.reason) == (TaskState.DROPPED, Reason.AGENT_RESTARTED)
    assert cluster.is_clean()


def test_launch_whose_answer_was_lost_runs_once() -> None:
    cluster = Cluster().register()
    with cluster.world.drop(Launched) as lost:
        cluster.run_task(command_task(shell="sleep 5"))
        cluster.world.run(seconds=0.1)
    assert len(lost) == 1
    restart(cluster)
    cluster.world.run(seconds=10)
    assert cluster.states("task-1") == [*STARTED, TaskState.FINISHED]
    assert cluster.containerizer.next_process_id == 1001, "one process in all"


@pytest.mark.parametrize("message_type", [ContainerExited, Collected])
def test_exit_that_was_not_collected_is_told_again_and_said_once(message_type: type[ContainerExited]) -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 1"))
    cluster.world.run(seconds=0.5)
    with cluster.world.drop(message_type, count=1):
        cluster.world.run(seconds=0.6)
        restart(cluster)
    cluster.world.run(seconds=10)
    assert cluster.states("task-1") == [*STARTED, TaskState.FINISHED]
    assert cluster.is_clean()


def test_kill_goes_on_after_a_restart() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="trap '' TERM; sleep infinity", kill_grace_seconds=4.0))
    cluster.world.run(seconds=1)
    cluster.kill_task("task-1")
    cluster.world.run(seconds=1)
    restart(cluster)
    cluster.world.run(seconds=5)
    assert cluster.states("task-1") == [*STARTED, TaskState.KILLING, TaskState.KILLED]


def test_longest_time_is_counted_from_the_first_start() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep infinity", max_completion_seconds=30.0))
    cluster.world.run(seconds=20)
    restart(cluster)
    cluster.world.run(seconds=8)
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.reason) == (TaskState.FAILED, Reason.MAX_COMPLETION_TIME_REACHED)


def test_agent_that_comes_back_as_a_new_one_has_its_orphans_destroyed() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep infinity"))
    cluster.world.run(seconds=1)
    cluster.crash_agent()
    cluster.world.disks.pop("a1")
    cluster.start_agent()
    cluster.world.run(seconds=2)
    assert cluster.containerizer.containers == {}


def test_containers_that_vanished_with_a_reboot_are_gone() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep infinity"))
    cluster.world.run(seconds=1)
    cluster.crash_agent()
    cluster.crash_containerizer()
    cluster.reboot()
    cluster.world.run(seconds=20)
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.reason) == (TaskState.GONE, Reason.AGENT_RESTARTED)
    assert cluster.agent.agent_id == AGENT_ID
    assert cluster.is_clean()


@pytest.mark.parametrize("milliseconds", range(40))
def test_agent_killed_at_any_moment_of_a_short_task(milliseconds: int) -> None:
    """Said to have ended exactly once, whatever else; and if it says FINISHED, it ran."""
    cluster = Cluster().register()
    cluster.world.disks["a1"].latency_seconds = 0.002
    cluster.run_task(command_task(shell="sleep 0.01"))
    cluster.world.run(seconds=milliseconds / 1000)
    cluster.crash_agent()
    cluster.start_agent()
    cluster.world.run(seconds=30)
    states = cluster.states("task-1")
    if not states:
        assert cluster.containerizer.next_process_id == 1000, "nothing was written, so nothing was done"
    else:
        assert [state for state in states if state.is_terminal] == states[-1:]
        assert states[-1] in {TaskState.FINISHED, TaskState.DROPPED}
        assert (states[-1] is TaskState.FINISHED) == (cluster.containerizer.next_process_id == 1001)
    assert cluster.is_clean()


# The containerizer ----------------------------------------------------------------------------------------------------


def test_tasks_survive_their_containerizer() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 30"))
    cluster.world.run(seconds=1)
    cluster.crash_containerizer()
    cluster.world.run(seconds=5)
    assert cluster.agent.leader is not None, "the agent stays with its master"
    cluster.start_containerizer()
    cluster.world.run(seconds=30)
    assert cluster.states("task-1") == [*STARTED, TaskState.FINISHED]
    assert cluster.is_clean()


def test_task_that_comes_while_there_is_no_containerizer_waits_for_one() -> None:
    cluster = Cluster().register()
    cluster.crash_containerizer()
    cluster.world.run(seconds=1)
    cluster.run_task(command_task(shell="sleep 1"))
    cluster.world.run(seconds=5)
    assert cluster.states("task-1") == []
    cluster.start_containerizer()
    cluster.world.run(seconds=10)
    assert cluster.states("task-1") == [*STARTED, TaskState.FINISHED]


def test_launch_is_repeated_when_the_containerizer_died_of_something_else() -> None:
    cluster = Cluster().register()
    with cluster.world.drop(Launch, count=1):
        cluster.run_task(command_task(shell="sleep 1"))
        cluster.crash_containerizer()
    cluster.start_containerizer()
    cluster.world.run(seconds=10)
    assert cluster.states("task-1") == [*STARTED, TaskState.FINISHED]


def test_launch_is_not_repeated_for_ever() -> None:
    cluster = Cluster().register()
    with cluster.world.drop(Launch) as launches:
        cluster.run_task(command_task())
        for _ in range(5):
            cluster.crash_containerizer()
            cluster.start_containerizer()
            cluster.world.run(seconds=10)
    assert len(launches) == 3
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.reason) == (TaskState.FAILED, Reason.CONTAINER_LAUNCH_FAILED)


def test_task_that_comes_while_a_recovery_is_on_its_way_is_launched_after_it() -> None:
    cluster = Cluster().register()
    cluster.world.network.faults.add(lambda parcel: Delay(3.0) if isinstance(parcel.envelope.body, Recovered) else PASS)
    cluster.crash_containerizer()
    cluster.start_containerizer()
    cluster.world.run(seconds=1)
    cluster.run_task(command_task(shell="sleep 1"))
    cluster.world.run(seconds=1)
    assert cluster.states("task-1") == [], "the agent still waits for the answer"
    cluster.world.run(seconds=10)
    assert cluster.states("task-1") == [*STARTED, TaskState.FINISHED]
    assert cluster.is_clean()


def test_launch_that_the_containerizer_turns_away_is_the_end_of_the_task() -> None:
    cluster = Cluster().register()
    with cluster.world.drop(Launch) as lost:
        cluster.run_task(command_task())
        cluster.world.run(seconds=1)
    cluster.crash_containerizer()
    cluster.start_containerizer()
    for _ in range(2):
        cluster.world.nodes["c1"].cells["containerizer"].remember_crash(lost[0])
    cluster.world.run(seconds=60)
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.reason) == (TaskState.FAILED, Reason.CONTAINER_LAUNCH_FAILED)
    assert cluster.world.nodes["c1"].refusals == {"poison": 2}
    assert cluster.is_clean()


def test_kill_waits_for_the_containerizer() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep infinity"))
    cluster.world.run(seconds=1)
    cluster.crash_containerizer()
    cluster.world.run(seconds=1)
    cluster.kill_task("task-1")
    cluster.world.run(seconds=1)
    cluster.start_containerizer()
    cluster.world.run(seconds=10)
    assert cluster.states("task-1") == [*STARTED, TaskState.KILLING, TaskState.KILLED]
    assert cluster.is_clean()


# The agent's actor alone ----------------------------------------------------------------------------------------------


def test_failed_actor_comes_back_from_its_journal() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 30"))
    cluster.world.run(seconds=1)
    node = cluster.world.nodes["a1"]
    node.lifecycle.end(node.cells["agent"], "failed: told to", failed=True)
    cluster.world.run(seconds=40)
    assert cluster.states("task-1") == [*STARTED, TaskState.FINISHED]
    assert cluster.is_clean()


def test_failed_executor_of_a_command_fails_its_task_only() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 30"))
    cluster.run_task(command_task("task-2", shell="sleep 30"))
    cluster.world.run(seconds=1)
    node = cluster.world.nodes["a1"]
    name = next(name for name in node.cells if name.startswith("command/"))
    node.lifecycle.end(node.cells[name], "failed: told to", failed=True)
    cluster.world.run(seconds=40)
    assert cluster.states("task-2")[-1] is TaskState.FINISHED
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.reason) == (TaskState.FAILED, Reason.COMMAND_EXECUTOR_FAILED)
    assert cluster.is_clean()


def test_snapshot_says_what_the_journal_says() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task("done", shell="true"))
    cluster.world.run(seconds=1)
    cluster.master.acknowledges = False
    cluster.run_task(command_task("waiting", shell="true"))
    cluster.run_task(command_task("running", shell="sleep infinity"))
    cluster.world.run(seconds=1)
    cluster.kill_task("running", grace_seconds=1000)
    cluster.world.settle()
    decode = Decoder(Agent.records).decode
    read, again = (AgentState(settings=cluster.settings) for _ in range(2))
    for record in cluster.world.disks["a1"].all_records("agent"):
        apply(read, decode(record))
    for kept in snapshot(read):
        apply(again, kept)
    assert set(read.frameworks["framework-1"].streams) == {"waiting", "running"}
    assert again == read
