"""Custom executors: subscription, tasks, updates, messages, shutdown, and what is said when one is gone."""

from __future__ import annotations

import msgspec
import pytest

from actors.messages.executing import (
    ExecutorMessage,
    ExecutorRefused,
    ExecutorSubscribed,
    KillExecutorTask,
    LaunchTask,
    MessageForExecutor,
    ShutdownExecutor,
    UpdateAccepted,
)
from actors.messages.records import Reason, TaskState
from actors.messages.registration import ReregisterAgent
from actors.messages.tasks import (
    ExecutorEnded,
    FromExecutorOnAgent,
    ShutdownExecutorOnAgent,
    ShutdownFramework,
    StatusUpdate,
    ToExecutor,
)
from allocator.resources import Resources
from containerizer.messages import Update
from containerizer.spec import Limits
from tests.actors.agent.cluster import (
    AGENT_ID,
    EXECUTOR,
    FRAMEWORK,
    Cluster,
    Speaker,
    command_task,
    executor_task,
    subscription,
    told,
)

MIB = 2**20


def cluster_with_executor() -> tuple[Cluster, Speaker]:
    """An executor that has subscribed and was handed ``task-1``."""
    cluster = Cluster().register()
    cluster.run_task(executor_task())
    cluster.world.run(seconds=0.1)
    speaker = cluster.subscribe()
    cluster.world.run(seconds=0.1)
    return cluster, speaker


def test_executor_finds_in_its_environment_where_to_dial_and_who_it_is() -> None:
    cluster = Cluster().register()
    cluster.run_task(executor_task())
    cluster.world.run(seconds=0.1)
    (container,) = cluster.containerizer.containers.values()
    environment = dict(container.spec.environment)
    assert {name: value for name, value in environment.items() if name.startswith("KAON_")} == {
        "KAON_AGENT_ENDPOINT": "simulated://a1",
        "KAON_AGENT_PID": "agent",
        "KAON_FRAMEWORK_ID": FRAMEWORK.framework_id,
        "KAON_EXECUTOR_ID": "executor-1",
        "KAON_CONTAINER_ID": container.spec.id,
    }
    assert container.spec.secrets == ()
    assert (container.spec.limits.cpus, container.spec.limits.memory_bytes) == (1.5, 128 * MIB)


def test_tasks_wait_for_the_subscription_and_come_in_order() -> None:
    cluster = Cluster().register()
    for number in range(3):
        cluster.run_task(executor_task(f"task-{number}"), launch_executor=number == 0)
    cluster.world.run(seconds=0.1)
    speaker = cluster.subscribe("task-0")
    cluster.world.run(seconds=0.1)
    (subscribed,) = speaker.heard(ExecutorSubscribed)
    assert (subscribed.executor, subscribed.framework, subscribed.agent.agent_id) == (EXECUTOR, FRAMEWORK, AGENT_ID)
    assert [launch.task.task_id for launch in speaker.heard(LaunchTask)] == ["task-0", "task-1", "task-2"]


def test_container_grows_before_a_task_and_shrinks_before_its_end_is_told() -> None:
    cluster, speaker = cluster_with_executor()
    resources = Resources.parse("cpus:1;mem:64;ports:[31000-31001]")
    cluster.run_task(msgspec.structs.replace(executor_task("task-2"), resources=resources), launch_executor=False)
    cluster.world.run(seconds=0.1)
    assert [launch.task.task_id for launch in speaker.heard(LaunchTask)] == ["task-1", "task-2"]
    (container,) = cluster.containerizer.containers.values()
    assert container.limits == Limits(cpus=2.5, memory_bytes=192 * MIB, port_ranges=((31000, 31001),))
    cluster.say(speaker, told("task-2", TaskState.FINISHED, "u1"))
    assert container.limits == Limits(cpus=1.5, memory_bytes=128 * MIB, port_ranges=())
    assert cluster.states("task-2") == [TaskState.FINISHED]
    with cluster.world.drop(Update):
        cluster.say(speaker, told("task-1", TaskState.FINISHED, "u2"))
        assert cluster.states("task-1") == []
    cluster.world.run(seconds=11)
    assert cluster.states("task-1") == [TaskState.FINISHED], "a containerizer that does not answer holds nothing up"


def test_updates_are_written_accepted_and_passed_on() -> None:
    cluster, speaker = cluster_with_executor()
    cluster.world.disks["a1"].latency_seconds = 0.5
    cluster.say(speaker, told("task-1", TaskState.RUNNING, "u1", data=b"progress"))
    assert speaker.heard(UpdateAccepted) == []
    cluster.world.run(seconds=0.6)
    assert speaker.heard(UpdateAccepted) == [UpdateAccepted(task_id="task-1", uuid="u1")]
    (status,) = cluster.statuses("task-1")
    assert (status.data, status.executor_id, status.agent_id) == (b"progress", "executor-1", AGENT_ID)
    assert status.timestamp > 0


