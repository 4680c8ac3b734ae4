"""Agents that come back: to the same master with their tasks, and to the next one."""

from __future__ import annotations

import msgspec

from actors.master.constants import (
    AGENT_PING_SECONDS,
    AGENT_REREGISTER_SECONDS,
    MAX_AGENT_PINGS_MISSED,
)
from actors.messages.records import (
    AgentInfo,
    CommandInfo,
    ExecutorInfo,
    ExecutorState,
    FrameworkInfo,
    Reason,
    Task,
    TaskInfo,
    TaskState,
)
from actors.messages.registration import (
    AgentReregistered,
    ReregisterAgent,
    UnregisterAgent,
    UpdateAgentResources,
)
from actors.messages.scheduling import KillTask, RescindOffer
from actors.messages.tasks import KillTaskOnAgent, ShutdownFramework
from allocator.resources import Resources
from tests.actors.master.cluster import AgentClient, Cluster, SchedulerClient, a_task, registry_of

UNREACHABLE_SECONDS = AGENT_PING_SECONDS * MAX_AGENT_PINGS_MISSED
REDIAL_SECONDS = 10.0
"""Enough for a client to dial the next master."""
INFO = AgentInfo(hostname="a", resources=Resources.parse("cpus:4;mem:4096"))


# Return ---------------------------------------------------------------------------------------------------------------


def report(agent: AgentClient, scheduler: SchedulerClient, *tasks: Task, **fields: object) -> ReregisterAgent:
    info = msgspec.structs.replace(INFO, agent_id=agent.agent_id, **fields)
    framework = FrameworkInfo(name=scheduler.name, framework_id=scheduler.framework_id)
    return ReregisterAgent(agent=info, tasks=tasks, frameworks=(framework,) if tasks else ())


def reported(cluster: Cluster) -> list[Task]:
    """Tasks as their agent knows them."""
    return list(cluster.state.tasks.values())


