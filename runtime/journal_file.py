"""Journals in files: one directory per node, one file per actor, one writer thread that commits for all of them.

Appends gather on the node's thread, and go to the writer between turns, all at once: the records of one turn become
durable together. While one commit is under way the next one gathers, so that groups grow as the disk slows.

A commit writes one entry to each file that has something new (`runtime.journal_entries`), then syncs each file, then
the directory if a file came or went. Compaction writes a new file beside the old one and renames it over.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from runtime.errors import JournalError
from runtime.journal_disk import TEMPORARY, JournalFile, sync_directory
from runtime.journal_entries import RECORD_OVERHEAD_BYTES

SUFFIX: Final = ".journal"
LOCK_NAME: Final = "lock"
NAME_CHARACTERS: Final = 255 - len(SUFFIX + TEMPORARY)
"""Longest name of an actor that has a journal: a file name has 255 bytes (Linux `NAME_MAX`)."""

FLUSH_TIMEOUT_SECONDS: Final = 60.0
"""How long reading or closing waits for the disk to take what is queued."""


class _Change(msgspec.Struct, gc=False):
    """What one commit does to one file, in this order.

    replacement  rewrite the file with these records; None to keep what it has
    records      to append
    remove, close
    """

    journal: FileJournal
    file: JournalFile
    replacement: list[bytes] | None
    records: list[bytes]
    remove: bool
    close: bool


class _Commit(msgspec.Struct, gc=False):
    """A group of changes; everything up to `ticket` is durable when it has been written."""

    ticket: int
    changes: list[_Change]
    error: str = ""


class FileJournal:
    """The journal of one actor (:class:`runtime.journal.Journal`). Used on the node's thread only."""

    def __init__(self, store: FileJournalStore, name: str, file: JournalFile) -> None:
        self.name = name
        self.dirty = False
        self.open = True
        self.removed = False
        self._store = store
        self._file = file
        self._records: list[bytes] = []
        self._replacement: list[bytes] | None = None
        self.size_bytes = file.size_bytes
        self._taken_at_bytes = self.size_bytes

    def read(self) -> list[bytes]:
        """All records, oldest first; waits until what is queued is on disk."""
        self._store.flush()
        try:
            records = self._file.read()
        except OSError as error:
            raise JournalError(f"the journal of {self.name} cannot be read: {error}") from error
        self.size_bytes = self._taken_at_bytes = self._file.size_bytes
        return records

    def append(self, record: bytes) -> int:
        """Queue one record; returns its ticket."""
        self._records.append(record)
        self.size_bytes += len(record) + RECORD_OVERHEAD_BYTES
        return self._store.queue(self)

    def replace(self, records: Sequence[bytes]) -> int:
        """Queue a rewrite; what was queued before it need not be written any more."""
        self._replacement = list(records)
        self._records = []
        self.size_bytes = sum(len(record) + RECORD_OVERHEAD_BYTES for record in records)
        self._taken_at_bytes = 0
        return self._store.queue(self)

    def close(self) -> None:
        """Close the file once everything queued is durable; twice is once."""
        if self.open:
            self.open = False
            self._store.mark(self)

    def remove(self) -> None:
        """Delete the file; what is queued need not be written any more."""
        if not self.open:
            raise JournalError(f"the journal of {self.name} is closed")
        self.removed = True
        self._replacement, self._records = None, []
        self.size_bytes = self._taken_at_bytes = 0
        self.close()

    def take(self) -> _Change:
        """Hand what is queued to a commit."""
        change = _Change(self, self._file, self._replacement, self._records, self.removed, not self.open)
        self._replacement, self._records, self.dirty = None, [], False
        self._taken_at_bytes = self.size_bytes
        return change

    def settle(self) -> None:
        """A commit has been written: the size is that of the file and what was queued since."""
        queued_bytes = self.size_bytes - self._taken_at_bytes
        self._taken_at_bytes = self._file.size_bytes
        self.size_bytes = self._taken_at_bytes + queued_bytes

    def release(self) -> None:
        """The store closes: give the descriptor back."""
        self._file.close()


