"""What is refused, and that the refusal says what is wrong."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.master.validation import (
    agent_problem,
    framework_change_problem,
    framework_problem,
    id_problem,
    resources_problem,
    task_problem,
)
from actors.messages.records import (
    AgentInfo,
    CommandInfo,
    ExecutorInfo,
    ExecutorState,
    FrameworkInfo,
    Task,
    TaskInfo,
)
from allocator.resource import Resource
from allocator.resources import EMPTY, Resources, total

COMMAND = CommandInfo(shell="true")
EXECUTOR = ExecutorInfo(executor_id="e", command=COMMAND, resources=Resources.parse("cpus:0.5;mem:32"))
TASK = TaskInfo(task_id="t", agent_id="a", resources=Resources.parse("cpus:1;mem:64"), command=COMMAND)
AVAILABLE = Resources.parse("cpus:2;mem:128;ports:[1-10]")


def problem(task: TaskInfo, executors: dict[str, ExecutorState] | None = None, *, is_taken: bool = False) -> str:
    return task_problem(task, agent_id="a", available=AVAILABLE, is_taken=is_taken, executors=executors or {})


def changed(**fields: Any) -> TaskInfo:
    return msgspec.structs.replace(TASK, **fields)


def with_command(**fields: Any) -> TaskInfo:
    return changed(command=msgspec.structs.replace(COMMAND, **fields))


def running(executor: ExecutorInfo) -> dict[str, ExecutorState]:
    return {executor.executor_id: ExecutorState(info=executor, framework_id="f", role="*")}


def test_a_plain_task_is_fine() -> None:
    assert problem(TASK) == ""
    assert problem(changed(command=None, executor=EXECUTOR)) == ""
    assert problem(with_command(shell="", argv=("/bin/true",), environment=(("A", "b=c"),))) == ""


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (changed(task_id=""), "task_id is empty"),
        (changed(task_id="a/b"), "slash"),
        (changed(task_id=".."), "directory"),
        (changed(task_id="x" * 256), "256 bytes"),
        (changed(task_id="\n"), "control character"),
        (changed(agent_id="b"), "names agent 'b'"),
        (changed(command=None), "either a command or an executor"),
        (changed(executor=EXECUTOR), "either a command or an executor"),
        (with_command(shell=""), "either shell text or argv"),
        (with_command(argv=("a",)), "either shell text or argv"),
        (with_command(shell="a\0b"), "zero byte"),
        (with_command(environment=(("A=B", ""),)), "named 'A=B'"),
        (with_command(environment=(("", ""),)), "named ''"),
        (with_command(environment=(("A", "\0"),)), "zero byte"),
        (with_command(secrets=(("", "x"),)), "named ''"),
        (changed(resources=EMPTY), "uses no resources"),
        (changed(resources=Resources.parse("cpus:3;mem:64")), "only"),
        (changed(resources=Resources.parse("cpus:1;gpus:1")), "only"),
        (changed(resources=Resources.scalar_only(cpus=1, gpus=0.5)), "uses 0.5 gpus: GPUs are granted whole"),
        (changed(resources=Resources.parse("cpus:1;ports:[10-11]")), "only"),
        (changed(kill_grace_seconds=-1.0), "kill_grace_seconds"),
        (changed(kill_grace_seconds=math.nan), "kill_grace_seconds"),
        (changed(max_completion_seconds=math.inf), "max_completion_seconds"),
        (
            changed(command=None, executor=EXECUTOR, resources=Resources.parse("cpus:1.6")),
            "only",
        ),
        (
            changed(command=None, executor=msgspec.structs.replace(EXECUTOR, executor_id="a/b")),
            "executor_id",
        ),
    ],
)
def test_task_that_cannot_run_is_refused_with_a_reason(task: TaskInfo, text: str) -> None:
    assert text in problem(task)


@pytest.mark.parametrize(
    "resources",
    [
        Resources((Resource("cpus", -1000),)),
        Resources((Resource("cpus", 1000), Resource("cpus", 1000))),
        Resources((Resource("cpus"),)),
        Resources((Resource("", 1000),)),
        Resources((Resource("cpus", 1000, ((1, 2),)),)),
        Resources((Resource("ports", 0, ((5, 4),)),)),
        Resources((Resource("ports", 0, ((3, 4), (1, 2))),)),
        Resources((Resource("mem", 1000), Resource("cpus", 1000))),
        Resources((Resource("cpus", 1000, copies=0),)),
    ],
)
def test_resources_that_would_break_the_algebra_are_refused(resources: Resources) -> None:
    assert "resource" in problem(changed(resources=resources))
    executor = msgspec.structs.replace(EXECUTOR, resources=resources)
    assert "resource" in problem(changed(command=None, executor=executor))
    assert "resource" in agent_problem(AgentInfo(hostname="h", resources=resources))


@given(st.lists(st.sampled_from(["cpus:1", "mem:64", "ports:[1-3,7-9]", "rack:{a,b}", "cpus(r):2", "disk:5"])))
def test_resources_made_by_the_algebra_are_fine(parts: list[str]) -> None:
    assert resources_problem(total([Resources.parse(part) for part in parts])) == ""


def test_id_of_a_live_task_is_refused() -> None:
    assert "running already" in problem(TASK, is_taken=True)


def test_running_executor_is_not_charged_again() -> None:
    task = changed(command=None, executor=EXECUTOR, resources=Resources.parse("cpus:2"))
    assert "only" in problem(task)
    assert problem(task, running(EXECUTOR)) == ""


def test_executor_with_another_description_is_refused() -> None:
    other = msgspec.structs.replace(EXECUTOR, name="other")
    assert "another description" in problem(changed(command=None, executor=EXECUTOR), running(other))


def test_ids_are_counted_in_bytes_as_file_names_are() -> None:
    assert id_problem("an id", "ä" * 127) == ""
    assert "256 bytes" in id_problem("an id", "ä" * 128)


@pytest.mark.parametrize(
    ("fields", "suppressed", "text"),
    [
        ({}, (), ""),
        ({"roles": ("a", "a/b")}, ("a",), ""),
        ({"roles": ()}, (), "no role"),
        ({"roles": ("a", "a")}, (), "twice"),
        ({"roles": ("-a",)}, (), "'-a'"),
        ({"roles": ("a", "b"), "capabilities": ()}, (), "MULTI_ROLE"),
        ({}, ("b",), "suppressed"),
        ({"framework_id": "a/b"}, (), "slash"),
        ({"failover_timeout_seconds": -1.0}, (), "failover_timeout_seconds"),
        ({"failover_timeout_seconds": math.inf}, (), "failover_timeout_seconds"),
    ],
)
def test_framework_that_cannot_subscribe(fields: dict[str, Any], suppressed: tuple[str, ...], text: str) -> None:
    found = framework_problem(FrameworkInfo(name="f", **fields), suppressed)
    assert (text in found) if text else (found == "")


def test_principal_of_a_framework_stays() -> None:
    before = FrameworkInfo(name="f", framework_id="1", principal="alice")
    assert "alice" in framework_change_problem(before, FrameworkInfo(name="f", principal="bob"))
    assert framework_change_problem(before, FrameworkInfo(name="g", principal="alice")) == ""


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, ""),
        ({"hostname": ""}, "hostname"),
        ({"resources": EMPTY}, "resources"),
        ({"agent_id": "a/b"}, "slash"),
    ],
)
def test_agent_that_cannot_register(fields: dict[str, Any], text: str) -> None:
    found = agent_problem(
        msgspec.structs.replace(AgentInfo(hostname="h", resources=Resources.parse("cpus:1")), **fields)
    )
    assert (text in found) if text else (found == "")


def test_agent_that_speaks_of_tasks_elsewhere_is_refused() -> None:
    info = AgentInfo(hostname="h", resources=Resources.parse("cpus:1"), agent_id="b")
    assert "agent 'a'" in agent_problem(info, [Task(info=TASK, framework_id="f", role="*")])
    nameless = Task(info=TASK, framework_id="", role="*")
    assert "a framework's id is empty" in agent_problem(msgspec.structs.replace(info, agent_id="a"), [nameless])
