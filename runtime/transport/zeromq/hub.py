"""What all sessions of a transport share: the door, the codec, and the one flush per loop turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from runtime.codec import as_envelope
from runtime.constants import BURST_ENVELOPES, TURNS_PER_PUMP
from runtime.transport.calls import Calls
from runtime.transport.protocol import Arrived, Door, Posted
from runtime.transport.zeromq.handshake import session_codec

if TYPE_CHECKING:
    from runtime.transport.zeromq.session import Link, ZeroMQSession

BURSTS: Final = TURNS_PER_PUMP // BURST_ENVELOPES
"""Read in one turn of the loop at most."""

MARK_SECONDS: Final = 1.0
"""Between two marks in one session: so far back goes what is unconfirmed when it breaks."""

BLOCKED_AT_ONCE: Final = 16
"""With more peers whose queues are full, they are tried by time alone: others must not wait for the attempts."""

RETRY_SECONDS: Final = 0.001
RETRY_MAX_SECONDS: Final = 0.032
"""Between two attempts to send to peers whose queues are full: doubling while none takes anything."""


class Hub:
    """Collects who has something to send during a loop turn, and sends it at the end of the turn.

    frame_envelopes  in a frame at most
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, door: Door, frame_envelopes: int) -> None:
        self.loop = loop
        self.door = door
        self.codec = session_codec()
        self.frame_envelopes = frame_envelopes
        self.ended = asyncio.Event()
        """Set whenever a session ends."""
        self._waiting: list[ZeroMQSession] = []
        self._in_burst = False
        self._blocked: dict[ZeroMQSession, None] = {}
        self._to_mark: list[ZeroMQSession] = []
        self._marking: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_seconds = RETRY_SECONDS
        calls = Calls(loop.call_soon)
        self.later, self.settle = calls.later, calls.settle

    def wait(self, session: ZeroMQSession) -> None:
        """Flush `session` when this turn is over."""
        self._waiting.append(session)
        if len(self._waiting) == 1 and not self._in_burst:
            self.loop.call_soon(self._flush)

    def burst(self, drain: Callable[[], bool]) -> bool:
        """Have a burst read, handled by the node and answered, all in one turn of the loop: each turn has its price.

        drain  reads BURST_ENVELOPES at most; True if there may be more
        """
        if self._in_burst:  # found by a look at another socket, after sending
            self.later(self.door.drained)
            return drain()
        self._in_burst = True
        more = True
        try:
            for _ in range(BURSTS):
                more = drain()
                self.door.drained()
                if not more:
                    break
        finally:
            if self._waiting:
                self._flush()
            self._in_burst = False
            if 0 < len(self._blocked) <= BLOCKED_AT_ONCE:
                self._flush_blocked()
            if self._waiting:  # what a look during the flush has answered
                self.loop.call_soon(self._flush)
        return more

    def mark_later(self, session: ZeroMQSession) -> None:
        """Have `session` marked in a while."""
        self._to_mark.append(session)
        if self._marking is None:
            self._marking = self.loop.call_later(MARK_SECONDS, self._mark_all)

    def _mark_all(self) -> None:
        self._marking = None
        sessions, self._to_mark = self._to_mark, []
        links: dict[object, Link] = {}
        for session in sessions:
            session.mark()
            links[session.link.socket] = session.link
        for link in links.values():
            link.look()

    def hand_over(self, frames: list[Arrived]) -> None:
        """Give what was read to the node, before anything else happens to its sessions; leaves the list empty."""
        if frames:
            self.door.received(frames)
            frames.clear()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if len(waiting) == 1:
            self._flush_one(waiting[0])
            waiting[0].link.look()
            return
        links: dict[object, Link] = {}
        for session in waiting:
            self._flush_one(session)
            links[session.link.socket] = session.link
        for link in links.values():
            link.look()

    def _flush_one(self, session: ZeroMQSession) -> None:
        if not session.flush():
            self._blocked[session] = None
            self._retry_later()

    def _retry_later(self) -> None:
        if self._retry is None:
            self._retry = self.loop.call_later(self._retry_seconds, self._retry_blocked)

    def _retry_blocked(self) -> None:
        self._retry = None
        progress = self._flush_blocked()
        self._retry_seconds = RETRY_SECONDS if progress else min(2 * self._retry_seconds, RETRY_MAX_SECONDS)
        if self._blocked:
            self._retry_later()

    def _flush_blocked(self) -> bool:
        """Try again to send to those whose queues were full; whether any took something.

        Also after a burst, which may have been nothing but libzmq's signal that a queue has room again.
        """
        progress = False
        for session in tuple(self._blocked):
            before = session.queued
            if session.flush():
                del self._blocked[session]
            progress = progress or session.queued < before
            session.link.look()
        return progress

    def undeliverable(self, session: ZeroMQSession, rest: Sequence[Posted], reason: str) -> None:
        """Tell the door, after what runs at present, that these will not reach the peer."""
        for posted in rest:
            self.later(self.door.undeliverable, session, as_envelope(posted), reason)

    def close(self) -> None:
        """Nothing is sent any more."""
        self._blocked.clear()
        self._waiting.clear()
        self._to_mark.clear()
        if self._marking is not None:
            self._marking.cancel()
            self._marking = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
