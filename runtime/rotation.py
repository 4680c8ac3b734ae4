"""Files that are written to for ever: when one is full, it is renamed and a new one begun."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, Final

LIMIT_BYTES: Final = 10 * 1024 * 1024
KEPT_FILES: Final = 5


class RotatingFile(io.RawIOBase):
    """A file of at most about `limit_bytes`, and `kept` older ones beside it: ``name.1`` is the youngest of them.

    Cuts between lines where it can. A disk that refuses a write loses that write and no more: `lost_bytes` counts it.
    """

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES, kept: int = KEPT_FILES) -> None:
        """Raises OSError when the file cannot be opened; its directory is made."""
        super().__init__()
        self.path = path
        self.lost_bytes = 0
        self._limit_bytes = limit_bytes
        self._kept = kept
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def writable(self) -> bool:
        """It is all it is."""
        return True

    def write(self, data: Any, /) -> int:
        """Append all of it; returns its length, whatever became of it."""
        view = memoryview(data).cast("B")
        rest = view
        while len(rest) > self._limit_bytes - self._size:
            cut = self._cut(rest)
            self._append(rest[:cut])
            self._rotate()
            rest = rest[cut:]
        self._append(rest)
        return len(view)

    def close(self) -> None:
        """Close the file; twice is once."""
        if not self.closed:
            os.close(self._fd)
        super().close()

    def _cut(self, data: memoryview) -> int:
        """How much of `data` still goes into this file: whole lines, or what fits of a line longer than a file."""
        room = max(self._limit_bytes - self._size, 0)
        return bytes(data[:room]).rfind(b"\n") + 1 or (0 if self._size else room)

    def _append(self, data: memoryview) -> None:
        """Write to the present file."""
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            self.lost_bytes += len(data) - written
        self._size += written

    def _rotate(self) -> None:
        """Begin a new file; the oldest one goes. If it cannot be begun, the present one grows."""
        try:
            for number in range(self._kept - 1, 0, -1):
                older = self._numbered(number)
                if older.exists():
                    older.replace(self._numbered(number + 1))
            if self._kept:
                self.path.replace(self._numbered(1))
            else:
                self.path.unlink(missing_ok=True)
            old = self._fd
            self._open()
            os.close(old)
        except OSError:
            self._size = 0

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
