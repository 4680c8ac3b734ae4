"""What makes sense, and a sentence about what does not. Pure; an empty answer means that nothing is wrong.

Rules of Mesos's `src/master/validation.cpp` and `src/common/validation.cpp`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from actors.master.constants import MAX_ID_CHARACTERS
from actors.messages.records import AgentInfo, CommandInfo, ExecutorState, FrameworkInfo, Task, TaskInfo
from allocator.ranges import coalesce
from allocator.resources import EMPTY, Resources
from allocator.roles import InvalidRole, check_role


def id_problem(what: str, text: str) -> str:
    """An id becomes the name of a directory on agents."""
    if not text:
        return f"{what} is empty: give it a name"
    if len(text.encode()) > MAX_ID_CHARACTERS:
        return f"{what} {text[:32]!r}... has {len(text.encode())} bytes, {MAX_ID_CHARACTERS} are allowed"
    if text in (".", ".."):
        return f"{what} {text!r} is the name of a directory: choose another"
    if "/" in text or "\\" in text or not text.isprintable():
        return f"{what} {text!r} has a slash, a backslash or a control character: leave it out"
    return ""


def _seconds_problem(what: str, seconds: float) -> str:
    return (
        "" if math.isfinite(seconds) and seconds >= 0 else f"{what} is {seconds} s: give a number of seconds from 0 up"
    )


def resources_problem(resources: Resources) -> str:
    """Whether a peer's resources are amounts in canonical form.

    The algebra relies on it: a negative amount would fit into any offer and enlarge what is left of it, and two entries
    of one kind would each fit where both together do not.
    """
    for resource in resources.items:
        kinds = sum(map(bool, (resource.scalar, resource.ranges, resource.items)))
        if not resource.name or kinds != 1 or resource.scalar < 0 or resource.copies < 1:
            return f"resource {resource.name!r} is no amount: give it a name and one positive value"
        if any(begin < 0 or end < begin for begin, end in resource.ranges):
            return f"resource {resource.name} has a range that ends before it begins"
        if resource.ranges != coalesce(resource.ranges) or resource.items != tuple(sorted(set(resource.items))):
            return f"resource {resource.name} is not sorted: make resources with Resources.parse or Resources.of"
    if Resources.of(*resources.items) != resources:
        return f"the resources {resources} are not merged: make them with Resources.parse or Resources.of"
    return ""


def framework_problem(info: FrameworkInfo, suppressed: Sequence[str]) -> str:
    """Whether a framework may subscribe like this."""
    if not info.roles:
        return "the framework names no role: name at least one, or leave the field out for '*'"
    for role in info.roles:
        try:
            check_role(role)
        except InvalidRole as error:
            return str(error)
    repeated = [role for role, count in Counter(info.roles).items() if count > 1]
    if repeated:
        return f"the framework names role {repeated[0]!r} twice: name it once"
    if len(info.roles) > 1 and "MULTI_ROLE" not in info.capabilities:
        return (
            f"the framework names {len(info.roles)} roles without the capability MULTI_ROLE: add it, or name one role"
        )
    strange = [role for role in suppressed if role not in info.roles]
    if strange:
        return f"role {strange[0]!r} is to be suppressed, but it is none of the framework's: {', '.join(info.roles)}"
    if info.framework_id:
        problem = id_problem("the framework's id", info.framework_id)
        if problem:
            return problem
    return _seconds_problem("failover_timeout_seconds", info.failover_timeout_seconds)


def framework_change_problem(before: FrameworkInfo, after: FrameworkInfo) -> str:
    """Whether a framework may become what it now says that it is."""
    if before.principal != after.principal:
        return (
            f"framework {before.framework_id} belongs to principal {before.principal!r}, not {after.principal!r}: "
            f"use the principal that it first subscribed with"
        )
    return ""


def agent_problem(info: AgentInfo, tasks: Sequence[Task] = (), executors: Sequence[ExecutorState] = ()) -> str:
    """Whether an agent may register like this; `tasks` and `executors` are what it says that it runs."""
    if not info.hostname:
        return "the agent has no hostname: set --hostname"
    if not info.resources:
        return "the agent has no resources: set --resources, such as cpus:4;mem:8192"
    for resources in (
        info.resources,
        *(task.info.resources for task in tasks),
        *(each.info.resources for each in executors),
    ):
        problem = resources_problem(resources)
        if problem:
            return f"agent on {info.hostname}: {problem}"
    if info.agent_id:
        problem = id_problem("the agent's id", info.agent_id)
        if problem:
            return problem
    owners = [task.framework_id for task in tasks] + [executor.framework_id for executor in executors]
    for framework_id in dict.fromkeys(owners):
        problem = id_problem("a framework's id", framework_id)
        if problem:
            return f"agent on {info.hostname}: {problem}"
    for task in tasks:
        if task.info.agent_id != info.agent_id:
            return (
                f"agent {info.agent_id} reports task {task.task_id!r} of agent {task.info.agent_id!r}: "
                f"its journal is that of another agent"
            )
    return ""


def task_problem(
    task: TaskInfo,
    *,
    agent_id: str,
    available: Resources,
    is_taken: bool,
    executors: Mapping[str, ExecutorState],
) -> str:
    """Whether a task can be launched.

    agent_id   of the offers that it is launched from
    available  what is left of them
    is_taken   whether a live task of the framework has its id
    executors  the framework's, on that agent, by id
    """
    problem = id_problem("task_id", task.task_id)
    if problem:
        return problem
    if is_taken:
        return f"task {task.task_id!r} is running already: launch it under another id"
    if task.agent_id != agent_id:
        return f"task {task.task_id!r} names agent {task.agent_id!r}, but the offer is of agent {agent_id}"
    problem = _runner_problem(task, executors)
    if problem:
        return f"task {task.task_id!r}: {problem}"
    return _resources_problem(task, available, executors) or _times_problem(task)


def executor_charge(task: TaskInfo, executors: Mapping[str, ExecutorState]) -> Resources:
    """What the task's executor needs in addition: nothing when it runs already."""
    if task.executor is None or task.executor.executor_id in executors:
        return EMPTY
    return task.executor.resources


