"""Master and agent: tasks on their way to an agent, and what becomes of them on the way back.

A task travels down with its framework's description. Its updates travel up at least once: the agent writes each to its
journal, sends the first of each task's stream, and repeats it, 10 s doubling to 10 min, until the framework's
acknowledgement comes down (Mesos: `src/slave/task_status_update_manager.cpp`).
"""

from __future__ import annotations

from typing import ClassVar

from actors.messages.records import FrameworkInfo, TaskInfo, TaskState, TaskStatus
from runtime.message import Message, Overflow


class Downward(Message, frozen=True, kw_only=True):
    """Master -> agent: bounded by what runs there, so none is dropped."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class RunTask(Downward, frozen=True, kw_only=True):
    """Run this task.

    role             whose resources it uses
    launch_executor  the master knows of no such executor on this agent: start it; False: it must be there already,
                     else the task is dropped
    """

    framework: FrameworkInfo
    task: TaskInfo
    role: str
    launch_executor: bool = True


class KillTaskOnAgent(Downward, frozen=True, kw_only=True):
    """End that task; unknown ones are answered with DROPPED. grace_seconds None: the task's own."""

    framework_id: str
    task_id: str
    grace_seconds: float | None = None


class ShutdownFramework(Downward, frozen=True, kw_only=True):
    """End every executor and task of that framework here."""

    framework_id: str


class ShutdownExecutorOnAgent(Downward, frozen=True, kw_only=True):
    """End that executor and its tasks."""

    framework_id: str
    executor_id: str


class ShutdownAgent(Downward, frozen=True, kw_only=True):
    """End everything here, then yourself: the agent was removed from the cluster for good."""

    reason: str


class ToExecutor(Downward, frozen=True, kw_only=True):
    """Opaque bytes from a scheduler, for an executor."""

    framework_id: str
    executor_id: str
    data: bytes


class AcknowledgeUpdate(Downward, frozen=True, kw_only=True):
    """The framework has the update of that uuid."""

    framework_id: str
    task_id: str
    uuid: str


class StatusUpdate(Message, frozen=True, kw_only=True):
    """Agent -> master: the first unacknowledged update of a task.

    latest_state  of the task at the agent: a terminal one frees its resources though earlier updates still wait
    """

    overflow: ClassVar[Overflow] = Overflow.DROP

    agent_id: str
    framework_id: str
    status: TaskStatus
    latest_state: TaskState


class ExecutorEnded(Message, frozen=True, kw_only=True):
    """Agent -> master: an executor is gone, with this wait status (None: not known)."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    agent_id: str
    framework_id: str
    executor_id: str
    exit_status: int | None = None


class FromExecutorOnAgent(Message, frozen=True, kw_only=True):
    """Agent -> master: opaque bytes from an executor, for its scheduler; at most once."""

    overflow: ClassVar[Overflow] = Overflow.DROP

    agent_id: str
    framework_id: str
    executor_id: str
    data: bytes