def test_unreachable_agent_comes_back_with_its_tasks(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.running_task(agent, scheduler)
    tasks = reported(cluster)
    agent.state.answers_pings = False
    cluster.run(UNREACHABLE_SECONDS + AGENT_PING_SECONDS)
    assert scheduler.status().state is TaskState.UNREACHABLE
    agent.state.answers_pings = True
    agent.say(report(agent, scheduler, *tasks))
    assert agent.got_one(AgentReregistered).missing == ()
    status = scheduler.status()
    assert (status.state, status.reason, status.uuid) == (TaskState.RUNNING, Reason.AGENT_REREGISTERED, "")
    assert registry_of(cluster) == {agent.agent_id: None}
    cluster.run(1.5)
    assert [offer.resources for offer in scheduler.offers()][-1:] == [Resources.parse("cpus:3;mem:3584")]


def test_task_that_the_agent_lacks_is_named_to_it(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.running_task(agent, scheduler)
    agent.say(report(agent, scheduler))
    assert agent.got_one(AgentReregistered).missing == ((scheduler.framework_id, "t"),)
    assert list(cluster.state.tasks) == [(scheduler.framework_id, "t")]


def test_kill_is_repeated_when_the_agent_comes_back(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.running_task(agent, scheduler)
    scheduler.say(KillTask(framework_id=scheduler.framework_id, task_id="t", grace_seconds=7.0))
    agent.got_one(KillTaskOnAgent)
    agent.say(report(agent, scheduler, *reported(cluster)))
    assert agent.got_one(KillTaskOnAgent).grace_seconds == 7.0


def test_agent_with_another_description_is_written_and_offered_anew(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    agent.say(report(agent, scheduler, resources=Resources.parse("cpus:8;mem:4096")))
    agent.got_one(AgentReregistered)
    assert scheduler.got_one(RescindOffer).offer_id == offer.offer_id
    cluster.run(1.5)
    assert [offer.resources for offer in scheduler.offers()] == [Resources.parse("cpus:8;mem:4096")]


def test_executor_that_ended_unheard_is_freed(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    executor = ExecutorInfo(
        executor_id="e", command=CommandInfo(shell="true"), resources=Resources.parse("cpus:0.5;mem:64")
    )
    scheduler.launch(offer, a_task(offer, executor=executor), refuse_seconds=0.0)
    agent.update(scheduler.framework_id, "t", TaskState.FINISHED, "u")
    assert list(cluster.state.agents[agent.agent_id].executors) == [scheduler.framework_id]
    agent.say(report(agent, scheduler, *reported(cluster)))
    assert cluster.state.agents[agent.agent_id].executors == {}
    cluster.run(1.5)
    assert sum((offer.resources for offer in scheduler.offers()), start=Resources()) == INFO.resources


def test_new_total_is_written_and_offered(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    agent.say(UpdateAgentResources(agent_id=agent.agent_id, total=Resources.parse("cpus:2;mem:1024")))
    cluster.run(1.5)
    assert scheduler.offers()[-1].resources == Resources.parse("cpus:2;mem:1024")


def test_agent_that_leaves_for_good_is_forgotten(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.running_task(agent, scheduler)
    agent.say(UnregisterAgent(agent_id=agent.agent_id))
    assert scheduler.status().state is TaskState.GONE
    assert registry_of(cluster) == {}
    assert cluster.state.agents == {}


# Failover of the master -----------------------------------------------------------------------------------------------


def test_next_master_takes_agents_and_their_tasks_back(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.running_task(agent, scheduler)
    tasks = reported(cluster)
    cluster.fail_over()
    assert list(cluster.state.absent) == [agent.agent_id]
    agent.say(report(agent, scheduler, *tasks))
    cluster.run(REDIAL_SECONDS)
    agent.got_one(AgentReregistered)
    assert list(cluster.state.tasks) == [(scheduler.framework_id, "t")]
    framework = cluster.state.frameworks[scheduler.framework_id]
    assert (framework.pid, framework.connected) == (None, False)
    scheduler.subscribe(framework_id=scheduler.framework_id)
    cluster.run(1.5)
    assert scheduler.offers()[-1].resources == Resources.parse("cpus:3;mem:3584")


def test_recovered_framework_that_nobody_speaks_for_is_given_up(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.running_task(agent, scheduler)
    tasks = reported(cluster)
    cluster.fail_over()
    info = FrameworkInfo(name="s", framework_id=scheduler.framework_id, failover_timeout_seconds=60.0)
    agent.say(msgspec.structs.replace(report(agent, scheduler, *tasks), frameworks=(info,)))
    cluster.run(61.0)
    assert list(cluster.state.completed) == [scheduler.framework_id]
    assert agent.got_one(ShutdownFramework).framework_id == scheduler.framework_id
    assert cluster.allocator.ledger.frameworks == {}


def test_agents_that_do_not_come_back_to_the_next_master_become_unreachable(cluster: Cluster) -> None:
    agent = cluster.agent()
    agent.crash()
    cluster.fail_over()
    cluster.run(AGENT_REREGISTER_SECONDS - 1.0)
    assert list(cluster.state.absent) == [agent.agent_id]
    cluster.run(2.0)
    assert cluster.state.absent == {}
    assert list(cluster.state.unreachable) == [agent.agent_id]


def test_tasks_of_an_ended_framework_are_shut_down_when_they_come_back(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(failover_timeout_seconds=10.0), cluster.agent()
    cluster.running_task(agent, scheduler)
    tasks = reported(cluster)
    agent.state.answers_pings = False
    cluster.run(UNREACHABLE_SECONDS + AGENT_PING_SECONDS)
    scheduler.crash()
    cluster.run(11.0)
    agent.got(ShutdownFramework)
    agent.say(report(agent, scheduler, *tasks))
    assert agent.got_one(ShutdownFramework).framework_id == scheduler.framework_id
    assert cluster.state.tasks == {}


def test_task_that_was_started_anew_elsewhere_is_ended_where_it_comes_back(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(capabilities=()), cluster.agent("a")
    cluster.running_task(agent, scheduler)
    tasks = reported(cluster)
    agent.state.answers_pings = False
    cluster.run(UNREACHABLE_SECONDS + AGENT_PING_SECONDS)
    assert scheduler.status().state is TaskState.LOST
    other = cluster.agent("b")
    cluster.running_task(other, scheduler)
    agent.say(report(agent, scheduler, *tasks))
    assert agent.got_one(KillTaskOnAgent).task_id == "t"
    assert cluster.state.tasks[scheduler.framework_id, "t"].info.agent_id == other.agent_id


def test_unknown_executors_and_tasks_of_unknown_frameworks_are_kept(cluster: Cluster) -> None:
    agent = AgentClient(cluster, "a")
    agent.agent_id = "earlier-S7"
    info = msgspec.structs.replace(INFO, agent_id=agent.agent_id)
    executor = ExecutorState(
        info=ExecutorInfo(executor_id="e", command=CommandInfo(shell="true"), resources=Resources.parse("cpus:1")),
        framework_id="F",
        role="r",
    )
    task = Task(
        info=TaskInfo(task_id="t", agent_id="earlier-S7", resources=Resources.parse("cpus:1"), executor=executor.info),
        framework_id="F",
        role="r",
        latest_state=TaskState.RUNNING,
    )
    agent.say(ReregisterAgent(agent=info, tasks=(task,), executors=(executor,)))
    agent.got_one(AgentReregistered)
    assert cluster.state.frameworks["F"].executors == {("earlier-S7", "e"): None}


def test_description_of_a_framework_that_makes_no_sense_is_not_taken_over(cluster: Cluster) -> None:
    agent = AgentClient(cluster, "a")
    agent.agent_id = "earlier-S7"
    info = msgspec.structs.replace(INFO, agent_id=agent.agent_id)
    task = Task(
        info=TaskInfo(
            task_id="t",
            agent_id="earlier-S7",
            resources=Resources.parse("cpus:1"),
            command=CommandInfo(shell="true"),
        ),
        framework_id="F",
        role="*",
    )
    strange = FrameworkInfo(name="f", framework_id="F", roles=(), failover_timeout_seconds=-1.0)
    agent.say(ReregisterAgent(agent=info, tasks=(task,), frameworks=(strange,)))
    assert cluster.state.frameworks["F"].info == FrameworkInfo(name="", framework_id="F")
