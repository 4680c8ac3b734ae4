"""Command tasks, from RunTask to the acknowledged end."""

from __future__ import annotations

import pytest

from actors.messages.records import FrameworkInfo, Reason, Source, TaskInfo, TaskState
from actors.messages.tasks import ExecutorEnded, RunTask, StatusUpdate
from allocator.resources import Resources
from containerizer.messages import ContainerExited, Launch, Limit, Limitation
from containerizer.simulated import MEMORY_VARIABLE
from tests.actors.agent.cluster import AGENT_ID, FRAMEWORK, Cluster, command_task

STARTED = [TaskState.STARTING, TaskState.RUNNING]


def test_command_runs_and_finishes_and_nothing_is_left() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 5"))
    cluster.world.run(seconds=4)
    assert cluster.states("task-1") == STARTED
    cluster.world.run(seconds=2)
    assert cluster.states("task-1") == [*STARTED, TaskState.FINISHED]
    last = cluster.statuses("task-1")[-1]
    assert (last.exit_code, last.source, last.agent_id) == (0, Source.EXECUTOR, AGENT_ID)
    assert cluster.is_clean()
    assert cluster.heard(ExecutorEnded) == [], "a command task has no executor that the master knows of"
    assert not [name for name in cluster.world.nodes["a1"].cells if name.startswith("command/")]


@pytest.mark.parametrize(
    ("shell", "state", "reason", "ended", "words"),
    [
        ("exit 3", TaskState.FAILED, Reason.COMMAND_EXECUTOR_FAILED, (3, None), "exited with status 3"),
        ("kill -9 $$", TaskState.FAILED, Reason.COMMAND_EXECUTOR_FAILED, (None, 9), "ended by signal 9 (SIGKILL)"),
        ("true", TaskState.FINISHED, None, (0, None), ""),
    ],
)
def test_end_of_the_command_is_the_end_of_the_task(
    shell: str, state: TaskState, reason: Reason | None, ended: tuple[int | None, int | None], words: str
) -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell=shell))
    cluster.world.run(seconds=1)
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.reason, last.message) == (state, reason, words)
    assert (last.exit_code, last.signal) == ended
    assert cluster.is_clean()


def test_memory_beyond_the_limit_is_said_as_such() -> None:
    cluster = Cluster().register()
    task = command_task(shell="sleep infinity")
    assert task.command is not None
    greedy = TaskInfo(
        task_id="greedy",
        agent_id=AGENT_ID,
        resources=Resources.parse("cpus:1;mem:64"),
        command=type(task.command)(shell="sleep infinity", environment=((MEMORY_VARIABLE, str(2**30)),)),
    )
    cluster.run_task(greedy)
    cluster.world.run(seconds=1)
    last = cluster.statuses("greedy")[-1]
    assert (last.state, last.reason) == (TaskState.FAILED, Reason.CONTAINER_LIMITATION_MEMORY)
    assert last.message.startswith("out of memory")


def test_container_gets_what_the_task_was_given() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep infinity", resources="cpus:1.5;mem:100", kill_grace_seconds=9.0))
    cluster.world.run(seconds=1)
    (container,) = cluster.containerizer.containers.values()
    spec = container.spec
    assert (spec.limits.cpus, spec.limits.memory_bytes, spec.kill_grace_seconds) == (1.5, 100 * 2**20, 9.0)
    environment = dict(spec.environment)
    assert environment["MESOS_TASK_ID"] == "task-1"
    assert environment["MESOS_DIRECTORY"] == spec.sandbox
    sandbox = f"/work_dir/agents/{AGENT_ID}/frameworks/framework-1/executors/task-1/runs/{spec.id}"
    assert spec.sandbox == sandbox


def test_program_that_cannot_be_executed_fails_the_task() -> None:
    cluster = Cluster().register()
    task = command_task()
    assert task.command is not None
    command = type(task.command)(argv=("/nonexistent/program",))
    cluster.run_task(TaskInfo(task_id="task-1", agent_id=AGENT_ID, resources=task.resources, command=command))
    cluster.world.run(seconds=1)
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.reason) == (TaskState.FAILED, Reason.CONTAINER_LAUNCH_FAILED)
    assert "/nonexistent/program" in last.message
    assert last.exit_code == 127, "as shells have it"
    assert cluster.is_clean()


def test_full_disk_fails_the_task_before_anything_is_launched() -> None:
    cluster = Cluster().register()
    cluster.world.nodes["a1"].state_of("files").full = True
    with cluster.world.drop(Launch) as launches:
        cluster.run_task(command_task())
        cluster.world.run(seconds=1)
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.reason) == (TaskState.FAILED, Reason.CONTAINER_LAUNCH_FAILED)
    assert "No space left on device" in last.message
    assert launches == []
    assert cluster.is_clean()


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (command_task(task_id="../../etc"), "no slash"),
        (command_task(task_id=".."), "task id '..'"),
        (command_task(task_id="a\nb"), "no control character"),
        (command_task(task_id="x" * 256), "255 bytes"),
        (TaskInfo(task_id="t", agent_id=AGENT_ID, resources=Resources()), "either a command or an executor"),
        (TaskInfo(task_id="t", agent_id="other", resources=Resources()), "is for agent 'other'"),
        (command_task(shell=""), "either shell or argv"),
    ],
)
def test_task_that_cannot_be_run_as_described_is_an_error(task: TaskInfo, words: str) -> None:
    cluster = Cluster().register()
    cluster.run_task(task)
    (status,) = cluster.statuses(task.task_id)
    assert (status.state, status.reason, status.source) == (TaskState.ERROR, Reason.TASK_INVALID, Source.AGENT)
    assert words in status.message
    assert cluster.is_clean()


