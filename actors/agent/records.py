"""What an agent writes to its journal before it acts on it; reading all of it again gives the same agent.

Records are what :mod:`actors.agent.checkpoint` applies to the state, in a running agent and in one that recovers.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from actors.messages.records import ExecutorInfo, FrameworkInfo, Reason, Task, TaskState, TaskStatus


class Record(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Base of the records: tagged with their name; later fields have defaults."""


class AgentAdmitted(Record, frozen=True, kw_only=True):
    """The master has given this agent its id."""

    agent_id: str


class AgentLeft(Record, frozen=True, kw_only=True):
    """The agent has left the cluster for good: the next start is that of a new agent."""


class FrameworkSeen(Record, frozen=True, kw_only=True):
    """A framework has tasks here, or its description has changed."""

    framework: FrameworkInfo


class FrameworkEnding(Record, frozen=True, kw_only=True):
    """The framework is over: nobody waits for updates of its tasks."""

    framework_id: str


class ExecutorPlanned(Record, frozen=True, kw_only=True):
    """An executor will be launched in that container. info: None for a command task's own."""

    framework_id: str
    executor_id: str
    container_id: str
    role: str
    info: ExecutorInfo | None = None


class TaskPlanned(Record, frozen=True, kw_only=True):
    """A task will be run by that executor."""

    executor_id: str
    task: Task


class ExecutorEnding(Record, frozen=True, kw_only=True):
    """The executor is being ended.

    state, reason, message  what becomes of its tasks that have not said otherwise by then
    """

    framework_id: str
    executor_id: str
    state: TaskState
    reason: Reason | None = None
    message: str = ""


class ExecutorGone(Record, frozen=True, kw_only=True):
    """Nothing is left of the executor, and what there was to say of its tasks has been written."""

    framework_id: str
    executor_id: str


class UpdateQueued(Record, frozen=True, kw_only=True):
    """The framework must hear of this."""

    framework_id: str
    status: TaskStatus


class UpdateAcknowledged(Record, frozen=True, kw_only=True):
    """The framework has heard of the oldest update of that task."""

    framework_id: str
    task_id: str
    uuid: str


class StreamKept(Record, frozen=True, kw_only=True):
    """In a snapshot: the updates of a task that wait, oldest first, and the ids of those that are known."""

    framework_id: str
    task_id: str
    pending: tuple[TaskStatus, ...] = ()
    seen: tuple[str, ...] = ()


class SandboxKept(Record, frozen=True, kw_only=True):
    """In a snapshot: where the files of a task lie, living or not."""

    framework_id: str
    task_id: str
    executor_id: str
    container_id: str


AgentRecord: TypeAlias = (
    AgentAdmitted
    | AgentLeft
    | FrameworkSeen
    | FrameworkEnding
    | ExecutorPlanned
    | TaskPlanned
    | ExecutorEnding
    | ExecutorGone
    | UpdateQueued
    | UpdateAcknowledged
    | StreamKept
    | SandboxKept
)
"""Everything that can stand in an agent's journal."""
