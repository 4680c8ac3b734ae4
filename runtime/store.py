"""Stores: versioned values by key, changed by compare-and-swap; where the registry of a cluster is kept.

Calls block; an edge actor runs them in a thread. Every write carries the epoch of the leader that makes it: once a
store has seen a higher one it refuses all writes of lower ones, so that a deposed leader changes nothing, however late
its writes arrive. A new leader calls `fence` before it reads.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Sequence
from typing import Final

import msgspec

from runtime.errors import KaonError

ABSENT: Final = 0
"""The version of a key that does not exist."""

VALUE_BYTES: Final = 1_000_000
"""Largest value: ZooKeeper refuses more than about a mebibyte (`jute.maxbuffer`), path and packet included."""

KEY_CHARACTERS: Final = 512


class StoreError(KaonError):
    """A store cannot be read or written."""


class StoreConflict(StoreError):
    """Somebody else changed a key since it was read.

    key       whose version differs
    expected  by the writer
    actual    in the store; `ABSENT` if the key does not exist
    """

    def __init__(self, key: str, expected: int, actual: int) -> None:
        super().__init__(f"{key} is at version {actual}, not {expected}: read it again")
        self.key = key
        self.expected = expected
        self.actual = actual


class StoreFenced(StoreError):
    """A later leader has taken over: the writer must not go on.

    epoch    of the writer
    current  the highest that the store has seen
    """

    def __init__(self, epoch: int, current: int) -> None:
        super().__init__(f"epoch {epoch} is over: a leader of epoch {current} has taken over")
        self.epoch = epoch
        self.current = current


class Versioned(msgspec.Struct, frozen=True, gc=False):
    """A value and its version: greater than zero, and another after each write."""

    value: bytes
    version: int


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change of a transaction.

    value    None deletes the key
    version  that the key must have, `ABSENT` for "must not exist"; None for any
    """

    key: str
    value: bytes | None
    version: int | None = None


class Store(abc.ABC):
    """What a store must do; calls may come from any thread, and raise :class:`StoreError` when the store is broken."""

    @abc.abstractmethod
    def get(self, key: str) -> Versioned | None:
        """The value of a key; None if it does not exist."""

    @abc.abstractmethod
    def keys(self, prefix: str = "") -> list[str]:
        """All keys that begin with `prefix`, sorted."""

    @abc.abstractmethod
    def commit(self, changes: Sequence[Change], epoch: int) -> list[int]:
        """Make all changes or none; durable on return. Returns the new version of each key, `ABSENT` where deleted.

        A higher epoch than the store's becomes the store's, if the changes are made.
        Raises :class:`StoreFenced` and :class:`StoreConflict`; ValueError for a key or value that cannot be stored, or
        a key that comes twice.
        """

    @abc.abstractmethod
    def epoch(self) -> int:
        """The highest epoch that the store has seen; 0 at first."""

    @abc.abstractmethod
    def fence(self, epoch: int) -> None:
        """Refuse lower epochs from now on, durably. Raises :class:`StoreFenced` when `epoch` itself is too low."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of it; twice is once."""

    def put(self, key: str, value: bytes, epoch: int) -> int:
        """Set a key, whatever it was; returns its version."""
        return self.commit([Change(key, value)], epoch)[0]

    def cas(self, key: str, value: bytes, version: int, epoch: int) -> int:
        """Compare and swap: set a key if it has that version, `ABSENT` to create it; returns its new version."""
        return self.commit([Change(key, value, version)], epoch)[0]

    def delete(self, key: str, version: int, epoch: int) -> None:
        """Delete a key if it has that version."""
        self.commit([Change(key, None, version)], epoch)


def check_changes(changes: Sequence[Change]) -> None:
    """Raise ValueError for changes that no store can make."""
    seen: set[str] = set()
    for change in changes:
        key = change.key
        if not key or len(key) > KEY_CHARACTERS or not key.isprintable():
            raise ValueError(f"{key!r} is no key: printable characters, {KEY_CHARACTERS} at most")
        if key in seen:
            raise ValueError(f"{key} is changed twice in one transaction")
        seen.add(key)
        if change.value is not None and len(change.value) > VALUE_BYTES:
            raise ValueError(f"{key}: {len(change.value)} bytes are too many, a value has {VALUE_BYTES} at most")


class MemoryStore(Store):
    """A store in memory, for tests and simulation: it outlives the leaders that use it."""

    def __init__(self) -> None:
        self._entries: dict[str, Versioned] = {}
        self._epoch = 0
        self._version = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> Versioned | None:
        """See :class:`Store`."""
        return self._entries.get(key)

    def keys(self, prefix: str = "") -> list[str]:
        """See :class:`Store`."""
        with self._lock:
            return sorted(key for key in self._entries if key.startswith(prefix))

    def commit(self, changes: Sequence[Change], epoch: int) -> list[int]:
        """See :class:`Store`."""
        check_changes(changes)
        with self._lock:
            self._check_epoch(epoch)
            for change in changes:
                entry = self._entries.get(change.key)
                actual = entry.version if entry is not None else ABSENT
                if change.version is not None and change.version != actual:
                    raise StoreConflict(change.key, change.version, actual)
            self._epoch = epoch
            self._version += 1
            return [self._apply(change) for change in changes]

    def epoch(self) -> int:
        """See :class:`Store`."""
        return self._epoch

    def fence(self, epoch: int) -> None:
        """See :class:`Store`."""
        with self._lock:
            self._check_epoch(epoch)
            self._epoch = epoch

    def close(self) -> None:
        """Nothing to let go of."""

    def _check_epoch(self, epoch: int) -> None:
        if epoch < self._epoch:
            raise StoreFenced(epoch, self._epoch)

    def _apply(self, change: Change) -> int:
        if change.value is None:
            self._entries.pop(change.key, None)
            return ABSENT
        self._entries[change.key] = Versioned(change.value, self._version)
        return self._version
