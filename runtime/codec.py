"""Envelopes to bytes and back: one frame is a MessagePack list of envelopes, each a list of six or seven fields.

::

    [[to, sender, trace, span, parent, {"type": tag, ...}], ...]      a seventh field, `answers`, only in answers

A frame is decoded typed and whole. When that fails it is taken apart, and only the bad envelopes are refused.

:func:`redact` is the other way out of a message: plain values without its secrets, for people to read.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import cache, reduce
from typing import Any, Final, cast

import msgspec
from msgspec import inspect
from msgspec.msgpack import Decoder, Encoder

from runtime.constants import COALESCED_ENVELOPES, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES
from runtime.errors import InvalidMessage
from runtime.message import Message, declared_count, message_types
from runtime.pid import PID
from runtime.transport.protocol import Envelope, Posted

UNDECODABLE: Final = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)
UNENCODABLE: Final = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)
"""What encoding raises for a message that holds what MessagePack cannot say."""

UNSUSPICIOUS_BYTES: Final = 2048
"""Frames up to this size hold no more than COALESCED_ENVELOPES: an envelope has 8 bytes at the very least."""

_DETAIL_CHARACTERS: Final = 200

assert UNSUSPICIOUS_BYTES // 8 <= COALESCED_ENVELOPES


class Refusal(msgspec.Struct, frozen=True):
    """Why a frame, or an envelope of it, was turned away.

    reason  one of `constants.REFUSALS`
    detail  what is wrong, where; of bounded length and printable
    """

    reason: str
    detail: str


class Frame(msgspec.Struct):
    """What is sent in one go.

    data       the encoded list; empty when no envelope was fit
    envelopes  what it holds
    unfit      envelopes that cannot be sent at all, with the reason
    """

    data: bytes
    envelopes: Sequence[Posted]
    unfit: Sequence[tuple[Posted, str]] = ()


class _Header(msgspec.Struct, array_like=True):
    to: str
    sender: str
    trace: int
    span: int
    parent: int
    body: msgspec.Raw
    answers: int = 0


class _Tagged(msgspec.Struct):
    type: str


_raws: Final = Decoder(list[msgspec.Raw])
_header: Final = Decoder(_Header)
_tagged: Final = Decoder(_Tagged)


class Codec:
    """Encodes and decodes frames.

    types  the message types to accept, asked for whenever new ones have been declared; by default all there are
    """

    def __init__(self, types: Callable[[], dict[str, type[Message]]] = message_types) -> None:
        self._types = types
        self.encode: Callable[[Sequence[Posted]], bytes] = Encoder().encode
        """One frame of some envelopes, unchecked: see :meth:`pack`."""
        self._declared = -1
        self._known: dict[str, type[Message]] = {}
        self._whole: Callable[[bytes], list[Envelope]]
        self._single: Callable[[msgspec.Raw], Envelope]
        self._build()

    def _build(self) -> None:
        self._declared = declared_count()
        self._known = self._types()
        body = reduce(operator.or_, self._known.values())
        fields: list[Any] = [("to", str), ("sender", str), ("trace", int), ("span", int), ("parent", int)]
        fields += [("body", body), ("answers", int, 0)]
        typed = cast(
            type[Envelope], msgspec.defstruct("Envelope", fields, bases=(Envelope,), array_like=True, gc=False)
        )
        self._whole = Decoder(list[typed]).decode  # type: ignore[valid-type]
        self._single = Decoder(typed).decode

    def pack(self, chunk: Sequence[Posted]) -> Frame:
        """A frame of the first envelopes of `chunk` (COALESCED_ENVELOPES at most): as many as fit, one at least.

        Envelopes that are too large, or hold what MessagePack cannot say, are left out and named in `unfit`.
        """
        try:
            data = self.encode(chunk)
        except UNENCODABLE:
            return self._pack_one_by_one(chunk)
        if len(data) > MAX_MESSAGE_BYTES:
            return self._pack_one_by_one(chunk)
        return Frame(data, chunk)

    def _pack_one_by_one(self, chunk: Sequence[Posted]) -> Frame:
        taken: list[Posted] = []
        parts: list[bytes] = []
        unfit: list[tuple[Posted, str]] = []
        encode = Encoder().encode
        size = 0
        for posted in chunk:
            try:
                part = encode(posted)
            except UNENCODABLE as error:
                unfit.append((posted, f"cannot be encoded: {error}"))
                continue
            if len(part) > MAX_MESSAGE_BYTES:
                unfit.append((posted, f"too large: {len(part)} bytes, {MAX_MESSAGE_BYTES} at most"))
                continue
            if size + len(part) > MAX_MESSAGE_BYTES:
                break
            size += len(part)
            parts.append(part)
            taken.append(posted)
        return Frame(_list_header(len(parts)) + b"".join(parts) if parts else b"", taken, unfit)

    def small_frames(self) -> Callable[[bytes], list[Envelope]]:
        """What decodes frames of UNSUSPICIOUS_BYTES at most, for one burst: `decode` without its questions.

        It raises one of `UNDECODABLE`.
        """
        if declared_count() != self._declared:
            self._build()
        return self._whole

    def decode(self, frame: bytes) -> list[Envelope]:
        """The envelopes of a frame. Raises :class:`InvalidMessage` if any is bad: :meth:`salvage` tells which."""
        if declared_count() != self._declared:
            self._build()
        if len(frame) > UNSUSPICIOUS_BYTES and (refusal := _oversize(frame)) is not None:
            raise InvalidMessage(refusal.detail)
        try:
            return self._whole(frame)
        except UNDECODABLE as error:
            raise InvalidMessage(printable(str(error))) from None

    def salvage(self, frame: bytes) -> tuple[list[Envelope], list[Refusal]]:
        """The good envelopes of a frame in order, and a refusal for each bad one or for the frame as a whole."""
        if (refusal := _oversize(frame)) is not None:
            return [], [refusal]
        try:
            raws = _raws.decode(frame)
        except UNDECODABLE as error:
            return [], [Refusal("malformed_frame", printable(f"no list of envelopes: {error}"))]
        envelopes: list[Envelope] = []
        refusals: list[Refusal] = []
        for raw in raws:
            try:
                envelopes.append(self._single(raw))
            except UNDECODABLE as error:
                refusals.append(self._classify(raw, str(error)))
        return envelopes, refusals

    def _classify(self, raw: msgspec.Raw, error: str) -> Refusal:
        if len(bytes(raw)) > MAX_MESSAGE_BYTES:
            return Refusal("too_large", f"an envelope has at most {MAX_MESSAGE_BYTES} bytes")
        try:
            header = _header.decode(raw)
        except UNDECODABLE as bad:
            return Refusal("malformed_envelope", printable(str(bad)))
        try:
            tag = _tagged.decode(header.body).type
        except UNDECODABLE as bad:
            return Refusal("malformed_envelope", printable(f"the body is no message: {bad}"))
        if tag not in self._known:
            return Refusal("unknown_type", printable(f"no message type is called {tag!r}"))
        return Refusal("wrong_fields", printable(f"{tag}: {error}"))


def as_envelope(posted: Posted) -> Envelope:
    """What was queued, as an envelope."""
    return Envelope(*posted) if type(posted) is tuple else posted  # type: ignore[return-value]


def as_posted(envelope: Envelope) -> Posted:
    """The form of an envelope that encodes without an empty `answers`."""
    if envelope.answers:
        return envelope
    return (envelope.to, envelope.sender, envelope.trace, envelope.span, envelope.parent, envelope.body)


def _list_header(length: int) -> bytes:
    if length < 16:
        return bytes((0x90 | length,))
    return b"\xdc" + length.to_bytes(2, "big")


def _oversize(frame: bytes) -> Refusal | None:
    """Looks at the size and the list's announced length only, so that a bad frame costs no decoding."""
    if len(frame) > MAX_FRAME_BYTES:
        return Refusal("too_large", f"a frame of {len(frame)} bytes; {MAX_FRAME_BYTES} at most")
    announced = 0
    if frame[:1] == b"\xdc":
        announced = int.from_bytes(frame[1:3], "big")
    elif frame[:1] == b"\xdd":
        announced = int.from_bytes(frame[1:5], "big")
    if announced > COALESCED_ENVELOPES:
        return Refusal("too_large", f"a frame of {announced} envelopes; {COALESCED_ENVELOPES} at most")
    return None


