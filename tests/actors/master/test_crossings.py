"""Messages that cross: what was allocated before a removal, and connections that are replaced."""

from __future__ import annotations

import random

import pytest

from actors.master.agents import Barrier
from actors.master.master import MasterActor
from actors.master.state import MasterState, contradictions
from actors.messages.records import AgentInfo, FrameworkInfo, TaskState
from actors.messages.registration import AgentReregistered, RegisterAgent, ReregisterAgent
from actors.messages.registry import Applied
from actors.messages.scheduling import Decline, Offers, Subscribe
from allocator.messages import Allocated, Allocation, DeactivateAgent, DeactivateFramework, Explanation, RemoveAgent
from allocator.messages import Rescind as RescindAllocation
from allocator.resources import Resources
from runtime.effects import Ask, Link
from runtime.message import AskFailed, Exited
from runtime.pid import PID
from runtime.testing import answer, make, sent, turn
from tests.actors.master.cluster import AgentClient, Cluster, SchedulerClient, a_task

AGENT = PID("agent", "a", 1)
SCHEDULER = PID("scheduler", "s", 1)
INFO = AgentInfo(hostname="a", resources=Resources.parse("cpus:4"), agent_id="-S0")


def master_with_agent_and_framework() -> MasterActor:
    master: MasterActor = make(MasterActor, MasterState(recovered=True), "master")
    ask = turn(master, RegisterAgent(agent=AgentInfo(hostname="a", resources=INFO.resources)), sender=AGENT)[0]
    assert isinstance(ask, Ask)
    answer(master, ask.then, Applied(), ask.context)
    turn(master, Subscribe(framework=FrameworkInfo(name="s")), sender=SCHEDULER)
    return master


def allocated(number: int) -> Allocated:
    return Allocated(allocations=(Allocation(number, "-0000", "*", "-S0", INFO.resources),))


def test_allocation_made_before_a_removal_is_void_when_the_agent_is_back() -> None:
    master = master_with_agent_and_framework()
    ask = turn(master, ReregisterAgent(agent=INFO), sender=AGENT)
    assert sent(ask, RemoveAgent) == []
    master.remove_agent(master.state.agents["-S0"], TaskState.UNREACHABLE, "it is away", since=0.0)
    barrier = next(effect for effect in master._outbox if isinstance(effect, Ask))
    master._outbox = []
    write = next(
        effect for effect in turn(master, ReregisterAgent(agent=INFO), sender=AGENT) if isinstance(effect, Ask)
    )
    assert sent(answer(master, write.then, Applied(), write.context), AgentReregistered) != []
    assert turn(master, allocated(1), sender=master.allocator) == []
    assert answer(master, barrier.then, Explanation(), barrier.context) == []
    offered = turn(master, allocated(2), sender=master.allocator)
    assert [offer.offer_id for offers in sent(offered, Offers) for offer in offers.offers] == ["-O0"]
    assert contradictions(master.state) == []


def test_busy_allocator_is_asked_again_whether_it_has_heard() -> None:
    master = master_with_agent_and_framework()
    master.state.removing["-S0"] = 2
    (again,) = answer(master, "withdrawn", AskFailed(reason="busy"), Barrier("-S0", 2))
    assert isinstance(again, Ask)
    answer(master, again.then, Explanation(), Barrier("-S0", 1))
    assert master.state.removing == {"-S0": 2}
    answer(master, again.then, Explanation(), again.context)
    assert master.state.removing == {}


def test_allocations_of_a_stranger_are_no_offers() -> None:
    master = master_with_agent_and_framework()
    assert turn(master, allocated(1), sender=PID("allocator", "elsewhere", 1)) == []
    assert master.state.offers == {}


@pytest.mark.parametrize("lost", [AGENT, SCHEDULER])
def test_broken_session_is_a_loss_only_when_there_is_no_other(lost: PID) -> None:
    master = master_with_agent_and_framework()
    assert turn(master, Exited(pid=lost, reason="session lost: superseded"), sender=lost) == [Link(lost)]
    effects = turn(master, Exited(pid=lost, reason="no session with its node"), sender=lost)
    assert len(sent(effects, DeactivateAgent)) + len(sent(effects, DeactivateFramework)) == 1
    again = turn(master, Exited(pid=lost, reason="no session with its node"), sender=lost)
    assert again == []


def test_allocation_for_a_disconnected_agent_goes_back() -> None:
    master = master_with_agent_and_framework()
    turn(master, Exited(pid=AGENT, reason="stopped"), sender=AGENT)
    effects = turn(master, allocated(1), sender=master.allocator)
    assert sent(effects, RescindAllocation) == [RescindAllocation(allocation_id=1)]


@pytest.mark.parametrize("seed", range(12))
def test_books_balance_whatever_happens(seed: int) -> None:
    """Random schedulers and agents that launch, end, decline, break and come back; checked after each step."""
    chance = random.Random(seed)
    cluster = Cluster()
    agents = [cluster.agent(f"a{number}") for number in range(3)]
    schedulers = [cluster.scheduler(f"s{number}") for number in range(3)]
    for step in range(120):
        _anything(chance, cluster, agents, schedulers, step)
        cluster.check()
    assert any(count for name, count in cluster.state.counters.items() if name.startswith("master/tasks_"))


def _anything(
    chance: random.Random,
    cluster: Cluster,
    agents: list[AgentClient],
    schedulers: list[SchedulerClient],
    step: int,
) -> None:
    agent, scheduler = chance.choice(agents), chance.choice(schedulers)
    offers = [each.offer for each in cluster.state.offers.values() if each.offer.framework_id == scheduler.framework_id]
    match chance.randrange(8):
        case 0 | 1 if offers:
            size = chance.choice(("cpus:1;mem:512", "cpus:2;mem:64", "cpus:9"))
            tasks = (a_task(offers[0], f"t{step}", size), a_task(offers[0], f"u{step}", size))
            scheduler.launch(offers[0], *tasks, refuse_seconds=0.0)
        case 2 if offers:
            names = tuple(offer.offer_id for offer in offers)
            scheduler.say(Decline(offer_ids=names, refuse_seconds=chance.choice((0.0, 3.0))))
        case 3 | 4 if cluster.state.tasks:
            framework_id, task_id = chance.choice(list(cluster.state.tasks))
            agent_id = cluster.state.tasks[framework_id, task_id].info.agent_id
            on = next(each for each in agents if each.agent_id == agent_id)
            state = chance.choice((TaskState.RUNNING, TaskState.FINISHED, TaskState.FAILED))
            on.update(framework_id, task_id, state, f"uuid{step}")
            of = next(each for each in schedulers if each.framework_id == framework_id)
            of.acknowledge(on, task_id, f"uuid{step}")
        case 5:
            agent.lose_connection()
        case 6:
            tasks_here = tuple(task for task in cluster.state.tasks.values() if task.info.agent_id == agent.agent_id)
            info = AgentInfo(hostname=agent.name, resources=Resources.parse("cpus:4;mem:4096"), agent_id=agent.agent_id)
            agent.say(ReregisterAgent(agent=info, tasks=tasks_here))
        case 7:
            scheduler.lose_connection()
            info_of = FrameworkInfo(name=scheduler.name, framework_id=scheduler.framework_id)
            scheduler.say(Subscribe(framework=info_of))
    cluster.run(chance.choice((0.0, 0.3, 1.1, 20.0)))
