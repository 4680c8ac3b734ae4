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


class PendingAsk(msgspec.Struct, gc=False):
    """An ask that waits: whom it asked, where its answer goes, and the timer that ends it."""

    to: PID
    then: str
    context: msgspec.Struct | None
    timeout: Handle


class Watcher(msgspec.Struct, gc=False, frozen=True):
    """Who wants to know of an actor's end.

    watcher  the actor that linked
    linked   the pid as it was linked, which Exited repeats
    """

    watcher: PID
    linked: PID


class Cell:
    """What a node keeps of one actor, across its restarts.

    queue      the mailbox
    bound      of the mailbox, in messages
    scheduled  whether the cell is in the run queue
    ended      no more turns: stopped, or failed and waiting for its restart
    barrier    ticket of the last persisted record; sends wait until it is durable
    life       counts the restarts
    """

    __slots__ = (
        "actor",
        "actor_class",
        "asks",
        "barrier",
        "bound",
        "children",
        "crashes",
        "ended",
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
        "stopping",
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
        self.ended = False
        self.stopping = ""
        self.asks: dict[int, PendingAsk] = {}
        self.timers: dict[TimerId, Handle] = {}
        self.watchers: dict[Watcher, None] = {}
        self.crashes: dict[bytes, int] = {}
        self.restarts: list[float] = []
        self.restarting: Handle | None = None
        self.journal: Journal | None = None
        self.barrier = 0
        self.life = 0
        self.turns = 0

    def remember_crash(self, message: Message) -> None:
        """Count a message that crashed the actor."""
        key = fingerprint(message)
        self.crashes[key] = self.crashes.pop(key, 0) + 1
        while len(self.crashes) > CRASHES_REMEMBERED:
            del self.crashes[next(iter(self.crashes))]

    def is_poison(self, message: Message) -> bool:
        """Whether this message has crashed the actor too often to be let in again."""
        return self.crashes.get(fingerprint(message), 0) >= CRASHES_REFUSED

    def clear(self) -> None:
        """Call off timers and asks; the mailbox stays."""
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()
        for pending in self.asks.values():
            pending.timeout.cancel()
        self.asks.clear()


def fingerprint(message: Message) -> bytes:
    """Names a message by content, the same in every process."""
    encoded = msgspec.msgpack.encode(message)
    return hashlib.blake2b(encoded, digest_size=16, person=tag_of(type(message)).encode()[:16]).digest()


def is_ask(span: int) -> bool:
    """Whether the message of that span waits for an answer (asks have odd spans)."""
    return bool(span & 1)
