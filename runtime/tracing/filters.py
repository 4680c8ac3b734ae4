"""Which turns a tap or a question is about: a filter, made into one function of a turn."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import inspect

from runtime.effects import After, Ask, Persist, Reply, Send, Turn
from runtime.errors import KaonError
from runtime.message import tag_of
from runtime.tracing.masking import is_secret
from runtime.tracing.messages import Filter
from runtime.tracing.records import TurnRecord

Wanted = Callable[[Turn], bool]

_GOLDEN: Final = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio: multiplying by it spreads ids that were counted up."""

_DEPTH: Final = 12
"""Of what is searched for fields: messages are no deeper."""


class BadFilter(KaonError):
    """A filter or a bound that makes no sense."""


def is_sampled(trace: int, share: float) -> bool:
    """Whether a trace belongs to the sample: the same on every node, so that traces are whole."""
    return (trace * _GOLDEN & 0xFFFFFFFFFFFFFFFF) < share * 0x10000000000000000


def wanted_by(chosen: Filter) -> Wanted:
    """The function that says whether a turn passes. Cheap conditions come first."""
    tests: list[Wanted] = []
    if chosen.trace:
        tests.append(lambda turn: turn.trace == chosen.trace)
    if chosen.failed:
        tests.append(lambda turn: bool(turn.error))
    if chosen.actor:
        actor = _pattern(chosen.actor)
        tests.append(lambda turn: actor(turn.actor.name))
    if chosen.message_type:
        message_type = _pattern(chosen.message_type)
        tests.append(lambda turn: message_type(tag_of(type(turn.message))))
    if chosen.peer:
        peer = _pattern(chosen.peer)
        tests.append(lambda turn: any(map(peer, _peers(turn))))
    for name, value in chosen.fields:
        tests.append(_has_field(name, value))
    if len(tests) == 1:
        return tests[0]
    return lambda turn: all(test(turn) for test in tests)


def _pattern(text: str) -> Callable[[str], bool]:
    """A name with ``*`` and ``?``; most names repeat, so that answers are remembered."""
    match = re.compile(fnmatch.translate(text)).match
    return lru_cache(maxsize=1024)(lambda name: match(name) is not None)


def _peers(turn: Turn) -> Iterator[str]:
    yield str(turn.sender)
    for effect in turn.effects:
        if isinstance(effect, (Send, Ask)):
            yield str(effect.to)
        elif isinstance(effect, Reply):
            yield str(effect.request.sender)


def _has_field(name: str, value: str) -> Wanted:
    def test(turn: Turn) -> bool:
        if has_field(turn.message, name, value):
            return True
        for effect in turn.effects:
            if isinstance(effect, (Send, Ask, Reply, After)) and has_field(effect.message, name, value):
                return True
            if isinstance(effect, Persist) and has_field(effect.record, name, value):
                return True
        return False

    return test


def has_field(value: Any, name: str, wanted: str, depth: int = _DEPTH) -> bool:
    """Whether a struct, or one within it, has a field of that name and value, or one whose items have it.

    Secret fields and what stands in plain dictionaries are not looked at.
    """
    if isinstance(value, msgspec.Struct):
        for field, is_name in _fields(type(value), name):
            item = getattr(value, field)
            if is_name and _says(item, wanted):
                return True
            if depth and not isinstance(item, (str, int, float, bytes)) and has_field(item, name, wanted, depth - 1):
                return True
        return False
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(has_field(item, name, wanted, depth - 1) for item in value) if depth else False
    return False


def _says(item: Any, wanted: str) -> bool:
    if isinstance(item, (list, tuple, set, frozenset)):
        return any(str(each) == wanted for each in item)
    return str(item) == wanted


@lru_cache(maxsize=4096)
def _fields(struct: type[msgspec.Struct], name: str) -> tuple[tuple[str, bool], ...]:
    """The fields of a type that are worth a look for `name`, and whether they are called so."""
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return tuple(
        (field.name, field.name == name)
        for field in info.fields
        if not is_secret(field.type) and (field.name == name or _may_nest(field.type))
    )


def _may_nest(declared: inspect.Type) -> bool:
    """Whether values declared so may hold structs."""
    match declared:
        case inspect.Metadata():
            return _may_nest(declared.type)
        case inspect.UnionType():
            return any(map(_may_nest, declared.types))
        case inspect.CollectionType():
            return _may_nest(declared.item_type)
        case inspect.TupleType():
            return any(map(_may_nest, declared.item_types))
        case inspect.StructType() | inspect.AnyType():
            return True
    return False


def mentions(record: TurnRecord, names: frozenset[str]) -> dict[str, str]:
    """The first value of each of these fields in a record: what a line about the turn shows."""
    found: dict[str, str] = {}
    _collect(record.message, names, found)
    for _, fields in record.effects:
        _collect(fields.get("message"), names, found)
    return found


def _collect(value: Any, names: frozenset[str], found: dict[str, str], depth: int = _DEPTH) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            if name in names and isinstance(item, str) and item:
                found.setdefault(name, item)
            elif depth and isinstance(item, (dict, list, tuple)):
                _collect(item, names, found, depth - 1)
    elif isinstance(value, (list, tuple)) and depth:
        for item in value:
            if isinstance(item, (dict, list, tuple)):
                _collect(item, names, found, depth - 1)


def check_bounds(sample: float, turns_per_second: float, bytes_per_second: float) -> None:
    """Raise :class:`BadFilter` for bounds that are none."""
    if not 0.0 <= sample <= 1.0:
        raise BadFilter(f"sample {sample} is no share: give a number from 0 to 1")
    if not (turns_per_second > 0 and bytes_per_second > 0):
        raise BadFilter(
            f"{turns_per_second} turns and {bytes_per_second} bytes a second are no bounds: give positive numbers"
        )
