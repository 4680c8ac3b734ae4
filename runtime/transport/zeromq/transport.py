"""Sessions over ZeroMQ: a listening socket for each address bound, a dialling socket for each address dialled."""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
import threading
from pathlib import Path
from typing import Final

import zmq

from runtime.constants import COALESCED_ENVELOPES
from runtime.errors import TransportError
from runtime.transport.admission import Admission, MayBe, principal_owns_node
from runtime.transport.protocol import Door
from runtime.transport.zeromq.addresses import Address, parse_address
from runtime.transport.zeromq.dialler import Dial, random_routing_id
from runtime.transport.zeromq.hub import Hub
from runtime.transport.zeromq.keys import AuthorisedKeys, NodeKey
from runtime.transport.zeromq.listener import Listener
from runtime.transport.zeromq.session import ZeroMQSession
from runtime.transport.zeromq.sockets import SOCKETS, make_dealer, make_router
from runtime.transport.zeromq.zap import DOMAIN, Doorkeeper

REFRESH_SECONDS: Final = 1.0
"""Between two looks at the directory of authorised keys."""


class ZeroMQTransport:
    """Implements :class:`runtime.transport.protocol.Transport`.

    key              of this node, proved at both ends of its connections; needed unless `insecure`
    authorised       who may connect to its listeners; without it only holders of the same key may
    may              whether a principal may be the node of an id; by default a node whose id is the principal's name,
                     or begins with it and a dot
    insecure         no encryption and no authentication: everybody is everybody. For benchmarks
    loop             to run on; the running one by default
    frame_envelopes  sent in one frame at most, up to COALESCED_ENVELOPES; fewer only to measure what that costs
    """

    drains = True

    def __init__(
        self,
        key: NodeKey | None = None,
        authorised: AuthorisedKeys | None = None,
        may: MayBe | None = None,
        insecure: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        frame_envelopes: int = COALESCED_ENVELOPES,
    ) -> None:
        if (key is None) != insecure:
            raise TransportError("a node has a key (`kaon keys add` makes one), or is started with --insecure")
        self._key = key
        self._authorised = authorised or (AuthorisedKeys(key) if key is not None else None)
        self._may: MayBe = may or ((lambda principal, node_id: True) if insecure else principal_owns_node)
        self._chosen_loop = loop
        self._frame_envelopes = min(frame_envelopes, COALESCED_ENVELOPES)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, SOCKETS)
        self._listeners: list[Listener] = []
        self._socket_files: dict[str, int] = {}
        self._dials: dict[str, Dial] = {}
        self._doorkeeper: Doorkeeper | None = None
        self._refresh: asyncio.TimerHandle | None = None
        self._closing = False
        self._hub: Hub
        self._door: Door
        self._admission: Admission[ZeroMQSession]

    def start(self, door: Door) -> None:
        """Serve `door`."""
        self._door = door
        self._hub = Hub(self._chosen_loop or asyncio.get_running_loop(), door, self._frame_envelopes)
        self._admission = Admission(door.identity, self._may)

    # Opening ---------------------------------------------------------------------------------------------------------

    def listen(self, address: str) -> str:
        """Accept sessions at ``tcp://host:port`` (port 0: any free one) or ``ipc:///path``."""
        where = parse_address(address)
        if where.path:
            _check_free(address, where.path)
        socket = make_router(self._context)
        if self._key is not None:
            self._open_door()
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_SECRETKEY, self._key.secret)
            socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.IPV6, where.is_ipv6)
        listener = Listener(self._hub, socket, self._door.identity, self._admission)
        try:
            socket.bind(where.endpoint)
        except zmq.ZMQError as error:
            listener.close()
            raise TransportError(f"cannot listen at {where.endpoint}: {error}; is another process there?") from None
        self._listeners.append(listener)
        if where.path:
            self._socket_files[where.path] = Path(where.path).stat().st_ino
        endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        return endpoint.rstrip(b"\0").decode()

    def _open_door(self) -> None:
        if self._doorkeeper is None and self._authorised is not None:
            self._doorkeeper = Doorkeeper(
                self._hub.loop, self._context, self._authorised, self._unauthenticated, self._revoked
            )
            self._refresh = self._hub.loop.call_later(REFRESH_SECONDS, self._refresh_keys)

    def dial(self, address: str) -> None:
        """Open one session to `address`."""
        where = parse_address(address)
        if self._closing:
            self._hub.later(self._door.unreachable, address, "this node is closing")
            return
        if address in self._dials:
            return
        routing_id = random_routing_id()
        socket = make_dealer(self._context, routing_id)
        if self._key is not None:
            socket.setsockopt(zmq.CURVE_PUBLICKEY, self._key.public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, self._key.secret)
            socket.setsockopt(zmq.CURVE_SERVERKEY, self._server_key(address, where, socket))
        socket.setsockopt(zmq.IPV6, where.is_ipv6)
        try:
            self._dials[address] = Dial(
                self._hub, socket, self._door.identity, address, where.endpoint, self._dial_finished
            )
        except zmq.ZMQError as error:
            raise TransportError(f"cannot dial {where.endpoint}: {error}") from None

    def _server_key(self, address: str, where: Address, socket: zmq.Socket[bytes]) -> bytes:
        server_key = where.server_key or (self._key.server if self._key else b"")
        if not server_key:
            socket.close()
            raise TransportError(
                f"{address}: the key that its listener must prove is not known; "
                "append ?key=<its public key>, or use a key file made by `kaon keys add`"
            )
        return server_key

    def _dial_finished(self, dial: Dial) -> None:
        if self._dials.get(dial.address) is dial:
            del self._dials[dial.address]

    # Keys ------------------------------------------------------------------------------------------------------------

    def _refresh_keys(self) -> None:
        if self._doorkeeper is not None:
            self._doorkeeper.refresh()
            self._refresh = self._hub.loop.call_later(REFRESH_SECONDS, self._refresh_keys)

    def _unauthenticated(self, address: str, detail: str) -> None:
        self._hub.later(self._door.refused, "unauthenticated", address, detail)

    def _revoked(self, principals: set[str]) -> None:
        for session in self._admission.sessions():
            if session.principal in principals:
                self._hub.later(self._door.refused, "unauthenticated", session.peer.node, "its key was revoked")
                session.end("its key was revoked")

    # Closing ---------------------------------------------------------------------------------------------------------

    def _sessions(self) -> list[ZeroMQSession]:
        dialled = [dial.session for dial in self._dials.values() if dial.session is not None]
        return [*self._admission.sessions(), *dialled]

    async def close(self, linger_seconds: float) -> None:
        """Say goodbye to every peer once it has what is queued, and wait for its answer; then let go of everything."""
        if self._closing:
            return
        self._closing = True
        for dial in tuple(self._dials.values()):
            if dial.session is None:
                dial.fail("this node is closing")
        for listener in self._listeners:
            listener.stop_accepting()
        for session in self._sessions():
            session.part("the node is closing")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(linger_seconds):
                while self._sessions():
                    self._hub.ended.clear()
                    await self._hub.ended.wait()
        for session in self._sessions():
            session.end("the peer did not take everything in time")
        self._hub.settle()
        await self._release()

    async def _release(self) -> None:
        self._hub.close()
        if self._refresh is not None:
            self._refresh.cancel()
        for listener in self._listeners:
            listener.close()
        if self._doorkeeper is not None:
            self._doorkeeper.close()
        for path, inode in self._socket_files.items():
            _remove(Path(path), inode)
        # Terminating waits for the last words of closed sockets (a second at most): not on the loop.
        done = asyncio.Event()
        loop = self._hub.loop

        def terminate() -> None:
            self._context.term()
            with contextlib.suppress(RuntimeError):  # the loop may have been closed meanwhile
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=terminate, name="zeromq-term", daemon=True).start()
        await done.wait()


def _check_free(address: str, path: str) -> None:
    """libzmq removes a socket file that another process still listens at; look first."""
    if not Path(path).parent.is_dir():
        raise TransportError(f"cannot listen at {address}: there is no directory {Path(path).parent}")
    with sockets.socket(sockets.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return
    raise TransportError(f"cannot listen at {address}: another process listens there")


def _remove(path: Path, inode: int) -> None:
    """Remove a socket file, which libzmq leaves behind, unless another process has put its own there."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_ino == inode:
            path.unlink()
