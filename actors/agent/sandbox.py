"""Where sandboxes lie, and what a container is asked to be: plain functions from records to paths and specs.

The layout is that of Mesos (`src/slave/paths.hpp`) in our words, without its ``latest`` links::

    <work directory>/agents/<agent>/frameworks/<framework>/executors/<executor>/runs/<container>/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from actors.agent.constants import ID_BYTES
from actors.agent.names import AGENT_NAME
from actors.agent.state import AgentSettings, Executor
from actors.messages.executing import (
    AGENT_VARIABLE,
    CONTAINER_VARIABLE,
    ENDPOINT_VARIABLE,
    EXECUTOR_VARIABLE,
    FRAMEWORK_VARIABLE,
    SECRET_VARIABLE,
)
from actors.messages.records import CommandInfo, ExecutorInfo, FrameworkInfo, TaskInfo
from allocator.ranges import Ranges, coalesce
from allocator.resources import EMPTY, Resources, total
from containerizer.spec import MIN_MEMORY_BYTES, ContainerSpec, Limits

_THOUSANDTHS: Final = 1000
_MIB: Final = 1024 * 1024


def sandbox_path(work_directory: str, agent_id: str, framework_id: str, executor_id: str, container_id: str) -> str:
    """The directory of one run of an executor."""
    return "/".join(
        (
            work_directory.rstrip("/"),
            *("agents", agent_id, "frameworks", framework_id),
            *("executors", executor_id, "runs", container_id),
        )
    )


def is_path_safe(text: str) -> bool:
    """Whether an id can name a directory (Mesos: `src/common/validation.cpp`, validateID)."""
    return (
        0 < len(text.encode()) <= ID_BYTES
        and text not in {".", ".."}
        and text.isprintable()
        and "/" not in text
        and "\\" not in text
    )


def complaint(task: TaskInfo, framework: FrameworkInfo, agent_id: str) -> str:
    """Why a task cannot be run as it is described, as a sentence; empty if it can be tried."""
    ids = [("task", task.task_id), ("framework", framework.framework_id)]
    if task.executor is not None:
        ids.append(("executor", task.executor.executor_id))
    for kind, text in ids:
        if not is_path_safe(text):
            return f"{kind} id {text!r}: 1 to {ID_BYTES} bytes, no slash, no backslash, no control character"
    if task.agent_id != agent_id:
        return f"the task is for agent {task.agent_id!r}, and this is {agent_id!r}"
    if (task.command is None) == (task.executor is None):
        return "a task has either a command or an executor"
    command = task.command or (task.executor.command if task.executor is not None else CommandInfo())
    if bool(command.shell) == bool(command.argv):
        return "a command has either shell or argv"
    return ""


def limits_of(info: ExecutorInfo | None, tasks: Iterable[TaskInfo]) -> Limits:
    """What a container may use: the sum of what its executor and these tasks were given.

    Memory is a hard limit of 32 MiB at least, as in Mesos; cpus are shares, so that idle cores can be used. Disk is for
    the sandbox, so volumes and disks of their own do not count; without any there is no limit (Mesos limits it by
    `--enforce_container_disk_quota` only). Ports are those of the resource, and none without it.
    """
    resources = total([info.resources if info is not None else EMPTY, *(task.resources for task in tasks)])
    cpus, memory = resources.scalar("cpus"), resources.scalar("mem")
    disk = sum(one.quantity for one in resources.items if one.name == "disk" and one.disk is None)
    return Limits(
        cpus=cpus / _THOUSANDTHS if cpus else None,
        memory_bytes=max(memory * _MIB // _THOUSANDTHS, MIN_MEMORY_BYTES) if memory else None,
        disk_bytes=disk * _MIB // _THOUSANDTHS if disk else None,
        port_ranges=_ports(resources),
    )


def _ports(resources: Resources) -> Ranges:
    """Those of the resource `ports` that a socket can have, whoever they are reserved for."""
    named = coalesce(one for resource in resources.items if resource.name == "ports" for one in resource.ranges)
    return tuple((max(begin, 1), min(end, 65_535)) for begin, end in named if end >= 1 and begin <= 65_535)


def command_spec(
    settings: AgentSettings, agent_id: str, framework: FrameworkInfo, executor: Executor, task: TaskInfo
) -> ContainerSpec:
    """The container of a command task, whose process is the command itself."""
    assert task.command is not None
    sandbox = _sandbox_of(settings, agent_id, executor)
    own = {**_identity(agent_id, executor, sandbox), "MESOS_TASK_ID": task.task_id}
    return _spec(task.command, framework, executor, sandbox, own, (), _gpus(task.resources), task.kill_grace_seconds)


def executor_spec(
    settings: AgentSettings,
    agent_id: str,
    framework: FrameworkInfo,
    executor: Executor,
    info: ExecutorInfo,
    tasks: Sequence[TaskInfo],
) -> ContainerSpec:
    """The container of a custom executor, with what it needs to dial this agent in its environment."""
    sandbox = _sandbox_of(settings, agent_id, executor)
    key = f"?key={settings.public_key}" if settings.public_key else ""
    own = {
        **_identity(agent_id, executor, sandbox),
        ENDPOINT_VARIABLE: f"{settings.executor_address}{key}",
        AGENT_VARIABLE: AGENT_NAME,
        FRAMEWORK_VARIABLE: executor.framework_id,
        EXECUTOR_VARIABLE: executor.executor_id,
        CONTAINER_VARIABLE: executor.container_id,
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": f"{info.shutdown_grace_seconds:g}secs",
    }
    secrets = ((SECRET_VARIABLE, executor.secret),) if executor.secret else ()
    gpus = _gpus(total([info.resources, *(task.resources for task in tasks)]))
    return _spec(info.command, framework, executor, sandbox, own, secrets, gpus, info.shutdown_grace_seconds)


def _sandbox_of(settings: AgentSettings, agent_id: str, executor: Executor) -> str:
    return sandbox_path(
        settings.work_directory, agent_id, executor.framework_id, executor.executor_id, executor.container_id
    )


def _identity(agent_id: str, executor: Executor, sandbox: str) -> dict[str, str]:
    """What every process in a container may want to know (Mesos: `executorEnvironment`, `src/slave/slave.cpp`)."""
    return {
        "MESOS_AGENT_ID": agent_id,
        "MESOS_FRAMEWORK_ID": executor.framework_id,
        "MESOS_EXECUTOR_ID": executor.executor_id,
        "MESOS_DIRECTORY": sandbox,
        "MESOS_ALLOCATION_ROLE": executor.role,
    }


def _spec(
    command: CommandInfo,
    framework: FrameworkInfo,
    executor: Executor,
    sandbox: str,
    own: dict[str, str],
    secrets: tuple[tuple[str, str], ...],
    gpus: int,
    grace_seconds: float,
) -> ContainerSpec:
    return ContainerSpec(
        id=executor.container_id,
        sandbox=sandbox,
        shell=command.shell,
        argv=command.argv,
        environment=tuple({**dict(command.environment), **own}.items()),
        secrets=(*command.secrets, *secrets),
        user=command.user or framework.user,
        tty=command.tty,
        interactive=command.interactive,
        limits=executor.limits,
        gpus=gpus,
        kill_grace_seconds=grace_seconds,
    )


def _gpus(resources: Resources) -> int:
    return resources.scalar("gpus") // _THOUSANDTHS
