"""Time as an input: actors see only the `now` of their turn; nodes get it, and their timers, from a clock."""

from __future__ import annotations

import asyncio
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
    """What a virtual clock is to call, once."""

    callback: Callable[[], None] | None

    def cancel(self) -> None:
        """Forget the callback."""
        self.callback = None

    def run(self) -> None:
        """Call it, unless it was called off."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class VirtualClock:
    """Time that passes only when told to, for tests and simulation: same calls, same history.

    What is asked for at a time that has come waits in one line, in the order of asking. Nothing is ever due in the
    other queue, of later times, but when time has just moved: so whatever is due there was asked for before all that
    stands in line.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self.ticks = self.now
        self.epoch = 0.0
        self.stands = True
        self._line: deque[Callable[[], None]] = deque()
        self._later: list[tuple[float, int, _VirtualHandle]] = []
        self._order = 0
        self.call_soon: Callable[[Callable[[], None]], object] = self._line.append
        """At the present virtual time, after what is already due."""

    def now(self) -> float:
        """Virtual seconds."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        """Call `callback` at virtual time `when` (at once, in order, if that is past)."""
        handle = _VirtualHandle(callback)
        if when > self._now:
            self._order = order = self._order + 1
            heappush(self._later, (when, order, handle))
        else:
            self._line.append(handle.run)
        return handle

    def step(self) -> bool:
        """Run the next callback, moving time to it; False when there is none."""
        due = self.next_at()
        if due is None:
            return False
        self._now = due
        if self._later and self._later[0][0] <= due:
            heappop(self._later)[2].run()
        else:
            self._line.popleft()()
        return True

    def next_at(self) -> float | None:
        """When the next callback is due; None when nothing is scheduled."""
        if self._line:
            return self._now
        while self._later and self._later[0][2].callback is None:
            heappop(self._later)
        return self._later[0][0] if self._later else None

    def settle(self) -> None:
        """Run everything that is due now, and what that causes now, without moving time."""
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, running everything that falls due, in order."""
        end = self._now + seconds
        later, line = self._later, self._line
        next_in_line = line.popleft
        while True:
            while later and later[0][0] <= self._now:
                callback = heappop(later)[2].callback
                if callback is not None:
                    callback()
            while line:
                next_in_line()()
            if not later or later[0][0] > end:
                break
            self._now = later[0][0]
        self._now = end
