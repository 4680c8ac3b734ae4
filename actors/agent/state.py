"""All that an agent knows."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from actors.agent.constants import (
    EXECUTOR_REGISTRATION_SECONDS,
    EXECUTOR_REREGISTRATION_SECONDS,
    FAREWELL_SECONDS,
    UPDATE_RETRY_SECONDS,
)
from actors.agent.records import ExecutorEnding
from actors.messages.records import ExecutorInfo, FrameworkInfo, Record, Task, TaskStatus
from allocator.resources import Resources
from containerizer.messages import ContainerExited
from containerizer.spec import Limits
from runtime.actor import State
from runtime.effects import Request, TimerId
from runtime.message import SECRET
from runtime.pid import PID


class AgentSettings(Record, frozen=True, kw_only=True):
    """How an agent is set up.

    hostname           that offers name
    resources          all that it offers; see :mod:`actors.agent.detect`
    work_directory     absolute; sandboxes lie below it
    containerizer      where it is reached, as ``containerizer@ipc:///run/kaon/c.sock``
    master             of a cluster with one master: ``master@tcp://host:port``; None to be told by a detector
    attributes         pairs of name and text
    address            where tools reach this node, for :class:`actors.messages.records.AgentInfo`
    http_address       of its HTTP endpoint; empty for none
    executor_address   where its node listens for executors (``ipc://`` and a short path); empty: custom executors are
                       refused
    public_key         that executors must find there, 64 hexadecimal digits; empty for an insecure node
    key_directory      whose ``authorised`` folder its node reads; empty for an insecure node
    version            of this program
    """

    hostname: str
    resources: Resources
    work_directory: str
    containerizer: PID
    master: PID | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    address: str = ""
    http_address: str = ""
    executor_address: str = ""
    public_key: str = ""
    key_directory: str = ""
    version: str = ""
    executor_registration_seconds: float = EXECUTOR_REGISTRATION_SECONDS
    executor_reregistration_seconds: float = EXECUTOR_REREGISTRATION_SECONDS
    farewell_seconds: float = FAREWELL_SECONDS


class LaunchStep(enum.Enum):
    """How far an executor's container is."""

    PREPARING = "preparing"
    """Its sandbox and key are being made."""
    PREPARED = "prepared"
    """It waits for the containerizer."""
    ASKED = "asked"
    """The containerizer was asked to launch it and has not answered."""
    RUNNING = "running"
    RECOVERED = "recovered"
    """An earlier life of the agent wanted it; the containerizer will say what became of it."""


class Executor(State):
    """What runs the tasks of one container: a custom executor, or for a command task an actor of this process.

    info       None for a command task's
    pid        of its actor; None while it is not connected
    limits     as the containerizer last heard them
    attempts   launches so far
    used       whether it was ever sent a task
    ending     why it is being ended; None while it is not
    grace_seconds  that its container's end was last given; None for the container's own
    exited     its container has ended; what is left is to say so
    timer      of its registration, its return or its shutdown
    secret     its key, as it gets it in its environment
    """

    framework_id: str
    executor_id: str
    container_id: str
    role: str
    info: ExecutorInfo | None = None
    step: LaunchStep = LaunchStep.PREPARING
    pid: PID | None = None
    limits: Limits = Limits()
    attempts: int = 0
    used: bool = False
    ending: ExecutorEnding | None = None
    grace_seconds: float | None = None
    exited: ContainerExited | None = None
    timer: TimerId = 0
    secret: Annotated[str, SECRET] = ""


class TaskRun(State):
    """A task here.

    delivered   its executor was told of it
    kill_asked  it is to end, within `kill_grace_seconds` (None: its own)
    last_words  its executor's terminal status, until the container has shrunk
    """

    task: Task
    executor_id: str
    delivered: bool = False
    kill_asked: bool = False
    kill_grace_seconds: float | None = None
    last_words: TaskStatus | None = None


class UpdateStream(State):
    """The updates of one task that nobody has acknowledged, oldest first; the first is in flight.

    seen           ids of the newest updates, acknowledged ones too
    retry_seconds  until the first is sent again
    """

    pending: list[TaskStatus] = msgspec.field(default_factory=list)
    seen: list[str] = msgspec.field(default_factory=list)
    retry_seconds: float = UPDATE_RETRY_SECONDS
    timer: TimerId = 0


class Framework(State):
    """What runs here of one framework; forgotten with the last of it. ending: it is over, nobody waits for updates."""

    info: FrameworkInfo
    ending: bool = False
    executors: dict[str, Executor] = msgspec.field(default_factory=dict)
    tasks: dict[str, TaskRun] = msgspec.field(default_factory=dict)
    streams: dict[str, UpdateStream] = msgspec.field(default_factory=dict)


class Sandbox(State):
    """Where a task's files lie."""

    framework_id: str
    executor_id: str
    container_id: str


class Stopping(State):
    """The agent ends once nothing runs.

    reason      for the log
    leaves      it says goodbye to the master, once its last updates are acknowledged or `until` is past
    waiting     who asked for it
    """

    reason: str
    leaves: bool
    until: float | None = None
    waiting: list[Request] = msgspec.field(default_factory=list)


class AgentState(State):
    """All of an agent; what is not a default after a restart comes from its journal.

    agent_id           empty before the first admission
    containers         container id: framework id and executor id
    sandboxes          ``framework id/task id``: where its files lie, the latest `SANDBOXES_REMEMBERED`
    master             where the leading master is said to be
    leader             the master that has registered this agent; None while it is not registered
    linked             the master's end will be told
    attempts, timer    of the registration; `ping_timer` of the master's silence
    containerizer      that was attached to, its life included
    ready              the containerizer is attached and has said what runs
    recovered          that has happened at least once: the agent may register
    containerizer_attempts, containerizer_timer  of the attachment
    not_isolated       what this host cannot isolate
    gpus               that its containerizer can grant
    """

    settings: AgentSettings
    agent_id: str = ""
    frameworks: dict[str, Framework] = msgspec.field(default_factory=dict)
    containers: dict[str, tuple[str, str]] = msgspec.field(default_factory=dict)
    sandboxes: dict[str, Sandbox] = msgspec.field(default_factory=dict)
    master: PID | None = None
    leader: PID | None = None
    linked: bool = False
    attempts: int = 0
    timer: TimerId = 0
    ping_timeout_seconds: float = 0.0
    ping_timer: TimerId = 0
    containerizer: PID | None = None
    ready: bool = False
    recovered: bool = False
    containerizer_attempts: int = 0
    containerizer_timer: TimerId = 0
    not_isolated: tuple[str, ...] = ()
    gpus: int = 0
    stopping: Stopping | None = None

    def executor(self, framework_id: str, executor_id: str) -> Executor | None:
        """The executor of these ids."""
        framework = self.frameworks.get(framework_id)
        return framework.executors.get(executor_id) if framework is not None else None

    def executors(self) -> list[Executor]:
        """All of them."""
        return [executor for framework in self.frameworks.values() for executor in framework.executors.values()]

    def task(self, framework_id: str, task_id: str) -> TaskRun | None:
        """The task of these ids."""
        framework = self.frameworks.get(framework_id)
        return framework.tasks.get(task_id) if framework is not None else None

    def tasks_of(self, executor: Executor) -> list[TaskRun]:
        """The tasks of an executor that have not ended."""
        tasks = self.frameworks[executor.framework_id].tasks
        if executor.info is None:
            run = tasks.get(executor.executor_id)
            return [] if run is None or run.task.latest_state.is_terminal else [run]
        return [
            run
            for run in tasks.values()
            if run.executor_id == executor.executor_id and not run.task.latest_state.is_terminal
        ]
