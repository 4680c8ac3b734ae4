"""`kaon why`: why a task, a framework or an agent is as it is, from all who know something of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

import click

from actors.cli.client import Tool, cluster_options, with_tool
from actors.cli.show import print_json
from actors.cli.trace import gather, only_looks
from actors.cli.trace_options import FIELDS, say
from actors.cli.why_causes import (
    causes_of_agent,
    causes_of_allocator,
    causes_of_framework,
    causes_of_task,
    causes_of_traces,
)
from actors.messages.operating import AgentSummary, FrameworkSummary, GetAgents, GetFrameworks, GetOffers, GetTasks
from actors.messages.records import Record, Task
from actors.messages.why import Because, Cause, Subject, Why
from actors.scheduler.cluster import Cluster
from allocator.messages import Explain
from runtime.errors import KaonError
from runtime.pid import PID
from runtime.tracing.messages import Filter
from runtime.tracing.records import TurnRecord

R = TypeVar("R", bound=Record)

COMPONENT_SECONDS = 2.0
"""For a component to say what it knows: one of another version may not know the question."""

NOTHING_TO_SAY = ("unhandled", "timeout")
"""How asks end that a component does not handle, or whose type it does not know."""


@click.command()
@click.argument("subject", type=click.Choice(["task", "framework", "agent"]))
@click.argument("which", metavar="ID")
@click.option("--framework", default="", metavar="ID", help="Of the task, where two frameworks use one task id.")
@click.option("--json", "json_", is_flag=True, help="JSON instead of text.")
@cluster_options
def why(cluster: Cluster, subject: Subject, which: str, framework: str, json_: bool) -> None:
    """Say why a task, a framework or an agent is as it is, or why it gets no offers.

    ID may be the beginning or the end of an id, if only one is like it; of a framework or an agent also its name or
    host.
    """
    causes = with_tool(cluster, lambda tool: _Asking(tool).causes(subject, which, framework))
    if json_:
        print_json(causes)
        return
    for cause in causes:
        click.echo(_line(cause))


def _line(cause: Cause) -> str:
    at = f" {datetime.fromtimestamp(cause.at, UTC):%Y-%m-%d %H:%M:%S}" if cause.at else ""
    details = "; ".join(f"{name} {value}" for name, value in cause.details if value)
    trace = f"  [kaon trace show {cause.trace:016x}]" if cause.trace else ""
    return f"{cause.source}{at}: {cause.text}{f' ({details})' if details else ''}{trace}"


class _Asking:
    """One question of a user, put to all who may know."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self._problems: list[str] = []

    async def causes(self, subject: Subject, which: str, framework_id: str) -> list[Cause]:
        """All of them."""
        ask = self._tool.ask
        agents: tuple[AgentSummary, ...] = (await ask(GetAgents())).agents
        frameworks: tuple[FrameworkSummary, ...] = (await ask(GetFrameworks(completed=True))).frameworks
        found: list[Cause] = []
        addresses: list[str] = []
        if subject == "task":
            task = await self._task(which, framework_id)
            which, framework_id = task.task_id, task.framework_id
            found += causes_of_task(task, agents, frameworks)
            addresses = [each.info.address for each in agents if each.info.agent_id == task.info.agent_id]
        elif subject == "framework":
            framework = _one(frameworks, which, lambda each: (each.info.framework_id, each.info.name), "framework")
            which = framework_id = framework.info.framework_id
            found += causes_of_framework(framework, (await ask(GetOffers())).offers)
            if framework.state != "completed":
                found += await self._allocator(Explain(framework_id=which))
        else:
            agent = _one(agents, which, lambda each: (each.info.agent_id, each.info.hostname), "agent")
            which, addresses = agent.info.agent_id, [agent.info.address]
            found += causes_of_agent(agent)
            found += await self._allocator(Explain(agent_id=which))
        found += await self._components(Why(subject=subject, subject_id=which, framework_id=framework_id), addresses)
        turns = await gather(self._tool, Filter(fields=((FIELDS[subject], which),)), quiet=True)
        by_trace: dict[int, list[TurnRecord]] = {}
        for turn in turns:
            by_trace.setdefault(turn.trace, []).append(turn)
        found += causes_of_traces(turn for each in by_trace.values() if not only_looks(each) for turn in each)
        say(self._problems)
        return found

    async def _task(self, which: str, framework_id: str) -> Task:
        question = GetTasks(framework_id=framework_id, task_prefix=which, completed=True)
        tasks: tuple[Task, ...] = (await self._tool.ask(question)).tasks
        if not tasks:
            raise KaonError(
                f"the master knows no task {which!r}: no framework has launched it, so that its scheduler is waiting "
                f"for an offer that suits it; `kaon why framework` says why none comes"
            )
        return _one(tasks, which, lambda each: (each.task_id,), "task")

    async def _allocator(self, question: Explain) -> list[Cause]:
        master = self._tool.cluster.masters[0]
        try:
            answer = await self._tool.ask(question, PID("allocator", master.node))
        except KaonError as error:
            self._problems.append(str(error))
            return []
        return list(causes_of_allocator(answer))

    async def _components(self, question: Why, addresses: Iterable[str]) -> list[Cause]:
        """What master and agent add by themselves."""
        master = self._tool.cluster.masters[0]
        asked = [master, *(PID("agent", address) for address in addresses if address)]
        found: list[Cause] = []
        for pid in asked:
            try:
                answer = await self._tool.ask(question, pid, COMPONENT_SECONDS)
            except KaonError as error:
                if not any(reason in str(error) for reason in NOTHING_TO_SAY):
                    self._problems.append(str(error))
                continue
            if isinstance(answer, Because):
                found += answer.causes
        return found


def _one(known: Iterable[R], which: str, names: Callable[[R], tuple[str, ...]], kind: str) -> R:
    """The one that is called so, or the only one that begins or ends so. Raises :class:`KaonError`."""
    listed = list(known)
    exact = [each for each in listed if which in names(each)]
    found = exact or [each for each in listed if any(_may_be(name, which) for name in names(each))]
    if not found:
        what = ", ".join(names(each)[0] for each in listed[:10]) or "none"
        raise KaonError(f"no {kind} is called {which!r}; there are: {what}")
    if len(found) > 1:
        what = ", ".join(names(each)[0] for each in found[:5])
        raise KaonError(f"{which!r} is not one {kind} but {len(found)} ({what}): give more of its id")
    return found[0]


def _may_be(name: str, which: str) -> bool:
    """Whether `which` is a part of a name: its beginning, its end, or both with an ellipsis between as in tables."""
    begin, between, end = which.partition("…")
    if between:
        return name.startswith(begin) and name.endswith(end)
    return name.startswith(which) or name.endswith(which)
