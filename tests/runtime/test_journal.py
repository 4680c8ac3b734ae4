"""What every journal store promises, whatever keeps the records; one suite for all of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from runtime.clock import VirtualClock
from runtime.errors import JournalError
from runtime.journal import JournalStore
from runtime.journal_file import FileJournalStore
from runtime.journal_memory import MemoryJournalStore


class Node:
    """What a store talks to: it remembers what it was told, and can wait for it."""

    def __init__(self, wait: Callable[[Callable[[], bool]], None]) -> None:
        self.durable: list[int] = []
        self.failed: list[str] = []
        self._wait = wait

    def wait_for(self, ticket: int) -> None:
        self._wait(lambda: bool(self.durable) and self.durable[-1] >= ticket)


class Lab(Protocol):
    """Makes stores that share one disk, one after the other."""

    def store(self) -> JournalStore: ...

    def node(self) -> Node: ...


class MemoryLab:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self._store = MemoryJournalStore(self.clock, latency_seconds=0.25)

    def store(self) -> JournalStore:
        return self._store

    def node(self) -> Node:
        def wait(condition: Callable[[], bool]) -> None:
            while not condition():
                assert self.clock.step(), "nothing is scheduled, and nothing was said"

        return Node(wait)


class FileLab:
    def __init__(self, directory: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._directory = directory

    def store(self) -> JournalStore:
        return FileJournalStore(self._directory, self.loop.call_soon_threadsafe)

    def node(self) -> Node:
        def wait(condition: Callable[[], bool]) -> None:
            async def turn() -> None:
                while not condition():
                    await asyncio.sleep(0.001)

            self.loop.run_until_complete(asyncio.wait_for(turn(), 30))

        return Node(wait)


@pytest.fixture(params=["memory", "file"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    if request.param == "memory":
        yield MemoryLab()
        return
    files = FileLab(tmp_path / "journals")
    yield files
    files.loop.close()


def started(lab: Lab) -> tuple[JournalStore, Node]:
    store, node = lab.store(), lab.node()
    store.start(node.durable.append, node.failed.append)
    return store, node


def test_records_come_back_in_order_after_a_restart(lab: Lab) -> None:
    store, node = started(lab)
    journal = store.open("registrar")
    for number in range(1000):
        ticket = journal.append(b"record %d" % number)
    node.wait_for(ticket)
    store.close()

    store, _ = started(lab)
    assert store.open("registrar").read() == [b"record %d" % number for number in range(1000)]
    store.close()


def test_a_new_journal_is_empty(lab: Lab) -> None:
    store, _ = started(lab)
    journal = store.open("agent")
    assert journal.read() == []
    assert journal.size_bytes == 0
    assert store.names() == ["agent"]
    store.close()


def test_tickets_grow_over_all_journals_of_a_store(lab: Lab) -> None:
    store, node = started(lab)
    first, second = store.open("first"), store.open("second")
    tickets = [first.append(b"1"), second.append(b"2"), first.replace([b"3"]), second.append(b"4")]
    assert tickets == sorted(set(tickets))
    node.wait_for(tickets[-1])
    store.close()


def test_durable_is_said_in_order_and_never_within_append(lab: Lab) -> None:
    store, node = started(lab)
    journal = store.open("agent")
    for _ in range(5):
        said = list(node.durable)
        ticket = journal.append(b"x" * 100)
        assert node.durable == said
        node.wait_for(ticket)
    assert node.durable == sorted(set(node.durable))
    store.close()
    assert node.failed == []


def test_close_makes_everything_durable_and_says_so(lab: Lab) -> None:
    store, node = started(lab)
    journal = store.open("agent")
    for number in range(10):
        ticket = journal.append(b"%d" % number)
    store.close()
    assert node.durable[-1] == ticket
    store.close()

    store, _ = started(lab)
    assert store.open("agent").read() == [b"%d" % number for number in range(10)]
    store.close()


def test_read_includes_what_is_queued(lab: Lab) -> None:
    store, _ = started(lab)
    journal = store.open("agent")
    journal.append(b"one")
    journal.append(b"two")
    assert journal.read() == [b"one", b"two"]
    store.close()


def test_replace_puts_records_in_the_place_of_all_before(lab: Lab) -> None:
    store, node = started(lab)
    journal = store.open("agent")
    node.wait_for(journal.append(b"old"))
    journal.append(b"queued and superseded")
    journal.replace([b"snapshot 1", b"snapshot 2"])
    node.wait_for(journal.append(b"after"))
    assert journal.read() == [b"snapshot 1", b"snapshot 2", b"after"]
    node.wait_for(journal.append(b"later"))
    store.close()

    store, node = started(lab)
    journal = store.open("agent")
    assert journal.read() == [b"snapshot 1", b"snapshot 2", b"after", b"later"]
    node.wait_for(journal.replace([]))
    assert journal.read() == []
    store.close()


def test_size_counts_what_is_queued_and_shrinks_with_a_rewrite(lab: Lab) -> None:
    store, node = started(lab)
    journal = store.open("agent")
    sizes = [journal.size_bytes]
    for _ in range(10):
        ticket = journal.append(b"x" * 1000)
        sizes.append(journal.size_bytes)
    assert all(after - before >= 1000 for before, after in itertools.pairwise(sizes))
    node.wait_for(ticket)
    assert 10_000 <= journal.size_bytes < 11_000
    node.wait_for(journal.replace([b"x"]))
    assert journal.size_bytes < 100
    store.close()


def test_a_removed_journal_is_gone_for_good(lab: Lab) -> None:
    store, node = started(lab)
    journal, other = store.open("executor/1"), store.open("executor/2")
    node.wait_for(journal.append(b"x"))
    journal.append(b"queued")
    journal.remove()
    assert store.names() == ["executor/2"]
    node.wait_for(other.append(b"x"))
    again = store.open("executor/1")
    assert again.read() == []
    node.wait_for(again.append(b"new"))
    store.close()

    store, _ = started(lab)
    assert store.names() == ["executor/1", "executor/2"]
    assert store.open("executor/1").read() == [b"new"]
    store.close()


def test_a_closed_journal_keeps_its_records_and_can_be_opened_again(lab: Lab) -> None:
    store, _ = started(lab)
    journal = store.open("executor")
    journal.append(b"last words")
    journal.close()
    journal.close()
    again = store.open("executor")
    assert again.read() == [b"last words"]
    with pytest.raises(JournalError, match="closed"):
        journal.append(b"from the grave")
    store.close()


def test_two_actors_cannot_share_a_journal(lab: Lab) -> None:
    store, _ = started(lab)
    store.open("agent")
    with pytest.raises(JournalError, match="agent is open already"):
        store.open("agent")
    store.close()


def test_names_that_an_actor_may_have_are_told_apart(lab: Lab) -> None:
    names = sorted(["master", "executor/f-1/e-1", "executor/f-1/e-1.2", "a_.:()#+=~-z", "Master", "x" * 200])
    store, node = started(lab)
    for name in names:
        ticket = store.open(name).append(name.encode())
    node.wait_for(ticket)
    store.close()

    store, _ = started(lab)
    assert store.names() == names
    assert [store.open(name).read() for name in names] == [[name.encode()] for name in names]
    store.close()


def test_empty_and_large_records_survive(lab: Lab) -> None:
    records = [b"", b"\x00" * 70_000, bytes(range(256)) * 4096, b"\x92\xce" * 5000, b""]
    store, node = started(lab)
    journal = store.open("agent")
    for record in records:
        ticket = journal.append(record)
    node.wait_for(ticket)
    store.close()
    store, _ = started(lab)
    assert store.open("agent").read() == records
    store.close()
