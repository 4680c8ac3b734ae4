"""The listening end: one ROUTER socket for all peers that dial an address.

A message arrives as two parts, the routing id of its connection and the frame, and both are read without asking
whether more parts follow: asking costs as much as all the rest (measured: 0.6 of 1.2 microseconds). That is safe
because a dialling end names its connection with random bytes that only it and this socket know. A peer that sends
surplus parts shifts the reading by one, but it cannot pass one off as the name of another's connection: what is read as
a routing id is then unknown, the slow path asks, finds the beginning of the next message, and cuts that peer off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec
import zmq

from runtime.codec import UNDECODABLE, UNSUSPICIOUS_BYTES
from runtime.constants import BURST_ENVELOPES, HANDSHAKE_TIMEOUT_SECONDS
from runtime.transport.admission import Admission, Unacceptable
from runtime.transport.protocol import Arrived, Identity
from runtime.transport.zeromq import handshake
from runtime.transport.zeromq.handshake import HANDSHAKE_BYTES, ROUTING_ID_BYTES, Hello, Refused
from runtime.transport.zeromq.hub import Hub
from runtime.transport.zeromq.session import ZeroMQSession
from runtime.transport.zeromq.sockets import Monitor, Reader, cut, inode_of, peer_of, raw

_EVENTS: Final = int(zmq.EVENTS)
_NOBLOCK: Final = int(zmq.NOBLOCK)
_FIRST_PART: Final = int(zmq.NOBLOCK | zmq.SNDMORE)

SWEEP_SECONDS: Final = 1.0
_SILENCE_SECONDS: Final = HANDSHAKE_TIMEOUT_SECONDS + 1.0
"""Until a connection without a session is cut: libzmq's own limit comes first, for those that are not even ZMTP."""
_LEAVING_SECONDS: Final = 1.0
"""For a peer that was told goodbye to hang up by itself."""
_DRAIN_SECONDS: Final = 0.5
"""Longest wait for the last messages of a lost peer while others keep the socket busy."""

REMEMBERED_CONNECTIONS: Final = 4_096
"""Ended ones whose last frames may still be unread."""

_LAST_WORDS_MS: Final = 100
"""For the goodbyes of sessions that ended just before the socket is closed."""

_FAILURES: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
)
_CRYPTOGRAPHIC: Final = 0x11000001
_MECHANISM_MISMATCH: Final = 0x11000002
_ZAP: Final = 0x20000000
"""Codes of a failed handshake (zmq_socket_monitor(3)); those of ZAP have this bit."""


class Connection(msgspec.Struct, eq=False):
    """A TCP or Unix connection that libzmq has accepted.

    descriptor, inode  its number, and what tells it from the next one of that number
    address            of the peer
    since              seconds on the monotonic clock: accepted, or told to leave
    routing_id         what its session's frames come with; empty until then
    session            open or over; None before Hello
    leaving            nothing is expected from it but its end
    """

    descriptor: int
    inode: int
    address: str
    since: float
    routing_id: bytes = b""
    session: ZeroMQSession | None = None
    leaving: bool = False


class _AcceptedLink:
    """What a session of this end sends through."""

    def __init__(self, listener: Listener, connection: Connection) -> None:
        self._listener = listener
        self._connection = connection
        self.socket: object = listener
        self.look = listener.look
        self.transmit: Callable[[bytes], None] = listener.transmitter(connection.routing_id)

    def leave(self, session: ZeroMQSession, told: bool) -> None:
        """Frames of this connection are no longer the session's."""
        self._listener.leave(session, self._connection, told)


