"""Journals in memory, for tests and simulation: same calls, same promises, and a crash that can be asked for.

The store stands for the disk: it outlives the node that uses it. Commits take `latency_seconds` of the node's clock,
one at a time, so that groups form as they do on a real disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from runtime.clock import Clock
from runtime.errors import JournalError

_Change: TypeAlias = tuple[str, Sequence[bytes] | None, bool]
"""One queued change of a journal: its name, the records (None: delete it), and whether they replace all before."""


class MemoryJournal:
    """The journal of one actor (:class:`runtime.journal.Journal`)."""

    def __init__(self, store: MemoryJournalStore, name: str) -> None:
        self._store = store
        self._open = True
        self.name = name
        self.size_bytes = sum(map(len, self.read()))

    def read(self) -> list[bytes]:
        """All records, oldest first, queued ones included."""
        return self._store.all_records(self.name)

    def append(self, record: bytes) -> int:
        """Queue one record; returns its ticket."""
        if not self._open:
            raise self._closed()
        self.size_bytes += len(record)
        return self._store.queue((self.name, (record,), False))

    def replace(self, records: Sequence[bytes]) -> int:
        """Queue a rewrite; returns its ticket."""
        self.size_bytes = sum(map(len, records))
        return self._queue(records, replace=True)

    def close(self) -> None:
        """Nobody appends any more; twice is once."""
        if self._open:
            self._open = False
            self._store.closed(self.name)

    def remove(self) -> None:
        """Forget the records."""
        self.size_bytes = 0
        self._queue(None, replace=True)
        self.close()

    def _queue(self, records: Sequence[bytes] | None, *, replace: bool) -> int:
        if not self._open:
            raise self._closed()
        return self._store.queue((self.name, records, replace))

    def _closed(self) -> JournalError:
        return JournalError(f"the journal of {self.name} is closed")


class MemoryJournalStore:
    """All journals of one node (:class:`runtime.journal.JournalStore`).

    latency_seconds  how long a commit takes; may change at any time. 0: by the clock's next `call_soon`
    queued           the last ticket that was given out
    durable          the last ticket that is on the disk, as far as the node was told
    """

    def __init__(self, clock: Clock, latency_seconds: float = 0.0) -> None:
        self.latency_seconds = latency_seconds
        self._clock = clock
        self._disk: dict[str, list[bytes]] = {}
        self._queued: list[_Change] = []
        self._under_way: list[_Change] = []
        self._open: set[str] = set()
        self.queued = 0
        self.durable = 0
        self._life = 0
        self._error = ""
        self._error_told = False
        self._scheduled = False
        self._committing = 0
        self._tell: Callable[[int], None] | None = None
        self._failed: Callable[[str], None] | None = None

    def open(self, name: str) -> MemoryJournal:
        """The journal of that actor. Raises :class:`JournalError` when it is open."""
        if name in self._open:
            raise JournalError(f"the journal of {name} is open already: two actors cannot share one")
        self._open.add(name)
        self._disk.setdefault(name, [])
        return MemoryJournal(self, name)

    def names(self) -> list[str]:
        """Every journal there is, sorted."""
        names = dict.fromkeys(self._disk)
        for name, records, _ in (*self._under_way, *self._queued):
            if records is None:
                names.pop(name, None)
            else:
                names[name] = None
        return sorted(names)

    def start(self, durable: Callable[[int], None], failed: Callable[[str], None]) -> None:
        """Serve a node, from now until it closes or crashes."""
        self._tell, self._failed = durable, failed
        self._schedule()

    def close(self) -> None:
        """Make everything queued durable, say so, and let go of the node; twice is once."""
        if self._tell is None:
            return
        tell = self._tell
        self._detach()
        changes, self._under_way, self._queued = self._under_way + self._queued, [], []
        if changes and not self._error:
            self._apply(changes)
            self.durable = self.queued
            tell(self.durable)

    # What only tests and simulations do ------------------------------------------------------------------------------

    def crash(self, *, commit_survives: bool = False) -> None:
        """The node dies: what is not durable is lost, and nobody hears of anything any more. `start` serves the next.

        A disk that failed is whole again.
        commit_survives  the commit under way had reached the disk, though nobody was told
        """
        if commit_survives:
            self._apply(self._under_way)
        self._under_way, self._queued = [], []
        self._error, self._error_told = "", False
        self._detach()

    def fail(self, text: str) -> None:
        """The disk fails: nothing becomes durable from here on, and the node is told so by its next commit."""
        self._error = text

    # What journals call ----------------------------------------------------------------------------------------------

    def queue(self, change: _Change) -> int:
        """Queue a change; returns its ticket."""
        self._queued.append(change)
        self.queued = ticket = self.queued + 1
        if not self._scheduled:
            self._schedule()
        return ticket

    def closed(self, name: str) -> None:
        """A journal has been given back."""
        self._open.discard(name)

    def all_records(self, name: str) -> list[bytes]:
        """The records of a journal as they will be once everything queued is durable."""
        records = list(self._disk.get(name, ()))
        for changed, new, replace in (*self._under_way, *self._queued):
            if changed == name:
                if replace:
                    records = []
                records += new or ()
        return records

    # The disk --------------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """See to it that a commit begins after this turn, if none is to or does already."""
        if self._queued and self._tell is not None and not (self._scheduled or self._under_way or self._error_told):
            self._scheduled = True
            self._clock.call_soon(partial(self._begin, self._life))

    def _begin(self, life: int) -> None:
        """Commit all that is queued; nothing once the node has crashed or closed since."""
        if life != self._life:
            return
        self._scheduled = False
        self._under_way, self._queued = self._queued, []
        self._committing = self.queued
        if self.latency_seconds > 0.0:
            self._clock.call_at(self._clock.now() + self.latency_seconds, partial(self._finish, life))
        else:
            self._finish(life)

    def _finish(self, life: int) -> None:
        """The commit is on the disk, or the disk has failed; nothing once the node has crashed or closed since."""
        if life != self._life:
            return
        assert self._tell is not None
        assert self._failed is not None
        if self._error:
            self._error_told = True
            self._failed(self._error)
            return
        self._apply(self._under_way)
        self._under_way = []
        self.durable = self._committing
        self._tell(self.durable)
        if self._queued:
            self._schedule()

    def _apply(self, changes: Sequence[_Change]) -> None:
        """Change what is on the disk."""
        disk = self._disk
        for name, records, replace in changes:
            if records is None:
                disk.pop(name, None)
            elif replace or name not in disk:
                disk[name] = list(records)
            else:
                disk[name] += records

    def _detach(self) -> None:
        """Let go of the node and of what it had open."""
        self._life += 1
        self._tell = self._failed = None
        self._scheduled = False
        self._open.clear()
