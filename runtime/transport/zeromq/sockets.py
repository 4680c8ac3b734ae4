"""ZeroMQ sockets on an asyncio loop: how they are made, read in bursts, watched and cut.

A socket's descriptor only tells that its mailbox has commands, not that messages wait, and any call on the socket may
take the signal away (zmq_getsockopt(3), ZMQ_FD). So whoever reads must read until nothing is left, or come back by
itself, and after each send somebody must look.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket as sockets
import struct
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, Protocol

import zmq

from runtime.constants import (
    HANDSHAKE_TIMEOUT_SECONDS,
    HEARTBEAT_INTERVAL_MS,
    HEARTBEAT_TIMEOUT_MS,
    MAX_FRAME_BYTES,
)

QUEUE_FRAMES: Final = 1000
"""Frames that a socket holds for one peer in each direction; what is more waits in the session, counted. With 256 the
two I/O threads wait for one another, at a third of the rate."""

BACKLOG_CONNECTIONS: Final = 4096
"""Connections that the kernel keeps until they are accepted (it takes the lesser of this and net.core.somaxconn)."""

_ACCEPTED_FRAME_BYTES: Final = 2 * MAX_FRAME_BYTES
"""Beyond this libzmq ends a connection unread. Up to this a frame is read, and refused by name if too large."""

_NEVER_MS: Final = 2**31 - 1
"""Reconnection interval of a dialling socket that is closed long before. -1 would forbid reconnection outright, but
then libzmq drops what has arrived and was not yet read (measured on 4.3.5: 701 of 800 messages)."""

SOCKETS: Final = 16_384
"""Sockets of a context at most: three for each dialled address."""

LOOK_SECONDS: Final = 0.00005
"""Between two looks at a socket whose sends may have taken its signal."""

_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)

_monitor_number: Final = itertools.count()


def _common(socket: zmq.Socket[bytes]) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, QUEUE_FRAMES)
    socket.setsockopt(zmq.RCVHWM, QUEUE_FRAMES)
    socket.setsockopt(zmq.MAXMSGSIZE, _ACCEPTED_FRAME_BYTES)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, int(HANDSHAKE_TIMEOUT_SECONDS * 1000))


def make_router(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """A listening socket, still unbound. Sending to a peer that has gone is an error, not a silence."""
    socket = context.socket(zmq.ROUTER)
    _common(socket)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.BACKLOG, BACKLOG_CONNECTIONS)
    return socket


def make_dealer(context: zmq.Context[zmq.Socket[bytes]], routing_id: bytes) -> zmq.Socket[bytes]:
    """A dialling socket, still unconnected; it connects once and never again."""
    socket = context.socket(zmq.DEALER)
    _common(socket)
    socket.setsockopt(zmq.ROUTING_ID, routing_id)
    socket.setsockopt(zmq.RECONNECT_IVL, _NEVER_MS)
    return socket


class RawSocket(Protocol):
    """The calls of a socket without pyzmq's conveniences, which cost more than the calls."""

    def recv(self, flags: int = 0) -> bytes:
        """One part of a message."""

    def send(self, data: bytes, flags: int = 0) -> None:
        """Queue one part."""

    def get(self, option: int) -> int:
        """An option's value."""


def raw(socket: zmq.Socket[bytes]) -> RawSocket:
    """The C methods of a socket, beneath pyzmq's Python ones."""
    bound: Any = super(zmq.Socket, socket)
    return bound  # type: ignore[no-any-return]


class Reader:
    """Has `drain` called whenever its socket may have something to read.

    drain  reads until nothing is left and returns False, or stops earlier and returns True: it is called again then
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: zmq.Socket[bytes], drain: Callable[[], bool]) -> None:
        self._loop = loop
        self._drain = drain
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._get = raw(socket).get
        self._open = True
        self._again = False
        self._reading = False
        self._looked = 0.0
        self._look_due = False
        loop.add_reader(self._descriptor, self.ready)
        # libzmq signals only to a reader that has found nothing once.
        loop.call_soon(self.ready)

    def ready(self) -> None:
        """Read a burst."""
        if self._again or not self._open:
            return
        more = True  # also when `drain` raises: what is left must not wait for the next signal
        try:
            if not self._reading:  # a look at what came while this burst was answered waits for its end
                self._reading = True
                try:
                    more = self._drain()
                finally:
                    self._reading = False
        finally:
            if more and self._open:
                self._again = True
                self._loop.call_soon(self._continue)

    def _continue(self) -> None:
        self._again = False
        self.ready()

    def look(self) -> None:
        """To be called after sends: the descriptor is silent about what they found.

        A look costs as much as a send. In a flood of sends one in a while will do: libzmq itself lets them take
        commands, and so the signal, once in a millisecond at most (`max_command_delay` in its config.hpp).
        """
        if not self._open or self._again:
            return
        now = monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            if self._get(_EVENTS) & _POLLIN:
                self.ready()
        elif not self._look_due:
            self._look_due = True
            self._loop.call_later(LOOK_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._look_due = False
        self._looked = 0.0
        self.look()

    def close(self) -> None:
        """Stop; before the socket is closed."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._descriptor)


_EVENT: Final = struct.Struct("=Hi")

WATCHED: Final = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class Monitor:
    """Tells of connections made, failed and lost: calls `happened(event, value)`.

    For the events of a connection `value` is its descriptor, for those of a failed handshake an error code
    (zmq_socket_monitor(3)). libzmq writes DISCONNECTED before it closes the descriptor, so that a reader that is up to
    date never takes one connection for another with the same number.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, socket: zmq.Socket[bytes], happened: Callable[[int, int], None]
    ) -> None:
        self._happened = happened
        self._watched = socket
        endpoint = f"inproc://kaon.monitor.{next(_monitor_number)}"
        socket.monitor(endpoint, int(WATCHED))
        self._socket = socket.context.socket(zmq.PAIR)
        self._socket.setsockopt(zmq.LINGER, 0)
        # The I/O thread of libzmq waits, and every connection with it, while a monitor's queue is full.
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.connect(endpoint)
        self._recv = raw(self._socket).recv
        self._reader = Reader(loop, self._socket, self.catch_up)

    def catch_up(self) -> bool:
        """Report everything that has happened so far."""
        recv = self._recv
        while True:
            try:
                event, value = _EVENT.unpack(recv(zmq.NOBLOCK))
            except zmq.Again:
                return False
            recv(zmq.NOBLOCK)  # the endpoint, which is always our own
            self._happened(event, value)

    def close(self) -> None:
        """Stop watching; before the watched socket is closed."""
        self._reader.close()
        self._watched.disable_monitor()
        self._socket.close()


def inode_of(descriptor: int) -> int:
    """Identifies the open socket behind a descriptor for as long as it lives; 0 if there is none."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return 0


def peer_of(descriptor: int) -> str:
    """The address at the other end of a connection, for people to read."""
    try:
        with sockets.socket(fileno=os.dup(descriptor)) as connection:
            name = connection.getpeername()
    except OSError:
        return "a peer that has gone"
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "a local process"


def cut(descriptor: int, inode: int) -> None:
    """Break the connection behind a descriptor of libzmq's, which has no call for that.

    The descriptor may have been closed and given to something else meanwhile: the duplicate cannot be, and its inode
    tells whether it is still the one that was meant.
    """
    try:
        duplicate = os.dup(descriptor)
    except OSError:
        return
    if not inode or inode_of(duplicate) != inode:
        os.close(duplicate)
        return
    with sockets.socket(fileno=duplicate) as connection, contextlib.suppress(OSError):
        connection.shutdown(sockets.SHUT_RDWR)