def test_repeated_update_is_accepted_and_told_once() -> None:
    cluster, speaker = cluster_with_executor()
    for _ in range(3):
        cluster.say(speaker, told("task-1", TaskState.RUNNING, "u1"))
    cluster.say(speaker, told("task-1", TaskState.FINISHED, "u2"))
    cluster.say(speaker, told("task-1", TaskState.FINISHED, "u2"))
    cluster.say(speaker, told("task-1", TaskState.FAILED, "u3"))
    assert [accepted.uuid for accepted in speaker.heard(UpdateAccepted)] == ["u1", "u1", "u1", "u2", "u2", "u3"]
    assert [update.status.uuid for update in cluster.heard(StatusUpdate)] == ["u1", "u2"]


def test_staging_is_no_word_for_an_executor() -> None:
    cluster, speaker = cluster_with_executor()
    cluster.say(speaker, told("task-1", TaskState.STAGING, "u1"))
    cluster.world.run(seconds=1)
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.reason) == (TaskState.FAILED, Reason.EXECUTOR_TERMINATED)
    assert cluster.is_clean()


def test_messages_pass_both_ways() -> None:
    cluster, speaker = cluster_with_executor()
    ids = {"framework_id": FRAMEWORK.framework_id, "executor_id": "executor-1"}
    cluster.order(ToExecutor(**ids, data=b"down"))
    assert speaker.heard(MessageForExecutor) == [MessageForExecutor(data=b"down")]
    cluster.say(speaker, ExecutorMessage(**ids, data=b"up"))
    assert cluster.heard(FromExecutorOnAgent) == [FromExecutorOnAgent(agent_id=AGENT_ID, **ids, data=b"up")]


def test_kill_is_passed_on() -> None:
    cluster, speaker = cluster_with_executor()
    cluster.kill_task("task-1", grace_seconds=2.0)
    assert speaker.heard(KillExecutorTask) == [KillExecutorTask(task_id="task-1", grace_seconds=2.0)]


# Who is who -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["container", "node", "unknown", "command"])
def test_subscription_of_somebody_else_is_refused(case: str) -> None:
    cluster = Cluster().register()
    cluster.run_task(executor_task())
    cluster.run_task(command_task("command-1", shell="sleep 100"))
    cluster.world.run(seconds=0.1)
    container_id, command_id = cluster.container_of("task-1"), cluster.container_of("command-1")
    speaker = cluster.speaker({"node": "stranger", "command": command_id}.get(case, container_id))
    message = {
        "container": subscription("another"),
        "node": subscription(container_id),
        "unknown": subscription(container_id, "executor-9"),
        "command": subscription(command_id, "command-1"),
    }[case]
    cluster.say(speaker, message)
    (refused,) = speaker.heard(ExecutorRefused)
    assert refused.reason
    assert speaker.heard(ExecutorSubscribed) == []


def test_only_the_subscribed_actor_speaks_for_its_tasks() -> None:
    cluster, _speaker = cluster_with_executor()
    impostor = cluster.speaker("impostor")
    cluster.say(impostor, told("task-1", TaskState.FINISHED, "u1"))
    assert cluster.statuses("task-1") == []
    assert len(impostor.heard(ExecutorRefused)) == 1


def test_executor_does_not_speak_for_tasks_of_others() -> None:
    cluster, speaker = cluster_with_executor()
    cluster.run_task(command_task("command-1", shell="sleep 100"))
    cluster.world.run(seconds=1)
    cluster.say(speaker, told("command-1", TaskState.FINISHED, "u1"))
    assert cluster.states("command-1")[-1] is TaskState.RUNNING


def test_other_description_under_the_same_id_is_an_error() -> None:
    cluster, _speaker = cluster_with_executor()
    other = msgspec.structs.replace(EXECUTOR, name="other")
    cluster.run_task(executor_task("task-2", executor=other))
    (status,) = cluster.statuses("task-2")
    assert (status.state, status.reason) == (TaskState.ERROR, Reason.TASK_INVALID)


def test_task_for_an_executor_that_is_gone_is_dropped() -> None:
    cluster = Cluster().register()
    cluster.run_task(executor_task(), launch_executor=False)
    (status,) = cluster.statuses("task-1")
    assert (status.state, status.reason) == (TaskState.DROPPED, Reason.EXECUTOR_TERMINATED)


# Ends -----------------------------------------------------------------------------------------------------------------


