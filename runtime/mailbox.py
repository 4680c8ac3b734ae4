"""One actor on its node: the mailbox, and everything the node keeps beside the actor itself."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any, Final

import msgspec

from runtime.actor import Actor, Delivery, Handler
from runtime.clock import Handle
from runtime.constants import MAILBOX_MESSAGES
from runtime.effects import TimerId
from runtime.journal import Journal
from runtime.message import Message, tag_of
from runtime.pid import PID
from runtime.supervision import Supervision

CRASHES_REFUSED: Final = 2
"""A message that crashed its actor this often is refused at the door."""

CRASHES_REMEMBERED: Final = 64
"""Messages remembered by an actor that crashes: the oldest is forgotten first."""

COMPACT_AT_BYTES: Final = 4 * 1024 * 1024
"""A journal smaller than this is not worth rewriting; beyond it, it is rewritten each time it has doubled."""


class PendingAsk(msgspec.Struct, gc=False):
    """An ask that waits: whom it asked, where its answer goes, the timer that ends it, and the trace it belongs to."""

    to: PID
    then: str
    context: msgspec.Struct | None
    timeout: Handle
    trace: int = 0


class Watcher(msgspec.Struct, gc=False, frozen=True):
    """Who wants to know of an actor's end.

    watcher  the actor that linked
    linked   the pid as it was linked, which Exited repeats
    life     of the watcher when it linked: after a restart it knows nothing of its links
    """

    watcher: PID
    linked: PID
    life: int


class Cell:
    """What a node keeps of one actor, across its restarts.

    queue      the mailbox
    bound      of the mailbox, in messages
    scheduled  whether the cell is in the run queue
    ended      no more turns: stopped, or failed and waiting for its restart
    closed     timers, asks, children and what an edge holds are gone
    barrier    ticket of the last persisted record; sends wait until it is durable
    compact_at size of the journal, in bytes, at which it is worth rewriting
    life       which of all lives on the node this is
    fired      the trace that the last timer of each message type fired in
    answered   the last answer that was handled: its span, and the ask that it answered (recordings need it)
    """

    __slots__ = (
        "actor",
        "actor_class",
        "answered",
        "asks",
        "barrier",
        "bound",
        "children",
        "closed",
        "compact_at",
        "crashed_on",
        "crashes",
        "ended",
        "fired",
        "handlers",
        "journal",
        "life",
        "name",
        "parent",
        "pid",
        "queue",
        "restarting",
        "restarts",
        "scheduled",
        "state",
        "supervision",
        "timers",
        "turns",
        "watchers",
    )

    def __init__(
        self,
        pid: PID,
        actor_class: type[Actor[Any]],
        state: msgspec.Struct,
        supervision: Supervision,
        parent: Cell | None,
    ) -> None:
        """`state` is the state to start, and to restart, with: kept encoded by reference, never changed."""
        self.pid = pid
        self.name = pid.name
        self.actor_class = actor_class
        self.state = state
        self.supervision = supervision
        self.parent = parent
        self.children: dict[str, Cell] = {}
        self.handlers: dict[type[Message], Handler] = actor_class.handlers
        self.bound = actor_class.mailbox_messages or MAILBOX_MESSAGES
        self.queue: deque[Delivery] = deque()
        self.actor: Actor[Any]
        self.scheduled = False
        self.ended = True
        self.closed = True
        self.asks: dict[int, PendingAsk] = {}
        self.answered: tuple[int, PendingAsk] | None = None
        self.timers: dict[TimerId, Handle] = {}
        self.fired: dict[type[Message], int] = {}
        self.watchers: dict[Watcher, None] = {}
        self.crashes: dict[bytes, int] = {}
        self.crashed_on: set[type[Message]] = set()
        self.restarts: list[float] = []
        self.restarting: Handle | None = None
        self.journal: Journal | None = None
        self.barrier = 0
        self.compact_at = COMPACT_AT_BYTES
        self.life = 0
        self.turns = 0

    def remember_crash(self, message: Message) -> None:
        """Count a message that crashed the actor."""
        key = fingerprint(message)
        if not key:
            return
        self.crashed_on.add(type(message))
        self.crashes[key] = self.crashes.pop(key, 0) + 1
        while len(self.crashes) > CRASHES_REMEMBERED:
            del self.crashes[next(iter(self.crashes))]

    def is_poison(self, message: Message) -> bool:
        """Whether this message has crashed the actor too often to be let in again."""
        return type(message) in self.crashed_on and self.crashes.get(fingerprint(message), 0) >= CRASHES_REFUSED

    def clear(self) -> None:
        """Call off timers and asks; the mailbox stays."""
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()
        for pending in self.asks.values():
            pending.timeout.cancel()
        self.asks.clear()


def fingerprint(message: Message) -> bytes:
    """Names a message by content, the same in every process; empty for one that cannot be encoded."""
    try:
        encoded = msgspec.msgpack.encode(message)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return b""
    return hashlib.blake2b(encoded, digest_size=16, person=tag_of(type(message)).encode()[:16]).digest()


def is_ask(span: int) -> bool:
    """Whether the message of that span waits for an answer (asks have odd spans)."""
    return bool(span & 1)
