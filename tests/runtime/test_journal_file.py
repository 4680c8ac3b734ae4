"""File journals: crashes, damage, full disks, and processes that are killed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import JournalError
from runtime.journal_entries import encode_entry, scan, split_entries
from runtime.journal_file import FileJournalStore

ROOT = Path(__file__).parents[2]


def at_once(callback: Callable[[], None]) -> None:
    """A loop of no node: what is posted is never run, and only `flush` and `close` drive the store."""


def write(directory: Path, *commits: list[bytes]) -> Path:
    """Make a journal of one actor, one entry per commit; returns its file."""
    store = FileJournalStore(directory, at_once)
    store.start(lambda ticket: None, pytest.fail)
    journal = store.open("agent")
    for records in commits:
        for record in records:
            journal.append(record)
        store.flush()
    store.close()
    return directory / "agent.journal"


def read(directory: Path) -> list[bytes]:
    store = FileJournalStore(directory, at_once)
    try:
        return store.open("agent").read()
    finally:
        store.close()


COMMITS = [[b"one", b"two"], [b"three" * 100], [b"four", b"\x01" * 2000]]


def test_a_torn_tail_is_cut_off_wherever_the_write_stopped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(tmp_path, *COMMITS)
    data = file.read_bytes()
    last = len(encode_entry(COMMITS[2]))
    for length in range(len(data) - last, len(data), 37):
        file.write_bytes(data[:length])
        with caplog.at_level(logging.WARNING):
            assert read(tmp_path) == COMMITS[0] + COMMITS[1]
        assert file.stat().st_size == len(data) - last
    assert f"at offset {len(data) - last}" in caplog.text
    assert str(file) in caplog.text


def test_a_sector_that_did_not_reach_the_disk_is_a_torn_tail(tmp_path: Path) -> None:
    file = write(tmp_path, *COMMITS)
    data = bytearray(file.read_bytes())
    data[-600:] = bytes(600)
    file.write_bytes(data)
    assert read(tmp_path) == COMMITS[0] + COMMITS[1]


def test_what_is_written_after_a_torn_tail_is_read_again(tmp_path: Path) -> None:
    file = write(tmp_path, *COMMITS)
    os.truncate(file, file.stat().st_size - 1)
    write(tmp_path, [b"five"])
    assert read(tmp_path) == [*COMMITS[0], *COMMITS[1], b"five"]


@given(where=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_damage_is_never_taken_for_records(tmp_path_factory: pytest.TempPathFactory, where: float, bits: int) -> None:
    """One changed byte: refused where it stands, or, in the last entry only, dropped as a torn tail."""
    data = bytearray(b"".join(encode_entry(records) for records in COMMITS))
    at = int(where * len(data))
    data[at] ^= bits
    file = tmp_path_factory.mktemp("damage") / "agent.journal"
    file.write_bytes(data)
    good = len(data) - len(encode_entry(COMMITS[2]))
    found, refusal = None, ""
    try:
        found = scan(file)
    except JournalError as error:
        refusal = str(error)
    if found is None:
        assert refusal.startswith(f"{file}: damaged at offset ")
    else:
        assert at >= good
        assert found.records == COMMITS[0] + COMMITS[1]


def test_damage_before_the_end_names_file_and_offset(tmp_path: Path) -> None:
    file = write(tmp_path, *COMMITS)
    first = len(encode_entry(COMMITS[0]))
    data = bytearray(file.read_bytes())
    data[first + 20] ^= 1
    file.write_bytes(data)
    with pytest.raises(JournalError, match=f"{file}: damaged at offset {first}"):
        read(tmp_path)
    assert file.read_bytes() == data


def test_a_damaged_journal_is_not_appended_to(tmp_path: Path) -> None:
    file = write(tmp_path, *COMMITS)
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.write_bytes(data)
    failed: list[str] = []
    store = FileJournalStore(tmp_path, at_once)
    store.start(lambda ticket: pytest.fail("durable"), failed.append)
    store.open("agent").append(b"more")
    store.close()
    assert len(failed) == 1
    assert "damaged at offset 0" in failed[0]
    assert file.read_bytes() == data


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "agent.journal"
    file.write_bytes(b"Hello, world. This is no journal, whatever its name says.\n" * 20)
    with pytest.raises(JournalError, match="damaged at offset 0"):
        read(tmp_path)


def test_what_a_compaction_left_unfinished_is_thrown_away(tmp_path: Path) -> None:
    write(tmp_path, *COMMITS)
    (tmp_path / "agent.journal.new").write_bytes(b"half a snapshot")
    assert read(tmp_path) == [record for records in COMMITS for record in records]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.journal", "lock"]


def test_a_directory_serves_one_store_at_a_time(tmp_path: Path) -> None:
    store = FileJournalStore(tmp_path, at_once)
    with pytest.raises(JournalError, match="in use by another process"):
        FileJournalStore(tmp_path, at_once)
    store.close()
    FileJournalStore(tmp_path, at_once).close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="file/journals"):
        FileJournalStore(tmp_path / "file" / "journals", at_once)


def test_a_name_too_long_for_a_file_is_refused(tmp_path: Path) -> None:
    store = FileJournalStore(tmp_path, at_once)
    with pytest.raises(JournalError, match="too long"):
        store.open("x" * 255)
    store.close()


def test_a_large_commit_becomes_several_entries() -> None:
    records = [bytes(10)] * 25 + [bytes(1000)] + [bytes(10)] * 3
    runs = split_entries(records, entry_bytes=100)
    assert [record for run in runs for record in run] == records
    assert [len(run) for run in runs] == [10, 10, 5, 1, 3]


FULL_DISK = """
import resource, sys
from runtime.journal_file import FileJournalStore
posted = []
store = FileJournalStore(sys.argv[1], posted.append)
store.start(lambda ticket: print("durable", ticket), lambda text: print("failed", text))
journal = store.open("agent")
journal.append(b"fits")
store.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
journal.append(b"x" * 8000)
journal.append(b"y")
store.close()
"""


def test_a_full_disk_is_said_once_and_nothing_becomes_durable_after_it(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stderr == ""
    durable, failed = result.stdout.splitlines()
    assert durable == "durable 1"
    assert failed.startswith("failed a journal in")
    assert "File too large" in failed
    assert read(tmp_path) == [b"fits"]


VICTIM = """
import asyncio, sys
from runtime.journal_file import FileJournalStore

async def main() -> None:
    store = FileJournalStore(sys.argv[1], asyncio.get_running_loop().call_soon_threadsafe)
    numbers = {}

    def work() -> None:
        for number in range(last() + 1, last() + 20):
            numbers[journal.append(b"%d" % number)] = number
        if journal.size_bytes > 10_000:
            numbers[journal.replace([b"%d" % last()])] = last()

    def last() -> int:
        return max(numbers.values(), default=recovered)

    def durable(ticket: int) -> None:
        print(numbers[ticket], flush=True)
        work()

    store.start(durable, sys.exit)
    journal = store.open("agent")
    recovered = int((journal.read() or [b"0"])[-1])
    work()
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_what_was_said_to_be_durable_is_there_after_kill_9(tmp_path: Path) -> None:
    """Three lives of one process, each killed while it writes and compacts: numbers never go back, none is skipped."""
    said = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as victim:
            assert victim.stdout is not None
            lines = [victim.stdout.readline() for _ in range(100)]
            victim.send_signal(signal.SIGKILL)
            lines += victim.stdout.read().splitlines()
        assert int(lines[0]) > said
        said = int(lines[-1])
        numbers = [int(record) for record in read(tmp_path)]
        assert numbers[-1] >= said
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
