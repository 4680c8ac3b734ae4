"""Agents: admission, return, liveness and loss (Mesos: `Master::registerSlave`, `reregisterSlave`, `markUnreachable`).

What the registry must know is in the store before anybody hears of it; `registering.py` has the way in, this file what
happens to an agent from then on.
"""

from __future__ import annotations

import msgspec

from actors.master.base import from_agent, log, own_timer
from actors.master.constants import (
    REGISTRY_GC_SECONDS,
    REGISTRY_MAX_AGE_SECONDS,
    REGISTRY_MAX_AGENTS,
    UNREACHABLE_TASKS_PER_FRAMEWORK,
)
from actors.master.frameworks import FrameworksPart
from actors.master.registry_operations import outdated
from actors.master.state import Agent, in_use
from actors.master.timers import AbsenceOver, CollectGarbage, PingDue, ReregistrationDue
from actors.master.validation import agent_problem
from actors.messages.records import AgentInfo, Reason, Task, TaskState
from actors.messages.registration import PingAgent, PongAgent, UnregisterAgent, UpdateAgentResources
from actors.messages.registry import MarkUnreachable, Prune, RegisteredAgent, RemoveAgent, UpdateAgentInfo
from actors.messages.scheduling import AgentFailure
from allocator import messages as allocator
from allocator.resources import EMPTY, Resources
from runtime.actor import receive
from runtime.message import AskFailed, Message
from runtime.pid import PID


class Leaving(msgspec.Struct, frozen=True):
    """An agent whose loss or removal is being written."""

    agent_id: str
    since: float


class Changing(msgspec.Struct, frozen=True):
    """An agent whose new description is being written."""

    info: AgentInfo


class Pruning(msgspec.Struct, frozen=True):
    """Agents that the registry is about to forget."""

    agent_ids: tuple[str, ...]


class Barrier(msgspec.Struct, frozen=True):
    """A question that the allocator answers after it has heard of an agent's removal."""

    agent_id: str
    number: int


