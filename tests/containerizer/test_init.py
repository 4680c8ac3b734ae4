"""What an init does before it carries out its plan: whoever is killed meanwhile, no command runs unknown to all."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from containerizer import init
from containerizer.processes import start_time_of
from containerizer.records import Line


class Waiting:
    """What an init holds when it begins, and the other ends of it."""

    def __init__(self, records: Path) -> None:
        self.own, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.go, self.word = os.pipe()
        self.records = records
        self._status = os.open(records, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def may_go(self, *, whole: bool = True) -> bool:
        return init.may_go(self.theirs.fileno(), self._status, self.go, whole)

    def line(self) -> Line:
        return msgspec.json.decode(self.records.read_bytes(), type=Line)

    def close(self) -> None:
        self.own.close()
        self.theirs.close()
        os.close(self.word)
        os.close(self._status)


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    made = Waiting(tmp_path / "records")
    yield made
    made.close()


def test_an_init_goes_on_by_the_word_and_has_written_down_who_it_is(waiting: Waiting) -> None:
    os.write(waiting.word, init.GO)
    assert waiting.may_go(whole=False)
    process = waiting.line().process
    assert process is not None
    assert (process.pid, process.start_time, process.whole) == (os.getpid(), start_time_of(os.getpid()), False)


def test_it_does_not_once_its_containerizer_is_gone(waiting: Waiting) -> None:
    """And whoever comes after that one has read the records before, or finds it in them."""
    os.write(waiting.word, init.GO)
    waiting.own.close()
    assert not waiting.may_go()
    assert waiting.line().process is not None


def test_it_does_not_without_the_word_of_a_zygote_that_was_killed(waiting: Waiting) -> None:
    os.close(waiting.word)
    waiting.word = os.dup(waiting.go)
    assert not waiting.may_go()
