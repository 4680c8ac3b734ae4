"""Actors: a mailbox, a state, and one plain method per message type.

::

    class Increment(Message, frozen=True, kw_only=True):
        by: int = 1

    class CounterState(State):
        count: int = 0

    class Counter(Actor[CounterState]):
        @receive(Increment)
        def increment(self, sender: PID, message: Increment) -> None:
            self.state.count += message.by
            self.reply(Count(count=self.state.count))

A turn is atomic: a handler takes one message, runs to completion without awaiting, changes `self.state`, and fills an
outbox with effects (`send`, `ask`, `after`, ...). Time is `self.now`, chance is `self.random`; both are inputs. What an
exception leaves behind is nothing: the turn's effects are void and the supervisor decides (`runtime.supervision`).
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeAlias, TypeVar, get_args, get_origin

import msgspec
from msgspec.structs import astuple, replace

from runtime.effects import After, Ask, Cancel, Effect, Link, Persist, Reply, Request, Send, Spawn, Stop, TimerId
from runtime.errors import ActorError, KaonError
from runtime.message import EdgeFailed, Exited, Message, Started
from runtime.pid import PID
from runtime.supervision import Supervision

_SHARED: Final = frozenset({str, int, float, bool, bytes, type(None), PID})
"""Types of values that never change, and need no copies."""


class State(msgspec.Struct, kw_only=True):
    """Base of an actor's state: all of it in one struct, so that it can be written, compared and replayed."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Each life of an actor begins with a copy: command tasks have an actor each."""
        own = zip(self.__struct_fields__, astuple(self), strict=True)
        copies = {name: copy.deepcopy(value, memo) for name, value in own if type(value) not in _SHARED}
        return replace(self, **copies)


S = TypeVar("S", bound=msgspec.Struct)
M = TypeVar("M", bound=Message)
A = TypeVar("A", bound="Actor[Any]")

Handler = Callable[[Any, PID, Any], None]

Delivery: TypeAlias = tuple[Message, PID, int, int, int, int, float]
"""What waits in a mailbox: message, sender, trace, span, parent, answers, received (see Envelope and Turn)."""

_HANDLES = "__kaon_handles__"

_log = logging.getLogger("kaon.edge")


def receive(message_type: type[M]) -> Callable[[Callable[[A, PID, M], None]], Callable[[A, PID, M], None]]:
    """Mark a method ``(self, sender, message)`` as the handler of `message_type`."""

    def mark(method: Callable[[A, PID, M], None]) -> Callable[[A, PID, M], None]:
        if inspect.iscoroutinefunction(method):
            raise ActorError(f"{method.__qualname__} is a coroutine: a turn does not await; see Edge.start")
        handled: tuple[type[Message], ...] = getattr(method, _HANDLES, ())
        setattr(method, _HANDLES, (*handled, message_type))
        return method

    return mark


