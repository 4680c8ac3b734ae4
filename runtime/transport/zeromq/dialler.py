"""The dialling end: one DEALER socket, and at most one session, for each address dialled."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

import zmq

from runtime.codec import UNDECODABLE, UNSUSPICIOUS_BYTES, printable
from runtime.constants import BURST_ENVELOPES, HANDSHAKE_TIMEOUT_SECONDS
from runtime.transport.admission import Unacceptable
from runtime.transport.protocol import Arrived, Identity
from runtime.transport.zeromq import handshake
from runtime.transport.zeromq.handshake import ROUTING_ID_BYTES, Refused, Welcome
from runtime.transport.zeromq.hub import Hub
from runtime.transport.zeromq.session import ZeroMQSession
from runtime.transport.zeromq.sockets import Monitor, Reader, raw

_NOBLOCK: Final = int(zmq.NOBLOCK)

_LAST_WORDS_MS: Final = 1_000
"""For a Farewell to leave after its socket was closed."""

_FAILURES: Final = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "it does not know this node's key (`kaon keys add` makes one that it does)",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "what listens there is no node, or proves another key than expected",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "it hung up: no node listens there, or one that expects another key",
}


def random_routing_id() -> bytes:
    """A name for a connection that nobody can guess; libzmq reserves names that begin with a zero byte."""
    return b"\x01" + os.urandom(ROUTING_ID_BYTES - 1)


class Dial:
    """One attempt to open a session, and the session that came of it.

    socket    a DEALER with its keys set, not connected yet
    address   as it was dialled
    endpoint  as ZeroMQ takes it
    finished  called once, when there is no session under way or open any more
    """

    def __init__(
        self,
        hub: Hub,
        socket: zmq.Socket[bytes],
        identity: Identity,
        address: str,
        endpoint: str,
        finished: Callable[[Dial], None],
    ) -> None:
        self.address = address
        self.socket: object = self
        self.session: ZeroMQSession | None = None
        self._hub = hub
        self._socket = socket
        self._finished = finished
        self._failure = ""
        self._lost = False
        self._closed = False
        self._recv = raw(socket).recv
        send = raw(socket).send
        self._monitor = Monitor(hub.loop, socket, self._happened)
        self._reader = Reader(hub.loop, socket, lambda: hub.burst(self._drain))
        self.look = self._reader.look
        self._timeout: asyncio.TimerHandle | None = hub.loop.call_later(
            HANDSHAKE_TIMEOUT_SECONDS, self.fail, f"no answer within {HANDSHAKE_TIMEOUT_SECONDS:g} seconds"
        )

        def transmit(frame: bytes) -> None:
            send(frame, _NOBLOCK)

        self.transmit: Callable[[bytes], None] = transmit
        try:
            socket.connect(endpoint)
        except zmq.ZMQError:
            self._close(0)
            raise
        transmit(handshake.hello(identity))

    # Reading ---------------------------------------------------------------------------------------------------------

    def _drain(self) -> bool:
        """Read a burst; True if there may be more."""
        recv, session = self._recv, self.session
        decode, small = self._hub.codec.decode, self._hub.codec.small_frames()
        frames: list[Arrived] = []
        left, exhausted = BURST_ENVELOPES, False
        try:
            while left > 0 and not self._closed:
                frame = recv(_NOBLOCK)
                if session is None:
                    self._greeting(frame)
                    session = self.session
                    continue
                size_bytes = len(frame)
                try:
                    envelopes = small(frame) if size_bytes <= UNSUSPICIOUS_BYTES else decode(frame)
                except UNDECODABLE:
                    left -= 1
                    self._hub.hand_over(frames)
                    session.unusual(frame)
                    continue
                left -= len(envelopes) or 1
                frames.append((session, envelopes, size_bytes))
        except zmq.Again:
            exhausted = True
        finally:
            self._hub.hand_over(frames)
        if exhausted and self._lost:
            self.fail(self._failure or "connection lost")
        return not exhausted and not self._closed

    def _greeting(self, frame: bytes) -> None:
        """The first frame from the other end: Welcome, or why not."""
        message = handshake.decode(frame)
        if isinstance(message, Refused):
            self.fail(f"refused as {printable(message.reason)}: {printable(message.detail)}")
            return
        peer = handshake.check(message) if isinstance(message, Welcome) else None
        if not isinstance(peer, Identity):
            problem = (
                peer if isinstance(peer, Unacceptable) else Unacceptable("no_hello", "it answered without Welcome")
            )
            self._hub.door.refused(problem.reason, self.address, problem.detail)
            self.fail(problem.detail)
            return
        self._stop_waiting()
        self.session = ZeroMQSession(self._hub, self, peer, self.address, "")
        self._hub.settle()
        self._hub.door.opened(self.session)

    # The end ---------------------------------------------------------------------------------------------------------

    def _happened(self, event: int, value: int) -> None:
        """Something the monitor saw. There is one connection, so that nothing needs telling apart."""
        if event in _FAILURES:
            self._failure = self._failure or _FAILURES[zmq.Event(event)]
        elif event == zmq.EVENT_DISCONNECTED or (event == zmq.EVENT_CONNECT_RETRIED and not self._lost):
            if event == zmq.EVENT_CONNECT_RETRIED:
                self._failure = self._failure or "nobody listens there, or there is no way to it"
            self._lost = True
            self._hub.loop.call_soon(self._reader.ready)  # what has arrived comes first

    def fail(self, reason: str) -> None:
        """There will be no session, or no longer."""
        if self._closed:
            return
        if self.session is not None:
            self.session.end(reason)
            return
        self._close(0)
        self._hub.later(self._hub.door.unreachable, self.address, reason)

    def leave(self, session: ZeroMQSession, told: bool) -> None:
        """The session is over at this end: hang up, after the last words if the peer is there to hear them."""
        self._close(_LAST_WORDS_MS if told and not self._lost else 0)

    def _stop_waiting(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def _close(self, linger_ms: int) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop_waiting()
        self._reader.close()
        self._monitor.close()
        self._socket.close(linger_ms)
        self._finished(self)
