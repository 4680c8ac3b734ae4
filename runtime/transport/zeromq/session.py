"""A session over ZeroMQ, the same at both ends: a queue that is sent once per loop turn, and an orderly end.

::

    open --close(), Goodbye from the peer, loss--> over
    open --part()--> parting --Farewell, Goodbye, loss, or the linger time is up--> over

A session that parts still sends what is queued and still receives; one that is over does neither.

libzmq does not tell what becomes of a frame that it has taken. So each end marks the stream now and then, the other
says when it has got that far, and what came after the last answered mark is unconfirmed if the session ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final, Protocol

import zmq

from runtime.codec import UNENCODABLE, as_posted, printable
from runtime.constants import MAX_MESSAGE_BYTES, SESSION_QUEUE_ENVELOPES
from runtime.transport.protocol import Identity, Posted
from runtime.transport.zeromq import handshake
from runtime.transport.zeromq.handshake import Farewell, Goodbye, Mark, Marked
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
        "_confirmed",
        "_due",
        "_encode",
        "_frame_envelopes",
        "_hub",
        "_parting",
        "_queue",
        "_room",
        "_sent",
        "_stuck",
        "_transmit",
        "_unmarked",
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
        self._encode = hub.codec.encode
        self._transmit = link.transmit
        self._queue: list[Posted] = []
        self._frame_envelopes = hub.frame_envelopes
        self._due = False
        self._room = SESSION_QUEUE_ENVELOPES
        self._parting: str | None = None
        self._stuck: tuple[bytes, int] | None = None  # the first of the queue, as libzmq would not take them
        self._sent = self._confirmed = 0  # envelopes that libzmq has taken, and that are known to have arrived
        self._unmarked = True

    def __repr__(self) -> str:
        return f"<session with {self.peer.node}>"

    @property
    def queued(self) -> int:
        """Envelopes that libzmq has not taken yet."""
        return len(self._queue)

    @property
    def unconfirmed(self) -> int:
        """Envelopes that libzmq has taken, and of which the peer has not said that they have arrived."""
        return self._sent - self._confirmed

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
        queue, encode, transmit, most = self._queue, self._encode, self._transmit, self._frame_envelopes
        done = 0
        try:
            if self._stuck is not None:
                data, count = self._stuck
                transmit(data)
                self._stuck = None
                done = count
            while done < len(queue):
                chunk = queue[done : done + most]
                try:
                    data = encode(chunk)
                except UNENCODABLE:
                    data = b""
                if not 0 < len(data) <= MAX_MESSAGE_BYTES:
                    done += self._send_what_fits(chunk)
                    continue
                try:
                    transmit(data)
                except zmq.Again:
                    self._stuck = (data, len(chunk))
                    raise
                done += len(chunk)
            if self._parting is not None:
                transmit(handshake.encode(Goodbye(reason=self._parting, listening=True)))
                self._parting = None
                self._room = 0
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False  # the monitor is about to tell that the peer has gone
        finally:
            del queue[:done]
            self._sent += done
            if self._unmarked:
                self._unmarked = False
                self._hub.mark_later(self)
        self._due = False
        return True

    def mark(self) -> None:
        """Ask the peer to confirm what it has been sent."""
        if not self.over and self._parting is None:
            try:
                self._transmit(handshake.encode(Mark(number=self._sent)))
            except zmq.ZMQError:  # it takes nothing at present, or has gone
                self._hub.mark_later(self)

    def _confirm(self, number: int) -> None:
        """The peer has got everything up to a mark."""
        if self._confirmed <= number <= self._sent:
            self._confirmed = number
            if number < self._sent:
                self._hub.mark_later(self)
            else:
                self._unmarked = True

    def _send_what_fits(self, chunk: list[Posted]) -> int:
        """Send the first of a chunk that is too large, or holds something unfit; returns how many are done."""
        frame = self._hub.codec.pack(chunk)
        if frame.data:
            self._transmit(frame.data)
        for posted, reason in frame.unfit:
            self._hub.undeliverable(self, [posted], reason)
        self._sent -= len(frame.unfit)
        return len(frame.envelopes) + len(frame.unfit)

    def unusual(self, frame: bytes) -> None:
        """A frame that is not all good messages: the end of the session, or bad input."""
        message = handshake.decode(frame)
        if isinstance(message, Mark):
            with contextlib.suppress(zmq.ZMQError):  # a peer that reads nothing can be told nothing
                self._transmit(handshake.encode(Marked(number=message.number)))
        elif isinstance(message, Marked):
            self._confirm(message.number)
        elif isinstance(message, Goodbye):
            told = self._tell(_FAREWELL)
            if message.listening and told:
                self._confirmed = self._sent
            self.end(f"closed by the peer: {printable(message.reason)}", told)
        elif isinstance(message, Farewell):
            self._confirmed = self._sent
            self.end("closed", told=True)
        elif message is not None:
            tag = type(message).__name__
            self._hub.door.refused("malformed_envelope", self.peer.node, f"{tag} in the middle of a session")
        else:
            envelopes, refusals = self._hub.codec.salvage(frame)
            if envelopes:
                self._hub.door.received(((self, envelopes, len(frame)),))
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
            self._transmit(frame)
        except zmq.ZMQError:
            return False
        return True

    def end(self, reason: str, told: bool = False) -> None:
        """It is over; the door hears of it after what runs at present."""
        if self.over:
            return
        self.over = True
        self._room = 0
        rest, self._queue, self._parting = self._queue, [], None
        self._hub.undeliverable(self, rest, f"session over: {reason}")
        if self.unconfirmed:
            self._hub.later(self._hub.door.unconfirmed, self, self.unconfirmed)
        self._hub.later(self._hub.door.closed, self, reason)
        self.link.leave(self, told)
        self._hub.ended.set()
