"""Typed messages: frozen structs, tagged with their name, encoded as MessagePack maps.

A message changes only by added fields with defaults; a changed meaning is a new message. Unknown fields are ignored and
missing ones take their defaults, so that neighbouring versions understand one another during a rolling upgrade.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, ClassVar, Final, TypeAlias, TypeVar

import msgspec

from runtime.errors import ActorError
from runtime.pid import PID

C = TypeVar("C", bound="Message")


class Overflow(enum.Enum):
    """What happens to a message when its receiver's mailbox is full."""

    DROP = "drop"
    """Dropped and counted: the sender repeats it anyway (pings, periodic reports)."""
    REFUSE = "refuse"
    """The sender gets :class:`Busy`, which names the message's type."""
    NEVER = "never"
    """Accepted all the same: the protocol bounds how many there can be (answers, acknowledgements)."""


SECRET: Final = msgspec.Meta(extra={"secret": True})
"""Marks a field whose value never reaches a trace, a recording, a log or a crash report."""

Secret: TypeAlias = Annotated[str, SECRET]
"""A string that is secret: ``password: Secret``."""

_declared: list[type[Message]] = []


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    """Base of everything that travels between actors.

    Subclass with ``frozen=True, kw_only=True`` spelled out (type checkers want it). The class name is the tag on the
    wire; a package that serves others prefixes its own: ``class AllocatorMessage(Message, tag="allocator.{}".format)``.
    A class that has subclasses is a base and never travels itself. Nothing reachable from a message changes once sent.
    """

    overflow: ClassVar[Overflow] = Overflow.REFUSE

    local: ClassVar[bool] = False
    """Whether it is only for actors of its own node (timers, words of an actor to itself): refused from any other."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Remember the class: its tag is known only once msgspec has finished it."""
        super().__init_subclass__(**options)
        _declared.append(cls)


def tag_of(message_type: type[Message]) -> str:
    """The name of a message type on the wire."""
    return str(message_type.__struct_config__.tag)


def declared_count() -> int:
    """How many classes derive from :class:`Message` so far: a codec older than that must be rebuilt."""
    return len(_declared)


def message_types() -> dict[str, type[Message]]:
    """Every message type that this process knows, by tag.

    Raises :class:`ActorError` when two modules use one tag for two types.
    """
    types: dict[str, type[Message]] = {}
    for cls in _declared:
        if cls.__subclasses__():
            continue
        tag = tag_of(cls)
        other = types.setdefault(tag, cls)
        if other is not cls:
            raise ActorError(
                f"two message types are called {tag!r}: {other.__module__} and {cls.__module__}; "
                f"rename one, or give its package a prefix with tag='package.{{}}'.format"
            )
    return types


class Started(Message, frozen=True, kw_only=True, tag="node.Started"):
    """First message of an actor's life, from itself; handled by :meth:`runtime.actor.Actor.started`."""

    overflow: ClassVar[Overflow] = Overflow.NEVER
    local: ClassVar[bool] = True


class Exited(Message, frozen=True, kw_only=True, tag="node.Exited"):
    """A linked actor is gone. Comes once per link, after every message that came from it.

    pid     as it was linked
    reason  a short text: ``stopped``, ``failed: …``, ``no such actor``, ``session lost: …``
    """

    overflow: ClassVar[Overflow] = Overflow.NEVER
    local: ClassVar[bool] = True

    pid: PID
    reason: str


class Terminate(Message, frozen=True, kw_only=True, tag="node.Terminate"):
    """The process is asked to end: finish what must be finished, then stop. Overtakes what waits in the mailbox.

    Only those actors that the node itself supervises and that handle it get it. When they have stopped, or after
    `deadline_seconds`, everything is stopped.
    """

    overflow: ClassVar[Overflow] = Overflow.NEVER
    local: ClassVar[bool] = True

    deadline_seconds: float


class Busy(Message, frozen=True, kw_only=True, tag="node.Busy"):
    """The receiver's mailbox was full: the message of this type was refused, try again later."""

    overflow: ClassVar[Overflow] = Overflow.DROP

    message_type: str


class AskFailed(Message, frozen=True, kw_only=True, tag="node.AskFailed"):
    """What an ask gets instead of an answer.

    reason  ``timeout``, ``busy``, ``refused``, or why the receiver is out of reach
    """

    overflow: ClassVar[Overflow] = Overflow.NEVER

    reason: str


class EdgeFailed(Message, frozen=True, kw_only=True, tag="node.EdgeFailed"):
    """A coroutine of an edge actor raised; says which and what; the log has the traceback of what was not foreseen."""

    overflow: ClassVar[Overflow] = Overflow.NEVER
    local: ClassVar[bool] = True

    task: str
    error: str