class Actor(Generic[S]):
    """Base of every actor. Instances are made by a node; `state` is what `spawn` was given."""

    handlers: ClassVar[dict[type[Message], Handler]] = {}
    mailbox_messages: ClassVar[int | None] = None
    """Bound of the mailbox, in messages; None for the default (`constants.MAILBOX_MESSAGES`)."""

    records: ClassVar[Any] = None
    """The struct type, or union of tagged ones, of what this actor persists; None for an actor without a journal."""

    _record_types: ClassVar[frozenset[Any]] = frozenset()

    state: S
    pid: PID
    now: float
    """Time of this turn: seconds since the epoch."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Collect the handlers, inherited ones first; one message type has one handler per class."""
        super().__init_subclass__(**options)
        handlers: dict[type[Message], Handler] = {}
        for base in reversed(cls.__mro__):
            own: dict[type[Message], str] = {}
            for name, member in vars(base).items():
                for message_type in getattr(member, _HANDLES, ()):
                    if message_type in own:
                        raise ActorError(
                            f"{base.__name__} handles {message_type.__name__} twice: {own[message_type]} and {name}"
                        )
                    own[message_type] = name
                    handlers[message_type] = getattr(cls, name)
        handlers[Started] = _started
        cls.handlers = handlers
        if "records" in vars(cls):
            types = get_args(cls.records) or ((cls.records,) if cls.records is not None else ())
            cls._record_types = frozenset(types)

    def __init__(self, state: S, pid: PID, seed: str) -> None:
        """Made by the node, before the first turn."""
        self.state = state
        self.pid = pid
        self.now = 0.0
        self._seed = seed
        self._random: random.Random | None = None
        self._outbox: list[Effect] = []
        self._delivery: Delivery = (Started(), pid, 0, 0, 0, 0, 0.0)
        self._timers = 0

    # What an actor may define ----------------------------------------------------------------------------------------

    def started(self) -> None:
        """First turn of a life, after `recover`."""

    def recover(self, records: Sequence[msgspec.Struct]) -> None:
        """Rebuild the state from the journal: a snapshot first, if one was taken, then what was persisted since.

        Runs before the first turn and has no effects.
        """

    def snapshot(self) -> Sequence[msgspec.Struct] | None:
        """Records that say all that the journal says; None to keep the journal as it is. Runs between turns."""
        return None

    def unhandled(self, sender: PID, message: Message) -> None:
        """A message that has no handler: by default it becomes a dead letter, seen in metrics and log."""
        raise UnhandledMessage(f"{type(self).__name__} does not handle {type(message).__name__} (from {sender})")

    # What a handler may do -------------------------------------------------------------------------------------------

    @property
    def request(self) -> Request:
        """What to give to `reply` when the answer to this turn's message must wait."""
        _, sender, trace, span, _, _, _ = self._delivery
        return Request(sender, span, trace)

    @property
    def random(self) -> random.Random:
        """Chance: seeded by the node's seed, the actor's name, the node's incarnation and the actor's life."""
        if self._random is None:
            self._random = random.Random(self._seed)
        return self._random

    def send(self, to: PID, message: Message) -> None:
        """Send a message: at most once, in order per sender and receiver."""
        self._outbox.append(Send(to, message))

    def ask(
        self,
        to: PID,
        message: Message,
        then: Callable[[PID, Any, Any], None],
        context: msgspec.Struct | None = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        """Send a message whose answer goes to `then`, a method ``(self, sender, answer, context)`` of this actor.

        When no answer comes, `then` gets :class:`runtime.message.AskFailed`.
        """
        name = getattr(then, "__name__", "")
        if getattr(then, "__self__", None) is not self or not hasattr(self, name):
            raise ActorError(f"ask needs a method of {type(self).__name__} to go on with, not {then!r}")
        self._outbox.append(Ask(to, message, name, context, timeout_seconds))

    def reply(self, message: Message, to: Request | None = None) -> None:
        """Answer this turn's message, or the one that `to` was kept for."""
        self._outbox.append(Reply(to or self.request, message))

    def after(self, delay_seconds: float, message: Message) -> TimerId:
        """Send `message` to this actor itself in `delay_seconds`; the id cancels it."""
        self._timers += 1
        self._outbox.append(After(self._timers, delay_seconds, message))
        return self._timers

    def cancel(self, timer: TimerId) -> None:
        """Call a timer off; no error if it has fired."""
        self._outbox.append(Cancel(timer))

    def link(self, pid: PID) -> None:
        """Get :class:`Exited`, once, when the actor at `pid` is gone; at once if it does not exist."""
        self._outbox.append(Link(pid))

    def spawn(
        self, actor_class: type[Actor[Any]], name: str, state: msgspec.Struct, supervision: Supervision | None = None
    ) -> PID:
        """Start a child on this node; it ends before this actor does. A name that is taken fails this actor."""
        self._outbox.append(Spawn(name, actor_class, state, supervision or Supervision()))
        return PID(name, self.pid.node, self.pid.incarnation)

    def persist(self, record: msgspec.Struct) -> None:
        """Append `record` to this actor's journal; what this turn and later ones send waits until it is durable."""
        if type(record) not in self._record_types:
            raise ActorError(
                f"{type(self).__name__} persists {type(record).__name__}, which a recovery could not read: "
                f"name it in the `records` of the class"
            )
        self._outbox.append(Persist(record))

    def stop(self, name: str = "", reason: str = "stopped") -> None:
        """End this actor after this turn, or its child called `name`."""
        self._outbox.append(Stop(name, reason))


class UnhandledMessage(Exception):
    """Raised by `Actor.unhandled`; the node counts a dead letter and the actor lives on."""


def _started(actor: Actor[Any], sender: PID, message: Started) -> None:
    actor.started()


class EdgeContext(Protocol):
    """What a node lends to its edge actors."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that turns the node."""

    def post(self, pid: PID, message: Message, cause: Request | None = None) -> None:
        """Put a message into the mailbox of an actor of this node; from any thread. `cause` is what led to it."""


class Edge(Actor[S]):
    """An actor that touches the world: sockets, files, processes, HTTP. Its handlers are plain turns all the same.

    What must wait runs outside turns, as a coroutine on the node's loop or a callback of another thread, and comes
    back as an ordinary message from this actor to itself. Edges are recorded, never replayed.
    """

    _context: EdgeContext
    _tasks: set[asyncio.Task[None]]
    _detached: bool

    def open(self) -> None:
        """Acquire what the edge needs; runs before the first turn. An exception fails the actor."""

    def close(self) -> None:
        """Release it; runs once, after the last turn, whatever ended the actor."""

    def attach(self, context: EdgeContext) -> None:
        """Called by the node, before `open`."""
        self._context = context
        self._tasks = set()
        self._detached = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The node's loop: for `add_reader` and the like."""
        return self._context.loop

    def post(self, message: Message, cause: Request | None = None) -> None:
        """Send `message` to this actor itself; from a callback or another thread, never from a handler.

        What comes when the actor has ended is nothing for its next life: it goes nowhere.

        cause  the request that led to it (kept from `self.request`), so that a trace shows what caused what
        """
        if not self._detached:
            self._context.post(self.pid, message, cause)

    def start(self, work: Awaitable[Message | None], task: str) -> None:
        """Run a coroutine; the message it returns comes to this actor, and :class:`EdgeFailed` if it raises.

        It begins at once, whatever this turn persists, and is cancelled when the actor ends.
        """
        cause = self.request

        async def run() -> None:
            try:
                message = await work
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001  whatever a library raises becomes a message
                unforeseen = None if isinstance(error, KaonError) else error
                _log.warning("%s: %s failed: %s", self.pid, task, error, exc_info=unforeseen)
                message = EdgeFailed(task=task, error=f"{type(error).__name__}: {error}")
            if message is not None:
                self.post(message, cause)

        running = self._context.loop.create_task(run(), name=task)
        self._tasks.add(running)

        def finished(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            if inspect.iscoroutine(work):
                work.close()  # it never began if it was cancelled at once

        running.add_done_callback(finished)

    def cancel_tasks(self) -> None:
        """Called by the node when the actor has ended."""
        self._detached = True
        for task in tuple(self._tasks):
            task.cancel()


def state_type(actor_class: type[Actor[Any]]) -> type[msgspec.Struct]:
    """The struct type that an actor class was declared with: ``Actor[CounterState]`` gives ``CounterState``."""
    for base in actor_class.__mro__:
        for generic in getattr(base, "__orig_bases__", ()):
            origin = get_origin(generic)
            if isinstance(origin, type) and issubclass(origin, Actor):
                (argument,) = get_args(generic)
                if isinstance(argument, type):
                    return argument
    raise ActorError(f"{actor_class.__name__} does not name its state: write class {actor_class.__name__}(Actor[...])")


__all__ = ["Actor", "Edge", "Exited", "State", "UnhandledMessage", "receive", "state_type"]
