"""Journals: what an actor said must survive, on disk before anybody hears of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Journal(Protocol):
    """The records of one actor, in order. Appends are queued; a writer makes them durable in groups."""

    def read(self) -> list[bytes]:
        """All records, oldest first. A torn tail (the crash came while writing) is dropped and said in the log.

        Raises :class:`runtime.errors.JournalError` for damage anywhere else, naming file and offset.
        """

    def append(self, record: bytes) -> int:
        """Queue one record; returns its ticket, larger than every one before it on this store."""

    def replace(self, records: Sequence[bytes]) -> int:
        """Queue a rewrite: these records instead of all before (compaction); returns its ticket."""

    @property
    def size_bytes(self) -> int:
        """Bytes on disk, queued ones included."""

    def close(self) -> None:
        """Give the file back once everything queued is durable; the records stay."""

    def remove(self) -> None:
        """Forget the records."""


class JournalStore(Protocol):
    """All journals of one node; one writer commits for all of them."""

    def open(self, name: str) -> Journal:
        """The journal of that name, made if there is none."""

    def names(self) -> list[str]:
        """Every journal there is, sorted."""

    def start(self, durable: Callable[[int], None], failed: Callable[[str], None]) -> None:
        """Tell whom to call, on the node's thread: `durable(ticket)`, everything up to `ticket` is on disk;
        `failed(text)`, a write failed and the process must end."""

    def close(self) -> None:
        """Make everything queued durable and stop the writer."""
