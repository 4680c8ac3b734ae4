"""Replays: a recording, fed turn by turn to the same actor's code on any machine, and compared with what it did then.

No node, no clock, no network: a turn gets its message, time and chance from the recording, and its effects are only
compared. Children are not spawned and nothing is sent.
"""

from __future__ import annotations

import importlib
import pdb
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from runtime.actor import Actor, UnhandledMessage, state_type
from runtime.codec import redact
from runtime.errors import KaonError
from runtime.message import Message, message_types
from runtime.tracing.files import TraceFileError, TraceReader
from runtime.tracing.masking import mask
from runtime.tracing.recording import KIND, EndRecord, StartRecord, StepRecord
from runtime.tracing.records import plain, shown_effect

K = TypeVar("K")


class CannotReplay(KaonError):
    """A recording that this version of the code cannot begin with, or a replay that the user left."""


class _Debugger(pdb.Pdb):
    """Knows whether it was left before the handler ended: what `quit` ends so, looks like a handler that returned."""

    left = False

    def set_quit(self) -> None:
        """The user leaves."""
        self.left = True
        super().set_quit()


class Difference(msgspec.Struct, frozen=True):
    """Where a replay left the recording. where: as ``effects[1].Send.message.task_id``; both values are plain."""

    where: str
    recorded: Any
    replayed: Any

    def __str__(self) -> str:
        return f"{self.where}: recorded {_short(self.recorded)}, replayed {_short(self.replayed)}"


class Outcome(msgspec.Struct, frozen=True):
    """One turn of a replay. number: from 1. difference: None when it did what it did then."""

    number: int
    step: StepRecord
    effects: list[tuple[str, Any]]
    error: str
    difference: Difference | None


class Replay:
    """A recording and the actor that repeats it.

    start    how the recording begins
    actor    the actor, as it is after the turns so far
    end      the recording's last record, once all turns are done; None when it was cut off
    torn_bytes  of an unfinished record at its end
    """

    def __init__(self, path: Path) -> None:
        """Make the actor. Raises :class:`KaonError` when the file, its actor's class or its state cannot be read."""
        self.path = path
        self.end: EndRecord | None = None
        self.torn_bytes = 0
        self.start = self._read_start()
        if self.start.edge:
            raise CannotReplay(
                f"{self.start.actor_class} is an edge: it touches the world, which no recording can repeat; "
                f"`kaon trace convert` shows what it received"
            )
        self.actor = _make(self.start)
        self._types = message_types()

    def turns(self, debug_at: int = 0) -> Iterator[Outcome]:
        """Do the turns, one at a time. At turn `debug_at` the debugger stops in the handler.

        Go on after a difference only to look: the actor is then somewhere else than it was.
        """
        with TraceReader(self.path, KIND) as reader:
            number = 0
            for record in reader:
                kind = record.get("type")
                if kind == "step":
                    number += 1
                    yield self._turn(number, _convert(record, StepRecord), debug=number == debug_at)
                elif kind == "end":
                    self.end = _convert(record, EndRecord)
            self.torn_bytes = reader.torn_bytes

    def final_difference(self) -> Difference | None:
        """Whether the actor's state at the end is what it was then; None too when the recording does not say."""
        if self.end is None or not self.end.state:
            return None
        recorded = msgspec.msgpack.decode(self.end.state, type=type(self.actor.state))
        replayed = mask(self.actor.state)
        if recorded == replayed:
            return None
        return find_difference(redact(recorded), redact(replayed), "state") or Difference("state", recorded, replayed)

    def state(self) -> dict[str, Any]:
        """The actor's state now, in plain values, without secrets."""
        return redact(self.actor.state)

    def _read_start(self) -> StartRecord:
        try:
            with TraceReader(self.path, KIND) as reader:
                first = next(iter(reader), None)
        except OSError as error:
            raise TraceFileError(f"{self.path} cannot be read: {error.strerror}") from None
        if first is None or first.get("type") != "start":
            raise TraceFileError(f"{self.path} does not say with which actor it begins")
        return _convert(first, StartRecord)

    def _turn(self, number: int, step: StepRecord, *, debug: bool) -> Outcome:
        actor = self.actor
        error = ""
        message = self._message(number, step)
        actor.now = step.at
        actor._delivery = (message, step.sender, step.trace, step.span, step.parent, 0, step.received)
        try:
            handler, arguments = self._handler(step, message)
            if handler is not None and debug:
                debugger = _Debugger(nosigint=True)
                debugger.runcall(handler, *arguments)
                if debugger.left:
                    raise CannotReplay(f"the debugger was left in turn {number}: what it did was not compared")
            elif handler is not None:
                handler(*arguments)
        except UnhandledMessage:
            actor._outbox = []
        except CannotReplay:
            raise
        except Exception:  # noqa: BLE001  what a handler raised then, it shall raise now, and that is compared
            actor._outbox = []
            error = traceback.format_exc()
        effects, actor._outbox = actor._outbox, []
        replayed = unplain(plain([shown_effect(effect) for effect in effects]))
        difference = find_difference(unplain(step.effects), replayed, "effects") or find_difference(
            _last_line(step.error), _last_line(error), "error"
        )
        return Outcome(number, step, replayed, error, difference)

    def _handler(self, step: StepRecord, message: Message) -> tuple[Callable[..., None] | None, tuple[Any, ...]]:
        """What handled the message, with its arguments; None for an answer that came too late."""
        actor = self.actor
        if step.late:
            return None, ()
        if step.then:
            context = None
            if step.context_class:
                context = _convert(step.context, _find(step.context_class, msgspec.Struct))
            return getattr(actor, step.then), (step.sender, message, context)
        handler = type(actor).handlers.get(type(message))
        if handler is not None:
            return handler, (actor, step.sender, message)
        return actor.unhandled, (step.sender, message)

    def _message(self, number: int, step: StepRecord) -> Message:
        tag = str(step.message.get("type")) if isinstance(step.message, dict) else "?"
        kind = self._types.get(tag)
        if kind is None:
            raise CannotReplay(f"turn {number}: no message type is called {tag!r} here; import its module first")
        return _convert(step.message, kind)


