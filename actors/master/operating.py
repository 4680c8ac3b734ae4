"""Operators' questions about the cluster, and the few things that are done by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from itertools import chain
from typing import TypeVar

from actors.master.frameworks import FrameworksPart
from actors.master.state import Agent, Framework, in_use
from actors.messages.operating import (
    Agents,
    AgentSummary,
    Done,
    Frameworks,
    FrameworkSummary,
    GetAgents,
    GetFrameworks,
    GetMaster,
    GetOffers,
    GetTasks,
    KillTaskByOperator,
    MasterState,
    OutstandingOffers,
    Question,
    Refusal,
    Tasks,
    TeardownFramework,
)
from actors.messages.records import Task
from actors.messages.scheduling import SchedulerError
from allocator.resources import Resources, total
from runtime.actor import receive
from runtime.pid import PID

Q = TypeVar("Q", bound=Question)


def once_recovered(
    method: Callable[[OperatingPart, PID, Q], None],
) -> Callable[[OperatingPart, PID, Q], None]:
    """Answer with a refusal until the registry is read."""

    @wraps(method)
    def handle(self: OperatingPart, sender: PID, message: Q) -> None:
        if self.state.recovered:
            method(self, sender, message)
        else:
            self.reply(Refusal(message="the master is still reading its registry: try again in a moment"))

    return handle


class OperatingPart(FrameworksPart):
    """Answers tools."""

    @receive(GetMaster)
    def get_master(self, sender: PID, message: GetMaster) -> None:
        """Who leads, also while it is still reading its registry."""
        state = self.state
        self.reply(
            MasterState(
                master=state.master,
                recovered=state.recovered,
                started_at=state.started_at,
                agents=len(state.agents),
                frameworks=len(state.frameworks),
            )
        )

    @receive(GetAgents)
    @once_recovered
    def get_agents(self, sender: PID, message: GetAgents) -> None:
        """All agents: registered ones first, then those that are away."""
        state = self.state
        summaries = [self._agent_summary(agent) for agent in state.agents.values()]
        summaries += [AgentSummary(info=info, state="recovered") for info in state.absent.values()]
        summaries += [AgentSummary(info=each.info, state="unreachable") for each in state.unreachable.values()]
        summaries += [AgentSummary(info=each.info, state="gone") for each in state.gone.values()]
        self.reply(Agents(agents=tuple(summaries)))

    def _agent_summary(self, agent: Agent) -> AgentSummary:
        return AgentSummary(
            info=agent.info,
            state="active" if agent.connected else "disconnected",
            registered_at=agent.registered_at,
            used=total([resources for _, _, resources in in_use(self.state, agent)]),
            offered=self._offered(agent.offers),
            tasks=sum(not task.latest_state.is_terminal for task in self.state.tasks_on(agent)),
        )

    def _offered(self, offer_ids: Iterable[str]) -> Resources:
        return total([self.state.offers[offer_id].offer.resources for offer_id in offer_ids])

    @receive(GetFrameworks)
    @once_recovered
    def get_frameworks(self, sender: PID, message: GetFrameworks) -> None:
        """All frameworks, completed ones last."""
        cluster = total([agent.info.resources for agent in self.state.agents.values()]).scalars()
        summaries = [self._framework_summary(framework, cluster) for framework in self.state.frameworks.values()]
        if message.completed:
            summaries += [
                FrameworkSummary(info=framework.info, state="completed", registered_at=framework.registered_at)
                for framework in self.state.completed.values()
            ]
        self.reply(Frameworks(frameworks=tuple(summaries)))

    def _framework_summary(self, framework: Framework, cluster: dict[str, int]) -> FrameworkSummary:
        used = total(list(self._used_by(framework)))
        shares = [amount / cluster[name] for name, amount in used.scalars().items() if cluster.get(name)]
        return FrameworkSummary(
            info=framework.info,
            state=_framework_state(framework),
            registered_at=framework.registered_at,
            used=used,
            offered=self._offered(framework.offers),
            tasks=sum(not task.latest_state.is_terminal for task in self.state.tasks_of(framework)),
            dominant_share=max(shares, default=0.0),
        )

    def _used_by(self, framework: Framework) -> Iterator[Resources]:
        for task in self.state.tasks_of(framework):
            if not task.latest_state.is_terminal:
                yield task.info.resources
        for agent_id, executor_id in framework.executors:
            yield self.state.agents[agent_id].executors[framework.framework_id][executor_id].info.resources

    @receive(GetTasks)
    @once_recovered
    def get_tasks(self, sender: PID, message: GetTasks) -> None:
        """Live tasks, then completed ones, newest first."""
        frameworks = self._frameworks_named(message.framework_id)
        found: list[Task] = []
        for framework in frameworks:
            found += reversed(self.state.tasks_of(framework))
            found += reversed(framework.unreachable.values())
        if message.completed:
            for framework in chain(frameworks, self._completed_named(message.framework_id)):
                found += reversed(framework.completed.values())
        self.reply(Tasks(tasks=tuple(task for task in found if task.task_id.startswith(message.task_prefix))))

    def _frameworks_named(self, framework_id: str) -> list[Framework]:
        if not framework_id:
            return list(self.state.frameworks.values())
        framework = self.state.frameworks.get(framework_id)
        return [] if framework is None else [framework]

    def _completed_named(self, framework_id: str) -> list[Framework]:
        return [
            framework
            for framework in reversed(self.state.completed.values())
            if framework_id in ("", framework.framework_id)
        ]

    @receive(GetOffers)
    @once_recovered
    def get_offers(self, sender: PID, message: GetOffers) -> None:
        """What frameworks hold at present."""
        self.reply(OutstandingOffers(offers=tuple(each.offer for each in self.state.offers.values())))

    @receive(KillTaskByOperator)
    @once_recovered
    def kill_by_operator(self, sender: PID, message: KillTaskByOperator) -> None:
        """Kill the one task of that id; its framework hears of it as of any other end."""
        found = [
            self.state.tasks[framework.framework_id, message.task_id]
            for framework in self._frameworks_named(message.framework_id)
            if message.task_id in framework.tasks
        ]
        if not found:
            where = f" of framework {message.framework_id}" if message.framework_id else ""
            self.reply(Refusal(message=f"there is no task {message.task_id!r}{where}: `kaon ps` lists them"))
        elif len(found) > 1:
            owners = ", ".join(task.framework_id for task in found)
            self.reply(Refusal(message=f"several frameworks have a task {message.task_id!r}; name one of {owners}"))
        else:
            self.kill(found[0])
            self.reply(Done())

    @receive(TeardownFramework)
    @once_recovered
    def teardown_by_operator(self, sender: PID, message: TeardownFramework) -> None:
        """End a framework; its scheduler is told that it is over."""
        framework = self.state.frameworks.get(message.framework_id)
        if framework is None:
            self.reply(Refusal(message=f"there is no framework {message.framework_id!r}: `kaon frameworks` lists them"))
            return
        self.tell(framework, SchedulerError(message=f"framework {message.framework_id} was ended by an operator"))
        self.remove_framework(framework, "an operator has ended it")
        self.reply(Done())


def _framework_state(framework: Framework) -> str:
    """As :class:`actors.messages.operating.FrameworkSummary` names it."""
    if framework.connected:
        return "inactive" if set(framework.suppressed) >= set(framework.info.roles) else "active"
    return "recovered" if framework.pid is None else "disconnected"
