"""The sentences of `kaon why`."""

from __future__ import annotations

from actors.cli.why_causes import (
    causes_of_agent,
    causes_of_allocator,
    causes_of_framework,
    causes_of_task,
    causes_of_traces,
)
from actors.messages.operating import AgentSummary, FrameworkSummary
from actors.messages.records import (
    AgentInfo,
    FrameworkInfo,
    Offer,
    Reason,
    Source,
    Task,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from allocator.messages import Explanation
from allocator.messages import Reason as AllocatorReason
from allocator.resources import Resources
from tests.runtime.tracing.turns import AGENT, MASTER, launch, turn

CPUS = Resources.parse("cpus:2")
AGENT_1 = AgentSummary(info=AgentInfo(hostname="h1", resources=CPUS, agent_id="a1"), state="active", used=CPUS, tasks=1)
FRAMEWORK = FrameworkSummary(info=FrameworkInfo(name="spark", framework_id="f1", roles=("r1", "r2")), state="active")
FAILED = TaskStatus(
    task_id="t1",
    state=TaskState.FAILED,
    source=Source.AGENT,
    reason=Reason.CONTAINER_LIMITATION_MEMORY,
    message="it used more than 64 MiB",
    exit_code=137,
    timestamp=9.0,
)
TASK = Task(
    info=TaskInfo(task_id="t1", agent_id="a1", resources=CPUS),
    framework_id="f1",
    role="r1",
    latest_state=TaskState.FAILED,
    statuses=(TaskStatus(task_id="t1", state=TaskState.RUNNING, source=Source.EXECUTOR, timestamp=8.0), FAILED),
)


def test_a_task_says_where_it_is_and_what_was_said_of_it_last() -> None:
    causes = list(causes_of_task(TASK, [AGENT_1], [FRAMEWORK]))
    assert [cause.text for cause in causes] == [
        "spark (f1) launched it on h1 (a1) in role r1, with cpus:2; it is FAILED",
        "agent said FAILED: it used more than 64 MiB (exit status 137, CONTAINER_LIMITATION_MEMORY)",
        "executor said RUNNING",
    ]
    assert [cause.at for cause in causes] == [0.0, 9.0, 8.0]


def test_a_task_whose_surroundings_are_gone() -> None:
    quiet = Task(info=TASK.info, framework_id="f1", role="r1")
    codes = [cause.code for cause in causes_of_task(quiet, [], [])]
    assert codes == ["STAGING", "no_update", "agent_unknown"]
    lost = AgentSummary(info=AGENT_1.info, state="unreachable")
    gone = FrameworkSummary(info=FRAMEWORK.info, state="disconnected")
    codes = [cause.code for cause in causes_of_task(quiet, [lost], [gone])]
    assert codes[2:] == ["agent_unreachable", "framework_disconnected"]


def test_a_framework_and_the_offers_it_sits_on() -> None:
    offer = Offer(offer_id="o1", framework_id="f1", role="r1", agent_id="a1", hostname="h1", resources=CPUS)
    other = Offer(offer_id="o2", framework_id="f2", role="r1", agent_id="a1", hostname="h1", resources=CPUS)
    texts = [cause.text for cause in causes_of_framework(FRAMEWORK, [offer, other])]
    assert texts == [
        "spark is active in roles r1, r2, runs 0 tasks with nothing, its dominant share is 0.0%",
        "it holds offer o1 of cpus:2 on h1, and has not answered yet",
    ]


def test_an_agent_and_what_it_cannot_isolate() -> None:
    info = AgentInfo(hostname="h1", resources=CPUS, agent_id="a1", not_isolated=("cgroups/cpu",))
    texts = [cause.text for cause in causes_of_agent(AgentSummary(info=info, state="active"))]
    assert texts == [
        "h1 is active; of cpus:2, nothing is used by 0 tasks and nothing is offered",
        "it does not isolate cgroups/cpu",
    ]


def test_reasons_of_one_kind_are_told_together_the_most_frequent_first() -> None:
    reasons = (
        AllocatorReason("f1", "r1", "a1", "refused", "the framework refused it."),
        *(AllocatorReason("f1", "r1", f"b{place}", "nothing_free", "nothing is free.") for place in range(10)),
    )
    first, second, third = causes_of_allocator(Explanation(reasons=reasons, left_out=5))
    assert (first.code, first.text) == ("nothing_free", "nothing is free")
    assert dict(first.details)["agents"] == "b0, b1, b2, b3, b4, b5, b6, b7 and 2 more"
    assert second.code == "refused"
    assert third.text == "5 more reasons are not shown"


def test_the_messages_that_led_there_and_failures_among_them() -> None:
    failed = turn(AGENT, MASTER, "RunTask", 3, times=(2000, 2000, 2001), trace=3, error="x\nValueError: no room")
    first, second = causes_of_traces([*launch(), failed])
    assert first.trace == 1
    assert first.text.startswith("Offers at scheduler > Accept at master > ")
    assert first.text.endswith(" and 2 more turns")
    assert (second.code, second.text) == ("failed", "agent@a1 FAILED on RunTask: ValueError: no room")
