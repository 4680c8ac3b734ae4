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
    """What a virtual clock is to call, unless it is called off."""

    callback: Callable[[], None] | None

    def cancel(self) -> None:
        """Forget the callback."""
        self.callback = None

    def run(self) -> None:
        """Call it, unless it was called off."""
        callback = self.callback
        if callback is not None:
            callback()


class VirtualClock:
    """Time that passes only when told to, for tests and simulation: same calls, same history.

    What is due waits in one line, in the order of asking. Time moves when the line is empty, and what was asked for at
    the new time comes first.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self.ticks = self.now
        self.epoch = 0.0
        self.stands = True
        self._line: deque[Callable[[], None]] = deque()
        self._times: list[float] = []
        """Later times at which something is asked for, as a heap: comparing them is most of what a clock does."""
        self._at: dict[float, list[_VirtualHandle]] = {}
        """What is asked for at each of them, in the order of asking."""
        self.call_soon: Callable[[Callable[[], None]], object] = self._line.append
        """At the present virtual time, after what is already due."""

    def now(self) -> float:
        """Virtual seconds."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        """Call `callback` at virtual time `when` (at once, in order, if that is past)."""
        handle = _VirtualHandle(callback)
        if when <= self._now:
            self._line.append(handle.run)
        elif when in self._at:
            self._at[when].append(handle)
        else:
            self._at[when] = [handle]
            heappush(self._times, when)
        return handle

    def step(self) -> bool:
        """Run the next callback, moving time to it; False when there is none."""
        due = self.next_at()
        if due is None:
            return False
        if not self._line:
            self._move()
        self._line.popleft()()
        return True

    def next_at(self) -> float | None:
        """When the next callback is due; None when nothing is scheduled."""
        if self._line:
            return self._now
        while self._times and all(handle.callback is None for handle in self._at[self._times[0]]):
            del self._at[heappop(self._times)]
        return self._times[0] if self._times else None

    def settle(self) -> None:
        """Run everything that is due now, and what that causes now, without moving time."""
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, running everything that falls due, in order."""
        end = self._now + seconds
        times, line = self._times, self._line
        next_in_line = line.popleft
        while True:
            while line:
                next_in_line()()
            if not times or times[0] > end:
                break
            self._move()
        self._now = end

    def _move(self) -> None:
        """Go on to the next time at which something is due."""
        self._now = heappop(self._times)
        for handle in self._at.pop(self._now):
            if handle.callback is not None:
                self._line.append(handle.run)
