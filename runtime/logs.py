"""Logs: the standard `logging`, set up once per process, as lines for people or as JSON for machines.

A record that an actor writes within a turn says which: `node`, `actor`, `message_type` and `trace` (a number). It may
carry in ``extra``, besides these, `traceback` (a text, where there is no exception any more) and `limited_by`, a key by
which records of one kind are bounded. Structs among the arguments are written without their secret fields.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

from runtime.actor import Actor
from runtime.codec import redact
from runtime.message import tag_of
from runtime.turns import Turns

FORMATS: Final = ("text", "json")
LEVELS: Final = ("debug", "info", "warning", "error", "critical")

LIMIT_RECORDS: Final = 5
LIMIT_SECONDS: Final = 10.0
"""Of the records that share a key, so many per interval are written."""

LIMIT_KEYS: Final = 1024
"""Keys remembered at most: a peer that invents new ones cannot fill the memory."""


class RateLimit(logging.Filter):
    """Lets through a few records per key (`limited_by`) and interval; the next one says how many were left out."""

    def __init__(self, records: int = LIMIT_RECORDS, interval_seconds: float = LIMIT_SECONDS) -> None:
        super().__init__()
        self._records = records
        self._interval_seconds = interval_seconds
        self._keys: dict[tuple[str, object], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide about one record, by its own time."""
        key = getattr(record, "limited_by", None)
        if key is None:
            return True
        window = self._keys.pop((record.name, key), None) or _Window(record.created)
        self._keys[record.name, key] = window
        if len(self._keys) > LIMIT_KEYS:
            del self._keys[next(iter(self._keys))]
        if record.created - window.since >= self._interval_seconds:
            window.since, window.written = record.created, 0
        if window.written >= self._records:
            window.suppressed += 1
            return False
        record.suppressed, window.suppressed = window.suppressed, 0
        window.written += 1
        return True


class _Window:
    """What one key has used up of its interval."""

    __slots__ = ("since", "suppressed", "written")

    def __init__(self, since: float) -> None:
        self.since = since
        self.written = 0
        self.suppressed = 0


class _Formatter(logging.Formatter):
    """Takes a record apart; how the parts are written is up to the subclasses."""

    def __init__(self, node: str = "") -> None:
        """`node` is that of records that name none."""
        super().__init__()
        self._node = node

    def parts(self, record: logging.LogRecord) -> dict[str, str]:
        """What is known of a record, by name, in the order in which it is written."""
        trace = getattr(record, "trace", 0)
        parts = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "node": getattr(record, "node", "") or self._node,
            "actor": getattr(record, "actor", ""),
            "message_type": getattr(record, "message_type", ""),
            "trace": f"{trace:016x}" if isinstance(trace, int) and trace else "",
            "text": _text(record),
            "exception": self._exception(record),
        }
        return {name: part for name, part in parts.items() if part}

    def _exception(self, record: logging.LogRecord) -> str:
        if record.exc_info and record.exc_info[0] is not None:
            return self.formatException(record.exc_info)
        return str(getattr(record, "traceback", "") or "").rstrip()


class TextFormatter(_Formatter):
    """One line for people; what has more lines is indented, so that a line of its own is always a record."""

    def format(self, record: logging.LogRecord) -> str:
        """For example ``2026-01-31T12:00:00.123Z INFO    master@m1 admitted agent a1 [SubscribeAgent 0000002a…]``."""
        parts = self.parts(record)
        who = "@".join(part for part in (parts.get("actor"), parts.get("node")) if part) or parts["logger"]
        about = " ".join(part for part in (parts.get("message_type"), parts.get("trace")) if part)
        line = f"{parts['time']} {parts['level'].upper():7} {who} {parts.get('text', '')}"
        if about:
            line += f" [{about}]"
        if "exception" in parts:
            line += f"\n{parts['exception']}"
        return "\n    ".join(line.splitlines())


class JsonFormatter(_Formatter):
    """One JSON object per line, with the names of `parts`; a field that is empty is left out."""

    def format(self, record: logging.LogRecord) -> str:
        """For example ``{"time":"…","level":"info","actor":"master","text":"admitted agent a1"}``."""
        return msgspec.json.encode(self.parts(record)).decode()


class TurnInProgress(logging.Filter):
    """Adds to each record that is written within a turn whose turn it is, on which message, in which trace.

    The turn is found on the stack when something is logged, rather than noted whenever one begins: there are a million
    turns a second, and few lines. What a record says of itself in ``extra`` stands. Coroutines and threads of edge
    actors have no turn.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record through."""
        frame = sys._getframe()
        while frame.f_code is not _VISIT:
            if frame.f_back is None:
                return True
            frame = frame.f_back
        actor: Actor[Any] = frame.f_locals["actor"]
        turn = {
            "actor": actor.pid.name,
            "node": actor.pid.node,
            "message_type": tag_of(type(actor._delivery[0])),
            "trace": actor.request.trace,
        }
        for name, value in turn.items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


_VISIT: Final = Turns.visit.__code__
"""In its frame, `actor` is whose turn it is."""

_installed: list[logging.Handler] = []


def setup_logs(
    *, form: str = "text", level: str = "info", node: str = "", stream: TextIO | None = None
) -> logging.Handler:
    """Send all records of this process to `stream` (standard error if None), in one of `FORMATS`.

    level  the least that is written, one of `LEVELS`
    node   written with records that name none; for processes that run one node
    A second call takes the place of the first. Returns the handler.
    """
    if form not in FORMATS or level not in LEVELS:
        raise ValueError(f"no log format {form!r} or no level {level!r}: see runtime.logs.FORMATS and LEVELS")
    remove_logs()
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(node) if form == "json" else TextFormatter(node))
    handler.addFilter(RateLimit())
    handler.addFilter(TurnInProgress())
    _installed.append(handler)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    return handler


def remove_logs() -> None:
    """Take back what `setup_logs` did, but for the level."""
    for handler in _installed:
        logging.getLogger().removeHandler(handler)
    _installed.clear()


def set_level(level: str) -> None:
    """Write from this level on. Raises ValueError for one that does not exist."""
    if level not in LEVELS:
        raise ValueError(f"no log level {level!r}: it must be one of {', '.join(LEVELS)}")
    logging.getLogger().setLevel(level.upper())


def _time(created: float) -> str:
    """RFC 3339, UTC, milliseconds."""
    return datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(record: logging.LogRecord) -> str:
    """The text of a record, without secrets, and how many like it were left out."""
    text = str(record.msg)
    if isinstance(record.args, Mapping):
        text %= {name: _shown(value) for name, value in record.args.items()}
    elif record.args:
        text %= tuple(map(_shown, record.args))
    suppressed = getattr(record, "suppressed", 0)
    return f"{text} (and {suppressed} more like it before)" if suppressed else text


def _shown(value: object) -> object:
    """What of an argument may be written: a struct's fields but the secret ones, or what it says itself."""
    if isinstance(value, msgspec.Struct) and type(value).__str__ is object.__str__:
        return redact(value)
    return value
