"""One agent with a simulated containerizer, and a master that does as it is told, on a virtual clock."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from actors.agent.compose import spawn_simulated_agent
from actors.agent.names import AGENT_NAME
from actors.agent.state import AgentSettings, AgentState
from actors.messages.executing import ExecutorUpdate, SubscribeExecutor
from actors.messages.records import (
    CommandInfo,
    ExecutorInfo,
    FrameworkInfo,
    MasterInfo,
    Source,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from actors.messages.registration import AgentRegistered, AgentReregistered, PingAgent, RegisterAgent, ReregisterAgent
from actors.messages.tasks import AcknowledgeUpdate, KillTaskOnAgent, RunTask, StatusUpdate
from allocator.resources import Resources
from containerizer.simulated import SimulatedContainerizer, SimulatedState
from runtime.actor import Actor, State, receive
from runtime.message import Message
from runtime.pid import PID
from runtime.testing import World

AGENT_ID: Final = "agent-1"
FRAMEWORK: Final = FrameworkInfo(name="tests", framework_id="framework-1")
MASTER: Final = MasterInfo(master_id="master-1")
PING_TIMEOUT_SECONDS: Final = 75.0

M = TypeVar("M", bound=Message)


class MasterState(State):
    """What a test wants of its master.

    registers, acknowledges, pings  whether it does
    missing  what it says in the answer to a re-registration
    """

    registers: bool = True
    acknowledges: bool = True
    pings: bool = True
    missing: tuple[tuple[str, str], ...] = ()
    agent: PID | None = None
    received: list[Message] = msgspec.field(default_factory=list)


class Order(Message, frozen=True, kw_only=True, tag="test.Order"):
    """Test -> actor: send that, to `to` or, being the master, to the agent."""

    message: Any
    to: PID | None = None


class PingNow(Message, frozen=True, kw_only=True, tag="test.PingNow"):
    """Master -> itself."""


class ScriptedMaster(Actor[MasterState]):
    """Registers whoever comes and keeps what it hears."""

    def started(self) -> None:
        self.after(15.0, PingNow())

    @receive(PingNow)
    def ping_now(self, sender: PID, message: PingNow) -> None:
        if self.state.agent is not None and self.state.pings:
            self.send(self.state.agent, PingAgent(connected=True))
        self.after(15.0, PingNow())

    @receive(Order)
    def order(self, sender: PID, message: Order) -> None:
        assert self.state.agent is not None, "no agent has registered"
        self.send(self.state.agent, message.message)

    @receive(RegisterAgent)
    def register(self, sender: PID, message: RegisterAgent) -> None:
        self.state.received.append(message)
        if self.state.registers:
            self.state.agent = sender
            answer = AgentRegistered(agent_id=AGENT_ID, master=MASTER, ping_timeout_seconds=PING_TIMEOUT_SECONDS)
            self.send(sender, answer)

    @receive(ReregisterAgent)
    def reregister(self, sender: PID, message: ReregisterAgent) -> None:
        self.state.received.append(message)
        if self.state.registers:
            self.state.agent = sender
            answer = AgentReregistered(
                agent_id=message.agent.agent_id,
                master=MASTER,
                ping_timeout_seconds=PING_TIMEOUT_SECONDS,
                missing=self.state.missing,
            )
            self.send(sender, answer)

    @receive(StatusUpdate)
    def status_update(self, sender: PID, message: StatusUpdate) -> None:
        self.state.received.append(message)
        if self.state.acknowledges:
            self.send(sender, acknowledgement(message))

    def unhandled(self, sender: PID, message: Message) -> None:
        self.state.received.append(message)


class SpeakerState(State):
    """What it heard."""

    received: list[Message] = msgspec.field(default_factory=list)


class Speaker(Actor[SpeakerState]):
    """Says what a test tells it to."""

    @receive(Order)
    def order(self, sender: PID, message: Order) -> None:
        assert message.to is not None
        self.send(message.to, message.message)

    def unhandled(self, sender: PID, message: Message) -> None:
        self.state.received.append(message)

    def heard(self, message_type: type[M]) -> list[M]:
        return [message for message in self.state.received if isinstance(message, message_type)]


def acknowledgement(update: StatusUpdate) -> AcknowledgeUpdate:
    status = update.status
    return AcknowledgeUpdate(framework_id=update.framework_id, task_id=status.task_id, uuid=status.uuid)


class Cluster:
    """Nodes ``m1`` (master), ``c1`` (containerizer) and ``a1`` (agent)."""

    def __init__(self, gpus: int = 0, resources: str = "cpus:8;mem:8192", **settings: Any) -> None:
        self.world = World(seed=7)
        self.settings = AgentSettings(
            hostname="a1",
            resources=Resources.parse(resources),
            work_directory="/work_dir",
            containerizer=PID("containerizer", "simulated://c1"),
            master=PID("master", "simulated://m1"),
            executor_address="simulated://a1",
            **settings,
        )
        self._machine = SimulatedState(gpus=gpus)
        self.start_master()
        self.start_containerizer()
        self.start_agent()

    # Processes --------------------------------------------------------------------------------------------------------

    def start_master(self, **state: Any) -> None:
        self.world.node("m1", "simulated://m1").spawn(ScriptedMaster, "master", MasterState(**state))

    def start_containerizer(self) -> None:
        node = self.world.node("c1", "simulated://c1")
        node.spawn(SimulatedContainerizer, "containerizer", self._machine)

    def start_agent(self) -> None:
        spawn_simulated_agent(self.world.node("a1"), self.settings)

    def crash_agent(self) -> None:
        self.world.crash("a1")

    def crash_containerizer(self) -> None:
        self._machine = self.containerizer
        self.world.crash("c1")

    def register(self) -> Cluster:
        """Let the agent get to the master."""
        self.world.run(seconds=2.0)
        assert self.agent.leader is not None
        return self

    def reboot(self) -> None:
        """Start containerizer and agent on a machine where nothing runs any more."""
        self._machine = SimulatedState()
        self.start_containerizer()
        self.start_agent()

    # Looking ----------------------------------------------------------------------------------------------------------

    @property
    def agent(self) -> AgentState:
        state = self.world.nodes["a1"].state_of(AGENT_NAME)
        assert isinstance(state, AgentState)
        return state

    @property
    def master(self) -> MasterState:
        state = self.world.nodes["m1"].state_of("master")
        assert isinstance(state, MasterState)
        return state

    @property
    def containerizer(self) -> SimulatedState:
        state = self.world.nodes["c1"].state_of("containerizer")
        assert isinstance(state, SimulatedState)
        return state

    def heard(self, message_type: type[M]) -> list[M]:
        """What the master got of one type."""
        return [message for message in self.master.received if isinstance(message, message_type)]

    def statuses(self, task_id: str) -> list[TaskStatus]:
        """What the master heard of a task, without what it heard twice in a row."""
        found: list[TaskStatus] = []
        for update in self.heard(StatusUpdate):
            if update.status.task_id == task_id and (not found or found[-1].uuid != update.status.uuid):
                found.append(update.status)
        return found

    def states(self, task_id: str) -> list[TaskState]:
        return [status.state for status in self.statuses(task_id)]

    def is_clean(self) -> bool:
        """Whether nothing is left of any task, here or at the containerizer."""
        return not self.agent.frameworks and not self.agent.containers and not self.containerizer.containers

    # Doing ------------------------------------------------------------------------------------------------------------

    def order(self, message: Message) -> None:
        """Let the master send something to the agent; it is on its way when this returns."""
        node = self.world.nodes["m1"]
        node.post(node.pid("master"), Order(message=message))
        self.world.settle()

    def run_task(self, task: TaskInfo, framework: FrameworkInfo = FRAMEWORK, *, launch_executor: bool = True) -> None:
        self.order(RunTask(framework=framework, task=task, role="*", launch_executor=launch_executor))

    def kill_task(self, task_id: str, grace_seconds: float | None = None) -> None:
        kill = KillTaskOnAgent(framework_id=FRAMEWORK.framework_id, task_id=task_id, grace_seconds=grace_seconds)
        self.order(kill)

    def speaker(self, node_id: str, name: str = "speaker") -> Speaker:
        """An actor that says what it is told to, and keeps what it hears; its node is started if it is not there."""
        node = self.world.nodes.get(node_id) or self.world.node(node_id)
        node.spawn(Speaker, name, SpeakerState())
        actor = node.cells[name].actor
        assert isinstance(actor, Speaker)
        return actor

    def say(self, speaker: Speaker, message: Message, to: PID | None = None) -> None:
        """Let a speaker send something to the agent, or to another; it is on its way when this returns."""
        node = self.world.nodes[speaker.pid.node]
        here = PID(AGENT_NAME, "a1" if speaker.pid.node == "a1" else "simulated://a1")
        node.post(speaker.pid, Order(message=message, to=to or here))
        self.world.settle()

    def subscribe(self, task_id: str = "task-1", **fields: Any) -> Speaker:
        """Be the executor of that task, and subscribe."""
        container_id = self.container_of(task_id)
        speaker = self.speaker(container_id, "executor")
        self.say(speaker, subscription(container_id, **fields))
        return speaker

    def container_of(self, task_id: str) -> str:
        framework = self.agent.frameworks[FRAMEWORK.framework_id]
        return framework.executors[framework.tasks[task_id].executor_id].container_id


def command_task(
    task_id: str = "task-1", shell: str = "sleep 5", resources: str = "cpus:1;mem:64", **fields: Any
) -> TaskInfo:
    return TaskInfo(
        task_id=task_id,
        agent_id=AGENT_ID,
        resources=Resources.parse(resources),
        command=CommandInfo(shell=shell),
        **fields,
    )


EXECUTOR: Final = ExecutorInfo(
    executor_id="executor-1",
    command=CommandInfo(shell="sleep infinity"),
    resources=Resources.parse("cpus:0.5;mem:64"),
)


def subscription(container_id: str, executor_id: str = "executor-1", **fields: Any) -> SubscribeExecutor:
    return SubscribeExecutor(
        framework_id=FRAMEWORK.framework_id, executor_id=executor_id, container_id=container_id, **fields
    )


def told(task_id: str, state: TaskState, uuid: str, **fields: Any) -> ExecutorUpdate:
    """An update as the executor of `EXECUTOR` says it."""
    status = TaskStatus(task_id=task_id, state=state, source=Source.EXECUTOR, uuid=uuid, **fields)
    return ExecutorUpdate(framework_id=FRAMEWORK.framework_id, executor_id=EXECUTOR.executor_id, status=status)


def executor_task(task_id: str = "task-1", executor: ExecutorInfo = EXECUTOR, **fields: Any) -> TaskInfo:
    return TaskInfo(
        task_id=task_id,
        agent_id=AGENT_ID,
        resources=Resources.parse("cpus:1;mem:64"),
        executor=executor,
        **fields,
    )
