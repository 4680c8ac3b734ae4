"""A store in one SQLite file: for clusters with a single master, which then need no ZooKeeper.

Write-ahead log with ``synchronous=FULL``: what `commit` has returned survives a loss of power. Other processes may open
the same file; the epoch decides which of them may write.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runtime.store import ABSENT, Change, Store, StoreConflict, StoreError, StoreFenced, Versioned, check_changes

SCHEMA_VERSION: Final = 1
"""Kept in ``PRAGMA user_version``."""

BUSY_TIMEOUT_SECONDS: Final = 5.0
"""How long a write waits for one of another process."""

_SCHEMA: Final = """
CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE state (epoch INTEGER NOT NULL, version INTEGER NOT NULL);
INSERT INTO state VALUES (0, 0);
"""


class SqliteStore(Store):
    """A store in the file `path`, made with its directory if there is none.

    Raises :class:`StoreError` when it cannot be opened, is no such store, or was written by a newer version.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        with self._errors():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            connection = sqlite3.connect(
                self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        self._connection = connection

    def get(self, key: str) -> Versioned | None:
        """See :class:`Store`."""
        with self._reading() as connection:
            row = connection.execute("SELECT value, version FROM entries WHERE key = ?", (key,)).fetchone()
        return None if row is None else Versioned(*row)

    def keys(self, prefix: str = "") -> list[str]:
        """See :class:`Store`."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT key FROM entries WHERE substr(key, 1, ?) = ? ORDER BY key", (len(prefix), prefix)
            ).fetchall()
        return [key for (key,) in rows]

    def commit(self, changes: Sequence[Change], epoch: int) -> list[int]:
        """See :class:`Store`."""
        check_changes(changes)
        with self._writing(epoch) as connection:
            for change in changes:
                row = connection.execute("SELECT version FROM entries WHERE key = ?", (change.key,)).fetchone()
                actual = ABSENT if row is None else row[0]
                if change.version is not None and change.version != actual:
                    raise StoreConflict(change.key, change.version, actual)
            (version,) = connection.execute("UPDATE state SET version = version + 1 RETURNING version").fetchone()
            return [_apply(connection, change, version) for change in changes]

    def epoch(self) -> int:
        """See :class:`Store`."""
        with self._reading() as connection:
            return _epoch(connection)

    def fence(self, epoch: int) -> None:
        """See :class:`Store`."""
        with self._writing(epoch):
            pass

    def close(self) -> None:
        """Close the file; twice is once."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Set the connection up, and make the tables in a new file."""
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"{self._path}: no write-ahead log is possible here; choose a local disk")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found > SCHEMA_VERSION:
            raise StoreError(f"{self._path} was written by a newer version (schema {found}): upgrade this program")
        if found == 0:
            for statement in _SCHEMA.strip().splitlines():
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say which file an error is about."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self._path}: {error}{_what_to_do(error)}") from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time."""
        with self._lock, self._errors():
            if self._connection is None:
                raise StoreError(f"{self._path} is closed")
            yield self._connection

    @contextmanager
    def _writing(self, epoch: int) -> Iterator[sqlite3.Connection]:
        """A transaction of a leader that has not been deposed: committed at the end, or undone by what is raised."""
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                current = _epoch(connection)
                if epoch < current:
                    raise StoreFenced(epoch, current)
                if epoch > current:
                    connection.execute("UPDATE state SET epoch = ?", (epoch,))
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise


def _what_to_do(error: Exception) -> str:
    """The end of an error's sentence. A disk without space shows in both ways, also while SQLite makes its files."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return "; is there space left on the disk?" if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR) else ""


def _epoch(connection: sqlite3.Connection) -> int:
    """The highest epoch seen."""
    (epoch,) = connection.execute("SELECT epoch FROM state").fetchone()
    return int(epoch)


def _apply(connection: sqlite3.Connection, change: Change, version: int) -> int:
    """Make one change within a transaction; returns the key's new version."""
    if change.value is None:
        connection.execute("DELETE FROM entries WHERE key = ?", (change.key,))
        return ABSENT
    connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (change.key, change.value, version))
    return version
