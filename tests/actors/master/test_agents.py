"""Agents: admission, liveness, loss and return."""

from __future__ import annotations

import msgspec
import pytest

from actors.master.base import RegistryLost
from actors.master.constants import (
    AGENT_PING_SECONDS,
    AGENT_REREGISTER_SECONDS,
    MAX_AGENT_PINGS_MISSED,
    REGISTRY_GC_SECONDS,
    REGISTRY_MAX_AGENTS,
)
from actors.master.master import MasterActor
from actors.master.registering import Admitting
from actors.master.state import Framework, MasterState
from actors.master.timers import CollectGarbage
from actors.messages.records import (
    AgentInfo,
    FrameworkInfo,
    Reason,
    Task,
    TaskInfo,
    TaskState,
)
from actors.messages.registration import (
    AgentRefused,
    AgentRegistered,
    PingAgent,
    RegisterAgent,
    ReregisterAgent,
    UnregisterAgent,
    UpdateAgentResources,
)
from actors.messages.registry import AdmitAgent, Applied, Apply, NotApplied, Prune, RegisteredAgent
from actors.messages.scheduling import AgentFailure, RescindOffer
from allocator.messages import AddAgent
from allocator.resources import Resources
from runtime.effects import After, Ask, Send
from runtime.message import AskFailed
from runtime.pid import PID
from runtime.testing import answer, make, turn
from tests.actors.master.cluster import AgentClient, Cluster, registry_of

UNREACHABLE_SECONDS = AGENT_PING_SECONDS * MAX_AGENT_PINGS_MISSED
INFO = AgentInfo(hostname="a", resources=Resources.parse("cpus:4;mem:4096"))


# Admission ------------------------------------------------------------------------------------------------------------


def recovered_master() -> MasterActor:
    master: MasterActor = make(MasterActor, MasterState(recovered=True), "master")
    return master


def test_admission_is_written_before_anybody_hears_of_it() -> None:
    master = recovered_master()
    agent = PID("agent", "a", 1)
    (ask,) = turn(master, RegisterAgent(agent=INFO), sender=agent)
    assert isinstance(ask, Ask)
    assert ask.message == Apply(operation=AdmitAgent(agent=msgspec.structs.replace(INFO, agent_id="-S0")))
    assert turn(master, RegisterAgent(agent=INFO), sender=agent) == []
    effects = answer(master, ask.then, Applied(), ask.context)
    assert [type(effect.message) for effect in effects if isinstance(effect, Send)] == [
        AgentRegistered,
        AddAgent,
        PingAgent,
    ]


@pytest.mark.parametrize("reply", [NotApplied(reason="no"), AskFailed(reason="timeout")])
def test_master_ends_when_the_registry_is_not_written(reply: NotApplied | AskFailed) -> None:
    master = recovered_master()
    with pytest.raises(RegistryLost):
        answer(master, "admitted", reply, Admitting(PID("agent", "a", 1), INFO))


def test_everything_is_dropped_and_counted_until_the_registry_is_recovered() -> None:
    master: MasterActor = make(MasterActor, MasterState(), "master")
    assert turn(master, RegisterAgent(agent=INFO)) == []
    assert turn(master, ReregisterAgent(agent=msgspec.structs.replace(INFO, agent_id="x"))) == []
    assert master.state.counters == {"master/dropped_messages": 2}


def test_repeated_registration_gets_the_same_id(cluster: Cluster) -> None:
    agent = cluster.agent()
    assert agent.agent_id == f"{cluster.state.master.master_id}-S0"
    assert agent.register() == agent.agent_id
    assert list(registry_of(cluster)) == [agent.agent_id]


def test_agent_that_lost_the_answer_asks_again_and_is_admitted_once(cluster: Cluster) -> None:
    agent = AgentClient(cluster, "a")
    with cluster.world.drop(AgentRegistered) as lost:
        agent.say(RegisterAgent(agent=INFO))
        agent.say(RegisterAgent(agent=INFO))
    assert len(lost) == 2
    agent.register()
    assert list(registry_of(cluster)) == [agent.agent_id]


def test_agent_that_forgot_its_id_takes_the_place_of_its_earlier_life(cluster: Cluster) -> None:
    first = cluster.agent()
    first.crash()
    second = AgentClient(cluster, "a")
    assert second.register() != first.agent_id
    assert list(cluster.state.agents) == [second.agent_id]
    assert list(registry_of(cluster)) == [second.agent_id]
    second.crash()
    assert not cluster.state.agents[second.agent_id].connected


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (RegisterAgent(agent=msgspec.structs.replace(INFO, hostname="")), "hostname"),
        (RegisterAgent(agent=msgspec.structs.replace(INFO, agent_id="x")), "register again"),
        (ReregisterAgent(agent=INFO), "no id"),
        (ReregisterAgent(agent=msgspec.structs.replace(INFO, agent_id="a/b")), "slash"),
    ],
)
def test_agent_that_cannot_be_admitted_is_told_why(
    cluster: Cluster, message: RegisterAgent | ReregisterAgent, text: str
) -> None:
    agent = AgentClient(cluster, "a")
    agent.say(message)
    assert text in agent.got_one(AgentRefused).reason
    assert cluster.state.agents == {}


