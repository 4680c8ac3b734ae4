"""A cluster of real actors on simulated nodes, from masters to schedulers: one seed, one history."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from actors.agent.compose import spawn_simulated_agent
from actors.agent.names import AGENT_NAME
from actors.agent.state import AgentSettings, AgentState
from actors.master.base import ALLOCATOR_NAME, MASTER_NAME
from actors.master.compose import spawn_master
from actors.master.state import MasterState, contradictions, overcommitted
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import SchedulerState
from actors.simulation.checkers import ALL_CHECKERS
from actors.simulation.checkers.rest import RestChecker
from actors.simulation.election import Election
from actors.simulation.executors import Executors
from actors.simulation.frameworks import scheduler_of
from actors.simulation.history import History
from actors.simulation.nodes import Nodes, SimulatedStore
from actors.simulation.shape import ClusterShape
from actors.simulation.violation import Violation
from actors.simulation.watching import Checker, Watch
from actors.simulation.workloads import Workload
from allocator.messages import UpdatePriorities, UpdateQuota
from allocator.resources import Resources
from allocator.state import AllocatorState
from containerizer.simulated import SimulatedContainerizer, SimulatedState
from runtime.pid import PID
from runtime.program import WHOLE_BUSINESS

C = TypeVar("C", bound=Checker)

LEAST_LATENCY_SECONDS: Final = 0.0002
LATENCY_SPREAD_SECONDS: Final = 0.0018
"""Between any two nodes: drawn evenly for each frame."""

RESTART_SECONDS: Final = (0.5, 3.0)
"""Until a supervisor starts a process again that has failed."""

SETTLE_SECONDS: Final = 1500.0
"""From the end of all faults until a cluster is at rest: an agent may stay away for ten minutes before it is lost, its
frameworks wait for two more, and tasks take their time."""

CONTAINERIZER_NAME: Final = "containerizer"
SCHEDULER_NAME: Final = "scheduler"


class Cluster:
    """See the module. `world` has the nodes, the network and the virtual clock, `executors` what runs in containers.

    seed       of everything random
    shape      what there is; `masters` and `agents` override its numbers
    checkers   classes of checkers; None for all, () for none
    digested   whether the history is folded into a digest
    recorded   whether nodes keep their last turns
    command    that replays this simulation, named by a violation
    """

    def __init__(
        self,
        seed: int = 0,
        masters: int | None = None,
        agents: int | None = None,
        *,
        shape: ClusterShape | None = None,
        checkers: Sequence[type[Checker]] | None = None,
        digested: bool = False,
        recorded: bool = True,
        counting: bool = False,
        command: str = "",
    ) -> None:
        shape = shape or ClusterShape()
        self.seed = seed
        self.shape = msgspec.structs.replace(
            shape,
            masters=shape.masters if masters is None else masters,
            agents=shape.agents if agents is None else agents,
        )
        self.command = command
        self._draw_latency = random.Random(f"{seed}/network").random
        self.world = Nodes(seed, self._latency, recorded=recorded)
        self.started_at = self.world.clock.now()
        self.store = SimulatedStore()
        self.machines: dict[str, SimulatedState] = {}
        self.master_names: list[str] = []
        self.agent_names: list[str] = []
        self.framework_names: list[str] = []
        self.agent_settings: dict[str, AgentSettings] = {}
        self.failures: dict[str, int] = {}
        self._chance = random.Random(f"{seed}/cluster")
        self._starters: dict[str, Callable[[], None]] = {}
        chosen = ALL_CHECKERS if checkers is None else checkers
        self.executors = Executors(self)
        self.watch = Watch([checker(self) for checker in chosen], counting=counting)
        self.history = History(self.world.clock.now) if digested else None
        self.election = Election(self, random.Random(f"{seed}/election")) if self.shape.masters > 1 else None
        for number in range(1, self.shape.masters + 1):
            self.master_names.append(f"m{number}")
            self._starters[f"m{number}"] = lambda name=f"m{number}": self._start_master(name)  # type: ignore[misc]
            self.start(f"m{number}")
        for number in range(self.shape.agents):
            self.add_agent(self.shape.resources[number % len(self.shape.resources)])

    def _latency(self, sender: str, receiver: str) -> float:
        return LEAST_LATENCY_SECONDS + self._draw_latency() * LATENCY_SPREAD_SECONDS

    # What there is ----------------------------------------------------------------------------------------------------

    @property
    def leader(self) -> str:
        """Node of the leading master; empty while none leads."""
        name = self.election.leader if self.election is not None else self.master_names[0]
        return name if self.is_up(name) and MASTER_NAME in self.world.nodes[name].cells else ""

    @property
    def master(self) -> MasterState:
        """State of the leading master. Raises KeyError while there is none."""
        state: MasterState = self.world.nodes[self.leader].state_of(MASTER_NAME)
        return state

    @property
    def allocator(self) -> AllocatorState:
        """State of its allocator."""
        state: AllocatorState = self.world.nodes[self.leader].state_of(ALLOCATOR_NAME)
        return state

    def agent(self, name: str) -> AgentState:
        """State of an agent that is up."""
        state: AgentState = self.world.nodes[name].state_of(AGENT_NAME)
        return state

    def framework(self, name: str) -> Any:
        """State of a scheduler that is up."""
        return self.world.nodes[name].state_of(SCHEDULER_NAME)

    def checker(self, checker_class: type[C]) -> C:
        """The checker of that class."""
        return next(checker for checker in self.watch.checkers if type(checker) is checker_class)

    def is_up(self, name: str) -> bool:
        """Whether that node runs."""
        return name in self.world.nodes

    # Making it --------------------------------------------------------------------------------------------------------

    def add_agent(self, resources: str = "", attributes: tuple[tuple[str, str], ...] = ()) -> str:
        """One more agent with its containerizer; returns the name of its node."""
        number = len(self.agent_names) + 1
        name = f"a{number}"
        machine = _machine_of(name)
        self.agent_names.append(name)
        self.machines[machine] = SimulatedState(programs=dict(self.executors.programs))
        self.agent_settings[name] = AgentSettings(
            hostname=f"host{number}",
            resources=Resources.parse(resources or self.shape.resources[0]),
            attributes=attributes,
            work_directory=f"/work{number}",
            containerizer=PID(CONTAINERIZER_NAME, name if self.shape.together else f"simulated://{machine}"),
            master=None if self.election is not None else PID(MASTER_NAME, "simulated://m1"),
            executor_address=f"simulated://{name}",
        )
        self._starters[name] = lambda: self._start_agent(name)
        if not self.shape.together:
            self._starters[machine] = lambda: self._start_containerizer(machine)
            self.start(machine)
        self.start(name)
        return name

    def containerizer(self, agent: str) -> SimulatedState:
        """State of the containerizer of an agent, which is up."""
        state: SimulatedState = self.world.nodes[self.containerizer_node(agent)].state_of(CONTAINERIZER_NAME)
        return state

    def containerizer_node(self, agent: str) -> str:
        """Name of the node of an agent's containerizer."""
        return agent if self.shape.together else _machine_of(agent)

    def add_framework(self, workload: Workload) -> str:
        """A framework that works through `workload`; returns the name of its scheduler's node."""
        scheduler_class, state = scheduler_of(workload)
        return self.add_scheduler(scheduler_class, state)

    def add_scheduler(self, scheduler_class: type[Scheduler[Any]], state: SchedulerState, name: str = "") -> str:
        """A scheduler of anybody's, on a node of its own; returns its name, f1, f2, ... unless one is given."""
        name = name or f"f{len(self.framework_names) + 1}"
        self.framework_names.append(name)
        masters = tuple(PID(MASTER_NAME, f"simulated://{master}") for master in self.master_names)
        given = msgspec.structs.replace(state, masters=masters)
        self._starters[name] = lambda: self._start_scheduler(name, scheduler_class, given)
        self.start(name)
        return name

    def remove_scheduler(self, name: str) -> None:
        """End a scheduler's process for good; its framework lives on until its failover timeout."""
        self.crash(name)
        self.framework_names.remove(name)
        del self._starters[name]

    # Processes --------------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start a node's process; nothing if it runs."""
        if self.is_up(name):
            return
        self._starters[name]()
        node = self.world.nodes[name]
        node.add_observer(self.watch.observe)
        if self.history is not None:
            node.add_observer(self.history.observe)
        node.on_failure = lambda reason: self._failed(name, node.identity.incarnation)

    def crash(self, name: str, *, wiped: bool = False) -> None:
        """End a node's process as kill -9 does; nothing if it is down. wiped: its disk is gone as well."""
        if not self.is_up(name):
            return
        for checker in self.watch.checkers:
            checker.crashed(name, wiped=wiped)
        if CONTAINERIZER_NAME in self.world.nodes[name].cells:
            machine = _machine_of(name) if self.shape.together else name
            self.machines[machine] = self.world.nodes[name].state_of(CONTAINERIZER_NAME)
        self.world.crash(name)
        if wiped:
            self.world.wipe(name)
        if self.election is not None and name in self.master_names:
            self.election.down(name)

    def restart(self, name: str, after_seconds: float = 0.0, *, wiped: bool = False) -> None:
        """Crash a node, and start it again after a while."""
        self.crash(name, wiped=wiped)
        self.after(after_seconds, lambda: self.start(name))

    def reboot(self, agent: str, after_seconds: float = 0.0, *, wiped: bool = False) -> None:
        """An agent's host goes down with all that runs on it, and comes back; wiped: with an empty disk."""
        machine = _machine_of(agent)
        self.crash(agent, wiped=wiped)
        self.crash(machine, wiped=wiped)
        self.machines[machine] = SimulatedState(programs=dict(self.executors.programs))
        self.executors.rebooted(agent)

        def boot() -> None:
            if not self.shape.together:
                self.start(machine)
            self.start(agent)

        self.after(after_seconds, boot)

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something later; at once, in order, for 0."""
        self.world.clock.call_at(self.world.clock.now() + seconds, lambda: (action(), None)[1])

    def _failed(self, name: str, incarnation: int) -> None:
        """A process ends by itself: its supervisor starts it again."""

        def supervise() -> None:
            node = self.world.nodes.get(name)
            if node is not None and node.identity.incarnation == incarnation:
                self.failures[name] = self.failures.get(name, 0) + 1
                self.restart(name, self._chance.uniform(*RESTART_SECONDS))

        self.after(0.0, supervise)

    def _start_master(self, name: str) -> None:
        self.world.node(name, f"simulated://{name}")
        if self.election is None:
            self.lead(name)
        else:
            self.after(0.0, self.election.up)

    def lead(self, name: str) -> None:
        """Start the master on a node that is up."""
        node = self.world.nodes[name]
        store = self.store
        spawn_master(node, lambda: store, self.shape.settings, policy=self.shape.policy, blocking_store=False)
        if self.shape.quotas:
            node.post(node.pid(ALLOCATOR_NAME), UpdateQuota(quotas=self.shape.quotas))
        if self.shape.priorities:
            node.post(node.pid(ALLOCATOR_NAME), UpdatePriorities(priorities=self.shape.priorities))

    def _start_containerizer(self, name: str) -> None:
        node = self.world.node(name, f"simulated://{name}")
        node.spawn(SimulatedContainerizer, CONTAINERIZER_NAME, self.machines[name])

    def _start_agent(self, name: str) -> None:
        node = self.world.node(name)
        if self.shape.together:
            node.spawn(SimulatedContainerizer, CONTAINERIZER_NAME, self.machines[_machine_of(name)])
        spawn_simulated_agent(node, self.agent_settings[name])
        if self.election is not None:
            self.election.tell(name)

    def _start_scheduler(self, name: str, scheduler_class: type[Scheduler[Any]], state: SchedulerState) -> None:
        self.world.node(name).spawn(scheduler_class, SCHEDULER_NAME, state, WHOLE_BUSINESS)

    # Time -------------------------------------------------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the start."""
        return self.world.clock.now() - self.started_at

    def run(self, seconds: float) -> None:
        """Let time pass. Raises :class:`Violation` as soon as a checker finds one."""
        self.world.run(seconds)

    def run_until(self, condition: Callable[[], bool], limit_seconds: float, step_seconds: float = 1.0) -> None:
        """Let time pass, a step at a time, until the condition holds. Raises :class:`Violation` when it does not."""
        end = self.elapsed + limit_seconds
        while not condition():
            if self.elapsed >= end:
                waiting = "; ".join(self.pending()[:3]) or "no framework waits for anything"
                raise self.violation("it happens in time", f"nothing came of it within {limit_seconds:g} s: {waiting}")
            self.world.run(step_seconds)

    def heal(self) -> None:
        """End every fault: what is cut is joined, what is paused goes on, what is down is started."""
        self.store.fails = ""
        self.world.network.heal()
        self.world.resume_all()
        for disk in self.world.disks.values():
            disk.latency_seconds = 0.0
        for name in [*self._starters]:
            self.start(name)

    def pending(self) -> list[str]:
        """What the frameworks still want to happen, in words; empty when all have what they want."""
        found = []
        for name in self.framework_names:
            if not self.is_up(name):
                found.append(f"{name} is down")
            elif SCHEDULER_NAME in self.world.nodes[name].cells:
                wants = getattr(self.world.nodes[name].cells[SCHEDULER_NAME].actor, "pending", None)
                found += [f"{name}: {each}" for each in wants()] if wants is not None else []
        return found

    def unsettled(self) -> list[str]:
        """What frameworks still want, or what somebody does not agree about."""
        found = self.pending()
        for checker in self.watch.checkers if not found else ():
            if isinstance(checker, RestChecker):
                problem = checker.problem()
                found = [problem] if problem else []
        return found

    def settle(self, limit_seconds: float = SETTLE_SECONDS) -> None:
        """Heal, wait until nobody wants anything and everybody agrees, and let the checkers look at what is left.

        Raises :class:`Violation` when that does not come to be in time.
        """
        self.heal()
        end = self.elapsed + limit_seconds
        while True:
            self.run(5.0)
            found = self.unsettled()
            if not found:
                break
            if self.elapsed >= end:
                raise self.violation("everything settles", f"after {limit_seconds:g} s without faults {found[0]}")
        for checker in self.watch.checkers:
            checker.settled()

    def is_finished(self, name: str) -> bool:
        """Whether a scheduler has ended by itself, its framework torn down or given up."""
        return self.is_up(name) and SCHEDULER_NAME not in self.world.nodes[name].cells

    def check(self) -> None:
        """Raise a :class:`Violation` if the leading master's state contradicts itself, whatever else goes on."""
        if self.leader:
            for problem in (*contradictions(self.master), *overcommitted(self.master)):
                raise self.violation("a master is at one with itself", problem)

    def digest(self) -> str:
        """Of the history so far; the cluster must have been made with `digested`."""
        assert self.history is not None, "this cluster keeps no digest"
        return self.history.digest()

    def violation(self, rule: str, what: str) -> Violation:
        """One that names the seed and how to replay it."""
        lines = [f"seed {self.seed}"]
        if self.command:
            lines.append(f"replay: {self.command}")
        lines += ["last turns:", self.watch.tail()]
        return Violation(rule, what, self.elapsed, "\n".join(lines))


def _machine_of(agent: str) -> str:
    """Name of the containerizer's node beside an agent's."""
    return f"c{agent[1:]}"
