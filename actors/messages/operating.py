"""Operators' tools and the cluster: questions about its state, and the few things that are done by hand.

Every question is an ask; answers are snapshots. What a tool asks a master is about the cluster, what it asks an agent
(at the address that the master names) is about one sandbox.
"""

from __future__ import annotations

from typing import ClassVar

from actors.messages.records import AgentInfo, FrameworkInfo, MasterInfo, Offer, Record, Task
from allocator.resources import EMPTY, Resources
from runtime.message import Message, Overflow


class Question(Message, frozen=True, kw_only=True):
    """Tool -> master or agent."""


class Answer(Message, frozen=True, kw_only=True):
    """Master or agent -> tool."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class Refusal(Answer, frozen=True, kw_only=True):
    """The question cannot be answered, or the request not carried out: a sentence for the user."""

    message: str


class GetMaster(Question, frozen=True, kw_only=True):
    """Who leads? Answered by :class:`MasterState`."""


class MasterState(Answer, frozen=True, kw_only=True):
    """The leading master. recovered: it has read the registry and speaks."""

    master: MasterInfo
    recovered: bool = True
    started_at: float = 0.0
    agents: int = 0
    frameworks: int = 0


class AgentSummary(Record, frozen=True, kw_only=True):
    """An agent as the master knows it.

    state  ``active``, ``disconnected``, ``unreachable``, ``recovered`` or ``gone``
    """

    info: AgentInfo
    state: str
    registered_at: float = 0.0
    used: Resources = EMPTY
    offered: Resources = EMPTY
    tasks: int = 0


class FrameworkSummary(Record, frozen=True, kw_only=True):
    """A framework as the master knows it.

    state  ``active``, ``inactive``, ``disconnected``, ``recovered`` or ``completed``
    """

    info: FrameworkInfo
    state: str
    registered_at: float = 0.0
    used: Resources = EMPTY
    offered: Resources = EMPTY
    tasks: int = 0
    dominant_share: float = 0.0


class GetAgents(Question, frozen=True, kw_only=True):
    """Answered by :class:`Agents`."""


class Agents(Answer, frozen=True, kw_only=True):
    """All agents that the master knows."""

    agents: tuple[AgentSummary, ...]


class GetFrameworks(Question, frozen=True, kw_only=True):
    """Answered by :class:`Frameworks`; with the completed ones if asked."""

    completed: bool = False


class Frameworks(Answer, frozen=True, kw_only=True):
    """All frameworks."""

    frameworks: tuple[FrameworkSummary, ...]


class GetTasks(Question, frozen=True, kw_only=True):
    """Answered by :class:`Tasks`. An empty field means any; `task_prefix` matches the beginning of an id."""

    framework_id: str = ""
    task_prefix: str = ""
    completed: bool = False


class Tasks(Answer, frozen=True, kw_only=True):
    """The tasks that match: live ones, then completed ones, newest first."""

    tasks: tuple[Task, ...]


class GetOffers(Question, frozen=True, kw_only=True):
    """Answered by :class:`OutstandingOffers`."""


class OutstandingOffers(Answer, frozen=True, kw_only=True):
    """Offers that frameworks hold."""

    offers: tuple[Offer, ...]


class KillTaskByOperator(Question, frozen=True, kw_only=True):
    """End a task of any framework; answered by :class:`Done` when the kill is on its way, or :class:`Refusal`."""

    task_id: str
    framework_id: str = ""


class TeardownFramework(Question, frozen=True, kw_only=True):
    """End a framework and all its tasks; answered by :class:`Done` or :class:`Refusal`."""

    framework_id: str


class StopAgent(Question, frozen=True, kw_only=True):
    """Tool -> agent: end; answered by :class:`Done` just before it does, or :class:`Refusal`.

    drain  kill its tasks first, report their ends, and leave the cluster; otherwise they run on, and the next agent on
           that machine takes them over
    """

    drain: bool = False


class Done(Answer, frozen=True, kw_only=True):
    """It was done, or is on its way."""


class ReadSandbox(Question, frozen=True, kw_only=True):
    """Tool -> agent: read a file of a task's sandbox from `offset`; negative: so many bytes before its end.

    path          relative to the sandbox: ``stdout``, ``stderr`` or any other; never outside it
    limit_bytes   at most
    """

    framework_id: str
    task_id: str
    path: str = "stdout"
    offset: int = 0
    limit_bytes: int = 65_536


class SandboxChunk(Answer, frozen=True, kw_only=True):
    """Bytes of a file: `offset` is where they begin, `size_bytes` that of the file; more may come unless `ended`."""

    offset: int
    data: bytes
    size_bytes: int
    ended: bool