def test_second_task_of_the_same_id_changes_nothing() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task())
    cluster.run_task(command_task(shell="exit 1"))
    cluster.world.run(seconds=6)
    assert cluster.states("task-1") == [*STARTED, TaskState.FINISHED]


def test_nobody_but_the_master_runs_tasks_here() -> None:
    cluster = Cluster().register()
    stranger = cluster.speaker("stranger", "master")
    cluster.say(stranger, RunTask(framework=FRAMEWORK, task=command_task(), role="*"))
    cluster.world.run(seconds=1)
    assert cluster.agent.frameworks == {}
    assert cluster.heard(StatusUpdate) == []


# Kills ----------------------------------------------------------------------------------------------------------------


def test_kill_ends_a_command_that_heeds_it_at_once() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep infinity"))
    cluster.world.run(seconds=1)
    cluster.kill_task("task-1")
    cluster.world.run(seconds=0.1)
    assert cluster.states("task-1") == [*STARTED, TaskState.KILLING, TaskState.KILLED]
    assert cluster.is_clean()


def test_kill_of_a_stubborn_command_waits_for_its_grace() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="trap '' TERM; sleep infinity", kill_grace_seconds=5.0))
    cluster.world.run(seconds=1)
    cluster.kill_task("task-1")
    cluster.world.run(seconds=4.9)
    assert cluster.states("task-1") == [*STARTED, TaskState.KILLING]
    cluster.world.run(seconds=0.2)
    assert cluster.states("task-1")[-1] is TaskState.KILLED


def test_later_kill_shortens_the_grace() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="trap '' TERM; sleep infinity", kill_grace_seconds=60.0))
    cluster.world.run(seconds=1)
    cluster.kill_task("task-1")
    cluster.world.run(seconds=1)
    cluster.kill_task("task-1", grace_seconds=0.0)
    cluster.world.run(seconds=0.1)
    assert cluster.states("task-1")[-1] is TaskState.KILLED
    cluster.kill_task("task-1")
    assert cluster.states("task-1")[-1].is_terminal


def test_killing_is_not_said_to_frameworks_that_do_not_know_it() -> None:
    cluster = Cluster().register()
    framework = FrameworkInfo(name="old", framework_id=FRAMEWORK.framework_id, capabilities=())
    cluster.run_task(command_task(shell="sleep infinity"), framework)
    cluster.world.run(seconds=1)
    cluster.kill_task("task-1")
    cluster.world.run(seconds=1)
    assert cluster.states("task-1") == [*STARTED, TaskState.KILLED]


def test_kill_before_the_launch_means_no_launch() -> None:
    cluster = Cluster().register()
    cluster.crash_containerizer()
    cluster.world.run(seconds=1)
    cluster.run_task(command_task())
    cluster.kill_task("task-1")
    cluster.start_containerizer()
    cluster.world.run(seconds=10)
    (status,) = cluster.statuses("task-1")
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.TASK_KILLED_DURING_LAUNCH)
    assert cluster.is_clean()


def test_kill_while_the_container_is_launched_ends_it() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep infinity"))
    assert next(iter(cluster.containerizer.containers.values())).phase.value == "launching"
    cluster.kill_task("task-1", grace_seconds=0.0)
    cluster.world.run(seconds=1)
    assert cluster.states("task-1")[-1] is TaskState.KILLED
    assert cluster.is_clean()


def test_kill_of_an_unknown_task_is_answered() -> None:
    cluster = Cluster().register()
    cluster.kill_task("ghost")
    (status,) = cluster.statuses("ghost")
    assert (status.state, status.reason) == (TaskState.DROPPED, Reason.TASK_UNKNOWN)
    assert cluster.is_clean()


def test_task_that_runs_for_too_long_has_failed() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="trap '' TERM; sleep infinity", max_completion_seconds=30.0))
    cluster.world.run(seconds=29)
    assert cluster.states("task-1") == STARTED
    cluster.world.run(seconds=2)
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.reason) == (TaskState.FAILED, Reason.MAX_COMPLETION_TIME_REACHED)


def test_terminal_update_waits_for_the_container_to_be_gone() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 1"))
    with cluster.world.drop(ContainerExited):
        cluster.world.run(seconds=3)
        assert cluster.states("task-1") == STARTED
    cluster.world.run(seconds=6)
    assert cluster.states("task-1")[-1] is TaskState.FINISHED


def test_limit_that_is_not_fatal_ends_nothing() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 5"))
    cluster.world.run(seconds=1)
    node = cluster.world.nodes["c1"]
    (container_id,) = cluster.containerizer.containers
    refused = Limitation(container_id=container_id, limit=Limit.PIDS, message="no more processes")
    agent = cluster.world.nodes["a1"].pid("agent")
    node.turns.transmit(node.pid("containerizer"), agent, refused, 0, 0)
    cluster.world.run(seconds=5)
    assert cluster.states("task-1") == [*STARTED, TaskState.FINISHED]
