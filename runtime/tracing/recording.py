"""Recordings: everything that decides what an actor does, in a file, so that another machine can do it again.

That is the state it began with, each message with its time, the answers that went to continuations, and chance. What
the actor did is written beside it, for a replay to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from runtime.actor import Actor, Edge
from runtime.codec import UNENCODABLE
from runtime.effects import Turn
from runtime.errors import KaonError
from runtime.mailbox import Cell, is_ask
from runtime.pid import PID
from runtime.tracing.files import Header, TraceWriter
from runtime.tracing.masking import mask
from runtime.tracing.records import class_path, encode_plain, shown_effect
from runtime.tracing.sink import FileSink

KIND: Final = "recording"

QUEUE_BYTES: Final = 64 * 1024 * 1024
"""Of turns that wait for the disk: a recording with a gap is worth nothing, so that it may take more than a tap."""


class CannotRecord(KaonError):
    """An actor, or its state, that cannot be written so that a replay could begin with it."""


class StartRecord(msgspec.Struct, kw_only=True, tag="start", omit_defaults=True):
    """First record: the actor before the first recorded turn.

    state    MessagePack of the state, its secrets masked
    seed     of its chance; `chance` is the generator's state (`random.Random.getstate`) if any was drawn
    timers   set so far
    outside  attributes of the instance that are not in its state, and so not in the recording
    edge     it touches the world: such a recording can be looked at, not replayed
    """

    actor: PID
    actor_class: str
    at: float
    state: bytes
    seed: str
    chance: tuple[int, tuple[int, ...], float | None] | None = None
    timers: int = 0
    outside: tuple[str, ...] = ()
    edge: bool = False


class StepRecord(msgspec.Struct, kw_only=True, tag="step", omit_defaults=True):
    """One turn.

    at         `Actor.now` of the turn
    ended      when its effects were carried out
    then       method that goes on with an answer, and the `context` of its ask; empty for a message with a handler
    late       an answer that nobody waited for any more: nothing was done with it
    message, context, effects  plain values, sets and dictionaries in a fixed order, secrets masked
    context_class  ``module:Name``
    """

    message: Any
    sender: PID
    trace: int
    span: int
    parent: int
    received: float
    at: float
    ended: float
    then: str = ""
    late: bool = False
    context: Any = None
    context_class: str = ""
    effects: list[tuple[str, Any]] = []
    error: str = ""


class EndRecord(msgspec.Struct, kw_only=True, tag="end", omit_defaults=True):
    """Last record: why it ended, after how many turns, and the state then (as `StartRecord.state`)."""

    reason: str
    turns: int
    state: bytes = b""


def encode_state(state: msgspec.Struct) -> bytes:
    """A state without its secrets. Raises :class:`CannotRecord` unless it reads back as the same."""
    kind = type(state)
    masked = mask(state)
    try:
        data = msgspec.msgpack.encode(masked)
        again = msgspec.msgpack.decode(data, type=kind)
    except UNENCODABLE as error:
        raise CannotRecord(f"its state ({kind.__name__}) cannot be written: {error}") from None
    if again != masked:
        raise CannotRecord(f"its state ({kind.__name__}) does not read back as it was written")
    return data


def start_record(cell: Cell, now: float) -> StartRecord:
    """An actor between two turns, as a recording begins with it. Raises :class:`CannotRecord`."""
    actor = cell.actor
    chance: Any = actor._random.getstate() if actor._random is not None else None
    own = set(vars(Actor(actor.state, actor.pid, "")))
    edge = _is_edge(cell)
    return StartRecord(
        actor=cell.pid,
        actor_class=class_path(cell.actor_class),
        at=now,
        state=b"" if edge else encode_state(actor.state),
        seed=actor._seed,
        chance=chance,
        timers=actor._timers,
        outside=tuple(sorted(set(vars(actor)) - own)),
        edge=edge,
    )


class Recording:
    """Records one actor of a node until it is stopped: an observer of that node's turns.

    turns, size_bytes  written so far
    ended              why it ended by itself; empty while it goes on
    """

    def __init__(self, cell: Cell, path: Path, now: float, limit_bytes: int, closed: Callable[[], None]) -> None:
        """Begin with the actor as it is now. `closed` is called, on another thread, when the file is whole.

        Raises :class:`CannotRecord`, and OSError when the file cannot be begun.
        """
        first = msgspec.msgpack.encode(start_record(cell, now))
        pid = cell.pid
        header = Header(kaon=KIND, node=pid.node, incarnation=pid.incarnation, started=now)
        self.path = path
        self.turns = 0
        self.size_bytes = len(first)
        self.ended = ""
        self._cell = cell
        self._life = cell.life
        self._limit_bytes = limit_bytes
        writer = TraceWriter(path, header, limit_bytes=1 << 62)
        self._sink = FileSink(writer, lambda sink: closed(), QUEUE_BYTES)
        self._sink.put(first)

    def observe(self, turn: Turn) -> None:
        """Write a turn of the recorded actor."""
        cell = self._cell
        if turn.actor.name != cell.name or self.ended:
            return
        if cell.life != self._life:
            self.end("the actor was started again: that life has a recording of its own")
            return
        try:
            data = encode_plain(self._step(turn))
        except UNENCODABLE as error:
            self.end(f"turn {self.turns + 1} cannot be written: {error}")
            return
        if self.size_bytes + len(data) > self._limit_bytes:
            self.end(f"it has reached its limit of {self._limit_bytes} bytes")
        elif not self._sink.put(data):
            self.end(self._sink.error or "the disk does not keep up")
        else:
            self.turns += 1
            self.size_bytes += len(data)
            if turn.error:
                self.end("the actor failed")

    def _step(self, turn: Turn) -> StepRecord:
        step = StepRecord(
            message=mask(turn.message),
            sender=turn.sender,
            trace=turn.trace,
            span=turn.span,
            parent=turn.parent,
            received=turn.received,
            at=turn.started,
            ended=turn.ended,
            effects=[shown_effect(effect) for effect in turn.effects],
            error=turn.error,
        )
        answered = self._cell.answered
        if answered is not None and answered[0] == turn.span:
            pending = answered[1]
            step.then = pending.then
            if pending.context is not None:
                step.context = mask(pending.context)
                step.context_class = class_path(type(pending.context))
        elif is_ask(self._cell.actor._delivery[5]):
            step.late = True
        return step

    def end(self, reason: str) -> None:
        """Write the last record and close the file; twice is once."""
        if self.ended:
            return
        self.ended = reason
        state = b""
        if self._cell.life == self._life and reason != "the actor failed" and not _is_edge(self._cell):
            try:
                state = encode_state(self._cell.actor.state)
            except CannotRecord as error:
                self.ended = f"{reason}; {error}"
        self._sink.put(msgspec.msgpack.encode(EndRecord(reason=self.ended, turns=self.turns, state=state)))
        self._sink.close()

    def join(self, timeout_seconds: float) -> bool:
        """Wait until the file is whole; whether it is."""
        return self._sink.join(timeout_seconds)


def _is_edge(cell: Cell) -> bool:
    return isinstance(cell.actor, Edge)
