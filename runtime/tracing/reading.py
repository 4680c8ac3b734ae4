"""Reading the flight recorder, in steps so short that a busy actor of the node does not wait for a tool."""

from __future__ import annotations

from typing import Final

from runtime.effects import Request, Turn
from runtime.tracing.filters import wanted_by
from runtime.tracing.messages import Filter, GetTurns
from runtime.tracing.records import encode_turn

STEP_TURNS: Final = 256
"""Turns that are looked at in one turn of the tracer: a few milliseconds."""


class Reading:
    """One question about the flight recorder, under way: newest turns first, as far as its limits go.

    request   to answer
    left_out  turns that match and did not fit
    """

    def __init__(self, request: Request, question: GetTurns, turns: list[Turn], limit_bytes: int) -> None:
        """turns: what the recorder holds now, oldest first."""
        self.request = request
        self.left_out = 0
        self.size_bytes = 0
        self._turns = turns
        self._ahead = len(turns)
        self._wanted = None if question.filter == Filter() else wanted_by(question.filter)
        self._limit = question.limit
        self._limit_bytes = limit_bytes
        self._records: list[bytes] = []
        self._full = question.limit <= 0

    def step(self, count: int = STEP_TURNS) -> bool:
        """Look at some more; whether that was all."""
        start = max(0, self._ahead - count)
        for turn in reversed(self._turns[start : self._ahead]):
            if self._wanted is None or self._wanted(turn):
                self._take(turn)
        self._ahead = start
        return start == 0

    def _take(self, turn: Turn) -> None:
        if not self._full:
            record = encode_turn(turn)
            if self.size_bytes + len(record) <= self._limit_bytes:
                self._records.append(record)
                self.size_bytes += len(record)
                self._full = len(self._records) >= self._limit
                return
            self._full = True
        self.left_out += 1

    @property
    def records(self) -> bytes:
        """Those that fitted, oldest first."""
        return b"".join(reversed(self._records))

    @property
    def recorded(self) -> int:
        """Turns that the recorder held."""
        return len(self._turns)

    @property
    def since(self) -> float:
        """When the oldest of them began."""
        return self._turns[0].started if self._turns else 0.0