class FileJournalStore:
    """All journals of one node in one directory (:class:`runtime.journal.JournalStore`).

    directory             made, with mode 0700, if there is none; one store at a time may use it
    call_soon_threadsafe  runs a callback on the node's thread, between turns: `loop.call_soon_threadsafe`

    Raises :class:`JournalError` when the directory cannot be used, or another process uses it.
    """

    def __init__(self, directory: Path | str, call_soon_threadsafe: Callable[[Callable[[], None]], object]) -> None:
        self._directory = Path(directory)
        self._call_soon = call_soon_threadsafe
        self._lock = self._prepare()
        self._journals: dict[str, FileJournal] = {}
        self._dirty: list[FileJournal] = []
        self._ticket = 0
        self._settled = 0
        self._told = 0
        self._error = ""
        self._scheduled = False
        self._committing = False
        self._jobs: queue.SimpleQueue[_Commit | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Commit] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._durable: Callable[[int], None] = _nobody
        self._failed: Callable[[str], None] = _nobody

    def open(self, name: str) -> FileJournal:
        """The journal of that actor. Raises :class:`JournalError` when it is open, or its file cannot be."""
        if len(name) > NAME_CHARACTERS:
            raise JournalError(f"{name!r} is too long a name for a journal: {NAME_CHARACTERS} characters at most")
        if name in self._journals:
            if self._journals[name].open:
                raise JournalError(f"the journal of {name} is open already: two actors cannot share one")
            self.flush()
        try:
            file = JournalFile(self._directory / f"{name.replace('/', '%')}{SUFFIX}")
        except OSError as error:
            raise JournalError(f"the journal of {name} cannot be opened: {error}") from error
        journal = self._journals[name] = FileJournal(self, name, file)
        return journal

    def names(self) -> list[str]:
        """Every journal there is, sorted; an actor's name has no percent sign, and a file's no slash."""
        removed = {name for name, journal in self._journals.items() if journal.removed}
        names = (path.name.removesuffix(SUFFIX).replace("%", "/") for path in self._directory.glob(f"*{SUFFIX}"))
        return sorted(name for name in names if name not in removed)

    def start(self, durable: Callable[[int], None], failed: Callable[[str], None]) -> None:
        """Start the writer."""
        self._durable, self._failed = durable, failed
        self._thread = threading.Thread(target=self._write, name="journal-writer", daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Wait until everything queued is on disk. Raises :class:`JournalError` when it cannot be."""
        deadline = time.monotonic() + FLUSH_TIMEOUT_SECONDS
        while (self._committing or self._dirty) and not self._error:
            self._hand_over()
            try:
                self._settle(self._done.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise JournalError(
                    f"{self._directory}: the disk has not taken a write within {FLUSH_TIMEOUT_SECONDS:.0f} seconds"
                ) from None
        if self._error:
            raise JournalError(self._error)

    def close(self) -> None:
        """Make everything queued durable, say so, and stop the writer; twice is once."""
        if self._lock < 0:
            return
        try:
            if not self._error:
                self.flush()
        except JournalError as error:
            self._error = self._error or str(error)
        finally:
            if self._thread is not None:
                self._jobs.put(None)
                self._thread.join(FLUSH_TIMEOUT_SECONDS)
            for journal in self._journals.values():
                journal.release()
            os.close(self._lock)
            self._lock = -1
        self._tell()

    # What journals call ----------------------------------------------------------------------------------------------

    def queue(self, journal: FileJournal) -> int:
        """A journal has something to write; returns the ticket for it."""
        if not journal.open:
            raise JournalError(f"the journal of {journal.name} is closed")
        if not journal.dirty:
            self.mark(journal)
        self._ticket += 1
        return self._ticket

    def mark(self, journal: FileJournal) -> None:
        """See to it that the next commit includes this journal, and that there is one after this turn."""
        if not journal.dirty:
            journal.dirty = True
            self._dirty.append(journal)
        if not self._scheduled and not self._committing:
            self._scheduled = True
            self._call_soon(self._hand_over)

    # The node's thread -----------------------------------------------------------------------------------------------

    def _prepare(self) -> int:
        """Make the directory and take its lock; what an unfinished compaction left is thrown away."""
        try:
            if not self._directory.is_dir():
                self._directory.mkdir(mode=0o700, parents=True)
                sync_directory(self._directory.parent)
            lock = os.open(self._directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"journals cannot be kept in {self._directory}: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise JournalError(
                f"journals in {self._directory} are in use by another process: stop it, or choose another directory"
            ) from error
        for left in self._directory.glob(f"*{SUFFIX}{TEMPORARY}"):
            left.unlink()
        return lock

    def _hand_over(self) -> None:
        """Give the writer all that is queued, unless it is busy."""
        self._scheduled = False
        if self._committing or not self._dirty or self._error:
            return
        dirty, self._dirty = self._dirty, []
        self._committing = True
        self._jobs.put(_Commit(self._ticket, [journal.take() for journal in dirty]))

    def _finished(self) -> None:
        """The writer has posted a result; a flush may have taken it already."""
        if not self._done.empty():
            self._settle(self._done.get())
        self._hand_over()
        self._tell()

    def _settle(self, commit: _Commit) -> None:
        """Note what a commit came to."""
        self._committing = False
        if commit.error:
            self._error = commit.error
            return
        self._settled = commit.ticket
        for change in commit.changes:
            change.journal.settle()
            if change.close:
                del self._journals[change.journal.name]

    def _tell(self) -> None:
        """Tell the node what it has not heard yet."""
        if self._settled > self._told:
            self._told = self._settled
            self._durable(self._told)
        if self._error and self._failed is not _nobody:
            failed, self._failed = self._failed, _nobody
            failed(self._error)

    # The writer's thread ---------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Carry out commits until told to stop, or until one fails: a failed sync cannot be repeated."""
        while (commit := self._jobs.get()) is not None:
            try:
                self._carry_out(commit.changes)
            except (OSError, JournalError) as error:
                commit.error = f"a journal in {self._directory} cannot be written: {error}"
            self._done.put(commit)
            try:
                self._call_soon(self._finished)
            except RuntimeError:
                return  # the loop is closed: nobody is left who could be told
            if commit.error:
                return

    def _carry_out(self, changes: list[_Change]) -> None:
        """Write to all files, sync all files, then the directory: so the file system can share its own commits."""
        directory = False
        for change in changes:
            file = change.file
            if change.replacement is not None:
                file.rewrite(change.replacement + change.records)
                directory = True
            elif change.records:
                file.write(change.records)
            if change.remove:
                file.path.unlink(missing_ok=True)
                directory = True
            directory |= file.created
            file.created = False
        for change in changes:
            if change.records and change.replacement is None and not change.remove:
                change.file.sync()
            if change.close:
                change.file.close()
        if directory:
            sync_directory(self._directory)


def _nobody(_: object) -> None:
    """Hears what a store says before it is started."""
