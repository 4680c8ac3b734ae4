"""What follows from the master's and the allocator's answers: pure functions, the sentences of `kaon why`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from actors.messages.operating import AgentSummary, FrameworkSummary
from actors.messages.records import Offer, Task, TaskStatus
from actors.messages.why import Cause
from allocator.messages import Explanation, Reason
from allocator.resources import Resources
from runtime.tracing.records import TurnRecord
from runtime.tracing.tree import build

LED_THERE = 5
"""Traces that are named."""


def causes_of_task(
    task: Task, agents: Iterable[AgentSummary], frameworks: Iterable[FrameworkSummary]
) -> Iterator[Cause]:
    """Where a task is, how it came to its state, and what is wrong around it."""
    agent = next((each for each in agents if each.info.agent_id == task.info.agent_id), None)
    framework = next((each for each in frameworks if each.info.framework_id == task.framework_id), None)
    where = f"{agent.info.hostname} ({task.info.agent_id})" if agent is not None else task.info.agent_id
    name = framework.info.name if framework is not None else "a framework"
    yield Cause(
        source="master",
        code=task.latest_state.value,
        text=f"{name} ({task.framework_id}) launched it on {where} in role {task.role}, with {task.info.resources}; "
        f"it is {task.latest_state.value}",
    )
    for status in reversed(task.statuses):
        yield _status(status)
    if not task.statuses:
        yield Cause(source="master", code="no_update", text="nothing has been heard of it from its agent yet")
    if agent is None:
        yield Cause(source="master", code="agent_unknown", text="its agent is not registered with this master")
    elif agent.state != "active":
        yield Cause(source="master", code=f"agent_{agent.state}", text=f"its agent is {agent.state}")
    if framework is not None and framework.state != "active":
        yield Cause(
            source="master",
            code=f"framework_{framework.state}",
            text=f"its framework is {framework.state}",
        )


def _status(status: TaskStatus) -> Cause:
    parts = [f"{status.source.value.lower()} said {status.state.value}"]
    if status.message:
        parts.append(status.message)
    if status.exit_code is not None:
        parts.append(f"exit status {status.exit_code}")
    if status.healthy is False:
        parts.append("unhealthy")
    code = status.reason.value if status.reason is not None else ""
    if code:
        parts.append(code)
    return Cause(
        source=status.source.value.lower(), code=code, text=": ".join(parts[:2]) + _more(parts[2:]), at=status.timestamp
    )


def _more(parts: Sequence[str]) -> str:
    return f" ({', '.join(parts)})" if parts else ""


def _amount(resources: Resources) -> str:
    return str(resources) if resources.items else "nothing"


def causes_of_framework(framework: FrameworkSummary, offers: Iterable[Offer]) -> Iterator[Cause]:
    """What the master knows of a framework."""
    info = framework.info
    yield Cause(
        source="master",
        code=framework.state,
        text=f"{info.name} is {framework.state} in role{'s' * (len(info.roles) != 1)} {', '.join(info.roles)}, runs "
        f"{framework.tasks} task{'s' * (framework.tasks != 1)} with {_amount(framework.used)}, its dominant "
        f"share is {framework.dominant_share:.1%}",
        at=framework.registered_at,
    )
    held = [offer for offer in offers if offer.framework_id == info.framework_id]
    for offer in held:
        yield Cause(
            source="master",
            code="offer_outstanding",
            text=f"it holds offer {offer.offer_id} of {offer.resources} on {offer.hostname}, and has not answered yet",
        )


def causes_of_agent(agent: AgentSummary) -> Iterator[Cause]:
    """What the master knows of an agent."""
    info = agent.info
    yield Cause(
        source="master",
        code=agent.state,
        text=f"{info.hostname} is {agent.state}; of {info.resources}, {_amount(agent.used)} is used by "
        f"{agent.tasks} task{'s' * (agent.tasks != 1)} and {_amount(agent.offered)} is offered",
        at=agent.registered_at,
    )
    if info.not_isolated:
        yield Cause(source="agent", code="not_isolated", text=f"it does not isolate {', '.join(info.not_isolated)}")


def causes_of_allocator(explanation: Explanation, most: int = 8) -> Iterator[Cause]:
    """Why nothing is offered: reasons of one kind together, the most frequent first."""
    kinds: dict[tuple[str, str, str], list[Reason]] = {}
    for reason in explanation.reasons:
        kinds.setdefault((reason.code, reason.framework_id, reason.role), []).append(reason)
    for (code, framework_id, role), reasons in sorted(kinds.items(), key=lambda each: -len(each[1])):
        agents = [reason.agent_id for reason in reasons if reason.agent_id]
        listed = ", ".join(agents[:most]) + (f" and {len(agents) - most} more" if len(agents) > most else "")
        yield Cause(
            source="allocator",
            code=code,
            text=reasons[0].text.rstrip("."),
            details=(("framework", framework_id), ("role", role), ("agents", listed), *reasons[0].details),
        )
    if explanation.left_out:
        yield Cause(source="allocator", code="left_out", text=f"{explanation.left_out} more reasons are not shown")


def causes_of_traces(turns: Iterable[TurnRecord]) -> Iterator[Cause]:
    """The messages that led there: the last traces in which it was mentioned, failures first."""
    traces = build(turns)
    for trace in traces[-LED_THERE:]:
        hops = list(trace.hops())
        failed = next((hop for hop in hops if hop.turn.error), None)
        path = " > ".join(dict.fromkeys(f"{hop.turn.message_type} at {hop.turn.actor.name}" for hop in hops[:4]))
        more = f" and {len(hops) - 4} more turns" if len(hops) > 4 else ""
        text = f"{path}{more}"
        if failed is not None:
            turn = failed.turn
            text = f"{turn.actor} FAILED on {turn.message_type}: {turn.error.strip().splitlines()[-1]}"
        yield Cause(
            source="trace", code="failed" if failed is not None else "", text=text, at=trace.began, trace=trace.trace
        )
