"""Somebody who is attached to a container, in the words of tests; runs on every harness."""

from __future__ import annotations

import hashlib
from typing import Any

from containerizer.messages import Refused
from containerizer.streaming import (
    AttachInput,
    AttachOutput,
    Input,
    InputAttached,
    InputEnded,
    InputTaken,
    Output,
    OutputAttached,
    OutputSource,
    OutputTaken,
    StreamEnded,
)

CREDIT_BYTES = 64 * 1024


class AttachedReader:
    """Reads with a credit that it renews as it goes, unless told not to."""

    def __init__(self, machine: Any, container_id: str, credit_bytes: int = CREDIT_BYTES, **fields: Any) -> None:
        self._machine = machine
        question = AttachOutput(container_id=container_id, credit_bytes=credit_bytes, **fields)
        answer = machine.ask(question, OutputAttached)
        self.stream = answer.stream
        self.tty = answer.tty
        self.renews = True
        self.credited = credit_bytes
        self.read: dict[OutputSource, bytearray] = {source: bytearray() for source in OutputSource}
        self.skipped_bytes = 0
        self._seen = 0
        self.ends: list[StreamEnded] = []

    @property
    def out(self) -> str:
        self.look()
        return self.read[OutputSource.STDOUT].decode()

    @property
    def err(self) -> str:
        self.look()
        return self.read[OutputSource.STDERR].decode()

    @property
    def size(self) -> int:
        self.look()
        return sum(len(data) for data in self.read.values())

    def digest(self) -> str:
        return hashlib.sha256(bytes(self.read[OutputSource.STDOUT])).hexdigest()

    def look(self) -> None:
        """Take in what has come since."""
        heard = self._machine.agent.heard
        fresh, self._seen = heard[self._seen :], len(heard)
        taken = 0
        for one in fresh:
            if isinstance(one, Output) and one.stream == self.stream:
                assert not self.ends, "after the end comes nothing"
                self.read[one.source] += one.data
                self.skipped_bytes += one.skipped_bytes
                taken += len(one.data)
            elif isinstance(one, StreamEnded) and one.stream == self.stream:
                self.ends.append(one)
        assert sum(len(data) for data in self.read.values()) <= self.credited
        if taken and self.renews:
            self.credit(taken)

    def credit(self, size_bytes: int) -> None:
        self.credited += size_bytes
        self._machine.tell(OutputTaken(stream=self.stream, size_bytes=size_bytes))

    def until(self, text: str) -> None:
        self._machine.until(lambda: text in self.out, f"{text!r} in the output")

    def until_end(self) -> StreamEnded:
        def ended() -> bool:
            self.look()
            return bool(self.ends)

        self._machine.until(ended, "the end of the output")
        return self.ends[0]


class AttachedWriter:
    """Writes no more than it may."""

    def __init__(self, machine: Any, container_id: str) -> None:
        self._machine = machine
        answer = machine.ask(AttachInput(container_id=container_id), InputAttached)
        self.stream = answer.stream
        self.limit_bytes: int = answer.credit_bytes
        self._credit_bytes: int = answer.credit_bytes
        self._seen = 0
        self.ends: list[StreamEnded] = []

    def look(self) -> None:
        heard = self._machine.agent.heard
        fresh, self._seen = heard[self._seen :], len(heard)
        for one in fresh:
            if isinstance(one, InputTaken) and one.stream == self.stream:
                self._credit_bytes += one.size_bytes
            elif isinstance(one, StreamEnded) and one.stream == self.stream:
                self.ends.append(one)

    def is_idle(self) -> bool:
        """Whether all that was written is the command's."""
        self.look()
        return self._credit_bytes == self.limit_bytes

    def may_write(self) -> int:
        self.look()
        return self._credit_bytes

    def write(self, data: bytes) -> None:
        self._machine.until(lambda: self.may_write() >= len(data), "credit to write")
        self._credit_bytes -= len(data)
        self._machine.tell(Input(stream=self.stream, data=data))

    def end(self) -> None:
        self._machine.tell(InputEnded(stream=self.stream))

    def until_end(self) -> StreamEnded:
        def ended() -> bool:
            self.look()
            return bool(self.ends)

        self._machine.until(ended, "the end of the input")
        return self.ends[0]


def refusal(machine: Any, question: Any) -> str:
    """Why it is refused."""
    answer = machine.ask(question, Refused)
    return str(answer.message)
