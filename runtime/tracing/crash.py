"""Crash reports: what an actor was doing when it failed, in a file beside the log."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from runtime.codec import HIDDEN, redact
from runtime.effects import Turn
from runtime.message import tag_of

LAST_TURNS: Final = 50
"""Turns of the failed actor that a report tells."""

SHORTEST_SECRET: Final = 4
"""Of what is looked for in a text: shorter ones would be found in every word."""


class CrashReports:
    """Writes one JSON file per failure into a directory. Fields marked secret are left out."""

    def __init__(self, directory: Path) -> None:
        """`directory` is made when the first report is written."""
        self._directory = directory
        self._numbers = itertools.count(1)

    def write(self, turn: Turn, turns: list[Turn], state: msgspec.Struct) -> str:
        """Write a report; returns its path, or why it could not be written (a full disk must not hide the failure)."""
        name = f"crash-{turn.actor.name.replace('/', '_')}-{os.getpid()}-{next(self._numbers)}.json"
        path = self._directory / name
        try:
            report = {
                "actor": str(turn.actor),
                "message": _summary(turn),
                "fields": redact(turn.message),
                "traceback": turn.error.splitlines(),
                "last_turns": [_summary(each) for each in turns[-LAST_TURNS:]],
                "state": redact(state),
            }
            self._directory.mkdir(parents=True, exist_ok=True)
            path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
        except Exception as error:  # noqa: BLE001  a report that cannot be written must not hide the failure
            return f"not written to {path}: {error}"
        return str(path)


def without_secrets(text: str, *values: msgspec.Struct) -> str:
    """A text, such as that of an exception, in which no secret of these structs is to be read."""
    for value in values:
        try:
            secrets = sorted({*_secrets(value, redact(value))}, key=len, reverse=True)
        except Exception as error:  # noqa: BLE001  a struct that cannot be looked through may hold anything
            return f"{type(error).__name__} while looking for secrets: the text is left out"
        for secret in secrets:
            text = text.replace(secret, HIDDEN)
    return text


def _secrets(value: Any, shown: Any) -> Iterator[str]:
    """The texts that are hidden where a value is shown."""
    if shown == HIDDEN:
        yield from _texts(value)
    elif isinstance(value, msgspec.Struct) and isinstance(shown, dict):
        for name in value.__struct_fields__:
            yield from _secrets(getattr(value, name), shown.get(name))
    elif isinstance(value, dict) and isinstance(shown, dict):
        if HIDDEN in shown:
            yield from _texts(value)
        else:
            for each, item in zip(value.values(), shown.values(), strict=True):
                yield from _secrets(each, item)
    elif isinstance(value, (list, tuple, set, frozenset)) and isinstance(shown, list):
        for each, item in zip(value, shown, strict=True):
            yield from _secrets(each, item)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a secret: in pairs, in bytes, in structs."""
    if isinstance(value, str):
        if len(value) >= SHORTEST_SECRET:
            yield value
    elif isinstance(value, (bytes, bytearray)):
        yield from _texts(value.decode(errors="ignore"))
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _texts(getattr(value, name))
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from _texts(each)


def _summary(turn: Turn) -> dict[str, Any]:
    """A turn in a few words."""
    return {
        "type": tag_of(type(turn.message)),
        "sender": str(turn.sender),
        "at": turn.started,
        "trace": f"{turn.trace:016x}",
        "effects": [type(effect).__name__ for effect in turn.effects],
    }
