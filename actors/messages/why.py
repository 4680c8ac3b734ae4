"""Why is it so? What each component knows of a task, a framework or an agent, as sentences.

A component joins in with one function of its state and the question, `Reasoner`, and a handler that replies with
:class:`Because`. A tool asks every component that may know, and shows what they say; one that does not handle the
question is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias

from actors.messages.operating import Answer, Question
from actors.messages.records import Record

Subject: TypeAlias = Literal["task", "framework", "agent"]


class Why(Question, frozen=True, kw_only=True):
    """Tool -> any component: why is that task, framework or agent as it is? Answered by :class:`Because`."""

    subject: Subject
    subject_id: str
    framework_id: str = ""


class Cause(Record, frozen=True, kw_only=True):
    """One thing that is so, or that led there.

    source   who says so: ``master``, ``allocator``, ``agent a1``
    code     for programs; empty for none
    text     a sentence for people, without its full stop
    at       when, in seconds since the epoch; 0 when it is so now
    trace    of the messages that led there; 0 for none
    details  behind it, as text by name
    """

    source: str
    text: str
    code: str = ""
    at: float = 0.0
    trace: int = 0
    details: tuple[tuple[str, str], ...] = ()


class Because(Answer, frozen=True, kw_only=True):
    """What a component knows: the most important cause first."""

    causes: tuple[Cause, ...]


Reasoner: TypeAlias = Callable[[Any, Why], Iterable[Cause]]
"""What a component knows: a pure function of its state and a question."""
