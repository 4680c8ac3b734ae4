"""Crash reports: what an actor was doing when it failed, in a file beside the log."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any, Final

import msgspec

from runtime.codec import redact
from runtime.effects import Turn
from runtime.message import tag_of

LAST_TURNS: Final = 50
"""Turns of the failed actor that a report tells."""


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
        report = {
            "actor": str(turn.actor),
            "message": _summary(turn),
            "fields": redact(turn.message),
            "traceback": turn.error.splitlines(),
            "last_turns": [_summary(each) for each in turns[-LAST_TURNS:]],
            "state": redact(state),
        }
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
        except OSError as error:
            return f"not written to {path}: {error.strerror}"
        return str(path)


def _summary(turn: Turn) -> dict[str, Any]:
    """A turn in a few words."""
    return {
        "type": tag_of(type(turn.message)),
        "sender": str(turn.sender),
        "at": turn.started,
        "trace": f"{turn.trace:016x}",
        "effects": [type(effect).__name__ for effect in turn.effects],
    }
