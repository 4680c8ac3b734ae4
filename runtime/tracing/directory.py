"""The files that a tracer writes and reads: trace files, recordings and crash reports of one node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import msgspec

from runtime.errors import KaonError
from runtime.tracing.messages import CrashFile

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
LARGEST_REPORT_BYTES: Final = 4_000_000
LARGEST_CHUNK_BYTES: Final = 4_000_000


class NoSuchFile(KaonError):
    """A name that stands for no file here."""


class TraceDirectory:
    """Names of files, and what is in them. Both directories may be empty, for none."""

    def __init__(self, traces: str, crashes: str) -> None:
        self._traces = Path(traces) if traces else None
        self._crashes = Path(crashes) if crashes else None

    def path(self, name: str) -> Path:
        """Where a trace file of that name is. Raises :class:`NoSuchFile` for a name that leads elsewhere."""
        if self._traces is None:
            raise NoSuchFile("this node has no directory for trace files: stream to the tool instead")
        if not _NAME.fullmatch(name):
            raise NoSuchFile(f"{name!r} is no name for a file: letters, digits and _.- (128 at most)")
        return self._traces / name

    def read(self, name: str, offset: int, limit_bytes: int) -> tuple[bytes, int]:
        """Bytes of a trace file, and its size. Raises :class:`NoSuchFile`."""
        path = self.path(name)
        try:
            with path.open("rb") as file:
                file.seek(max(0, offset))
                return file.read(max(0, min(limit_bytes, LARGEST_CHUNK_BYTES))), path.stat().st_size
        except OSError as error:
            raise NoSuchFile(f"{path} cannot be read: {error.strerror}") from None

    def crashes(self, limit: int) -> tuple[CrashFile, ...]:
        """The newest crash reports; one that cannot be read is named with the reason."""
        if self._crashes is None or not self._crashes.is_dir():
            return ()
        found = sorted(self._crashes.glob("crash-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        return tuple(map(_crash_file, found[: max(0, limit)]))

    def crash(self, name: str) -> bytes:
        """One report. Raises :class:`NoSuchFile`."""
        if self._crashes is None or not _NAME.fullmatch(name) or not name.startswith("crash-"):
            raise NoSuchFile(f"no crash report is called {name!r}")
        try:
            with (self._crashes / name).open("rb") as file:
                return file.read(LARGEST_REPORT_BYTES)
        except OSError as error:
            raise NoSuchFile(f"no crash report is called {name!r}: {error.strerror}") from None


def _crash_file(path: Path) -> CrashFile:
    at = path.stat().st_mtime
    try:
        report: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict)
    except (OSError, msgspec.MsgspecError) as error:
        return CrashFile(path.name, at, "?", "?", f"cannot be read: {error}")
    summary: dict[str, Any] = report.get("message") or {}
    lines: list[str] = report.get("traceback") or [""]
    return CrashFile(path.name, at, str(report.get("actor", "?")), str(summary.get("type", "?")), str(lines[-1]))
