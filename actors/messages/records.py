"""What the conversations of a cluster are about: agents, frameworks, executors, tasks and their states.

The words and their meaning are those of Mesos's `include/mesos/v1/mesos.proto`; every record is immutable. Later fields
come last and have a default.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final

import msgspec

from allocator.resources import EMPTY, Resources
from runtime.message import SECRET
from runtime.pid import PID


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of the records: frozen, fields by name, unknown ones ignored."""


class TaskState(enum.Enum):
    """Where a task is in its life (Mesos's `TaskState`, without the prefix ``TASK_``)."""

    STAGING = "STAGING"
    """Known to the master, not yet heard of from an executor."""
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    KILLING = "KILLING"
    UNREACHABLE = "UNREACHABLE"
    """Its agent is; it may come back with the task running."""
    UNKNOWN = "UNKNOWN"
    """Neither the task nor its agent is known."""
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"
    ERROR = "ERROR"
    """The task as described cannot be run."""
    LOST = "LOST"
    """For frameworks that do not tell partitions apart."""
    DROPPED = "DROPPED"
    """It never started."""
    GONE = "GONE"
    """Its agent is there and does not have it."""
    GONE_BY_OPERATOR = "GONE_BY_OPERATOR"

    __hash__ = object.__hash__  # `Enum` hashes names, in Python: states are looked up for every message

    is_terminal: bool
    """Whether nothing follows (see TERMINAL); an attribute, because it is asked a dozen times for every update."""


TERMINAL: Final = frozenset(
    {
        TaskState.FINISHED,
        TaskState.FAILED,
        TaskState.KILLED,
        TaskState.ERROR,
        TaskState.LOST,
        TaskState.DROPPED,
        TaskState.GONE,
        TaskState.GONE_BY_OPERATOR,
    }
)
"""States that end a task; its resources are free then (`src/common/protobuf_utils.cpp`, isTerminalState)."""

for _state in TaskState:
    _state.is_terminal = _state in TERMINAL

_AFTER_START: Final = frozenset({TaskState.KILLING, TaskState.UNREACHABLE}) | TERMINAL

TRANSITIONS: Final[Mapping[TaskState, frozenset[TaskState]]] = MappingProxyType(
    {
        TaskState.STAGING: frozenset({TaskState.STARTING, TaskState.RUNNING}) | _AFTER_START,
        TaskState.STARTING: frozenset({TaskState.RUNNING}) | _AFTER_START,
        TaskState.RUNNING: frozenset({TaskState.RUNNING}) | _AFTER_START,
        TaskState.KILLING: frozenset({TaskState.UNREACHABLE}) | TERMINAL,
        TaskState.UNREACHABLE: frozenset({TaskState.STAGING, TaskState.STARTING, TaskState.RUNNING}) | _AFTER_START,
    }
)
"""Legal changes of a task's state; a terminal state has none."""


class Source(enum.Enum):
    """Who speaks in a task's status."""

    MASTER = "MASTER"
    AGENT = "AGENT"
    EXECUTOR = "EXECUTOR"


class Reason(enum.Enum):
    """Why a task is in its state (Mesos's `TaskStatus.Reason`, without the prefix ``REASON_``)."""

    COMMAND_EXECUTOR_FAILED = "COMMAND_EXECUTOR_FAILED"
    CONTAINER_LAUNCH_FAILED = "CONTAINER_LAUNCH_FAILED"
    CONTAINER_LIMITATION = "CONTAINER_LIMITATION"
    CONTAINER_LIMITATION_DISK = "CONTAINER_LIMITATION_DISK"
    CONTAINER_LIMITATION_MEMORY = "CONTAINER_LIMITATION_MEMORY"
    EXECUTOR_REGISTRATION_TIMEOUT = "EXECUTOR_REGISTRATION_TIMEOUT"
    EXECUTOR_REREGISTRATION_TIMEOUT = "EXECUTOR_REREGISTRATION_TIMEOUT"
    EXECUTOR_TERMINATED = "EXECUTOR_TERMINATED"
    FRAMEWORK_REMOVED = "FRAMEWORK_REMOVED"
    GC_ERROR = "GC_ERROR"
    INVALID_OFFERS = "INVALID_OFFERS"
    MASTER_DISCONNECTED = "MASTER_DISCONNECTED"
    MAX_COMPLETION_TIME_REACHED = "MAX_COMPLETION_TIME_REACHED"
    RECONCILIATION = "RECONCILIATION"
    AGENT_DISCONNECTED = "AGENT_DISCONNECTED"
    AGENT_DRAINING = "AGENT_DRAINING"
    AGENT_REMOVED = "AGENT_REMOVED"
    AGENT_REMOVED_BY_OPERATOR = "AGENT_REMOVED_BY_OPERATOR"
    AGENT_REREGISTERED = "AGENT_REREGISTERED"
    AGENT_RESTARTED = "AGENT_RESTARTED"
    AGENT_UNKNOWN = "AGENT_UNKNOWN"
    TASK_INVALID = "TASK_INVALID"
    TASK_KILLED_DURING_LAUNCH = "TASK_KILLED_DURING_LAUNCH"
    TASK_UNKNOWN = "TASK_UNKNOWN"


