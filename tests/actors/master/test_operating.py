"""What tools ask a master."""

from __future__ import annotations

from actors.master.master import MasterActor
from actors.master.state import MasterState as State
from actors.messages.operating import (
    Agents,
    Done,
    Frameworks,
    GetAgents,
    GetFrameworks,
    GetMaster,
    GetOffers,
    GetTasks,
    KillTaskByOperator,
    MasterState,
    OutstandingOffers,
    Refusal,
    Tasks,
    TeardownFramework,
)
from actors.messages.records import TaskState
from actors.messages.scheduling import Decline, SchedulerError, Suppress, Teardown
from actors.messages.tasks import KillTaskOnAgent
from allocator.resources import Resources
from runtime.effects import Reply
from runtime.testing import make, turn
from tests.actors.master.cluster import Client, Cluster


def test_answers_show_who_uses_and_is_offered_what(cluster: Cluster) -> None:
    scheduler, agent, tool = cluster.scheduler(), cluster.agent(), Client(cluster, "tool")
    cluster.running_task(agent, scheduler)
    cluster.run(1.5)
    agents = tool.ask(GetAgents())
    assert isinstance(agents, Agents)
    (summary,) = agents.agents
    assert (summary.info.agent_id, summary.state, summary.tasks) == (agent.agent_id, "active", 1)
    assert summary.used == Resources.parse("cpus:1;mem:512")
    assert summary.offered == Resources.parse("cpus:3;mem:3584")
    frameworks = tool.ask(GetFrameworks())
    assert isinstance(frameworks, Frameworks)
    (framework,) = frameworks.frameworks
    assert (framework.state, framework.tasks, framework.dominant_share) == ("active", 1, 0.25)
    offers = tool.ask(GetOffers())
    assert isinstance(offers, OutstandingOffers)
    assert [offer.resources for offer in offers.offers] == [summary.offered]
    master = tool.ask(GetMaster())
    assert isinstance(master, MasterState)
    assert (master.recovered, master.agents, master.frameworks, master.master.epoch) == (True, 1, 1, 1)


def test_agents_that_are_away_are_listed_with_where_they_are(cluster: Cluster) -> None:
    agent, other, tool = cluster.agent("a"), cluster.agent("b"), Client(cluster, "tool")
    agent.state.answers_pings = False
    other.crash()
    cluster.run(1.0)
    assert states(tool) == ["active", "disconnected"]
    cluster.run(90.0)
    assert states(tool) == ["unreachable", "unreachable"]


def states(tool: Client) -> list[str]:
    agents = tool.ask(GetAgents())
    assert isinstance(agents, Agents)
    return [summary.state for summary in agents.agents]


def test_tasks_are_found_by_prefix_and_framework_live_ones_first(cluster: Cluster) -> None:
    scheduler, agent, tool = cluster.scheduler(), cluster.agent(), Client(cluster, "tool")
    for task_id in ("web-1", "web-2", "job-1"):
        cluster.running_task(agent, scheduler, task_id)
    agent.update(scheduler.framework_id, "web-2", TaskState.FINISHED, "u")
    scheduler.acknowledge(agent, "web-2", "u")

    def found(**fields: object) -> list[str]:
        tasks = tool.ask(GetTasks(**fields))  # type: ignore[arg-type]
        assert isinstance(tasks, Tasks)
        return [task.task_id for task in tasks.tasks]

    assert found() == ["job-1", "web-1"]
    assert found(task_prefix="web", completed=True) == ["web-1", "web-2"]
    assert found(framework_id="unknown") == []
    scheduler.say(Teardown())
    assert sorted(found(completed=True)) == ["job-1", "web-1", "web-2"]


def test_operator_kills_the_one_task_of_that_name(cluster: Cluster) -> None:
    first, agent, tool = cluster.scheduler("first"), cluster.agent(), Client(cluster, "tool")
    cluster.running_task(agent, first, "t")
    assert tool.ask(KillTaskByOperator(task_id="t")) == Done()
    assert agent.got_one(KillTaskOnAgent).task_id == "t"
    refusal = tool.ask(KillTaskByOperator(task_id="u"))
    assert isinstance(refusal, Refusal)
    assert "there is no task 'u'" in refusal.message


def test_operator_must_name_the_framework_of_an_ambiguous_task(cluster: Cluster) -> None:
    agent, tool = cluster.agent(), Client(cluster, "tool")
    first = cluster.scheduler("first")
    cluster.running_task(agent, first, "t")
    first.say(Suppress())
    first.say(Decline(offer_ids=tuple(cluster.state.offers), refuse_seconds=0.0))
    second = cluster.scheduler("second")
    cluster.running_task(agent, second, "t")
    refusal = tool.ask(KillTaskByOperator(task_id="t"))
    assert isinstance(refusal, Refusal)
    assert first.framework_id in refusal.message
    assert tool.ask(KillTaskByOperator(task_id="t", framework_id=first.framework_id)) == Done()


def test_operator_ends_a_framework(cluster: Cluster) -> None:
    scheduler, tool = cluster.scheduler(), Client(cluster, "tool")
    assert tool.ask(TeardownFramework(framework_id=scheduler.framework_id)) == Done()
    assert "operator" in scheduler.got_one(SchedulerError).message
    assert isinstance(tool.ask(TeardownFramework(framework_id=scheduler.framework_id)), Refusal)
    frameworks = tool.ask(GetFrameworks(completed=True))
    assert isinstance(frameworks, Frameworks)
    assert [framework.state for framework in frameworks.frameworks] == ["completed"]


def test_master_that_still_reads_its_registry_says_so() -> None:
    master: MasterActor = make(MasterActor, State(), "master")
    (reply,) = turn(master, GetAgents())
    assert isinstance(reply, Reply)
    assert isinstance(reply.message, Refusal)
    (reply,) = turn(master, GetMaster())
    assert isinstance(reply, Reply)
    assert isinstance(reply.message, MasterState)
    assert not reply.message.recovered


def measured(cluster: Cluster) -> dict[str, float]:
    master = cluster.node.cells["master"].actor
    assert isinstance(master, MasterActor)
    return master.metrics()


def test_metrics_have_the_names_of_mesos(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.running_task(agent, scheduler)
    values = measured(cluster)
    assert values["master/slaves_active"] == 1.0
    assert values["master/frameworks_active"] == 1.0
    assert values["master/tasks_running"] == 1.0
    assert values["master/elected"] == 1.0
    agent.update(scheduler.framework_id, "t", TaskState.FINISHED, "u")
    values = measured(cluster)
    assert (values["master/tasks_running"], values["master/tasks_finished"]) == (0.0, 1.0)
