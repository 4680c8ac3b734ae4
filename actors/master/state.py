"""Everything that a master knows, and the only code that changes what several parts of it have in common.

Agents and frameworks name their tasks, executors and offers, so that no message costs a look at the whole cluster;
these indexes follow from `tasks`, `offers` and the agents' executors, and :func:`contradictions` recounts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from actors.master.settings import MasterSettings
from actors.messages.records import AgentInfo, ExecutorState, FrameworkInfo, MasterInfo, Offer, Task, TaskState
from actors.messages.registry import RegisteredAgent
from allocator.resources import Resources, total
from runtime.actor import State
from runtime.pid import PID

TaskKey: TypeAlias = tuple[str, str]
"""Framework id and task id."""


class Agent(msgspec.Struct, kw_only=True):
    """An agent that is registered; those that only the registry knows are in other places of the state.

    life           number of this registration: what a timer of an earlier one says is ignored
    disconnects    number of broken connections so far, for the same purpose
    missed_pings   in a row
    awaiting_pong  whether the last ping was not answered yet
    executors      by framework and executor id; charged in addition to their tasks
    launchers      by framework and executor id: the task that an executor is being started for
    kills          asked for and not yet seen to happen: repeated when the agent comes back
    """

    info: AgentInfo
    pid: PID
    life: int
    registered_at: float
    connected: bool = True
    disconnects: int = 0
    missed_pings: int = 0
    awaiting_pong: bool = False
    tasks: dict[TaskKey, None] = msgspec.field(default_factory=dict)
    executors: dict[str, dict[str, ExecutorState]] = msgspec.field(default_factory=dict)
    launchers: dict[tuple[str, str], str] = msgspec.field(default_factory=dict)
    offers: dict[str, None] = msgspec.field(default_factory=dict)
    kills: dict[TaskKey, float | None] = msgspec.field(default_factory=dict)

    @property
    def agent_id(self) -> str:
        """Of its info."""
        return self.info.agent_id


class Framework(msgspec.Struct, kw_only=True):
    """A framework that is subscribed, or was, or that an agent has spoken of.

    pid          of its scheduler; None when only agents have spoken of it (recovered)
    life         counts the comings and goings of its scheduler: what a timer of an earlier one says is ignored
    executors    pairs of agent id and executor id
    completed    its ended tasks, the oldest first, a bounded number
    unreachable  its tasks on unreachable agents, a bounded number
    """

    info: FrameworkInfo
    registered_at: float
    pid: PID | None = None
    connected: bool = False
    life: int = 0
    suppressed: tuple[str, ...] = ()
    tasks: dict[str, None] = msgspec.field(default_factory=dict)
    executors: dict[tuple[str, str], None] = msgspec.field(default_factory=dict)
    offers: dict[str, None] = msgspec.field(default_factory=dict)
    completed: dict[str, Task] = msgspec.field(default_factory=dict)
    unreachable: dict[str, Task] = msgspec.field(default_factory=dict)

    @property
    def framework_id(self) -> str:
        """Of its info."""
        return self.info.framework_id

    @property
    def partition_aware(self) -> bool:
        """Whether it tells unreachable tasks from lost ones."""
        return "PARTITION_AWARE" in self.info.capabilities

    def visible(self, state: TaskState) -> TaskState:
        """The state as this framework is told: one that does not know partitions hears LOST (`mesos.proto`)."""
        return TaskState.LOST if state in _FOR_PARTITION_AWARE and not self.partition_aware else state


_FOR_PARTITION_AWARE = frozenset(
    {
        TaskState.DROPPED,
        TaskState.UNREACHABLE,
        TaskState.GONE,
        TaskState.GONE_BY_OPERATOR,
        TaskState.UNKNOWN,
    }
)


class OutstandingOffer(msgspec.Struct, frozen=True):
    """An offer, and the allocation that it closes when it is settled."""

    offer: Offer
    allocation_id: int


class MasterState(State):
    """All of it.

    master          who this master is; its epoch is known once the registry is recovered
    recovered       the registry was read: before, everything from agents and frameworks is dropped
    agents          registered ones, by id
    agent_at        agent id by name and node of its actor
    admitting       actors whose admission is being written: the id that they will have
    reregistering   agents whose return is being written
    marking         agents whose loss or removal is being written
    absent          admitted agents that have not come back since this master started
    unreachable     agents that are away, by id
    gone            those that will never come back, by id
    removing        agents whose removal the allocator has not confirmed: the number of the last confirmation asked for
    frameworks      subscribed, disconnected and recovered ones, by id
    framework_at    framework id by its scheduler
    completed       ended frameworks, the oldest first, a bounded number
    tasks           that are not both terminal and acknowledged
    offers          outstanding ones, by id
    live_tasks      how many tasks are in each state, at their agents
    counters        by Mesos's names of metrics
    """

    settings: MasterSettings = MasterSettings()
    master: MasterInfo = MasterInfo(master_id="")
    started_at: float = 0.0
    recovered: bool = False
    agents: dict[str, Agent] = msgspec.field(default_factory=dict)
    agent_at: dict[tuple[str, str], str] = msgspec.field(default_factory=dict)
    admitting: dict[PID, str] = msgspec.field(default_factory=dict)
    reregistering: dict[str, None] = msgspec.field(default_factory=dict)
    marking: dict[str, None] = msgspec.field(default_factory=dict)
    absent: dict[str, AgentInfo] = msgspec.field(default_factory=dict)
    unreachable: dict[str, RegisteredAgent] = msgspec.field(default_factory=dict)
    gone: dict[str, RegisteredAgent] = msgspec.field(default_factory=dict)
    removing: dict[str, int] = msgspec.field(default_factory=dict)
    frameworks: dict[str, Framework] = msgspec.field(default_factory=dict)
    framework_at: dict[PID, str] = msgspec.field(default_factory=dict)
    completed: dict[str, Framework] = msgspec.field(default_factory=dict)
    tasks: dict[TaskKey, Task] = msgspec.field(default_factory=dict)
    offers: dict[str, OutstandingOffer] = msgspec.field(default_factory=dict)
    live_tasks: dict[TaskState, int] = msgspec.field(default_factory=dict)
    counters: dict[str, int] = msgspec.field(default_factory=dict)
    next_agent: int = 0
    next_framework: int = 0
    next_offer: int = 0
    next_life: int = 0

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        self.counters[name] = self.counters.get(name, 0) + by

    # Tasks -----------------------------------------------------------------------------------------------------------

    def put_task(self, task: Task) -> None:
        """Add a task, or say anew what is known of it."""
        info, framework_id, state = task.info, task.framework_id, task.latest_state
        key = (framework_id, info.task_id)
        before = self.tasks.get(key)
        if before is not None:
            self.live_tasks[before.latest_state] -= 1
        self.live_tasks[state] = self.live_tasks.get(state, 0) + 1
        self.tasks[key] = task
        self.agents[info.agent_id].tasks[key] = None
        self.frameworks[framework_id].tasks[info.task_id] = None

    def remove_task(self, key: TaskKey) -> Task:
        """Forget a task."""
        task = self.tasks.pop(key)
        self.live_tasks[task.latest_state] -= 1
        agent = self.agents[task.info.agent_id]
        del agent.tasks[key]
        agent.kills.pop(key, None)
        del self.frameworks[task.framework_id].tasks[task.task_id]
        return task

    def tasks_on(self, agent: Agent) -> list[Task]:
        """The tasks of an agent."""
        return [self.tasks[key] for key in agent.tasks]

    def tasks_of(self, framework: Framework) -> list[Task]:
        """The tasks of a framework."""
        return [self.tasks[framework.framework_id, task_id] for task_id in framework.tasks]

    # Executors -------------------------------------------------------------------------------------------------------

    def put_executor(self, agent: Agent, executor: ExecutorState) -> None:
        """Add an executor to its agent and its framework."""
        executor_id = executor.info.executor_id
        agent.executors.setdefault(executor.framework_id, {})[executor_id] = executor
        self.frameworks[executor.framework_id].executors[agent.agent_id, executor_id] = None

    def remove_executor(self, agent: Agent, framework_id: str, executor_id: str) -> ExecutorState | None:
        """Forget an executor; None if it is not known."""
        agent.launchers.pop((framework_id, executor_id), None)
        executors = agent.executors.get(framework_id, {})
        executor = executors.pop(executor_id, None)
        if not executors:
            agent.executors.pop(framework_id, None)
        if executor is not None:
            del self.frameworks[framework_id].executors[agent.agent_id, executor_id]
        return executor

    # Offers ----------------------------------------------------------------------------------------------------------

    def put_offer(self, offer: Offer, allocation_id: int) -> None:
        """Add an outstanding offer."""
        self.offers[offer.offer_id] = OutstandingOffer(offer, allocation_id)
        self.agents[offer.agent_id].offers[offer.offer_id] = None
        self.frameworks[offer.framework_id].offers[offer.offer_id] = None

    def remove_offer(self, offer_id: str) -> OutstandingOffer:
        """Forget an offer: whoever does so closes its allocation."""
        outstanding = self.offers.pop(offer_id)
        del self.agents[outstanding.offer.agent_id].offers[offer_id]
        del self.frameworks[outstanding.offer.framework_id].offers[offer_id]
        return outstanding


def in_use(state: MasterState, agent: Agent) -> Iterator[tuple[str, str, Resources]]:
    """What is charged on an agent: framework id, role and resources of each live task and each executor."""
    for task in state.tasks_on(agent):
        if not task.latest_state.is_terminal:
            yield task.framework_id, task.role, task.info.resources
    for framework_id, executors in agent.executors.items():
        for executor in executors.values():
            yield framework_id, executor.role, executor.info.resources


def contradictions(state: MasterState) -> list[str]:
    """What the state says of itself and is not so; nothing while all is well. For tests and checkers: it recounts."""
    found = []
    for agent in state.agents.values():
        own = {key for key, task in state.tasks.items() if task.info.agent_id == agent.agent_id}
        if own != agent.tasks.keys():
            found.append(f"agent {agent.agent_id} names tasks {sorted(agent.tasks)}, it has {sorted(own)}")
        offered = {key for key, each in state.offers.items() if each.offer.agent_id == agent.agent_id}
        if offered != agent.offers.keys():
            found.append(f"agent {agent.agent_id} names offers {sorted(agent.offers)}, it has {sorted(offered)}")
        if state.agent_at.get((agent.pid.name, agent.pid.node)) != agent.agent_id:
            found.append(f"agent {agent.agent_id} is not found at {agent.pid}")
        if agent.agent_id in state.unreachable or agent.agent_id in state.absent or agent.agent_id in state.gone:
            found.append(f"agent {agent.agent_id} is both registered and away")
    for framework in state.frameworks.values():
        own_tasks = {task_id for framework_id, task_id in state.tasks if framework_id == framework.framework_id}
        if own_tasks != framework.tasks.keys():
            found.append(f"framework {framework.framework_id} names {sorted(framework.tasks)}, has {sorted(own_tasks)}")
        held = {key for key, each in state.offers.items() if each.offer.framework_id == framework.framework_id}
        if held != framework.offers.keys():
            found.append(f"framework {framework.framework_id} names {sorted(framework.offers)}, has {sorted(held)}")
    live = {each: sum(task.latest_state is each for task in state.tasks.values()) for each in TaskState}
    if any(state.live_tasks.get(each, 0) != count for each, count in live.items()):
        found.append(f"tasks by state are {live}, counted as {state.live_tasks}")
    return found


def overcommitted(state: MasterState) -> list[str]:
    """Agents of which more is charged and offered than they have: never, unless an agent's total has shrunk."""
    found = []
    for agent in state.agents.values():
        taken = total([use for _, _, use in in_use(state, agent)])
        taken += total([state.offers[offer_id].offer.resources for offer_id in agent.offers])
        if taken not in agent.info.resources:
            found.append(f"agent {agent.agent_id} has {agent.info.resources}, of which {taken} is taken")
    return found
