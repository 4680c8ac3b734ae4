"""Agent and master: admission, liveness, and what is told when either comes back.

An agent dials the master, links to it and sends :class:`RegisterAgent` again and again, with backoff, until
:class:`AgentRegistered` comes: the master has then written its admission to the registry. An agent that has an id,
because it was restarted or lost its master, sends :class:`ReregisterAgent` with all that runs on it. The master pings
each agent; five unanswered pings make it unreachable, and it may come back with its tasks (Mesos:
`src/master/master.cpp`).
"""

from __future__ import annotations

from typing import ClassVar

from actors.messages.records import AgentInfo, ExecutorState, FrameworkInfo, MasterInfo, Task
from allocator.resources import Resources
from runtime.message import Message, Overflow


class RegisterAgent(Message, frozen=True, kw_only=True):
    """Agent -> master: admit me. Repeated, with backoff, until :class:`AgentRegistered`."""

    overflow: ClassVar[Overflow] = Overflow.DROP

    agent: AgentInfo


class ReregisterAgent(Message, frozen=True, kw_only=True):
    """Agent -> master: I am back, and this runs here. Repeated until :class:`AgentReregistered`.

    tasks       those that are not both terminal and acknowledged
    frameworks  of those tasks and executors
    """

    overflow: ClassVar[Overflow] = Overflow.DROP

    agent: AgentInfo
    tasks: tuple[Task, ...] = ()
    executors: tuple[ExecutorState, ...] = ()
    frameworks: tuple[FrameworkInfo, ...] = ()


class AgentRegistered(Message, frozen=True, kw_only=True):
    """Master -> agent: you are admitted under this id; it is in the registry.

    ping_timeout_seconds  without a ping for so long, look for the master again
    """

    overflow: ClassVar[Overflow] = Overflow.NEVER

    agent_id: str
    master: MasterInfo
    ping_timeout_seconds: float


class AgentReregistered(Message, frozen=True, kw_only=True):
    """Master -> agent: you are back.

    missing  pairs (framework id, task id) that the master knows and the agent did not name: it answers each that it
             really lacks with a DROPPED update
    """

    overflow: ClassVar[Overflow] = Overflow.NEVER

    agent_id: str
    master: MasterInfo
    ping_timeout_seconds: float
    missing: tuple[tuple[str, str], ...] = ()


class AgentRefused(Message, frozen=True, kw_only=True):
    """Master -> agent: not admitted; `reason` says why and what to do.

    shutdown  the agent ends with all its tasks; otherwise it ends, and they go on
    """

    overflow: ClassVar[Overflow] = Overflow.NEVER

    reason: str
    shutdown: bool = False


class PingAgent(Message, frozen=True, kw_only=True):
    """Master -> agent, every 15 s. connected False: the master has lost you, register again."""

    overflow: ClassVar[Overflow] = Overflow.DROP

    connected: bool


class PongAgent(Message, frozen=True, kw_only=True):
    """Agent -> master: alive."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    agent_id: str


class UpdateAgentResources(Message, frozen=True, kw_only=True):
    """Agent -> master: my total has changed."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    agent_id: str
    total: Resources


class UnregisterAgent(Message, frozen=True, kw_only=True):
    """Agent -> master: I am leaving for good, nothing runs here any more."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    agent_id: str
