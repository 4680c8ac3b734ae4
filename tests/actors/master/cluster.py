"""A master with its registrar and allocator on a virtual clock, and peers that do just what a test tells them."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec

from actors.master.compose import spawn_master
from actors.master.registrar import read
from actors.master.settings import MasterSettings
from actors.master.state import MasterState, contradictions, overcommitted
from actors.messages.records import (
    AgentInfo,
    CommandInfo,
    FrameworkInfo,
    Offer,
    Source,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from actors.messages.registration import AgentRegistered, PingAgent, PongAgent, RegisterAgent
from actors.messages.scheduling import Accept, Acknowledge, Launch, Offers, Subscribe, Subscribed, Update
from actors.messages.tasks import StatusUpdate
from allocator.resources import Resources
from allocator.state import AllocatorState
from runtime.actor import Actor, State, receive
from runtime.message import Message
from runtime.node import Node
from runtime.pid import PID
from runtime.store import MemoryStore
from runtime.testing import World

M = TypeVar("M", bound=Message)

ADDRESS = "simulated://m"


class Say(Message, frozen=True, kw_only=True, tag="test.master.Say"):
    """Test -> peer: send this to the master."""

    message: Any
    ask: bool = False


class PeerState(State):
    """What a peer got, and whether it answers pings as an agent does."""

    received: list[Message] = msgspec.field(default_factory=list)
    agent_id: str = ""
    answers_pings: bool = True
    master: str = ADDRESS


class Peer(Actor[PeerState]):
    """An agent, a scheduler or a tool, told by a test what to say."""

    @property
    def master(self) -> PID:
        return PID("master", self.state.master)

    @receive(Say)
    def say(self, sender: PID, message: Say) -> None:
        if message.ask:
            self.ask(self.master, message.message, self.answered)
        else:
            self.send(self.master, message.message)

    def answered(self, sender: PID, answer: Message, context: None) -> None:
        self.state.received.append(answer)

    @receive(PingAgent)
    def ping(self, sender: PID, message: PingAgent) -> None:
        self.state.received.append(message)
        if self.state.answers_pings:
            self.send(self.master, PongAgent(agent_id=self.state.agent_id))

    @receive(AgentRegistered)
    def registered(self, sender: PID, message: AgentRegistered) -> None:
        self.state.agent_id = message.agent_id
        self.state.received.append(message)

    def unhandled(self, sender: PID, message: Message) -> None:
        self.state.received.append(message)


class Client:
    """A peer on a node of its own."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.node: Node = cluster.world.node(name)
        self.pid = self.node.spawn(Peer, "peer", PeerState())

    @property
    def state(self) -> PeerState:
        return cast(PeerState, self.node.state_of("peer"))

    def say(self, message: Message) -> None:
        self.node.post(self.pid, Say(message=message))
        self.cluster.world.settle()

    def ask(self, message: Message) -> Message:
        self.node.post(self.pid, Say(message=message, ask=True))
        self.cluster.world.settle()
        return self.state.received[-1]

    def got(self, message_type: type[M]) -> list[M]:
        """The messages of one type that came so far, and are seen now for the first time."""
        found = [message for message in self.state.received if type(message) is message_type]
        self.state.received = [message for message in self.state.received if type(message) is not message_type]
        return found

    def got_one(self, message_type: type[M]) -> M:
        (message,) = self.got(message_type)
        return message

    def crash(self) -> None:
        self.cluster.world.crash(self.name)
        self.cluster.world.settle()

    def lose_connection(self) -> None:
        """The session with the master breaks; the next message to it opens another."""
        for session in list(self.node.peers.sessions):
            session.close("broken by the test")
        self.cluster.world.settle()


class AgentClient(Client):
    """An agent."""

    agent_id: str

    def register(self, resources: str = "cpus:4;mem:4096") -> str:
        self.say(RegisterAgent(agent=AgentInfo(hostname=self.name, resources=Resources.parse(resources))))
        self.agent_id = self.got_one(AgentRegistered).agent_id
        return self.agent_id

    def update(
        self, framework_id: str, task_id: str, state: TaskState, uuid: str = "", latest: TaskState | None = None
    ) -> None:
        status = a_status(task_id, state, uuid=uuid, agent_id=self.agent_id)
        update = StatusUpdate(
            agent_id=self.agent_id, framework_id=framework_id, status=status, latest_state=latest or state
        )
        self.say(update)