def printable(text: str) -> str:
    """Foreign text, safe in a log: bounded, one line, no control characters."""
    shown = text if text.isprintable() else ascii(text)
    return shown if len(shown) <= _DETAIL_CHARACTERS else shown[: _DETAIL_CHARACTERS - 1] + "…"


def without(*excluded: type[Message]) -> Callable[[], dict[str, type[Message]]]:
    """Every message type but these: for :class:`Codec`."""
    return lambda: {tag: cls for tag, cls in message_types().items() if cls not in excluded}


def only(included: Iterable[type[Message]]) -> Callable[[], dict[str, type[Message]]]:
    """These message types and no others: for :class:`Codec`."""
    chosen = tuple(included)
    return lambda: {tag: cls for tag, cls in message_types().items() if cls in chosen}


HIDDEN: Final = "***"
"""What stands in the place of a secret."""


def redact(value: msgspec.Struct) -> dict[str, Any]:
    """A message, or an actor's state, as plain values that JSON can say, its secrets (`message.SECRET`) replaced.

    A tagged struct has its name under ``type``; a PID is ``name@node``; what no rule covers is its `repr`.
    """
    shown: dict[str, Any] = {}
    config = value.__struct_config__
    if config.tag is not None:
        shown[config.tag_field or "type"] = config.tag
    for name, declared in _declared_fields(type(value)):
        shown[name] = _plain(getattr(value, name), declared)
    return shown


