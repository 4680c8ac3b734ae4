"""Executor and agent: the v1 executor API of Mesos, as messages.

A custom executor dials its agent's socket, links to the agent and subscribes, again after each loss of it, with what it
has not seen acknowledged. It gets tasks one by one, reports on them, and ends only after its last update was
acknowledged.
"""

from __future__ import annotations

from typing import ClassVar, Final

from actors.messages.records import AgentInfo, ExecutorInfo, FrameworkInfo, TaskInfo, TaskStatus
from runtime.message import Message, Overflow

ENDPOINT_VARIABLE: Final = "KAON_AGENT_ENDPOINT"
"""Address that the executor dials, with ``?key=`` and the key that it must find there unless the agent is insecure."""

AGENT_VARIABLE: Final = "KAON_AGENT_PID"
"""Name of the agent's actor there."""

FRAMEWORK_VARIABLE: Final = "KAON_FRAMEWORK_ID"

EXECUTOR_VARIABLE: Final = "KAON_EXECUTOR_ID"

CONTAINER_VARIABLE: Final = "KAON_CONTAINER_ID"
"""Also the id of the executor's node, and the principal of its key."""

SECRET_VARIABLE: Final = "KAON_EXECUTOR_SECRET"  # noqa: S105  the name of a variable
"""Its own CURVE key, ``public:secret``, 64 hexadecimal digits each; not set when the agent is insecure."""


class ToAgent(Message, frozen=True, kw_only=True):
    """Executor -> agent."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    framework_id: str
    executor_id: str


class SubscribeExecutor(ToAgent, frozen=True, kw_only=True):
    """Here I am (again), with updates and tasks that were not acknowledged."""

    container_id: str
    unacknowledged_updates: tuple[TaskStatus, ...] = ()
    unacknowledged_tasks: tuple[TaskInfo, ...] = ()


class ExecutorUpdate(ToAgent, frozen=True, kw_only=True):
    """What became of a task; repeated on subscription until :class:`UpdateAccepted` of its uuid."""

    status: TaskStatus


class ExecutorMessage(ToAgent, frozen=True, kw_only=True):
    """Opaque bytes for the scheduler; at most once."""

    data: bytes


class ToExecutorProcess(Message, frozen=True, kw_only=True):
    """Agent -> executor."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class ExecutorSubscribed(ToExecutorProcess, frozen=True, kw_only=True):
    """You are connected."""

    executor: ExecutorInfo
    framework: FrameworkInfo
    agent: AgentInfo
    container_id: str


class LaunchTask(ToExecutorProcess, frozen=True, kw_only=True):
    """Run this task."""

    task: TaskInfo


class KillExecutorTask(ToExecutorProcess, frozen=True, kw_only=True):
    """End that task within its grace (None: the task's own), and say so."""

    task_id: str
    grace_seconds: float | None = None


class UpdateAccepted(ToExecutorProcess, frozen=True, kw_only=True):
    """That update is in the agent's journal: it may be forgotten."""

    task_id: str
    uuid: str


class MessageForExecutor(ToExecutorProcess, frozen=True, kw_only=True):
    """Opaque bytes from the scheduler."""

    data: bytes


class ShutdownExecutor(ToExecutorProcess, frozen=True, kw_only=True):
    """Kill all tasks, report, and end; after `grace_seconds` the container is destroyed."""

    grace_seconds: float


class ExecutorRefused(ToExecutorProcess, frozen=True, kw_only=True):
    """You are not known here: end."""

    reason: str