def _make(start: StartRecord) -> Actor[Any]:
    cls = _find(start.actor_class, Actor)
    kind = state_type(cls)
    try:
        state = msgspec.msgpack.decode(start.state, type=kind)
    except msgspec.MsgspecError as error:
        raise CannotReplay(
            f"the recorded state is no {kind.__name__}: {error}; replay it with the version that recorded it"
        ) from None
    actor: Actor[Any] = cls(state, start.actor, start.seed)
    actor.now = start.at
    actor._timers = start.timers
    if start.chance is not None:
        actor.random.setstate(start.chance)
    return actor


def _find(path: str, base: type[Any]) -> type[Any]:
    """The class ``module:Name``. Raises :class:`CannotReplay` unless it is there and what is wanted."""
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise CannotReplay(f"{path} cannot be imported: {error}; run it where that code is") from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise CannotReplay(f"{path} is no {base.__name__}")
    return found


def _convert(value: Any, kind: type[K]) -> K:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise CannotReplay(f"no {kind.__name__} of this version: {error}") from None


def unplain(value: Any) -> Any:
    """Tuples as lists, at any depth: what MessagePack does not tell apart."""
    if isinstance(value, dict):
        return {key: unplain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [unplain(item) for item in value]
    return value


def find_difference(recorded: Any, replayed: Any, where: str) -> Difference | None:
    """The first place where two plain values differ."""
    if isinstance(recorded, dict) and isinstance(replayed, dict):
        for key in dict.fromkeys((*recorded, *replayed)):
            if key not in recorded or key not in replayed:
                return Difference(f"{where}.{key}", recorded.get(key, _ABSENT), replayed.get(key, _ABSENT))
            if (found := find_difference(recorded[key], replayed[key], f"{where}.{key}")) is not None:
                return found
        return None
    if isinstance(recorded, (list, tuple)) and isinstance(replayed, (list, tuple)):
        for place, (one, other) in enumerate(zip(recorded, replayed, strict=False)):
            if (found := find_difference(one, other, f"{where}[{place}]")) is not None:
                return found
        if len(recorded) != len(replayed):
            place = min(len(recorded), len(replayed))
            one, other = (each[place] if place < len(each) else _ABSENT for each in (recorded, replayed))
            return Difference(f"{where}[{place}]", one, other)
        return None
    return None if recorded == replayed else Difference(where, recorded, replayed)


_ABSENT = "(nothing)"
_SHORT_CHARACTERS = 300


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHORT_CHARACTERS else text[: _SHORT_CHARACTERS - 1] + "…"


def _last_line(error: str) -> str:
    return error.strip().rpartition("\n")[2]