@cache
def _declared_fields(struct: type[msgspec.Struct]) -> tuple[tuple[str, inspect.Type], ...]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return tuple((field.name, field.type) for field in info.fields)


def _plain(value: Any, declared: inspect.Type) -> Any:
    if value is None:
        return None
    if _is_secret(declared):
        return HIDDEN
    match value:
        case PID():
            return str(value)
        case msgspec.Struct():
            return redact(value)
        case enum.Enum():
            return value.value
        case str() | bool() | int() | float():
            return value
        case dict():
            return _plain_dict(value, declared)
        case list() | tuple() | set() | frozenset():
            options = _item_types(declared)
            return [_plain(item, _item_type(options, place)) for place, item in enumerate(value)]
    return repr(value)


def _plain_dict(value: dict[Any, Any], declared: inspect.Type) -> dict[str, Any]:
    kind = next((option for option in _options(declared) if isinstance(option, inspect.DictType)), None)
    key_type: inspect.Type = kind.key_type if kind else inspect.AnyType()
    value_type: inspect.Type = kind.value_type if kind else inspect.AnyType()
    if _is_secret(key_type):
        return {HIDDEN: HIDDEN} if value else {}
    return {str(_plain(key, key_type)): _plain(item, value_type) for key, item in value.items()}


def _options(declared: inspect.Type) -> tuple[inspect.Type, ...]:
    """A type's alternatives, without their annotations."""
    if isinstance(declared, inspect.Metadata):
        return _options(declared.type)
    if isinstance(declared, inspect.UnionType):
        return tuple(option for alternative in declared.types for option in _options(alternative))
    return (declared,)


def _is_secret(declared: inspect.Type) -> bool:
    """Whether a type, or one of its alternatives, is marked."""
    if isinstance(declared, inspect.Metadata):
        return bool((declared.extra or {}).get("secret")) or _is_secret(declared.type)
    return isinstance(declared, inspect.UnionType) and any(map(_is_secret, declared.types))


def _item_types(declared: inspect.Type) -> tuple[inspect.Type, ...] | inspect.Type:
    for option in _options(declared):
        if isinstance(option, inspect.CollectionType):
            return option.item_type
        if isinstance(option, inspect.TupleType):
            return option.item_types
    return inspect.AnyType()


def _item_type(options: tuple[inspect.Type, ...] | inspect.Type, place: int) -> inspect.Type:
    if isinstance(options, tuple):
        return options[place] if place < len(options) else inspect.AnyType()
    return options
