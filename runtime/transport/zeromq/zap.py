"""The doorkeeper of ZeroMQ's CURVE handshakes: answers, on the loop, whose a public key is (RFC 27/ZAP).

libzmq asks the one socket bound to ``inproc://zeromq.zap.01`` of the context, for each connection, before it lets it
send anything. The answer's User-Id, the principal, then comes with every message of that connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import zmq

from runtime.transport.zeromq.keys import AuthorisedKeys
from runtime.transport.zeromq.sockets import Reader

DOMAIN: Final = b"kaon"

_ENDPOINT: Final = "inproc://zeromq.zap.01"
_VERSION: Final = b"1.0"
_REFRESH_SECONDS: Final = 0.1
"""Least time between two looks at the key directory on behalf of unknown keys."""

_FIELDS: Final = 7
"""Of a request: version, id, domain, address, routing id, mechanism, and CURVE's one credential."""


class Doorkeeper:
    """Authenticates the connections of one context.

    authorised  keys and principals
    refused     called with the address and a sentence for each key that is turned away
    revoked     called with the principals whose key was found gone
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: zmq.Context[zmq.Socket[bytes]],
        authorised: AuthorisedKeys,
        refused: Callable[[str, str], None],
        revoked: Callable[[set[str]], None],
    ) -> None:
        self._loop = loop
        self._authorised = authorised
        self._refused = refused
        self._revoked = revoked
        self._refreshed = 0.0
        # One request after another, each answered at once: what a REP socket is for.
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(_ENDPOINT)
        self._reader = Reader(loop, self._socket, self._drain)

    def refresh(self) -> None:
        """Look at the key directory, and report whose key has gone."""
        self._refreshed = self._loop.time()
        lost = self._authorised.refresh()
        if lost:
            self._revoked(lost)

    def _drain(self) -> bool:
        while True:
            parts: list[bytes] = []
            more = True
            try:
                while more:
                    frame = self._socket.recv(zmq.NOBLOCK, copy=False)
                    parts.append(frame.bytes)
                    more = frame.more
            except zmq.Again:
                return False
            self._socket.send_multipart(self._answer(parts), zmq.NOBLOCK)

    def _answer(self, request: list[bytes]) -> list[bytes]:
        if len(request) != _FIELDS or request[0] != _VERSION or request[5] != b"CURVE":
            number = request[1] if len(request) > 1 else b""
            return [_VERSION, number, b"500", b"CURVE only", b"", b""]
        number, address, public = request[1], request[3].decode("ascii", "replace"), request[6]
        principal = self._authorised.principal(public)
        if principal is None and self._loop.time() - self._refreshed >= _REFRESH_SECONDS:
            self.refresh()
            principal = self._authorised.principal(public)
        if principal is None:
            self._refused(address, f"the key {public.hex()} is not authorised here")
            return [_VERSION, number, b"400", b"key not authorised", b"", b""]
        return [_VERSION, number, b"200", b"OK", principal.encode("ascii"), b""]

    def close(self) -> None:
        """Stop answering; when nothing listens any more."""
        self._reader.close()
        self._socket.close()
