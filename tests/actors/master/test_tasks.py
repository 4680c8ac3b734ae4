"""Tasks: launch, updates, acknowledgements, kills, and messages between schedulers and executors."""

from __future__ import annotations

import msgspec
import pytest

from actors.master.constants import STATUSES_PER_TASK
from actors.messages.records import CommandInfo, ExecutorInfo, Reason, Source, TaskState
from actors.messages.scheduling import (
    AgentFailure,
    FromExecutor,
    KillTask,
    SendToExecutor,
    ShutdownExecutorCall,
    Teardown,
)
from actors.messages.tasks import (
    AcknowledgeUpdate,
    ExecutorEnded,
    FromExecutorOnAgent,
    KillTaskOnAgent,
    RunTask,
    ShutdownExecutorOnAgent,
    ShutdownFramework,
    StatusUpdate,
    ToExecutor,
)
from allocator.resources import Resources
from tests.actors.master.cluster import AgentClient, Cluster, SchedulerClient, a_status, a_task

EXECUTOR = ExecutorInfo(
    executor_id="e", command=CommandInfo(shell="true"), resources=Resources.parse("cpus:0.5;mem:64")
)
ALL = Resources.parse("cpus:4;mem:4096")


@pytest.fixture
def scheduler(cluster: Cluster) -> SchedulerClient:
    return cluster.scheduler()


@pytest.fixture
def agent(cluster: Cluster, scheduler: SchedulerClient) -> AgentClient:
    return cluster.agent()


def offered(cluster: Cluster, scheduler: SchedulerClient) -> Resources:
    """All that the scheduler is offered within the next batch."""
    cluster.run(1.5)
    return sum((offer.resources for offer in scheduler.offers()), start=Resources())


# Launch ---------------------------------------------------------------------------------------------------------------


def test_invalid_task_is_an_error_and_the_others_are_launched(
    cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient
) -> None:
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.launch(
        offer,
        a_task(offer, "first"),
        a_task(offer, "too-big", "cpus:3.5"),
        a_task(offer, "a/b"),
        a_task(offer, "first"),
        a_task(offer, "last", "cpus:3"),
        refuse_seconds=0.0,
    )
    assert [run.task.task_id for run in agent.got(RunTask)] == ["first", "last"]
    statuses = scheduler.statuses()
    assert [(status.task_id, status.state, status.reason, status.uuid) for status in statuses] == [
        ("too-big", TaskState.ERROR, Reason.TASK_INVALID, ""),
        ("a/b", TaskState.ERROR, Reason.TASK_INVALID, ""),
        ("first", TaskState.ERROR, Reason.TASK_INVALID, ""),
    ]
    assert offered(cluster, scheduler) == Resources.parse("mem:3584")


def test_id_of_a_task_that_runs_elsewhere_is_refused(
    cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient
) -> None:
    cluster.running_task(agent, scheduler, "t")
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.launch(offer, a_task(offer, "t"))
    status = scheduler.status()
    assert (status.state, status.reason) == (TaskState.ERROR, Reason.TASK_INVALID)
    assert "running already" in status.message


def test_executor_is_charged_once_and_started_once(
    cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient
) -> None:
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    first = a_task(offer, "first", executor=EXECUTOR)
    second = a_task(offer, "second", executor=EXECUTOR)
    scheduler.launch(offer, first, second, refuse_seconds=0.0)
    assert [run.launch_executor for run in agent.got(RunTask)] == [True, False]
    assert offered(cluster, scheduler) == Resources.parse("cpus:1.5;mem:3008")