def test_executor_that_does_not_subscribe_in_a_minute_is_ended() -> None:
    cluster = Cluster().register()
    cluster.run_task(executor_task())
    cluster.world.run(seconds=59)
    assert cluster.statuses("task-1") == []
    cluster.world.run(seconds=2)
    (status,) = cluster.statuses("task-1")
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.EXECUTOR_REGISTRATION_TIMEOUT)
    assert len(cluster.heard(ExecutorEnded)) == 1
    assert cluster.is_clean()


def test_tasks_of_an_executor_that_ends_have_failed() -> None:
    cluster = Cluster().register()
    executor = msgspec.structs.replace(EXECUTOR, command=type(EXECUTOR.command)(shell="sleep 5; exit 4"))
    cluster.run_task(executor_task(executor=executor))
    cluster.run_task(executor_task("task-2", executor=executor), launch_executor=False)
    cluster.world.run(seconds=0.1)
    speaker = cluster.subscribe()
    cluster.say(speaker, told("task-1", TaskState.RUNNING, "u1"))
    cluster.say(speaker, told("task-2", TaskState.FINISHED, "u2"))
    cluster.world.run(seconds=6)
    last = cluster.statuses("task-1")[-1]
    assert (last.state, last.reason) == (TaskState.FAILED, Reason.EXECUTOR_TERMINATED)
    assert last.message == "its executor exited with status 4"
    assert cluster.states("task-2") == [TaskState.FINISHED]
    (ended,) = cluster.heard(ExecutorEnded)
    assert (ended.executor_id, ended.exit_status) == ("executor-1", 4 << 8)
    assert cluster.is_clean()


def test_last_words_are_believed_though_the_container_ends_first() -> None:
    cluster = Cluster().register()
    executor = msgspec.structs.replace(EXECUTOR, command=type(EXECUTOR.command)(shell="sleep 5"))
    cluster.run_task(executor_task(executor=executor))
    cluster.world.run(seconds=0.1)
    speaker = cluster.subscribe()
    cluster.world.run(seconds=4.5)
    with cluster.world.drop(Update):
        cluster.say(speaker, told("task-1", TaskState.FINISHED, "u1"))
        cluster.world.run(seconds=1)
    assert cluster.states("task-1") == [TaskState.FINISHED]
    assert cluster.is_clean()


def test_shutdown_gives_the_executor_its_grace() -> None:
    cluster, speaker = cluster_with_executor()
    shutdown = ShutdownExecutorOnAgent(framework_id=FRAMEWORK.framework_id, executor_id="executor-1")
    cluster.order(shutdown)
    cluster.order(shutdown)
    assert speaker.heard(ShutdownExecutor) == [ShutdownExecutor(grace_seconds=5.0)]
    cluster.world.run(seconds=4.9)
    assert cluster.statuses("task-1") == []
    cluster.world.run(seconds=0.2)
    (status,) = cluster.statuses("task-1")
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.EXECUTOR_TERMINATED)
    assert cluster.is_clean()


def test_task_that_comes_while_its_executor_ends_is_dropped() -> None:
    cluster, _speaker = cluster_with_executor()
    cluster.order(ShutdownExecutorOnAgent(framework_id=FRAMEWORK.framework_id, executor_id="executor-1"))
    cluster.run_task(executor_task("task-2"), launch_executor=False)
    (status,) = cluster.statuses("task-2")
    assert (status.state, status.reason) == (TaskState.DROPPED, Reason.EXECUTOR_TERMINATED)


def test_executor_whose_tasks_were_killed_in_time_is_not_kept() -> None:
    cluster = Cluster().register()
    cluster.run_task(executor_task())
    cluster.world.run(seconds=0.1)
    container_id = cluster.container_of("task-1")
    cluster.kill_task("task-1")
    (status,) = cluster.statuses("task-1")
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.TASK_KILLED_DURING_LAUNCH)
    speaker = cluster.speaker(container_id, "executor")
    cluster.say(speaker, subscription(container_id))
    assert len(speaker.heard(ShutdownExecutor)) == 1
    cluster.world.run(seconds=6)
    assert cluster.is_clean()


def test_removed_framework_ends_silently() -> None:
    cluster, speaker = cluster_with_executor()
    cluster.run_task(command_task("command-1", shell="sleep 100"))
    cluster.run_task(command_task("command-2", shell="true"))
    cluster.master.acknowledges = False
    cluster.world.run(seconds=1)
    before = len(cluster.heard(StatusUpdate))
    cluster.order(ShutdownFramework(framework_id=FRAMEWORK.framework_id))
    cluster.world.run(seconds=700)
    assert len(cluster.heard(StatusUpdate)) == before
    assert len(speaker.heard(ShutdownExecutor)) == 1
    assert cluster.is_clean()


# Coming back ----------------------------------------------------------------------------------------------------------