# Liveness -------------------------------------------------------------------------------------------------------------


def test_five_missed_pings_make_an_agent_unreachable(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.running_task(agent, scheduler)
    cluster.run(AGENT_PING_SECONDS)
    scheduler.got(RescindOffer)
    agent.state.answers_pings = False
    missed_since = cluster.world.clock.now()
    cluster.run(UNREACHABLE_SECONDS - AGENT_PING_SECONDS)
    assert list(cluster.state.agents) == [agent.agent_id]
    assert registry_of(cluster) == {agent.agent_id: None}
    cluster.run(2 * AGENT_PING_SECONDS)
    assert cluster.state.agents == {}
    status = scheduler.status()
    assert (status.state, status.reason) == (TaskState.UNREACHABLE, Reason.AGENT_REMOVED)
    assert status.unreachable_since is not None
    assert status.unreachable_since > missed_since
    assert scheduler.got_one(AgentFailure).agent_id == agent.agent_id


def test_a_pong_forgives_missed_pings(cluster: Cluster) -> None:
    agent = cluster.agent()
    for _ in range(3):
        agent.state.answers_pings = False
        cluster.run(UNREACHABLE_SECONDS - AGENT_PING_SECONDS)
        agent.state.answers_pings = True
        cluster.run(AGENT_PING_SECONDS)
    assert list(cluster.state.agents) == [agent.agent_id]
    assert cluster.state.agents[agent.agent_id].missed_pings == 0


def test_agent_cannot_speak_for_another(cluster: Cluster) -> None:
    agent = cluster.agent()
    impostor = AgentClient(cluster, "b")
    impostor.state.agent_id = agent.agent_id
    impostor.say(UnregisterAgent(agent_id=agent.agent_id))
    assert list(cluster.state.agents) == [agent.agent_id]
    assert cluster.state.counters["master/dropped_messages"] == 1


def test_broken_connection_withdraws_offers_and_waits_for_ten_minutes(cluster: Cluster) -> None:
    scheduler, agent = cluster.scheduler(), cluster.agent()
    cluster.run(1.5)
    (offer,) = scheduler.offers()
    agent.crash()
    assert scheduler.got_one(RescindOffer).offer_id == offer.offer_id
    cluster.run(UNREACHABLE_SECONDS - 2.0)
    assert not cluster.state.agents[agent.agent_id].connected
    assert scheduler.offers() == []


def test_agent_that_answers_pings_but_does_not_register_again_is_given_up(cluster: Cluster) -> None:
    agent = cluster.agent()
    agent.lose_connection()
    assert not cluster.state.agents[agent.agent_id].connected
    # It has dialled anew, so that pings reach it, and pretends that all is well.
    agent.say(UpdateAgentResources(agent_id=agent.agent_id, total=INFO.resources))
    cluster.run(AGENT_REREGISTER_SECONDS - 1.0)
    assert list(cluster.state.agents) == [agent.agent_id]
    assert {ping.connected for ping in agent.got(PingAgent)} == {True, False}
    cluster.run(2.0)
    assert cluster.state.agents == {}


# The registry's garbage -----------------------------------------------------------------------------------------------


def test_agents_that_are_away_for_two_weeks_are_forgotten_with_their_tasks() -> None:
    old, recent = (msgspec.structs.replace(INFO, agent_id=agent_id) for agent_id in ("old", "recent"))
    two_weeks = 14 * 24 * 3600.0
    task = Task(info=TaskInfo(task_id="t", agent_id="old", resources=INFO.resources), framework_id="F", role="*")
    framework = Framework(info=FrameworkInfo(name="f", framework_id="F"), registered_at=0.0, unreachable={"t": task})
    state = MasterState(
        recovered=True,
        unreachable={
            "old": RegisteredAgent(info=old, unreachable_since=9.0),
            "recent": RegisteredAgent(info=recent, unreachable_since=11.0),
        },
        frameworks={"F": framework},
    )
    master: MasterActor = make(MasterActor, state, "master")
    again, ask = turn(master, CollectGarbage(), sender=master.pid, now=two_weeks + 10.0)
    assert isinstance(again, After)
    assert again.delay_seconds == REGISTRY_GC_SECONDS
    assert isinstance(ask, Ask)
    assert ask.message == Apply(operation=Prune(before=10.0, keep=REGISTRY_MAX_AGENTS))
    assert list(state.unreachable) == ["old", "recent"]
    answer(master, ask.then, Applied(), ask.context)
    assert list(state.unreachable) == ["recent"]
    assert framework.unreachable == {}


def test_nobody_else_can_pull_the_timers_of_a_master() -> None:
    master = recovered_master()
    assert turn(master, CollectGarbage(), sender=PID("stranger", "elsewhere", 1)) == []
    assert master.state.counters == {"master/dropped_messages": 1}