class AgentsPart(FrameworksPart):
    """Watches over registered agents."""

    # Liveness --------------------------------------------------------------------------------------------------------

    def begin_pinging(self, agent: Agent) -> None:
        """Ping an agent now and from now on."""
        self.send(agent.pid, PingAgent(connected=agent.connected))
        agent.awaiting_pong = True
        self._ping_later(agent)

    def _ping_later(self, agent: Agent) -> None:
        self.after(self.state.settings.agent_ping_seconds, PingDue(agent_id=agent.agent_id, life=agent.life))

    @receive(PingDue)
    @own_timer
    def ping_due(self, message: PingDue) -> None:
        """Count an unanswered ping; five in a row make the agent unreachable. Pinging goes on until that is written."""
        agent = self.state.agents.get(message.agent_id)
        if agent is None or agent.life != message.life:
            return
        if agent.awaiting_pong:
            agent.missed_pings += 1
            if agent.missed_pings >= self.state.settings.max_agent_pings_missed:
                self.mark_unreachable(agent.agent_id, f"{agent.missed_pings} pings were not answered")
        agent.awaiting_pong = True
        self.send(agent.pid, PingAgent(connected=agent.connected))
        self._ping_later(agent)

    @receive(PongAgent)
    @from_agent
    def pong(self, agent: Agent, message: PongAgent) -> None:
        """It is alive."""
        agent.awaiting_pong = False
        agent.missed_pings = 0

    def agent_lost(self, agent: Agent, reason: str) -> None:
        """Its connection broke: no offers until it registers again, and not for ever."""
        log.warning("agent %s (%s) is disconnected: %s", agent.agent_id, agent.info.hostname, reason)
        agent.connected = False
        agent.disconnects += 1
        self.send(self.allocator, allocator.DeactivateAgent(agent_id=agent.agent_id))
        self.rescind(agent.offers)
        due = ReregistrationDue(agent_id=agent.agent_id, life=agent.life, disconnects=agent.disconnects)
        self.after(self.state.settings.agent_reregister_seconds, due)

    @receive(ReregistrationDue)
    @own_timer
    def reregistration_due(self, message: ReregistrationDue) -> None:
        """An agent that answers pings but does not register again is of no use."""
        agent = self.state.agents.get(message.agent_id)
        if agent is None or agent.connected:
            return
        if agent.life == message.life and agent.disconnects == message.disconnects:
            self.mark_unreachable(agent.agent_id, "it did not register again in time")

    @receive(AbsenceOver)
    @own_timer
    def absence_over(self, message: AbsenceOver) -> None:
        """Agents of an earlier master that have not come back are unreachable; nobody is told about their tasks."""
        for agent_id in self.state.absent:
            self.mark_unreachable(agent_id, "it did not register with this master in time")

    # Unreachable -----------------------------------------------------------------------------------------------------

    def mark_unreachable(self, agent_id: str, reason: str) -> None:
        """Write that an agent is unreachable, then act on it."""
        if agent_id in self.state.marking or agent_id in self.state.reregistering:
            return
        log.warning("agent %s is marked unreachable: %s", agent_id, reason)
        self.state.marking[agent_id] = None
        leaving = Leaving(agent_id, self.now)
        self.write(MarkUnreachable(agent_id=agent_id, since=self.now), self.marked_unreachable, leaving)

    def marked_unreachable(self, sender: PID, answer: Message, context: Leaving) -> None:
        """It is in the registry: its tasks are unreachable, and it may come back with them."""
        self.check_written(answer)
        state = self.state
        del state.marking[context.agent_id]
        agent = state.agents.get(context.agent_id)
        info = agent.info if agent is not None else state.absent.pop(context.agent_id)
        state.unreachable[context.agent_id] = RegisteredAgent(info=info, unreachable_since=context.since)
        state.count("master/slave_unreachable_completed")
        if agent is not None:
            self.remove_agent(agent, TaskState.UNREACHABLE, "its agent is unreachable", since=context.since)

    @receive(UnregisterAgent)
    @from_agent
    def unregister_agent(self, agent: Agent, message: UnregisterAgent) -> None:
        """It leaves for good."""
        self.forget_agent(agent)

    def forget_agent(self, agent: Agent) -> None:
        """Take an agent out of the registry, then act on it."""
        if agent.agent_id in self.state.marking or agent.agent_id in self.state.reregistering:
            return
        self.state.marking[agent.agent_id] = None
        self.write(RemoveAgent(agent_id=agent.agent_id), self.forgotten, Leaving(agent.agent_id, self.now))

    def forgotten(self, sender: PID, answer: Message, context: Leaving) -> None:
        """It is not in the registry any more."""
        self.check_written(answer)
        del self.state.marking[context.agent_id]
        self.remove_agent(self.state.agents[context.agent_id], TaskState.GONE, "its agent has left")

    def remove_agent(self, agent: Agent, task_state: TaskState, text: str, since: float | None = None) -> None:
        """Take an agent out of the cluster; its frameworks hear what that means for their tasks."""
        state = self.state
        self.rescind(agent.offers)
        for task in state.tasks_on(agent):
            self._lose_task(task, task_state, text, since)
        for framework_id, executors in list(agent.executors.items()):
            for executor_id in list(executors):
                state.remove_executor(agent, framework_id, executor_id)
        del state.agents[agent.agent_id]
        if state.agent_at.get((agent.pid.name, agent.pid.node)) == agent.agent_id:
            del state.agent_at[agent.pid.name, agent.pid.node]
        state.count("master/slave_removals")
        self._withdraw(agent)
        for framework in state.frameworks.values():
            self.tell(framework, AgentFailure(agent_id=agent.agent_id))

    def _lose_task(self, task: Task, task_state: TaskState, text: str, since: float | None) -> None:
        """A task is out of reach. One that has ended already is only forgotten: its agent will report it again."""
        framework = self.state.frameworks[task.framework_id]
        ended = task.latest_state.is_terminal
        if not ended:
            shown = framework.visible(task_state)
            self.state.put_task(msgspec.structs.replace(task, latest_state=shown))
            if shown.is_terminal:
                self.state.count(f"master/tasks_{shown.value.lower()}")
            self.say_status(
                framework,
                task.task_id,
                task_state,
                Reason.AGENT_REMOVED,
                text,
                agent_id=task.info.agent_id,
                executor_id=task.info.executor.executor_id if task.info.executor is not None else "",
                unreachable_since=since,
            )
        if ended or task_state is not TaskState.UNREACHABLE:
            self.complete((task.framework_id, task.task_id))
            return
        framework.unreachable[task.task_id] = self.state.remove_task((task.framework_id, task.task_id))
        if len(framework.unreachable) > UNREACHABLE_TASKS_PER_FRAMEWORK:
            del framework.unreachable[next(iter(framework.unreachable))]

    # The allocator's view --------------------------------------------------------------------------------------------

    def introduce_agent(self, agent: Agent) -> None:
        """Tell the allocator of an agent and of what is in use on it."""
        used: dict[tuple[str, str], Resources] = {}
        for framework_id, role, resources in in_use(self.state, agent):
            client = (framework_id, role)
            used[client] = used.get(client, EMPTY) + resources
        add = allocator.AddAgent(
            agent_id=agent.agent_id,
            hostname=agent.info.hostname,
            total=agent.info.resources,
            used=tuple(allocator.Used(*client, resources) for client, resources in used.items()),
            attributes=agent.info.attributes,
            capabilities=agent.info.capabilities,
        )
        self.send(self.allocator, add)

    def _withdraw(self, agent: Agent) -> None:
        """Take an agent from the allocator.

        Allocations on it may be on their way here. The allocator answers in order: whatever comes before the answer to
        a question that follows the removal was made before it, and is void, also when the agent has come back since.
        """
        number = self.state.removing.get(agent.agent_id, 0) + 1
        self.state.removing[agent.agent_id] = number
        self.send(self.allocator, allocator.RemoveAgent(agent_id=agent.agent_id))
        self._ask_barrier(Barrier(agent.agent_id, number))

    def _ask_barrier(self, barrier: Barrier) -> None:
        question = allocator.Explain(framework_id="nobody", agent_id=barrier.agent_id, limit=0)
        self.ask(self.allocator, question, self.withdrawn, barrier)

    def withdrawn(self, sender: PID, answer: Message, context: Barrier) -> None:
        """The allocator has heard of a removal. When it was too busy to say so, ask again."""
        if isinstance(answer, AskFailed):
            self._ask_barrier(context)
        elif self.state.removing.get(context.agent_id) == context.number:
            del self.state.removing[context.agent_id]

    def reintroduce_agent(self, agent: Agent) -> None:
        """Tell the allocator anew what is in use on an agent that it knows."""
        self.rescind(agent.offers)
        self._withdraw(agent)
        self.introduce_agent(agent)

    # Changes ---------------------------------------------------------------------------------------------------------

    @receive(UpdateAgentResources)
    @from_agent
    def update_agent_resources(self, agent: Agent, message: UpdateAgentResources) -> None:
        """Write an agent's new total, then act on it."""
        if message.total == agent.info.resources or agent.agent_id in self.state.marking:
            return
        info = msgspec.structs.replace(agent.info, resources=message.total)
        problem = agent_problem(info)
        if problem:
            self.drop(agent.pid, message, problem)
            return
        self.write(UpdateAgentInfo(agent=info), self.resources_updated, Changing(info))

    def resources_updated(self, sender: PID, answer: Message, context: Changing) -> None:
        """It is in the registry: offers of what may not be there any more are taken back."""
        self.check_written(answer)
        agent = self.state.agents.get(context.info.agent_id)
        if agent is not None:
            self.describe_agent(agent, context.info)

    def describe_agent(self, agent: Agent, info: AgentInfo) -> None:
        """Take over what an agent says of itself."""
        if info == agent.info:
            return
        self.rescind(agent.offers)
        agent.info = info
        update = allocator.UpdateAgent(
            agent_id=agent.agent_id,
            total=info.resources,
            attributes=info.attributes,
            capabilities=info.capabilities,
        )
        self.send(self.allocator, update)

    # Garbage ---------------------------------------------------------------------------------------------------------

    @receive(CollectGarbage)
    @own_timer
    def collect_garbage(self, message: CollectGarbage) -> None:
        """Let the registry forget agents that are away for too long, or too many."""
        self.after(REGISTRY_GC_SECONDS, CollectGarbage())
        state = self.state
        before = self.now - REGISTRY_MAX_AGE_SECONDS
        away = [(agent_id, each.unreachable_since or 0.0) for agent_id, each in state.unreachable.items()]
        gone = [(agent_id, each.gone_since or 0.0) for agent_id, each in state.gone.items()]
        agent_ids = (
            *outdated(away, before, REGISTRY_MAX_AGENTS),
            *outdated(gone, before, REGISTRY_MAX_AGENTS),
        )
        if agent_ids:
            self.write(Prune(before=before, keep=REGISTRY_MAX_AGENTS), self.pruned, Pruning(agent_ids))

    def pruned(self, sender: PID, answer: Message, context: Pruning) -> None:
        """They are out of the registry; so are their tasks here, and reconciliation calls them unknown."""
        self.check_written(answer)
        forgotten = set(context.agent_ids)
        for agent_id in context.agent_ids:
            self.state.unreachable.pop(agent_id, None)
            self.state.gone.pop(agent_id, None)
        for framework in self.state.frameworks.values():
            framework.unreachable = {
                task_id: task for task_id, task in framework.unreachable.items() if task.info.agent_id not in forgotten
            }