def test_end_of_an_executor_frees_what_it_used(
    cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient
) -> None:
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.launch(offer, a_task(offer, executor=EXECUTOR), refuse_seconds=0.0)
    cluster.run(1.5)
    assert scheduler.offers()[-1].executor_ids == ("e",)
    agent.update(scheduler.framework_id, "t", TaskState.FAILED, "u")
    ended = ExecutorEnded(agent_id=agent.agent_id, framework_id=scheduler.framework_id, executor_id="e", exit_status=9)
    agent.say(ended)
    failure = scheduler.got_one(AgentFailure)
    assert (failure.executor_id, failure.exit_status) == ("e", 9)
    assert offered(cluster, scheduler) == Resources.parse("cpus:1.5;mem:576")
    agent.say(ended)
    assert cluster.allocator.counters.excess == 0


def test_executor_of_a_task_that_never_began_is_forgotten(
    cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient
) -> None:
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.launch(offer, a_task(offer, executor=EXECUTOR), refuse_seconds=0.0)
    dropped = a_status("t", TaskState.DROPPED, uuid="u", agent_id=agent.agent_id, source=Source.AGENT)
    update = StatusUpdate(
        agent_id=agent.agent_id,
        framework_id=scheduler.framework_id,
        status=dropped,
        latest_state=TaskState.DROPPED,
    )
    agent.say(update)
    assert offered(cluster, scheduler) == ALL
    assert cluster.state.agents[agent.agent_id].executors == {}


# Updates --------------------------------------------------------------------------------------------------------------


def test_update_reaches_the_scheduler_as_it_is_and_the_acknowledgement_the_agent(
    cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient
) -> None:
    cluster.running_task(agent, scheduler)
    scheduler.acknowledge(agent, "t", "running")
    assert agent.got_one(AcknowledgeUpdate).uuid == "running"
    agent.update(scheduler.framework_id, "t", TaskState.FINISHED, "done")
    status = scheduler.status()
    assert (status.state, status.uuid, status.source) == (TaskState.FINISHED, "done", Source.EXECUTOR)
    assert list(cluster.state.tasks) == [(scheduler.framework_id, "t")]
    scheduler.acknowledge(agent, "t", "done")
    assert cluster.state.tasks == {}
    assert cluster.state.frameworks[scheduler.framework_id].completed["t"].latest_state is TaskState.FINISHED


def test_terminal_latest_state_frees_resources_while_an_older_update_waits(
    cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient
) -> None:
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.launch(offer, a_task(offer), refuse_seconds=0.0)
    agent.update(scheduler.framework_id, "t", TaskState.RUNNING, "u1", latest=TaskState.FINISHED)
    assert scheduler.status().state is TaskState.RUNNING
    assert offered(cluster, scheduler) == ALL
    scheduler.acknowledge(agent, "t", "u1")
    assert list(cluster.state.tasks) == [(scheduler.framework_id, "t")]
    agent.update(scheduler.framework_id, "t", TaskState.FINISHED, "u2")
    assert cluster.allocator.counters.excess == 0
    scheduler.acknowledge(agent, "t", "u2")
    assert cluster.state.tasks == {}


def test_repeated_update_is_forwarded_again_and_counted_once(
    cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient
) -> None:
    cluster.running_task(agent, scheduler)
    for _ in range(3):
        agent.update(scheduler.framework_id, "t", TaskState.FAILED, "u")
    assert [status.uuid for status in scheduler.statuses()] == ["u", "u", "u"]
    assert cluster.state.counters["master/tasks_failed"] == 1
    assert cluster.allocator.counters.excess == 0


def test_terminal_task_stays_terminal(cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient) -> None:
    cluster.running_task(agent, scheduler)
    agent.update(scheduler.framework_id, "t", TaskState.FINISHED, "u1")
    agent.update(scheduler.framework_id, "t", TaskState.RUNNING, "u0", latest=TaskState.RUNNING)
    assert cluster.state.tasks[scheduler.framework_id, "t"].latest_state is TaskState.FINISHED


def test_acknowledgement_of_an_update_that_was_never_sent_is_dropped(
    cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient
) -> None:
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    scheduler.launch(offer, a_task(offer))
    scheduler.acknowledge(agent, "t", "invented")
    assert agent.got(AcknowledgeUpdate) == []
    assert cluster.state.counters["master/invalid_status_update_acknowledgements"] == 1


