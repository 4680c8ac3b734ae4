"""Kinds of values that a flag can have: how they are written, read and shown.

Durations and sizes are written as in Mesos (stout, `duration.hpp` and `bytes.hpp`): a number and a unit without a space
between them. A number alone is refused, because nobody can tell what it would be.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec


class Kind(msgspec.Struct, frozen=True):
    """A kind of value.

    name     for the manual
    parse    turns what was given (a text, or what TOML has) into the value; ValueError says what is expected
    render   turns the value into a text that `parse` takes
    choices  all texts that are allowed, if they can be listed
    """

    name: str
    parse: Callable[[object], Any]
    render: Callable[[Any], str] = str
    choices: tuple[str, ...] = ()


_DURATION_UNITS: Final[dict[str, float]] = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "secs": 1.0,
    "mins": 60.0,
    "hrs": 3600.0,
    "days": 86400.0,
    "weeks": 604800.0,
}
_DURATION_NAMES: Final = _DURATION_UNITS | {
    "s": 1.0,
    "sec": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "w": 604800.0,
    "week": 604800.0,
}
_BYTE_UNITS: Final = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_BYTE_NAMES: Final = _BYTE_UNITS | {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off")
_AMOUNT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]+)")


def parse_duration(given: object) -> float:
    """Seconds of a text like ``15secs``, ``1.5hrs`` or ``10m``."""
    if isinstance(given, str) and (match := _AMOUNT.fullmatch(given.strip())) and match[2] in _DURATION_NAMES:
        return float(match[1]) * _DURATION_NAMES[match[2]]
    raise ValueError("write a number and a unit: 500ms, 15secs, 10mins, 2hrs, 3days, 1weeks")


def render_duration(seconds: float) -> str:
    """The text of so many seconds in the largest of Mesos's units that says it shortly: 90.0 gives ``1.5mins``."""
    for unit, size in reversed(_DURATION_UNITS.items()):
        text = f"{_decimal(seconds / size, 3)}{unit}"
        if seconds >= size and parse_duration(text) == seconds:
            return text
    return f"{_decimal(seconds, 9)}secs"


def _decimal(value: float, places: int) -> str:
    """A number without exponent or trailing zeros."""
    return f"{value:.{places}f}".rstrip("0").rstrip(".")


def parse_bytes(given: object) -> int:
    """Bytes of a text like ``64MB``; units are powers of 1024."""
    if isinstance(given, str) and (match := _AMOUNT.fullmatch(given.strip())) and match[2] in _BYTE_NAMES:
        size = float(match[1]) * _BYTE_NAMES[match[2]]
        if size.is_integer():
            return int(size)
    raise ValueError("write a number and a unit: 512B, 64KB, 32MB, 2GB, 1TB")


def render_bytes(size_bytes: int) -> str:
    """The text of so many bytes in the largest unit that divides it: 67108864 gives ``64MB``."""
    for unit, size in reversed(_BYTE_UNITS.items()):
        if size_bytes % size == 0 and size_bytes >= size:
            return f"{size_bytes // size}{unit}"
    return f"{size_bytes}B"


def choice(*allowed: str) -> Kind:
    """One of some words."""

    def parse(given: object) -> str:
        if isinstance(given, str) and given in allowed:
            return given
        raise ValueError(f"it must be one of {', '.join(allowed)}")

    return Kind(f"one of {', '.join(f'`{word}`' for word in allowed)}", parse, choices=allowed)


def _parse_string(given: object) -> str:
    if isinstance(given, str):
        return given
    raise ValueError("write it as a string, in quotes")


def _parse_integer(given: object) -> int:
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    if isinstance(given, str) and re.fullmatch(r"[+-]?[0-9]+", given.strip()):
        return int(given)
    raise ValueError("it must be a whole number")


def _parse_number(given: object) -> float:
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given)
    if isinstance(given, str) and re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", given.strip()):
        return float(given)
    raise ValueError("it must be a number")


def _parse_boolean(given: object) -> bool:
    if isinstance(given, bool):
        return given
    if isinstance(given, str) and (text := given.strip().lower()) in _TRUE + _FALSE:
        return text in _TRUE
    raise ValueError("it must be true or false")


def _parse_path(given: object) -> Path:
    if isinstance(given, str | Path) and str(given):
        return Path(given).expanduser()
    raise ValueError("it must be a path")


def _parse_list(given: object) -> tuple[str, ...]:
    if isinstance(given, list) and all(isinstance(item, str) for item in given):
        return tuple(given)
    if isinstance(given, str):
        return tuple(item.strip() for item in given.split(",") if item.strip())
    raise ValueError("write words with commas between them")


STRING: Final = Kind("text", _parse_string)
INTEGER: Final = Kind("whole number", _parse_integer)
NUMBER: Final = Kind("number", _parse_number, lambda value: _decimal(value, 12))
BOOLEAN: Final = Kind("`true` or `false`", _parse_boolean, lambda value: "true" if value else "false")
DURATION: Final = Kind("duration", parse_duration, render_duration)
BYTES: Final = Kind("size in bytes", parse_bytes, render_bytes)
PATH: Final = Kind("path", _parse_path)
LIST: Final = Kind("words, separated by commas", _parse_list, ",".join)
