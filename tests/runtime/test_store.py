"""What every store promises; one suite for all of them, and what only the SQLite file can get wrong."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.store import (
    ABSENT,
    VALUE_BYTES,
    Change,
    MemoryStore,
    Store,
    StoreConflict,
    StoreError,
    StoreFenced,
    Versioned,
)
from runtime.store_sqlite import SqliteStore

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "registry.db")
    yield made
    made.close()
    made.close()


def test_a_key_that_was_never_written_is_absent(store: Store) -> None:
    assert store.get("agents/1") is None
    assert store.keys() == []
    assert store.epoch() == 0


def test_a_value_comes_back_with_its_version(store: Store) -> None:
    version = store.put("agents/1", b"\x00binary\xff", epoch=1)
    assert version > ABSENT
    assert store.get("agents/1") == Versioned(b"\x00binary\xff", version)
    assert store.put("agents/1", b"", epoch=1) > version
    found = store.get("agents/1")
    assert found is not None
    assert found.value == b""


def test_compare_and_swap_needs_the_version_that_is_there(store: Store) -> None:
    first = store.cas("key", b"1", ABSENT, epoch=1)
    second = store.cas("key", b"2", first, epoch=1)
    with pytest.raises(StoreConflict, match=f"key is at version {second}, not {first}") as conflict:
        store.cas("key", b"3", first, epoch=1)
    assert (conflict.value.key, conflict.value.expected, conflict.value.actual) == ("key", first, second)
    with pytest.raises(StoreConflict):
        store.cas("key", b"3", ABSENT, epoch=1)
    with pytest.raises(StoreConflict):
        store.cas("other", b"3", first, epoch=1)
    assert store.get("key") == Versioned(b"2", second)
    assert store.get("other") is None


def test_a_key_made_again_never_has_an_old_version(store: Store) -> None:
    first = store.put("key", b"1", epoch=1)
    store.delete("key", first, epoch=1)
    assert store.get("key") is None
    assert store.put("key", b"1", epoch=1) > first
    with pytest.raises(StoreConflict):
        store.delete("key", first, epoch=1)


def test_keys_are_sorted_and_chosen_by_prefix(store: Store) -> None:
    for key in ("b/2", "a/1", "b/1", "b%", "B/1", "ä"):
        store.put(key, b"x", epoch=1)
    assert store.keys() == sorted(("b/2", "a/1", "b/1", "b%", "B/1", "ä"))
    assert store.keys("b/") == ["b/1", "b/2"]
    assert store.keys("c") == []


def test_a_transaction_makes_all_changes_or_none(store: Store) -> None:
    version = store.put("a", b"1", epoch=1)
    versions = store.commit([Change("a", None, version), Change("b", b"2", ABSENT), Change("c", b"3")], epoch=1)
    assert versions[0] == ABSENT
    assert store.keys() == ["b", "c"]
    with pytest.raises(StoreConflict, match=r"^b "):
        store.commit([Change("c", b"4"), Change("d", b"5", ABSENT), Change("b", b"6", version)], epoch=1)
    assert store.get("c") == Versioned(b"3", versions[2])
    assert store.keys() == ["b", "c"]
    assert store.commit([], epoch=1) == []


def test_a_deposed_leader_writes_nothing_more(store: Store) -> None:
    store.put("key", b"old leader", epoch=3)
    store.fence(4)
    assert store.epoch() == 4
    with pytest.raises(StoreFenced, match="epoch 3 is over: a leader of epoch 4"):
        store.put("key", b"too late", epoch=3)
    with pytest.raises(StoreFenced):
        store.commit([], epoch=3)
    with pytest.raises(StoreFenced):
        store.fence(3)
    found = store.get("key")
    assert found is not None
    assert found.value == b"old leader"
    store.put("key", b"new leader", epoch=4)
    store.put("key", b"newest leader", epoch=5)
    assert store.epoch() == 5


def test_a_refused_write_does_not_raise_the_epoch_of_others(store: Store) -> None:
    store.put("key", b"1", epoch=1)
    with pytest.raises(ValueError, match="too many"):
        store.put("key", b"x" * (VALUE_BYTES + 1), epoch=9)
    with pytest.raises(StoreConflict):
        store.cas("key", b"x", ABSENT, epoch=9)
    assert store.epoch() == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ([Change("", b"")], "is no key"),
        ([Change("a\nb", b"")], "is no key"),
        ([Change("x" * 513, b"")], "is no key"),
        ([Change("a", b"1"), Change("a", b"2")], "a is changed twice"),
    ],
)
def test_what_cannot_be_stored_is_refused(store: Store, changes: list[Change], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        store.commit(changes, epoch=1)
    assert store.keys() == []


def test_threads_that_swap_the_same_key_lose_no_update(store: Store) -> None:
    store.put("count", b"0", epoch=1)

    def add(times: int) -> None:
        while times:
            found = store.get("count")
            assert found is not None
            try:
                store.cas("count", b"%d" % (int(found.value) + 1), found.version, epoch=1)
            except StoreConflict:
                continue
            times -= 1

    threads = [threading.Thread(target=add, args=(25,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = store.get("count")
    assert found is not None
    assert found.value == b"100"


def test_a_file_keeps_values_versions_and_epoch(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "registry.db"
    store = SqliteStore(path)
    version = store.put("key", b"value", epoch=7)
    store.close()
    with pytest.raises(StoreError, match=r"registry\.db is closed"):
        store.get("key")
    store = SqliteStore(path)
    assert store.get("key") == Versioned(b"value", version)
    assert store.epoch() == 7
    assert store.put("other", b"", epoch=7) > version
    store.close()


def test_two_processes_may_open_a_file_and_the_later_epoch_writes(tmp_path: Path) -> None:
    old, new = SqliteStore(tmp_path / "registry.db"), SqliteStore(tmp_path / "registry.db")
    version = old.put("key", b"old", epoch=1)
    new.fence(2)
    assert new.cas("key", b"new", version, epoch=2) > version
    with pytest.raises(StoreFenced):
        old.put("key", b"old", epoch=1)
    found = old.get("key")
    assert found is not None
    assert found.value == b"new"
    old.close()
    new.close()


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match=r"registry\.db: file is not a database"):
        SqliteStore(path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        SqliteStore(tmp_path / "file" / "registry.db")


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    SqliteStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="schema 99"):
        SqliteStore(path)


def test_a_full_disk_is_named_and_what_was_written_before_is_there_afterwards(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "registry.db")
    store.cas("small", b"x", ABSENT, epoch=1)
    with store._reading() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match=r"registry\.db: database or disk is full; is there space left on the disk\?"):
        store.cas("large", bytes(1_000_000), ABSENT, epoch=1)
    with store._reading() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    store.cas("large", bytes(1_000_000), ABSENT, epoch=1)
    assert store.keys() == ["large", "small"]
    store.close()


VICTIM = """
import itertools, sys
from runtime.store_sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
for number in itertools.count(len(store.keys())):
    store.cas(f"{number:06}", b"x" * 1000, 0, epoch=1)
    print(number, flush=True)
"""


def test_what_was_committed_is_there_after_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as victim:
            assert victim.stdout is not None
            lines = [victim.stdout.readline() for _ in range(50)]
            victim.send_signal(signal.SIGKILL)
            lines += victim.stdout.read().splitlines()
        store = SqliteStore(path)
        keys = store.keys()
        store.close()
        assert len(keys) > int(lines[-1])
        assert keys == [f"{number:06}" for number in range(len(keys))]


def test_the_log_is_synchronised_at_every_commit(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "registry.db")
    with store._reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()