class CommandInfo(Record, frozen=True, kw_only=True):
    """What to execute. Exactly one of `shell` and `argv` is given.

    shell        text for ``/bin/sh -c``
    argv         program and arguments
    environment  pairs of name and value; nothing else is inherited
    secrets      environment variables whose values are shown nowhere
    user         to run as; empty for the framework's
    tty          a terminal in place of standard input, output and error: `kaon attach` gets to it
    interactive  standard input is a pipe, which `kaon attach` writes to
    """

    shell: str = ""
    argv: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    secrets: Annotated[tuple[tuple[str, str], ...], SECRET] = ()
    user: str = ""
    tty: bool = False
    interactive: bool = False


class ExecutorInfo(Record, frozen=True, kw_only=True):
    """A process on an agent that runs tasks of one framework.

    executor_id  unique within framework and agent
    command      starts it; it dials the agent at ``KAON_AGENT_ENDPOINT`` (see `actors.executor`)
    resources    charged once, with its first task
    shutdown_grace_seconds  between a shutdown and its container's end
    """

    executor_id: str
    command: CommandInfo
    name: str = ""
    resources: Resources = EMPTY
    data: bytes = b""
    shutdown_grace_seconds: float = 5.0
    labels: tuple[tuple[str, str], ...] = ()


class TaskInfo(Record, frozen=True, kw_only=True):
    """A task to run: with a `command` it is the container's process itself, with an `executor` that runs it.

    task_id      unique within the framework while the task lives
    agent_id     of the offer that it is launched from
    resources    part of that offer
    data         for the executor, opaque
    kill_grace_seconds      between SIGTERM and SIGKILL
    max_completion_seconds  then it is killed, and has failed; None for no bound
    """

    task_id: str
    agent_id: str
    resources: Resources
    name: str = ""
    command: CommandInfo | None = None
    executor: ExecutorInfo | None = None
    data: bytes = b""
    labels: tuple[tuple[str, str], ...] = ()
    kill_grace_seconds: float = 3.0
    max_completion_seconds: float | None = None


class TaskStatus(Record, frozen=True, kw_only=True):
    """One thing that is known about a task.

    uuid       of the update that must be acknowledged; empty for those that must not (reconciliation, master's own)
    message    for people
    data       from the executor, opaque
    timestamp  seconds since the epoch, by the clock of `source`
    exit_code  of a command that ended by itself, 127 of one that cannot be executed; None otherwise
    signal     that ended a command; None if none did, or if it is not known
    """

    task_id: str
    state: TaskState
    source: Source
    reason: Reason | None = None
    message: str = ""
    data: bytes = b""
    agent_id: str = ""
    executor_id: str = ""
    timestamp: float = 0.0
    uuid: str = ""
    healthy: bool | None = None
    unreachable_since: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    container_id: str = ""


class FrameworkInfo(Record, frozen=True, kw_only=True):
    """Who a framework is.

    framework_id  empty to be given one
    roles         in which it wants offers
    failover_timeout_seconds  how long its tasks live on while no scheduler of it is connected (Mesos: 0 by default,
                  which kills them at the first blip; Kaon: a week, as Mesos's guide recommends)
    capabilities  such as ``PARTITION_AWARE``, ``GPU_RESOURCES`` (Mesos's names)
    user          that tasks run as, unless they say otherwise; empty for the agent's choice
    """

    name: str
    framework_id: str = ""
    roles: tuple[str, ...] = ("*",)
    user: str = ""
    failover_timeout_seconds: float = 604_800.0
    capabilities: tuple[str, ...] = ("PARTITION_AWARE", "MULTI_ROLE", "TASK_KILLING_STATE")
    hostname: str = ""
    webui_url: str = ""
    principal: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    weight: float | None = None


class AgentInfo(Record, frozen=True, kw_only=True):
    """Who an agent is, and what it has to offer.

    agent_id    given by the master; empty before
    attributes  pairs of name and text, as in ``rack:a;disk:ssd``
    address     where tools reach its node (``tcp://host:port?key=...``)
    http_address  of its HTTP endpoint; empty for none
    """

    hostname: str
    resources: Resources
    agent_id: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    address: str = ""
    http_address: str = ""
    version: str = ""
    capabilities: tuple[str, ...] = ()
    not_isolated: tuple[str, ...] = ()


class MasterInfo(Record, frozen=True, kw_only=True):
    """Who a master is.

    master_id    random, new at each start
    address      of its node; `public_key` is its CURVE key (64 hex digits), empty when insecure
    """

    master_id: str
    hostname: str = ""
    address: str = ""
    http_address: str = ""
    public_key: str = ""
    version: str = ""
    epoch: int = 0


class Offer(Record, frozen=True, kw_only=True):
    """Resources of one agent offered to one framework in one role.

    executor_ids  of the framework's executors that run there
    """

    offer_id: str
    framework_id: str
    role: str
    agent_id: str
    hostname: str
    resources: Resources
    attributes: tuple[tuple[str, str], ...] = ()
    executor_ids: tuple[str, ...] = ()


class Task(Record, frozen=True, kw_only=True):
    """A task as master and agent know it: what it is, where it runs, what was last said of it.

    role            whose resources it uses
    latest_state    at the agent; `status_state` is the newest that was sent to the framework
    """

    info: TaskInfo
    framework_id: str
    role: str
    latest_state: TaskState = TaskState.STAGING
    statuses: tuple[TaskStatus, ...] = ()
    status_uuid: str = ""
    status_state: TaskState | None = None

    @property
    def task_id(self) -> str:
        """Of its info."""
        return self.info.task_id


class ExecutorState(Record, frozen=True, kw_only=True):
    """An executor that runs on an agent, as the agent tells the master."""

    info: ExecutorInfo
    framework_id: str
    role: str
    pid: PID | None = None
