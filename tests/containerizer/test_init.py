"""What an init does before it carries out its plan: whoever is killed meanwhile, no command runs unknown to all."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from containerizer import init
from containerizer.lifecycle import MARK
from containerizer.processes import marked_with, start_time_of
from containerizer.records import Line

ROOT = Path(__file__).resolve().parents[2]


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


LAUNCH = """
import json, marshal, os, socket, sys, time
root, directory = sys.argv[1:]
sys.path.append(root)
os.chdir(directory)
from containerizer import init, linux
own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
go, word = os.pipe()
plan = os.memfd_create("plan")
steps = [("make_directory", "reached", 0o755), ("write_file", "pipe", "x")]
os.write(plan, marshal.dumps({
    "steps": steps, "last_steps": [], "argv": ("sh", "-c", "sleep 600 & exec sleep 600"),
    "environment": {"KAON_CONTAINER": directory}, "whole": False, "inspectable": False,
}))
status = os.open("records", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
null = os.open("/dev/null", os.O_RDWR)
os.mkfifo("pipe")
os.write(word, init.GO)
pid, _ = linux.clone(0)
if pid == 0:
    init.run(plan, theirs.fileno(), status, [null, null, null], go)
theirs.close()
while not os.path.exists("reached"):
    time.sleep(0.001)
own.close()
assert open("pipe").read() == "x"
assert os.waitpid(pid, 0)[1]
"""
"""An init whose containerizer goes after it has looked for it and before the command runs: in a process of its own, for
what is cloned must have one thread."""


def test_a_command_that_nobody_is_told_of_is_not_left_running(tmp_path: Path) -> None:
    """Nobody would have the other ends of its files, nor know which process it is."""
    command = [sys.executable, "-I", "-S", "-c", LAUNCH, str(ROOT), str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    last = msgspec.json.decode((tmp_path / "records").read_bytes().splitlines()[-1], type=Line).status
    assert last is not None
    assert "the containerizer was killed" in last.error
    assert list(marked_with(f"{MARK}={tmp_path}")) == []
