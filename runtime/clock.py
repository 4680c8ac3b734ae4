"""Time as an input: actors see only the `now` of their turn; nodes get it, and their timers, from a clock."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

import msgspec


class Handle(Protocol):
    """Something scheduled that can be called off."""

    def cancel(self) -> None:
        """Never run it; no error if it ran."""


class Clock(Protocol):
    """Tells the time and calls back; one thread only.

    ticks, epoch  ``ticks() + epoch`` is ``now()`` at half its cost, for whoever asks before and after each turn
    stands        time passes between turns only
    """

    ticks: Callable[[], float]
    epoch: float
    stands: bool

    def now(self) -> float:
        """Seconds since the Unix epoch; never goes back within a process."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        """Call `callback` once `now()` has reached `when`."""

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Call `callback` after what runs at present, in the order of asking."""


class RealClock:
    """The machine's time on an asyncio loop: wall time at start, monotonic from then on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.stands = False
        self.ticks = time.monotonic
        self.epoch = time.time() - time.monotonic()
        self.call_soon: Callable[[Callable[[], None]], object] = loop.call_soon

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        return time.monotonic() + self.epoch

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        """Call `callback` at `when`; asyncio's own clock is the monotonic one as well."""
        return self.loop.call_at(when - self.epoch, callback)


class _VirtualHandle(msgspec.Struct, eq=False):
    """An entry of a virtual clock's queue."""

    callback: Callable[[], None] | None

    def cancel(self) -> None:
        """Forget the callback; the queue skips the entry."""
        self.callback = None


class VirtualClock:
    """Time that passes only when told to, for tests and simulation: same calls, same history."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self.ticks = self.now
        self.epoch = 0.0
        self.stands = True
        self._queue: list[tuple[float, int, _VirtualHandle]] = []
        self._soon: deque[tuple[int, Callable[[], None]]] = deque()
        self._next_order = itertools.count().__next__

    def now(self) -> float:
        """Virtual seconds."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        """Call `callback` at virtual time `when` (at once, in order, if that is past)."""
        handle = _VirtualHandle(callback)
        heappush(self._queue, (max(when, self._now), self._next_order(), handle))
        return handle

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call `callback` at the present virtual time, after what is already due."""
        self._soon.append((self._next_order(), callback))

    def step(self) -> bool:
        """Run the next callback, moving time to it; False when there is none."""
        due = self.next_at()
        if due is None:
            return False
        self._now = due
        self._run_next()
        return True

    def _run_next(self) -> None:
        """Run the first of what is due now."""
        queue, soon = self._queue, self._soon
        if soon and not (queue and queue[0][0] <= self._now and queue[0][1] < soon[0][0]):
            soon.popleft()[1]()
            return
        handle = heappop(queue)[2]
        callback, handle.callback = handle.callback, None
        if callback is not None:
            callback()

    def next_at(self) -> float | None:
        """When the next callback is due; None when nothing is scheduled."""
        while self._queue and self._queue[0][2].callback is None:
            heappop(self._queue)
        if self._soon:
            return self._now
        return self._queue[0][0] if self._queue else None

    def settle(self) -> None:
        """Run everything that is due now, and what that causes now, without moving time."""
        while (due := self.next_at()) is not None and due <= self._now:
            self._run_next()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, running everything that falls due, in order."""
        end = self._now + seconds
        queue, soon = self._queue, self._soon
        while True:
            if soon and not (queue and queue[0][0] <= self._now and queue[0][1] < soon[0][0]):
                soon.popleft()[1]()
            elif queue and queue[0][0] <= end:
                when, _, handle = heappop(queue)
                callback = handle.callback
                if callback is not None:
                    self._now = when
                    handle.callback = None
                    callback()
            else:
                break
        self._now = end