def test_executor_that_lost_its_connection_gets_what_it_missed() -> None:
    cluster, speaker = cluster_with_executor()
    container_id = cluster.container_of("task-1")
    cluster.say(speaker, told("task-1", TaskState.RUNNING, "u1"))
    with cluster.world.drop(LaunchTask):
        cluster.run_task(executor_task("task-2"), launch_executor=False)
        cluster.world.run(seconds=0.1)
    cluster.world.network.break_sessions("a1", container_id)
    cluster.world.settle()
    cluster.kill_task("task-1")
    finished = told("task-1", TaskState.FINISHED, "u2").status
    again = subscription(container_id, unacknowledged_updates=(finished,))
    cluster.world.run(seconds=5)
    cluster.say(speaker, again)
    cluster.world.run(seconds=0.1)
    assert [launch.task.task_id for launch in speaker.heard(LaunchTask)] == ["task-1", "task-2"]
    assert [kill.task_id for kill in speaker.heard(KillExecutorTask)] == ["task-1"]
    assert cluster.states("task-1") == [TaskState.RUNNING, TaskState.FINISHED]


def test_executor_that_does_not_come_back_is_ended() -> None:
    cluster, _speaker = cluster_with_executor()
    cluster.world.network.break_sessions("a1", cluster.container_of("task-1"))
    cluster.world.run(seconds=14)
    assert cluster.statuses("task-1") == []
    cluster.world.run(seconds=2)
    (status,) = cluster.statuses("task-1")
    assert (status.state, status.reason) == (TaskState.GONE, Reason.EXECUTOR_REREGISTRATION_TIMEOUT)
    assert cluster.is_clean()


def test_executor_takes_up_with_the_restarted_agent() -> None:
    cluster, speaker = cluster_with_executor()
    container_id = cluster.container_of("task-1")
    cluster.say(speaker, told("task-1", TaskState.RUNNING, "u1"))
    cluster.run_task(executor_task("task-2"), launch_executor=False)
    cluster.world.run(seconds=0.1)
    cluster.crash_agent()
    cluster.start_agent()
    cluster.world.run(seconds=3)
    (request,) = cluster.heard(ReregisterAgent)
    assert [state.info for state in request.executors] == [EXECUTOR]
    assert {task.task_id: task.latest_state for task in request.tasks} == {
        "task-1": TaskState.RUNNING,
        "task-2": TaskState.STAGING,
    }
    finished = told("task-1", TaskState.FINISHED, "u2").status
    known = (executor_task("task-2"),)
    cluster.say(speaker, subscription(container_id, unacknowledged_updates=(finished,), unacknowledged_tasks=known))
    cluster.say(speaker, told("task-2", TaskState.FINISHED, "u3"))
    cluster.world.run(seconds=30)
    assert cluster.states("task-1") == [TaskState.RUNNING, TaskState.FINISHED]
    assert cluster.states("task-2") == [TaskState.FINISHED]
    assert [launch.task.task_id for launch in speaker.heard(LaunchTask)] == ["task-1", "task-2"], "each once"
    assert container_id in cluster.containerizer.containers, "it waits for more"


def test_task_that_never_reached_the_executor_reaches_it_after_the_restart() -> None:
    cluster, speaker = cluster_with_executor()
    container_id = cluster.container_of("task-1")
    with cluster.world.drop(LaunchTask):
        cluster.run_task(executor_task("task-2"), launch_executor=False)
        cluster.world.run(seconds=0.1)
    cluster.crash_agent()
    cluster.start_agent()
    cluster.world.run(seconds=3)
    cluster.say(speaker, subscription(container_id, unacknowledged_tasks=(executor_task("task-1"),)))
    cluster.world.run(seconds=0.1)
    assert [launch.task.task_id for launch in speaker.heard(LaunchTask)] == ["task-1", "task-2"]


def test_executor_that_misses_the_restarted_agent_is_ended() -> None:
    cluster, _speaker = cluster_with_executor()
    cluster.crash_agent()
    cluster.start_agent()
    cluster.world.run(seconds=20)
    (status,) = cluster.statuses("task-1")
    assert (status.state, status.reason) == (TaskState.GONE, Reason.EXECUTOR_REREGISTRATION_TIMEOUT)
    assert cluster.is_clean()


def test_agent_without_a_socket_for_executors_says_so() -> None:
    cluster = Cluster()
    cluster.crash_agent()
    cluster.settings = msgspec.structs.replace(cluster.settings, executor_address="")
    cluster.start_agent()
    cluster.register()
    cluster.run_task(executor_task())
    (status,) = cluster.statuses("task-1")
    assert (status.state, status.reason) == (TaskState.ERROR, Reason.TASK_INVALID)
