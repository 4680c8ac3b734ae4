"""A session over ZeroMQ, the same at both ends: a queue that is sent once per loop turn, and an orderly end.

::

    open --close(), Goodbye from the peer, loss--> over
    open --part()--> parting --Farewell, Goodbye, loss, or the linger time is up--> over

A session that parts still sends what is queued and still receives; one that is over does neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import zmq

from runtime.codec import Frame, as_posted, printable
from runtime.constants import COALESCED_ENVELOPES, SESSION_QUEUE_ENVELOPES
from runtime.transport.protocol import Identity, Posted
from runtime.transport.zeromq import handshake
from runtime.transport.zeromq.handshake import Farewell, Goodbye
from runtime.transport.zeromq.hub import Hub

_FAREWELL: Final = handshake.encode(Farewell())


class Link(Protocol):
    """The connection under a session.

    socket    that it goes through, shared with others at a listening end
    transmit  sends one frame; raises `zmq.Again` while the peer's queue is full
    """

    socket: object
    transmit: Callable[[bytes], None]

    def look(self) -> None:
        """See whether something came in while sending."""

    def leave(self, session: ZeroMQSession, told: bool) -> None:
        """The session is over at this end. Hang up: once the peer has been told, or at once if it was not."""


class ZeroMQSession:
    """One end of a connection between two nodes: see :class:`runtime.transport.protocol.Session`."""

    __slots__ = (
        "_due",
        "_frame",
        "_hub",
        "_parting",
        "_queue",
        "_room",
        "_wait",
        "address",
        "link",
        "over",
        "peer",
        "principal",
    )

    def __init__(self, hub: Hub, link: Link, peer: Identity, address: str, principal: str) -> None:
        self.peer = peer
        self.address = address
        self.principal = principal
        self.link = link
        self.over = False
        self._hub = hub
        self._wait = hub.wait
        self._queue: list[Posted] = []
        self._frame: Frame | None = None
        self._due = False
        self._room = SESSION_QUEUE_ENVELOPES
        self._parting: str | None = None

    def __repr__(self) -> str:
        return f"<session with {self.peer.node}>"

    @property
    def queued(self) -> int:
        """Envelopes that libzmq has not taken yet."""
        return len(self._queue) + (len(self._frame.envelopes) if self._frame else 0)

    def send(self, envelope: Posted) -> None:
        """Queue an envelope, or its first six fields as a tuple, which is cheaper."""
        queue = self._queue
        if len(queue) >= self._room:
            reason = f"{self._room} envelopes wait for {self.peer.node}" if self._room else "the session is over"
            self._hub.undeliverable(self, [envelope], reason)
            return
        queue.append(envelope if type(envelope) is tuple else as_posted(envelope))  # type: ignore[arg-type]
        if not self._due:
            self._due = True
            self._wait(self)

    def flush(self) -> bool:
        """Send what is queued; False while the peer's queue is full, and then it is tried again later."""
        try:
            while self._frame is not None or self._queue:
                if self._frame is None:
                    self._pack()
                    continue
                self.link.transmit(self._frame.data)
                self._frame = None
            if self._parting is not None:
                self.link.transmit(handshake.encode(Goodbye(reason=self._parting)))
                self._parting = None
                self._room = 0
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False  # the monitor is about to tell that the peer has gone
        self._due = False
        return True

    def _pack(self) -> None:
        queue = self._queue
        if len(queue) <= COALESCED_ENVELOPES:
            chunk, self._queue = queue, []
        else:
            chunk = queue[:COALESCED_ENVELOPES]
            del queue[:COALESCED_ENVELOPES]
        frame = self._hub.codec.pack(chunk)
        rest = len(chunk) - len(frame.envelopes) - len(frame.unfit)
        if rest:
            self._queue[:0] = chunk[-rest:]
        for posted, reason in frame.unfit:
            self._hub.undeliverable(self, [posted], reason)
        self._frame = frame if frame.data else None

    def unusual(self, frame: bytes) -> None:
        """A frame that is not all good messages: the end of the session, or bad input."""
        message = handshake.decode(frame)
        if isinstance(message, Goodbye):
            told = self._tell(_FAREWELL)
            self.end(f"closed by the peer: {printable(message.reason)}", told)
        elif isinstance(message, Farewell):
            self.end("closed", told=True)
        elif message is not None:
            tag = type(message).__name__
            self._hub.door.refused("malformed_envelope", self.peer.node, f"{tag} in the middle of a session")
        else:
            envelopes, refusals = self._hub.codec.salvage(frame)
            if envelopes:
                self._hub.door.received(self, envelopes, len(frame))
            for refusal in refusals:
                self._hub.door.refused(refusal.reason, self.peer.node, refusal.detail)

    def close(self, reason: str) -> None:
        """End it; what the peer does not take at once is undeliverable."""
        if not self.over:
            self.end(reason, self._tell(handshake.encode(Goodbye(reason=reason))))

    def part(self, reason: str) -> None:
        """Send what is queued, then say goodbye; over when the peer has answered."""
        self._parting = reason
        if not self._due:
            self._due = True
            self._wait(self)

    def _tell(self, frame: bytes) -> bool:
        """Send what is queued and then `frame`, if the peer takes it now."""
        self._parting = None
        if not self.flush():
            return False
        try:
            self.link.transmit(frame)
        except zmq.ZMQError:
            return False
        return True

    def end(self, reason: str, told: bool = False) -> None:
        """It is over; the door hears of it after what runs at present."""
        if self.over:
            return
        self.over = True
        self._room = 0
        rest: Sequence[Posted] = [*(self._frame.envelopes if self._frame else ()), *self._queue]
        self._frame, self._queue, self._parting = None, [], None
        self._hub.undeliverable(self, rest, f"session over: {reason}")
        self._hub.later(self._hub.door.closed, self, reason)
        self.link.leave(self, told)
        self._hub.ended.set()