class SchedulerClient(Client):
    """A framework's scheduler."""

    framework_id: str

    def subscribe(self, **fields: Any) -> str:
        self.say(Subscribe(framework=FrameworkInfo(**({"name": self.name} | fields))))
        self.framework_id = self.got_one(Subscribed).framework_id
        return self.framework_id

    def offers(self) -> list[Offer]:
        return [offer for offers in self.got(Offers) for offer in offers.offers]

    def launch(self, offer: Offer, *tasks: TaskInfo, refuse_seconds: float = 5.0) -> None:
        operations = (Launch(tasks=tasks),)
        self.say(Accept(offer_ids=(offer.offer_id,), operations=operations, refuse_seconds=refuse_seconds))

    def acknowledge(self, agent: AgentClient, task_id: str, uuid: str) -> None:
        self.say(Acknowledge(agent_id=agent.agent_id, task_id=task_id, uuid=uuid))

    def statuses(self) -> list[TaskStatus]:
        return [update.status for update in self.got(Update)]

    def status(self) -> TaskStatus:
        (status,) = self.statuses()
        return status


class Cluster:
    """A master on a node called m, and whoever a test adds."""

    def __init__(self, settings: MasterSettings | None = None) -> None:
        self.world = World(seed=3)
        self.store = MemoryStore()
        self.settings = settings
        self.start_master()

    def start_master(self) -> None:
        self.node = self.world.node("m", listen=ADDRESS)
        spawn_master(self.node, self._open_store, self.settings, blocking_store=False)
        self.world.settle()

    def _open_store(self) -> MemoryStore:
        return self.store

    def fail_over(self) -> None:
        """The master dies, and another begins with the same registry."""
        self.world.crash("m")
        self.world.settle()
        self.start_master()

    @property
    def state(self) -> MasterState:
        return cast(MasterState, self.node.state_of("master"))

    @property
    def allocator(self) -> AllocatorState:
        return cast(AllocatorState, self.node.state_of("allocator"))

    def agent(self, name: str = "a", resources: str = "cpus:4;mem:4096") -> AgentClient:
        agent = AgentClient(self, name)
        agent.register(resources)
        return agent

    def scheduler(self, name: str = "s", **fields: Any) -> SchedulerClient:
        scheduler = SchedulerClient(self, name)
        scheduler.subscribe(**fields)
        return scheduler

    def run(self, seconds: float) -> None:
        self.world.run(seconds)

    def running_task(self, agent: AgentClient, scheduler: SchedulerClient, task_id: str = "t") -> None:
        """Launch a task on the next offer, and let it run and be acknowledged."""
        self.run(1.5)
        offer = next(offer for offer in scheduler.offers() if offer.agent_id == agent.agent_id)
        scheduler.launch(offer, a_task(offer, task_id), refuse_seconds=0.0)
        agent.update(scheduler.framework_id, task_id, TaskState.RUNNING, "running")
        assert scheduler.status().state is TaskState.RUNNING

    def check(self) -> None:
        """What must hold whenever a test has ended."""
        assert contradictions(self.state) == []
        assert overcommitted(self.state) == []
        assert self.node.failure == ""
        assert self.allocator.counters.excess == 0
        open_allocations = self.allocator.ledger.open
        assert {each.allocation_id for each in self.state.offers.values()} == set(open_allocations)


def a_task(offer: Offer, task_id: str = "t", resources: str = "cpus:1;mem:512", **fields: Any) -> TaskInfo:
    """A task that fits into an offer."""
    runner: dict[str, Any] = {} if "executor" in fields else {"command": CommandInfo(shell="true")}
    return TaskInfo(task_id=task_id, agent_id=offer.agent_id, resources=Resources.parse(resources), **(runner | fields))


def a_status(task_id: str, state: TaskState, **fields: Any) -> TaskStatus:
    """What an executor might say."""
    return TaskStatus(task_id=task_id, state=state, **({"source": Source.EXECUTOR} | fields))


def registry_of(cluster: Cluster) -> dict[str, float | None]:
    """What the store holds: since when each agent is unreachable."""
    entries = (agent for _, _, bucket in read(cluster.store) for agent in bucket.agents)
    return {agent.info.agent_id: agent.unreachable_since for agent in entries}
