"""One journal on disk: appending, syncing, rewriting and checking its file. All calls block."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runtime.journal_entries import encode_entry, scan, split_entries

TEMPORARY: Final = ".new"
"""What the name of a file ends with until it takes the place of the one it replaces."""

_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync

_log = logging.getLogger("kaon.journal")


class JournalFile:
    """One journal on disk. Used by the writer, and by the node's thread while the writer has nothing to do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.created = not path.exists()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size_bytes = os.fstat(self._fd).st_size
        self._checked = self.size_bytes == 0

    def read(self) -> list[bytes]:
        """All records; cuts off a torn tail. Raises :class:`JournalError` for damage, OSError for a disk that fails."""
        found = scan(self.path)
        if found.torn_bytes:
            _log.warning(
                "%s: the last write was cut off by a crash; dropped %d bytes at offset %d that nobody had heard of",
                self.path,
                found.torn_bytes,
                found.good_bytes,
            )
            os.ftruncate(self._fd, found.good_bytes)
            os.fsync(self._fd)
            self.size_bytes = found.good_bytes
        self._checked = True
        return found.records

    def write(self, records: Sequence[bytes]) -> None:
        """Add an entry; it is durable after `sync`. A file is checked before its first: none goes behind damage."""
        if not self._checked:
            self.read()
        runs = split_entries(records)
        for run in runs[:-1]:
            self._write_all(encode_entry(run))
            _fdatasync(self._fd)  # an entry is written only once all before it are on disk
        self._write_all(encode_entry(runs[-1]))

    def sync(self) -> None:
        """Make what was written durable."""
        _fdatasync(self._fd)

    def rewrite(self, records: Sequence[bytes]) -> None:
        """Put these records in the place of all others, durably but for the directory."""
        temporary = Path(f"{self.path}{TEMPORARY}")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.close(self._fd)
        self._fd, self.size_bytes, self._checked = fd, 0, True
        for run in split_entries(records):
            self._write_all(encode_entry(run))
        os.fsync(fd)
        temporary.rename(self.path)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write_all(self, data: bytes) -> None:
        """Write all of it: the kernel may take a part, on a full disk or beyond 2 GiB."""
        written = os.write(self._fd, data)
        while written < len(data):
            written += os.write(self._fd, memoryview(data)[written:])
        self.size_bytes += len(data)


def sync_directory(directory: Path) -> None:
    """Make the coming and going of files durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
