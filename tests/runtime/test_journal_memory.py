"""The memory journal store: the crashes and failures that only it can be asked for."""

from __future__ import annotations

import pytest

from runtime.clock import VirtualClock
from runtime.journal_memory import MemoryJournalStore


class World:
    def __init__(self, latency_seconds: float) -> None:
        self.clock = VirtualClock()
        self.store = MemoryJournalStore(self.clock, latency_seconds)
        self.durable: list[int] = []
        self.failed: list[str] = []
        self.start()

    def start(self) -> None:
        self.store.start(self.durable.append, self.failed.append)


def test_a_crash_loses_what_was_not_durable_and_says_nothing_more() -> None:
    world = World(latency_seconds=1.0)
    journal = world.store.open("agent")
    first = journal.append(b"durable")
    world.clock.advance(1.0)
    journal.append(b"under way")
    world.clock.advance(0.5)
    journal.append(b"queued")
    world.store.crash()
    world.clock.advance(10.0)
    assert world.durable == [first]

    world.start()
    again = world.store.open("agent")
    assert again.read() == [b"durable"]
    assert again.append(b"next life") > first + 2
    world.clock.advance(1.0)
    assert again.read() == [b"durable", b"next life"]


def test_a_commit_under_way_may_survive_a_crash_unheard_of() -> None:
    world = World(latency_seconds=1.0)
    journal = world.store.open("agent")
    journal.append(b"under way 1")
    journal.append(b"under way 2")
    world.clock.advance(0.5)
    journal.append(b"queued")
    world.store.crash(commit_survives=True)
    assert world.durable == []
    world.start()
    assert world.store.open("agent").read() == [b"under way 1", b"under way 2"]


def test_appends_of_one_moment_share_a_commit_and_later_ones_wait_for_the_next() -> None:
    world = World(latency_seconds=1.0)
    journal = world.store.open("agent")
    journal.append(b"1")
    second = journal.append(b"2")
    world.clock.settle()
    third = journal.append(b"3")
    world.clock.advance(1.0)
    assert world.durable == [second]
    world.clock.advance(1.0)
    assert world.durable == [second, third]


@pytest.mark.parametrize("latency_seconds", [0.0, 1.0])
def test_a_failed_disk_is_said_once_and_nothing_is_durable_after_it(latency_seconds: float) -> None:
    world = World(latency_seconds)
    journal = world.store.open("agent")
    world.store.fail("no space left on device")
    journal.append(b"1")
    world.clock.advance(2.0)
    journal.append(b"2")
    world.clock.advance(2.0)
    world.store.close()
    assert world.failed == ["no space left on device"]
    assert world.durable == []
    world.store.crash()
    world.start()
    assert world.store.open("agent").read() == []


def test_a_slow_disk_holds_up_what_it_is_given_from_then_on() -> None:
    world = World(latency_seconds=0.0)
    journal = world.store.open("agent")
    journal.append(b"1")
    world.clock.settle()
    assert len(world.durable) == 1
    world.store.latency_seconds = 5.0
    journal.append(b"2")
    world.clock.advance(4.9)
    assert len(world.durable) == 1
    world.clock.advance(0.1)
    assert len(world.durable) == 2
