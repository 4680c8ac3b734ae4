"""A tap: what is done with each turn while somebody watches. It runs between turns and must cost next to nothing."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from runtime.effects import Turn
from runtime.pid import PID
from runtime.tracing.filters import is_sampled, wanted_by
from runtime.tracing.messages import TRACER, Counts, Filter, StartTap, TapData
from runtime.tracing.records import encode_turn
from runtime.tracing.sink import FileSink

QUEUE_BYTES: Final = 1_000_000
"""Of records that wait for a subscriber."""

CHUNK_BYTES: Final = 128 * 1024
"""Of records that travel in one message."""

WINDOW_CHUNKS: Final = 8
"""Chunks on their way to a subscriber that it has not acknowledged."""

WINDOW_SECONDS: Final = 1.0
"""In which no more than the bounds allow is taken, at once if so it comes; longer for less than a turn a second."""

_log = logging.getLogger("kaon.tracer")

_ALL: Final = Filter()


class Tap:
    """One tap. What bounds keep out is counted, never waited for.

    subscriber  who started it, and gets the stream
    sink        a file that takes the records instead; None for a stream
    error       why it cannot go on
    """

    def __init__(self, number: int, subscriber: PID, request: StartTap, wake: Callable[[Tap], None]) -> None:
        """`wake` is called when the first record waits; whoever is woken calls `take` until it is empty."""
        self.number = number
        self.subscriber = subscriber
        self.filter = request.filter
        self.sink: FileSink | None = None
        self.error = ""
        self.sequence = 0
        self.acknowledged = 0
        self.told = Counts()
        self._wanted = None if request.filter == _ALL else wanted_by(request.filter)
        self._sample = request.sample
        self._window_seconds = max(WINDOW_SECONDS, 1.0 / request.turns_per_second)
        self._turns_per_window = request.turns_per_second * self._window_seconds
        self._bytes_per_window = request.bytes_per_second * self._window_seconds
        self._turns_left = self._bytes_left = 0.0
        self._window_ends = 0.0
        self._wake = wake
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._awake = False
        self._seen = self._sent = self._sampled = self._rate = self._volume = self._queue = 0

    def observe(self, turn: Turn) -> None:
        """See one turn. A tap that fails ends itself: what it watches must not notice.

        What tracing itself causes is left out, or a tap whose subscriber is on the same node would never be quiet.
        """
        if turn.actor.name == TRACER or type(turn.message) is TapData or self.error:
            return
        try:
            if self._wanted is None or self._wanted(turn):
                self._take(turn)
        except Exception as error:  # noqa: BLE001  whatever a filter or a message does, the turns must go on
            self.error = f"the tap failed: {type(error).__name__}: {error}"
            _log.exception("tap %d failed and ends", self.number)
            self._wake_once()

    def _take(self, turn: Turn) -> None:
        self._seen += 1
        if self._sample < 1.0 and not is_sampled(turn.trace, self._sample):
            self._sampled += 1
            return
        if turn.ended >= self._window_ends:
            self._turns_left, self._bytes_left = self._turns_per_window, self._bytes_per_window
            self._window_ends = turn.ended + self._window_seconds
        if self._turns_left < 1.0:
            self._rate += 1
            return
        if self._bytes_left <= 0.0:
            self._volume += 1
            return
        if self._waiting_bytes > QUEUE_BYTES:
            self._queue += 1
            return
        self._turns_left -= 1.0
        record = encode_turn(turn)
        self._bytes_left -= len(record)
        self._waiting.append(record)
        self._waiting_bytes += len(record)
        if not self._awake:
            self._wake_once()
        if self.sink is not None and self._waiting_bytes > CHUNK_BYTES:
            self.to_file()

    def _wake_once(self) -> None:
        if not self._awake:
            self._awake = True
            self._wake(self)

    def slept(self) -> None:
        """Everything was taken: the next record wakes again."""
        self._awake = False

    @property
    def is_waiting(self) -> bool:
        """Whether there are records to take."""
        return bool(self._waiting)

    @property
    def may_send(self) -> bool:
        """Whether the subscriber keeps up."""
        return self.sequence - self.acknowledged < WINDOW_CHUNKS

    def take(self, limit_bytes: int = CHUNK_BYTES) -> bytes:
        """The records that waited longest: one at least, if any, and about `limit_bytes`."""
        chunk: list[bytes] = []
        size = 0
        waiting = self._waiting
        while waiting and size < limit_bytes:
            record = waiting.popleft()
            size += len(record)
            chunk.append(record)
        self._waiting_bytes -= size
        self._sent += len(chunk)
        return b"".join(chunk)

    def to_file(self) -> None:
        """Hand everything to the file; what it refuses is dropped."""
        assert self.sink is not None
        sent = self._sent
        records = self.take(1 << 62)
        if records and not self.sink.put(records):
            self._queue += self._sent - sent
            self._sent = sent
        self.error = self.error or self.sink.error

    @property
    def counts(self) -> Counts:
        """So far."""
        return Counts(self._seen, self._sent, self._sampled, self._rate, self._volume, self._queue)