def test_acknowledgement_of_a_task_that_the_master_has_forgotten_still_reaches_the_agent(
    scheduler: SchedulerClient, agent: AgentClient
) -> None:
    agent.update(scheduler.framework_id, "forgotten", TaskState.FINISHED, "u")
    assert scheduler.status().uuid == "u"
    scheduler.acknowledge(agent, "forgotten", "u")
    assert agent.got_one(AcknowledgeUpdate).task_id == "forgotten"


def test_update_for_an_ended_framework_ends_it_on_the_agent(
    cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient
) -> None:
    cluster.running_task(agent, scheduler)
    scheduler.say(Teardown())
    agent.got(ShutdownFramework)
    agent.update(scheduler.framework_id, "t", TaskState.KILLED, "u")
    assert agent.got_one(ShutdownFramework).framework_id == scheduler.framework_id


def test_history_keeps_one_of_equal_states_without_data(
    cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient
) -> None:
    cluster.running_task(agent, scheduler)
    for number in range(2 * STATUSES_PER_TASK):
        agent.update(scheduler.framework_id, "t", TaskState.RUNNING, f"u{number}")
    history = cluster.state.tasks[scheduler.framework_id, "t"].statuses
    assert [status.uuid for status in history] == [f"u{2 * STATUSES_PER_TASK - 1}"]
    assert all(status.data == b"" for status in history)
    agent.update(scheduler.framework_id, "t", TaskState.KILLING, "k")
    history = cluster.state.tasks[scheduler.framework_id, "t"].statuses
    assert [status.state for status in history] == [TaskState.RUNNING, TaskState.KILLING]


# Kills and messages ---------------------------------------------------------------------------------------------------


def test_kill_goes_to_the_agent_each_time(cluster: Cluster, scheduler: SchedulerClient, agent: AgentClient) -> None:
    cluster.running_task(agent, scheduler)
    for grace_seconds in (None, 1.0):
        scheduler.say(KillTask(task_id="t", grace_seconds=grace_seconds))
    assert [kill.grace_seconds for kill in agent.got(KillTaskOnAgent)] == [None, 1.0]


def test_kill_of_an_unknown_task_is_answered_like_a_reconciliation(
    scheduler: SchedulerClient, agent: AgentClient
) -> None:
    scheduler.say(KillTask(task_id="unknown"))
    status = scheduler.status()
    assert (status.state, status.reason) == (TaskState.UNKNOWN, Reason.RECONCILIATION)
    scheduler.say(KillTask(task_id="unknown", agent_id=agent.agent_id))
    assert scheduler.status().state is TaskState.GONE


def test_messages_are_relayed_both_ways(scheduler: SchedulerClient, agent: AgentClient) -> None:
    scheduler.say(SendToExecutor(agent_id=agent.agent_id, executor_id="e", data=b"down"))
    down = agent.got_one(ToExecutor)
    assert down == ToExecutor(framework_id=scheduler.framework_id, executor_id="e", data=b"down")
    up = FromExecutorOnAgent(agent_id=agent.agent_id, framework_id=scheduler.framework_id, executor_id="e", data=b"up")
    agent.say(up)
    assert scheduler.got_one(FromExecutor) == FromExecutor(agent_id=agent.agent_id, executor_id="e", data=b"up")
    agent.say(msgspec.structs.replace(up, framework_id="unknown"))
    assert scheduler.got(FromExecutor) == []


def test_executor_is_shut_down_through_its_agent(scheduler: SchedulerClient, agent: AgentClient) -> None:
    scheduler.say(ShutdownExecutorCall(agent_id=agent.agent_id, executor_id="e"))
    assert agent.got_one(ShutdownExecutorOnAgent).executor_id == "e"
