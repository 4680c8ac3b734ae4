"""What the actors of one agent say to one another; none of it leaves the process."""

from __future__ import annotations

from typing import Annotated, ClassVar

from actors.agent.records import ExecutorEnding
from actors.messages.records import Reason, TaskState
from containerizer.messages import ContainerExited
from containerizer.spec import ContainerSpec
from runtime.message import SECRET, Message, Overflow
from runtime.pid import PID


class AgentEvent(Message, frozen=True, kw_only=True, tag="agent.{}".format):
    """Base of all of them."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


# Timers ---------------------------------------------------------------------------------------------------------------


class TryRegistration(AgentEvent, frozen=True, kw_only=True):
    """Time for the next attempt."""


class MasterSilent(AgentEvent, frozen=True, kw_only=True):
    """No ping came for too long."""


class RetryUpdate(AgentEvent, frozen=True, kw_only=True):
    """An update was not acknowledged in time."""

    framework_id: str
    task_id: str
    uuid: str


class TryContainerizer(AgentEvent, frozen=True, kw_only=True):
    """Time to attach again."""


class ExecutorOverdue(AgentEvent, frozen=True, kw_only=True):
    """The executor in that container has not done in time what it had to.

    state, reason, message  what becomes of its tasks
    """

    container_id: str
    state: TaskState
    message: str
    reason: Reason | None = None


class FarewellOver(AgentEvent, frozen=True, kw_only=True):
    """Nobody has acknowledged the last updates in time."""


# Agent and the executor of a command task -----------------------------------------------------------------------------


class ContainerStarted(AgentEvent, frozen=True, kw_only=True):
    """Agent -> command executor: the command runs, since that time (seconds since the epoch)."""

    started_at: float


class ContainerEnded(AgentEvent, frozen=True, kw_only=True):
    """Agent -> command executor: nothing of the container is left. ending: what the agent had in mind, if anything."""

    exited: ContainerExited
    ending: ExecutorEnding | None = None


class EndContainer(AgentEvent, frozen=True, kw_only=True):
    """Command executor -> agent: end the container.

    grace_seconds  between SIGTERM and SIGKILL
    state, reason, message  what the task is then
    """

    container_id: str
    grace_seconds: float
    state: TaskState = TaskState.KILLED
    reason: Reason | None = None
    message: str = ""


# Agent and its edges --------------------------------------------------------------------------------------------------


class EdgeRefused(AgentEvent, frozen=True, kw_only=True):
    """Edge -> agent: it could not be done; a sentence for the user."""

    message: str


class PrepareSandbox(AgentEvent, frozen=True, kw_only=True):
    """Agent -> files: make the directories above that sandbox, which the containerizer makes itself.

    Answered by :class:`SandboxPrepared` or :class:`EdgeRefused`.
    """

    path: str


class SandboxPrepared(AgentEvent, frozen=True, kw_only=True):
    """Files -> agent: they are there."""


class LocateSandbox(AgentEvent, frozen=True, kw_only=True):
    """Files -> agent: where are the files of that task? `node` asks. Answered by :class:`SandboxLocated`, or
    :class:`EdgeRefused`."""

    framework_id: str
    task_id: str
    node: str


class SandboxLocated(AgentEvent, frozen=True, kw_only=True):
    """Agent -> files: there. ended: nothing writes there any more."""

    path: str
    ended: bool


class LocateContainer(AgentEvent, frozen=True, kw_only=True):
    """Sessions -> agent: which container does that task run in? `node` asks. Answered by :class:`ContainerLocated`, or
    :class:`EdgeRefused`."""

    framework_id: str
    task_id: str
    node: str


class ContainerLocated(AgentEvent, frozen=True, kw_only=True):
    """Agent -> sessions: in this one, which that containerizer runs."""

    spec: ContainerSpec
    containerizer: PID


class AuthoriseKey(AgentEvent, frozen=True, kw_only=True):
    """Agent -> keys: make a key for that principal and let it connect. Answered by :class:`KeyAuthorised`, or
    :class:`EdgeRefused`."""

    principal: str


class KeyAuthorised(AgentEvent, frozen=True, kw_only=True):
    """Keys -> agent: it may. key: ``public:secret``, 64 hexadecimal digits each."""

    key: Annotated[str, SECRET]


class RevokeKey(AgentEvent, frozen=True, kw_only=True):
    """Agent -> keys: that principal may connect no more. Not answered."""

    principal: str