def _runner_problem(task: TaskInfo, executors: Mapping[str, ExecutorState]) -> str:
    if (task.command is None) == (task.executor is None):
        return "it needs either a command or an executor, and not both"
    if task.command is not None:
        return command_problem(task.command)
    executor = task.executor
    assert executor is not None
    problem = id_problem("executor_id", executor.executor_id)
    if problem:
        return problem
    present = executors.get(executor.executor_id)
    if present is not None and present.info != executor:
        return (
            f"executor {executor.executor_id!r} runs on this agent with another description: "
            f"give the same one, or another executor_id"
        )
    return command_problem(executor.command) or _seconds_problem(
        "shutdown_grace_seconds", executor.shutdown_grace_seconds
    )


def command_problem(command: CommandInfo) -> str:
    """Whether a command can be executed."""
    if bool(command.shell) == bool(command.argv):
        return "its command needs either shell text or argv, and not both"
    if any("\0" in part for part in (command.shell, *command.argv, command.user)):
        return "its command has a zero byte: leave it out"
    for name, value in (*command.environment, *command.secrets):
        if not name or "=" in name or "\0" in name:
            return f"its environment has a variable named {name!r}: a name is not empty and has no '='"
        if "\0" in value:
            return f"its environment variable {name} has a zero byte in its value: leave it out"
    return ""


def _resources_problem(task: TaskInfo, available: Resources, executors: Mapping[str, ExecutorState]) -> str:
    if not task.resources:
        return f"task {task.task_id!r} uses no resources: name some, such as cpus:0.1;mem:32"
    for part in (task.resources, task.executor.resources if task.executor is not None else EMPTY):
        problem = resources_problem(part)
        if problem:
            return f"task {task.task_id!r}: {problem}"
    charge = task.resources + executor_charge(task, executors)
    if charge.scalar("gpus") % 1000:
        return f"task {task.task_id!r} uses {charge.scalar('gpus') / 1000:g} gpus: GPUs are granted whole"
    mixed = {item.name for item in charge.revocable().items} & {item.name for item in charge.non_revocable().items}
    if mixed:
        return f"task {task.task_id!r} mixes revocable and other {min(mixed)}: use one kind"
    if charge not in available:
        return f"task {task.task_id!r} uses {charge}, but only {available} is left of what was offered"
    return ""


def _times_problem(task: TaskInfo) -> str:
    problem = _seconds_problem("kill_grace_seconds", task.kill_grace_seconds)
    if not problem and task.max_completion_seconds is not None:
        problem = _seconds_problem("max_completion_seconds", task.max_completion_seconds)
    return f"task {task.task_id!r}: {problem}" if problem else ""
