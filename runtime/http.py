"""A node's HTTP endpoint: health, version and metrics, for load balancers, people and Prometheus.

Requests are answered on the node's loop, between turns: an answer to ``/health`` shows that the loop turns.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from typing import ClassVar, Final

import msgspec
from aiohttp import web

import runtime
from runtime.actor import Edge, State, receive
from runtime.errors import ConfigurationError, TransportError
from runtime.message import EdgeFailed, Message, Overflow
from runtime.metrics import CONTENT_TYPE, NodeMetrics
from runtime.node import Node
from runtime.pid import PID

REQUEST_BYTES: Final = 64 * 1024
"""Largest body that is read: these endpoints take none."""

SHUTDOWN_SECONDS: Final = 0.5
"""How long open requests may take when the endpoint closes."""

BACKLOG_CONNECTIONS: Final = 128

_log = logging.getLogger("kaon.http")


class EndpointReady(Message, frozen=True, kw_only=True, tag="http.EndpointReady"):
    """The endpoint answers requests."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class EndpointState(State):
    """Where the endpoint listens.

    host   to bind; loopback unless told otherwise
    port   0 lets the system choose one
    url    where it answers; empty until it does
    """

    host: str = "127.0.0.1"
    port: int = 0
    url: str = ""


class HttpEndpoint(Edge[EndpointState]):
    """Serves ``/health``, ``/version``, ``/metrics`` and ``/metrics/snapshot`` of the node it runs on.

    Subclasses add routes with `routes`.
    """

    metrics_of_node: NodeMetrics
    url: str
    """Where it can be reached, from `open` on."""
    _socket: socket.socket

    def open(self) -> None:
        """Listen; who connects is answered from the first turn on.

        Raises :class:`TransportError` when the address is taken or does not exist, :class:`ConfigurationError` when it
        is none.
        """
        assert isinstance(self._context, Node)
        self.metrics_of_node = NodeMetrics(self._context)
        self._socket = bind(self.state.host, self.state.port)
        self._socket.listen(BACKLOG_CONNECTIONS)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are bound, from `open` on."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Stop listening; what is under way ends with the coroutine."""
        self._socket.close()

    def started(self) -> None:
        """Answer from now on."""
        self.start(self._serve(), "serve")

    @receive(EndpointReady)
    def ready(self, sender: PID, message: EndpointReady) -> None:
        """Say where."""
        self.state.url = self.url
        where = {"actor": self.pid.name, "node": self.pid.node}
        _log.info("listening on %s", self.url, extra=where)
        if not ipaddress.ip_address(self.state.host).is_loopback:
            _log.warning("%s is open to everybody who can reach this machine", self.url, extra=where)

    @receive(EdgeFailed)
    def failed(self, sender: PID, message: EdgeFailed) -> None:
        """Without the coroutine nothing is served: fail, so that the supervisor decides."""
        raise TransportError(f"{self.state.host}:{self.state.port} is not served any more: {message.error}")

    def routes(self) -> list[web.RouteDef]:
        """What is served."""
        return [
            web.get("/health", self._health),
            web.get("/version", self._version),
            web.get("/metrics", self._metrics),
            web.get("/metrics/snapshot", self._snapshot),
        ]

    async def _serve(self) -> None:
        """Serve until cancelled, then let what is under way finish."""
        application = web.Application(client_max_size=REQUEST_BYTES)
        application.add_routes(self.routes())
        runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.SockSite(runner, self._socket.dup(), backlog=BACKLOG_CONNECTIONS).start()
            self.post(EndpointReady())
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        """200 while the node turns, as Mesos's ``/health``; 503 when it has failed or stops."""
        node = self._context
        assert isinstance(node, Node)
        if node.failure or node.stopping:
            return web.Response(status=503, text=f"{node.failure or 'stopping'}\n")
        return web.Response(text="ok\n")

    async def _version(self, request: web.Request) -> web.Response:
        """Of the program, and which life of which node answers."""
        assert isinstance(self._context, Node)
        identity = self._context.identity
        return json_response(
            {"version": runtime.__version__, "node": identity.node, "incarnation": str(identity.incarnation)}
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        """In Prometheus's text format."""
        await self.metrics_of_node.refresh()
        return web.Response(body=self.metrics_of_node.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _snapshot(self, request: web.Request) -> web.Response:
        """As Mesos: one JSON object, names to numbers."""
        return json_response(self.metrics_of_node.snapshot())


def json_response(content: object, status: int = 200) -> web.Response:
    """An answer in JSON."""
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")


def bind(host: str, port: int) -> socket.socket:
    """A socket that is bound, and does not listen yet.

    Raises :class:`ConfigurationError` for a host that is no IP address, :class:`TransportError` if it cannot be bound.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise ConfigurationError(f"{host!r} is no IP address to listen at: write 127.0.0.1, 0.0.0.0 or ::1") from error
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.setblocking(False)
    except (OSError, OverflowError) as error:
        made.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise TransportError(f"http://{host}:{port} cannot be served: {reason}; choose another port") from error
    return made
