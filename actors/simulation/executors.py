"""Executors of framework authors in a simulated cluster: the actors that their containers would run as programs.

A container whose command is a registered executor's runs until that executor ends: by itself, with status 0; by a
failure, with status 1; or killed by the containerizer, which ends its node.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from actors.executor.executor import Executor
from actors.executor.state import ExecutorState, WorkState
from actors.executor.work import call
from actors.messages.executing import ENDPOINT_VARIABLE, EXECUTOR_VARIABLE, FRAMEWORK_VARIABLE
from actors.messages.records import ExecutorInfo
from actors.simulation.watching import Checker, heard
from containerizer.events import LaunchEnded, ProcessEnded
from containerizer.messages import ContainerExited
from containerizer.simulated import SimulatedState
from containerizer.simulated_streams import Script
from runtime.actor import Actor, receive
from runtime.effects import Turn
from runtime.message import Message, Overflow
from runtime.pid import PID
from runtime.program import WHOLE_BUSINESS

if TYPE_CHECKING:
    from actors.simulation.cluster import Cluster

EXECUTOR_NAME: Final = "executor"
CONTAINERIZER_NAME: Final = "containerizer"

ENDLESS: Final = Script(seconds=float("inf"))

WORK_SECONDS: Final = 1.0
"""What a call of `Executor.run` takes, on virtual time."""


class WorkNow(Message, frozen=True, kw_only=True, tag="simulation.WorkNow"):
    """To itself: the work's time has come."""

    overflow: ClassVar[Overflow] = Overflow.NEVER
    local: ClassVar[bool] = True


class SimulatedWork(Actor[WorkState]):
    """In place of a thread: calls the function, after a while."""

    seconds: ClassVar[float] = WORK_SECONDS

    def started(self) -> None:
        """Let it take its time."""
        self.after(self.seconds, WorkNow())

    @receive(WorkNow)
    def work(self, sender: PID, message: WorkNow) -> None:
        """Call, and tell."""
        self.send(self.state.owner, call(self.state))
        self.stop()


class _Registered(msgspec.Struct, frozen=True):
    """An executor: its class, and the state that each of its processes begins with."""

    executor_class: type[Executor[Any]]
    state: ExecutorState


class Executors(Checker):
    """The executors of a cluster. A checker only in that it sees what containerizers do.

    programs  what their commands do, for the simulated containerizers
    """

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.programs: dict[str, Script] = {}
        self._registered: dict[str, _Registered] = {}
        self._machines: dict[str, str] = {}

    def add(
        self,
        info: ExecutorInfo,
        executor_class: type[Executor[Any]],
        state: ExecutorState | None = None,
        work_seconds: float = WORK_SECONDS,
    ) -> None:
        """Let containers of this executor run `executor_class`; what it gives to `run` takes `work_seconds` each."""
        if not self._registered:
            self.cluster.watch.add(self)
        work = type(SimulatedWork.__name__, (SimulatedWork,), {"seconds": work_seconds})
        simulated = type(executor_class.__name__, (executor_class,), {"work": work})
        self._registered[info.executor_id] = _Registered(simulated, state or ExecutorState())
        self.programs[info.command.shell or " ".join(info.command.argv)] = ENDLESS
        for agent in self.cluster.agent_names:
            self._machine(agent).programs.update(self.programs)

    def running(self) -> list[str]:
        """Ids of the containers whose executors run, which are also the names of their nodes."""
        return [name for name in self._machines if self.cluster.is_up(name)]

    def state_of(self, container_id: str) -> Any:
        """State of an executor that runs."""
        return self.cluster.world.nodes[container_id].state_of(EXECUTOR_NAME)

    def kill(self, container_id: str) -> None:
        """End an executor's process as kill -9 does."""
        self._end(container_id, ContainerExited(container_id=container_id, signal=int(signal.SIGKILL)))

    def rebooted(self, agent: str) -> None:
        """An agent's host went down with all that ran on it."""
        for container_id, on in [*self._machines.items()]:
            if on == agent:
                self._forget(container_id)

    # What the containerizers do ---------------------------------------------------------------------------------------

    @heard(LaunchEnded)
    def launched(self, turn: Turn, message: LaunchEnded) -> None:
        """A container runs: if it is one of ours, so does its executor."""
        state = self.cluster.world.nodes[turn.actor.node].state_of(turn.actor.name)
        container = state.containers.get(message.container_id)
        environment = {} if container is None else dict(container.spec.environment)
        found = self._registered.get(environment.get(EXECUTOR_VARIABLE, ""))
        if message.process is not None and found is not None and message.container_id not in self._machines:
            given = msgspec.structs.replace(
                found.state,
                agent=PID("agent", environment[ENDPOINT_VARIABLE]),
                framework_id=environment[FRAMEWORK_VARIABLE],
                executor_id=environment[EXECUTOR_VARIABLE],
                container_id=message.container_id,
            )
            self._machines[message.container_id] = f"a{turn.actor.node[1:]}"
            self.cluster.after(0.0, lambda: self._start(found.executor_class, given))

    @heard(ProcessEnded)
    def process_ended(self, turn: Turn, message: ProcessEnded) -> None:
        """A container's process is no more, whoever ended it."""
        if message.container_id in self._machines:
            simulated = self._machine(self._machines[message.container_id]).machine.get(message.container_id)
            if simulated is None or simulated.ends_at <= turn.ended:
                self.cluster.after(0.0, lambda: self._forget(message.container_id))

    # Their processes --------------------------------------------------------------------------------------------------

    def _start(self, executor_class: type[Executor[Any]], state: ExecutorState) -> None:
        container_id = state.container_id
        if container_id not in self._machines:
            return
        node = self.cluster.world.node(container_id)
        node.spawn(executor_class, EXECUTOR_NAME, state, WHOLE_BUSINESS)
        node.on_failure = lambda reason: self.cluster.after(0.0, lambda: self._exited(container_id, 1))

        def observe(turn: Turn) -> None:
            if EXECUTOR_NAME not in node.cells and not turn.error:
                self.cluster.after(0.0, lambda: self._exited(container_id, 0))

        node.add_observer(self.cluster.watch.observe)
        node.add_observer(observe)

    def _exited(self, container_id: str, status: int) -> None:
        self._end(container_id, ContainerExited(container_id=container_id, exit_code=status))

    def _end(self, container_id: str, how: ContainerExited) -> None:
        """The executor's process has ended so: let its containerizer find out."""
        agent = self._machines.get(container_id)
        if agent is None:
            return
        self._forget(container_id)
        simulated = self._machine(agent).machine.get(container_id)
        now = self.cluster.world.clock.now()
        if simulated is not None and simulated.ends_at > now:
            simulated.ends_at = now
            simulated.how = msgspec.structs.replace(how, ended_at=now)
            node = self.cluster.world.nodes.get(self.cluster.containerizer_node(agent))
            if node is not None:  # else the next one finds it ended
                node.post(node.pid(CONTAINERIZER_NAME), ProcessEnded(container_id=container_id))

    def _machine(self, agent: str) -> SimulatedState:
        """What runs on an agent's host; while its containerizer is down, what that will find."""
        if self.cluster.is_up(self.cluster.containerizer_node(agent)):
            return self.cluster.containerizer(agent)
        return self.cluster.machines[f"c{agent[1:]}"]

    def _forget(self, container_id: str) -> None:
        if self._machines.pop(container_id, None) is not None and self.cluster.is_up(container_id):
            self.cluster.world.crash(container_id)
