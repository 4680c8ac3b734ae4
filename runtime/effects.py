"""What a turn does: a handler changes its state and fills an outbox with these, and nothing else happens.

Every effect is plain data, so that a test can assert it, a tracer can show it and a replay can compare it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from runtime.message import Message
from runtime.pid import PID
from runtime.supervision import Supervision

TimerId: TypeAlias = int
"""Names a timer of one actor; never used twice in an actor's life."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """What is needed to answer a message, now or in a later turn: keep it in the state if the answer must wait.

    sender  who waits
    span    of the message to answer; an ask finds its continuation by it
    trace   that the answer belongs to
    """

    sender: PID
    span: int = 0
    trace: int = 0


class Send(msgspec.Struct, frozen=True, gc=False):
    """A message to another actor: at most once, in order per sender and receiver."""

    to: PID
    message: Message


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A message whose answer, or :class:`AskFailed`, goes to the method named `then` with `context`."""

    to: PID
    message: Message
    then: str
    context: msgspec.Struct | None = None
    timeout_seconds: float = 30.0


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer to `request`."""

    request: Request
    message: Message


class After(msgspec.Struct, frozen=True, gc=False):
    """`message` comes to this actor itself, from itself, in `delay_seconds`."""

    timer: TimerId
    delay_seconds: float
    message: Message


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """That timer never fires; no error if it has."""

    timer: TimerId


class Link(msgspec.Struct, frozen=True, gc=False):
    """Tell me with :class:`Exited`, once, when that actor is gone."""

    pid: PID


class Spawn(msgspec.Struct, frozen=True, gc=False):
    """Start an actor on this node; it is stopped before the actor that spawned it."""

    name: str
    actor_class: type[Any]
    state: msgspec.Struct
    supervision: Supervision


class Persist(msgspec.Struct, frozen=True, gc=False):
    """Append `record` to this actor's journal; what this turn and later ones send waits until it is durable."""

    record: msgspec.Struct


class Stop(msgspec.Struct, frozen=True, gc=False):
    """End an actor after this turn: this one, or the child of that name."""

    name: str = ""
    reason: str = "stopped"


Effect: TypeAlias = Send | Ask | Reply | After | Cancel | Link | Spawn | Persist | Stop


class Turn(msgspec.Struct, gc=False):
    """One turn: message in, effects out. What hooks observe and the flight recorder keeps.

    trace, span, parent  of the message; every message that the turn sends has this span as its parent
    received             when the message entered the mailbox, in seconds (`Clock.now`)
    started, ended       of the handler; the recorder's view of queueing and handling time
    error                the traceback when the handler raised; its effects are then void
    """

    actor: PID
    sender: PID
    message: Message
    trace: int
    span: int
    parent: int
    received: float
    started: float
    ended: float
    effects: list[Effect]
    error: str = ""
