"""What is written of a turn: the records of trace files, taps and answers, as `docs/tracing.md` describes them."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgpack
import msgspec

from runtime.codec import UNENCODABLE
from runtime.effects import After, Ask, Effect, Persist, Reply, Send, Spawn, Turn
from runtime.errors import KaonError
from runtime.message import tag_of
from runtime.pid import PID
from runtime.tracing.masking import mask, masker_of

RECORD_BYTES: Final = 65_536
"""A record that would be longer says only the types of its messages."""

EMPTY_EFFECTS: Final[list[tuple[str, Any]]] = []


class TurnRecord(msgspec.Struct, kw_only=True, tag="turn", omit_defaults=True):
    """One turn as it is read back: messages and effects are plain values.

    message  its fields by name, the message's own name under ``type``
    effects  pairs of an effect's name and its fields
    elided_bytes  the record was too long: message and effects have only their types
    """

    actor: PID
    sender: PID
    message: dict[str, Any]
    trace: int
    span: int
    parent: int
    received: float
    started: float
    ended: float
    effects: list[tuple[str, dict[str, Any]]] = []
    error: str = ""
    elided_bytes: int = 0

    @property
    def message_type(self) -> str:
        """The name of the message."""
        return str(self.message.get("type", "?"))

    @property
    def node(self) -> str:
        """Where it happened."""
        return self.actor.node


class _Written(msgspec.Struct, kw_only=True, tag="turn", omit_defaults=True, gc=False):
    """A :class:`TurnRecord` on its way out: with the messages themselves."""

    actor: PID
    sender: PID
    message: Any
    trace: int
    span: int
    parent: int
    received: float
    started: float
    ended: float
    effects: list[tuple[str, Any]] = EMPTY_EFFECTS
    error: str = ""
    elided_bytes: int = 0


class _SpawnShown(msgspec.Struct, gc=False):
    """A Spawn, its class by name."""

    name: str
    actor_class: str
    state: Any


class DropRecord(msgspec.Struct, tag="dropped", frozen=True):
    """In the place of turns that a bound kept out: how many, and which bound (`messages.Counts` names them)."""

    turns: int
    reason: str


def class_path(cls: type[object]) -> str:
    """``module:Name`` of a class; that of a program run with ``python -m`` by the name it was run under."""
    module = cls.__module__
    if module == "__main__":
        spec = getattr(sys.modules[module], "__spec__", None)
        module = spec.name if spec is not None else module
    return f"{module}:{cls.__qualname__}"


def _foreign(value: Any) -> Any:
    """What MessagePack cannot say is named, never shown: its text might hold a secret."""
    return class_path(value) if isinstance(value, type) else f"<{class_path(type(value))}>"


_encode: Final = msgspec.msgpack.Encoder(enc_hook=_foreign).encode
_encode_in_order: Final = msgspec.msgpack.Encoder(enc_hook=_foreign, order="deterministic").encode


def encode_plain(value: Any) -> bytes:
    """MessagePack of any value, sets and dictionaries in a fixed order wherever msgspec can put them in one.

    It cannot where a dictionary has other keys than texts; messages have none, the state of a spawned actor may.
    """
    try:
        return _encode_in_order(value)
    except TypeError:
        return _encode(value)


def plain(value: Any) -> Any:
    """Any value without secrets as MessagePack reads it back, sets and dictionaries in a fixed order."""
    return unpacked(encode_plain(mask(value)))


def unpacked(data: bytes) -> Any:
    """One value from MessagePack."""
    return msgpack.unpackb(data, raw=False, use_list=False, strict_map_key=False, timestamp=1)


def shown_effect(effect: Effect) -> tuple[str, Any]:
    """An effect by name, without secrets."""
    if isinstance(effect, Send):
        masker = masker_of(type(effect.message))
        if masker is None:
            return "Send", effect
        masked = masker(effect.message)
        return "Send", effect if masked is effect.message else Send(effect.to, masked)
    name = type(effect).__name__
    if isinstance(effect, Spawn):
        return name, _SpawnShown(effect.name, class_path(effect.actor_class), mask(effect.state))
    return name, mask(effect) if isinstance(effect, (Ask, Reply, After, Persist)) else effect


def encode_turn(turn: Turn, limit_bytes: int = RECORD_BYTES) -> bytes:
    """The record of a turn as MessagePack, without secrets, never much longer than `limit_bytes`."""
    message = turn.message
    masker = masker_of(type(message))
    written = _Written(
        actor=turn.actor,
        sender=turn.sender,
        message=message if masker is None else masker(message),
        trace=turn.trace,
        span=turn.span,
        parent=turn.parent,
        received=turn.received,
        started=turn.started,
        ended=turn.ended,
        effects=[shown_effect(effect) for effect in turn.effects] if turn.effects else EMPTY_EFFECTS,
        error=turn.error,
    )
    try:
        data = _encode(written)
    except UNENCODABLE:
        return _elided(turn, written, 0)
    return data if len(data) <= limit_bytes else _elided(turn, written, len(data))


def _elided(turn: Turn, written: _Written, size_bytes: int) -> bytes:
    """The same without the contents of its messages; a size of 0 says that they cannot be written at all."""
    written.message = {"type": tag_of(type(turn.message))}
    written.effects = []
    for effect in turn.effects[:100]:
        body = getattr(effect, "message", None)
        fields: dict[str, Any] = {} if body is None else {"message": {"type": tag_of(type(body))}}
        if isinstance(effect, (Send, Ask)):
            fields["to"] = effect.to
        written.effects.append((type(effect).__name__, fields))
    written.error = turn.error[-2000:]
    written.elided_bytes = size_bytes or -1
    return _encode(written)


class BadRecord(KaonError):
    """Something that is no record of this kind."""


def read_record(value: Mapping[str, Any]) -> TurnRecord:
    """A turn from its plain values. Raises :class:`BadRecord`."""
    try:
        return msgspec.convert(value, TurnRecord)
    except msgspec.ValidationError as error:
        raise BadRecord(f"not the record of a turn: {error}") from None


def plain_turn(turn: TurnRecord) -> dict[str, Any]:
    """A turn as JSON can say it: ids in hexadecimal, addresses as text."""
    shown: dict[str, Any] = {
        "trace": f"{turn.trace:016x}",
        "span": f"{turn.span:016x}",
        "parent": f"{turn.parent:016x}" if turn.parent else None,
        "actor": str(turn.actor),
        "sender": str(turn.sender),
        "received": turn.received,
        "started": turn.started,
        "ended": turn.ended,
        "message": _sayable(turn.message),
        "effects": [{"effect": name, **_sayable(fields)} for name, fields in turn.effects],
    }
    if turn.error:
        shown["error"] = turn.error
    return shown


def _sayable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _sayable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sayable(item) for item in value]
    return _text(value) if isinstance(value, bytes) else value


def _text(data: bytes) -> str:
    """Bytes as text if they are that, else in base 64 behind a word that says so."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    return text if text.isprintable() and (text or not data) else f"base64:{base64.b64encode(data).decode()}"


def encode_record(turn: TurnRecord) -> bytes:
    """MessagePack of a turn that was read before."""
    return _encode(turn)


def split(data: bytes) -> Iterator[dict[str, Any]]:
    """The records in a run of whole ones, plain."""
    unpacker = msgpack.Unpacker(
        raw=False, use_list=False, strict_map_key=False, timestamp=1, max_buffer_size=max(len(data), 1)
    )
    unpacker.feed(data)
    yield from unpacker


def turns_in(data: bytes) -> list[TurnRecord]:
    """The turns in a run of whole records."""
    return [read_record(value) for value in split(data) if value.get("type") == "turn"]