class Listener:
    """Accepts connections at one endpoint, and opens a session for each peer that says who it is.

    socket  a ROUTER with its keys set, not bound yet
    """

    def __init__(
        self, hub: Hub, socket: zmq.Socket[bytes], identity: Identity, admission: Admission[ZeroMQSession]
    ) -> None:
        self._hub = hub
        self._socket = socket
        self._identity = identity
        self._admission = admission
        self._recv = raw(socket).recv
        self._send = raw(socket).send
        self._get = raw(socket).get
        self._sessions: dict[bytes, ZeroMQSession] = {}
        self._connections: dict[int, Connection] = {}
        self._lost: dict[Connection, float] = {}
        self._gone: dict[bytes, None] = {}
        self._postponed: list[tuple[bytes, zmq.Frame]] = []
        self._failure: tuple[int, int] | None = None
        self._previous: ZeroMQSession | None = None
        self._closing = False
        self._monitor = Monitor(hub.loop, socket, self._happened)
        self._reader = Reader(hub.loop, socket, lambda: hub.burst(self._drain))
        self.look = self._reader.look
        self._sweeper = hub.loop.call_later(SWEEP_SECONDS, self._sweep)

    def transmitter(self, routing_id: bytes) -> Callable[[bytes], None]:
        """Sends frames to one connection."""
        send = self._send

        def transmit(frame: bytes) -> None:
            send(routing_id, _FIRST_PART)
            send(frame, _NOBLOCK)

        return transmit

    # Reading ---------------------------------------------------------------------------------------------------------

    def _drain(self) -> bool:
        """Read a burst; True if there may be more."""
        recv, session_of = self._recv, self._sessions.get
        decode, small = self._hub.codec.decode, self._hub.codec.small_frames()
        frames: list[Arrived] = []
        arrived = frames.append
        session = self._previous
        left, exhausted = BURST_ENVELOPES, False
        try:
            while left > 0:
                routing_id = recv(_NOBLOCK)
                known = session_of(routing_id)
                if known is None:
                    left -= 1
                    self._hub.hand_over(frames)
                    self._stranger(routing_id, session)
                    continue
                session = known
                frame = recv(_NOBLOCK)
                size_bytes = len(frame)
                try:
                    envelopes = small(frame) if size_bytes <= UNSUSPICIOUS_BYTES else decode(frame)
                except UNDECODABLE:
                    left -= 1
                    self._hub.hand_over(frames)
                    self._unusual(session, frame)
                    continue
                left -= len(envelopes) or 1
                arrived((session, envelopes, size_bytes))
        except zmq.Again:
            exhausted = True
        finally:
            self._previous = session
            self._hub.hand_over(frames)
        if exhausted:
            return self._drained()
        if self._lost and min(self._lost.values()) < time.monotonic():
            self._drained()
        return True

    def _unusual(self, session: ZeroMQSession, frame: bytes) -> None:
        """A frame that does not decode: a goodbye, bad input, or not this session's at all."""
        if self._get(zmq.RCVMORE):
            # Read one part too far: `frame` is either the first of several, or the routing id of the next message.
            self._surplus(session)
            self._message(frame)
        elif frame in self._sessions:
            self._surplus(session)
        else:
            session.unusual(frame)

    def _stranger(self, routing_id: bytes, previous: ZeroMQSession | None) -> None:
        """A routing id without a session: a Hello, a peer that is leaving, or no routing id at all."""
        if self._get(zmq.RCVMORE):
            self._message(routing_id)
        else:
            self._surplus(previous)

    def _surplus(self, session: ZeroMQSession | None) -> None:
        """The last message of `session` had more parts than two."""
        if session is not None and not session.over:
            self._hub.door.refused("malformed_frame", session.peer.node, "a message of more than two parts")
            session.end("it sent a malformed message")

    def _message(self, routing_id: bytes) -> None:
        """Read the rest of a message with care."""
        frame = self._socket.recv(zmq.NOBLOCK, copy=False)
        more = frame.more
        surplus = more
        while more:
            more = self._socket.recv(zmq.NOBLOCK, copy=False).more
        self._monitor.catch_up()
        if routing_id in self._gone and routing_id not in self._sessions:
            return
        connection = self._connections.get(_descriptor(frame))
        if connection is None or connection.leaving:
            return
        session = connection.session
        if surplus or (session is not None and connection.routing_id != routing_id):
            self._refuse(connection, "malformed_frame", "a message of more than two parts")
        elif session is None:
            self._greet(connection, routing_id, frame)
        else:
            session.unusual(frame.bytes)

    # Hello -----------------------------------------------------------------------------------------------------------

    def _greet(self, connection: Connection, routing_id: bytes, frame: zmq.Frame) -> None:
        """The first frame of a connection must be a Hello that names an admissible node."""
        if self._closing:
            self._leaving(connection)
            self._cut(connection)
            return
        greeting = handshake.decode(frame.bytes) if len(frame) <= HANDSHAKE_BYTES else None
        if not isinstance(greeting, Hello) or len(routing_id) != ROUTING_ID_BYTES:
            detail = f"its first frame, of {len(frame)} bytes, is no Hello"
            if self._turn_away(connection, routing_id, "no_hello", detail):
                self._cut(connection)
            return
        connection.routing_id = routing_id
        peer = handshake.check(greeting)
        if isinstance(peer, Unacceptable):
            self._turn_away(connection, routing_id, peer.reason, peer.detail)
            return
        held = self._admission.held(peer.node)
        if held is not None and any(connection.session is held for connection in self._lost):
            self._postponed.append((routing_id, frame))  # until the last message of its lost session is read
            return
        principal = _principal(frame)
        objection = self._admission.judge(peer, principal)
        if objection is not None:
            self._turn_away(connection, routing_id, objection.reason, objection.detail)
            return
        session = ZeroMQSession(self._hub, _AcceptedLink(self, connection), peer, "", principal)
        try:
            session.link.transmit(handshake.welcome(self._identity))
        except zmq.ZMQError:
            return  # gone again: the monitor tells the rest
        connection.session = session
        self._admission.admit(session)
        self._sessions[routing_id] = session
        self._hub.settle()  # the end of a session that this one supersedes
        self._hub.door.opened(session)

    def _turn_away(self, connection: Connection, routing_id: bytes, reason: str, detail: str) -> bool:
        """Say why there will be no session, and see that the connection goes; False if it was not its frame.

        The connection was found by a descriptor. When whoever sent the frame has hung up, that may be another's by now.
        """
        self._get(_EVENTS)  # has libzmq take note of who has gone
        try:
            self.transmitter(routing_id)(handshake.encode(Refused(reason=reason, detail=detail)))
        except zmq.ZMQError:
            connection.routing_id = b""
            self._hub.door.refused(reason, "a peer that has gone", detail)
            return False
        self._hub.door.refused(reason, connection.address, detail)
        self._leaving(connection)
        return True

    def _refuse(self, connection: Connection, reason: str, detail: str) -> None:
        """End what sent a message that is none."""
        session = connection.session
        self._hub.door.refused(reason, session.peer.node if session else connection.address, detail)
        if session is not None:
            session.end("it sent a malformed message")
        else:
            self._leaving(connection)
            self._cut(connection)

    # The end ---------------------------------------------------------------------------------------------------------

    def _happened(self, event: int, value: int) -> None:
        """Something the monitor saw; a failed handshake is always followed by the end of its connection."""
        if event == zmq.EVENT_ACCEPTED:
            self._connections[value] = Connection(value, inode_of(value), peer_of(value), time.monotonic())
        elif event == zmq.EVENT_DISCONNECTED:
            failure, self._failure = self._failure, None
            connection = self._connections.pop(value, None)
            if connection is None:
                return
            if connection.routing_id:
                self._forget(connection.routing_id)
            if connection.session is not None and not connection.session.over:
                self._lost[connection] = time.monotonic() + _DRAIN_SECONDS
                self._hub.loop.call_soon(self._reader.ready)
            elif not connection.leaving and connection.session is None:
                self._report(connection, *(failure or (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, 0)))
        elif event in _FAILURES and (self._failure is None or event != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL):
            self._failure = (event, value)

    def _forget(self, routing_id: bytes) -> None:
        """What still comes by this name was sent before its connection ended, and is nobody's."""
        self._gone[routing_id] = None
        if len(self._gone) > REMEMBERED_CONNECTIONS:
            del self._gone[next(iter(self._gone))]

    def _report(self, connection: Connection, event: int, code: int) -> None:
        """A connection ended before ZeroMQ's own handshake was over."""
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return  # the doorkeeper has told
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            reason, detail = "no_hello", "the connection ended without a Hello"
        elif code in (_CRYPTOGRAPHIC, _MECHANISM_MISMATCH) or code & _ZAP:
            reason, detail = "unauthenticated", "no key, or it expects another key of this node"
        else:
            reason, detail = "malformed_frame", f"no ZMTP handshake (error {code:#x})"
        self._hub.later(self._hub.door.refused, reason, connection.address, detail)

    def _drained(self) -> bool:
        """Nothing more comes from those who are gone: their sessions are over, and their successors may enter."""
        lost, self._lost = self._lost, {}
        for connection in lost:
            if connection.session is not None:
                connection.session.end("connection lost")
        postponed, self._postponed = self._postponed, []
        for routing_id, frame in postponed:
            connection_now = self._connections.get(_descriptor(frame))
            if connection_now is not None and connection_now.routing_id == routing_id:
                self._greet(connection_now, routing_id, frame)
        return False

    def leave(self, session: ZeroMQSession, connection: Connection, told: bool) -> None:
        """A session is over at this end."""
        self._sessions.pop(connection.routing_id, None)
        self._admission.forget(session)
        if self._connections.get(connection.descriptor) is connection:
            self._leaving(connection)
            if not told:
                self._cut(connection)

    def _leaving(self, connection: Connection) -> None:
        connection.leaving = True
        connection.since = time.monotonic()

    def _cut(self, connection: Connection) -> None:
        self._monitor.catch_up()
        if self._connections.get(connection.descriptor) is connection:
            cut(connection.descriptor, connection.inode)

    def _sweep(self) -> None:
        """Cut those who should have gone, and those who never said Hello."""
        self._sweeper = self._hub.loop.call_later(SWEEP_SECONDS, self._sweep)
        now = time.monotonic()
        for connection in tuple(self._connections.values()):
            age = now - connection.since
            if connection.leaving:
                if age > _LEAVING_SECONDS:
                    self._cut(connection)
            elif connection.session is None and age > _SILENCE_SECONDS:
                self._refuse(connection, "no_hello", f"silent for {_SILENCE_SECONDS:.0f} seconds")

    def stop_accepting(self) -> None:
        """Open no more sessions. The socket stays bound: unbinding it would end those that are open."""
        self._closing = True

    def close(self) -> None:
        """Release the socket; every session is over by now."""
        self._sweeper.cancel()
        self._reader.close()
        self._monitor.close()
        self._socket.close(_LAST_WORDS_MS)


def _principal(frame: zmq.Frame) -> str:
    """Who the doorkeeper said the connection of a frame belongs to; empty where there is none."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


def _descriptor(frame: zmq.Frame) -> int:
    """Number of the connection that a frame came through; -1 where libzmq does not know."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1
