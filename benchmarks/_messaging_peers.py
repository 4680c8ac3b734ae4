"""The other process of the messaging benchmark: raw sockets, nodes that send, a thousand peers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection

import zmq

from benchmarks._messaging_actors import Echo, EchoState, Source, SourceState, update
from runtime.clock import RealClock
from runtime.codec import Codec
from runtime.constants import COALESCED_ENVELOPES
from runtime.node import Node
from runtime.pid import PID
from runtime.process import tune_collector
from runtime.tracing.recorder import FlightRecorder
from runtime.transport.protocol import Identity
from runtime.transport.zeromq import handshake
from runtime.transport.zeromq.dialler import random_routing_id
from runtime.transport.zeromq.keys import NodeKey
from runtime.transport.zeromq.transport import ZeroMQTransport

PEERS = 1_000


@contextlib.asynccontextmanager
async def running_node(
    node_id: str, key: NodeKey | None = None, envelopes: int = COALESCED_ENVELOPES
) -> AsyncIterator[Node]:
    """A node as daemons have it, recorder on; insecure without a key. It sends so many envelopes a frame at most."""
    tune_collector()
    loop = asyncio.get_running_loop()
    transport = ZeroMQTransport(key, insecure=key is None, frame_envelopes=envelopes)
    node = Node(node_id, transport, RealClock(loop), recorder=FlightRecorder())
    try:
        yield node
    finally:
        await node.stop(0.2)


async def _until_told(connection: Connection) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(connection.fileno(), told.set)
    await told.wait()
    asyncio.get_running_loop().remove_reader(connection.fileno())
    connection.recv()


def send_raw(connection: Connection, address: str, count: int, size_bytes: int) -> None:
    """PUSH `count` messages, without any codec."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.connect(address)
        payload = b"x" * size_bytes
        connection.send("ready")
        connection.recv()
        for _ in range(count):
            socket.send(payload)
        connection.recv()


def send_from_node(connection: Connection, address: str, data: str, key: NodeKey | None, envelopes: int) -> None:
    """Run a source whose sink listens at `address`; at most `envelopes` go in one frame."""

    async def run() -> None:
        async with running_node("bench.source", key, envelopes) as node:
            node.spawn(Source, "source", SourceState(sink=PID("sink", address), data=data))
            await _until_told(connection)

    asyncio.run(run())


def echo_from_node(connection: Connection) -> None:
    """Run an echo; says where it listens."""

    async def run() -> None:
        async with running_node("bench.echo") as node:
            address = node.listen("tcp://127.0.0.1:0")
            node.spawn(Echo, "echo", EchoState())
            connection.send(address)
            await _until_told(connection)

    asyncio.run(run())


def echo_raw(connection: Connection, count: int) -> None:
    """A ROUTER that sends back what comes."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        connection.send(f"tcp://127.0.0.1:{port}")
        for _ in range(count):
            routing_id, frame = socket.recv(), socket.recv()
            socket.send(routing_id, zmq.SNDMORE)
            socket.send(frame)
        connection.recv()


def _dealer(context: zmq.Context[zmq.Socket[bytes]], key: NodeKey | None) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.ROUTING_ID, random_routing_id())
    if key is not None:
        socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret)
        socket.setsockopt(zmq.CURVE_SERVERKEY, key.server)
    return socket


def _frame(to: str, data: str, envelopes: int) -> bytes:
    return Codec().encode([(to, "source", 2, 4, 2, update(70_000, data)) for _ in range(envelopes)])


def flood(connection: Connection, address: str, peers: int, frames: int, envelopes: int, data: str) -> None:
    """`peers` sockets that say Hello and then send `frames` ready-made frames in turn."""
    with zmq.Context() as context:
        context.set(zmq.MAX_SOCKETS, 4 * PEERS)
        sockets = [_dealer(context, None) for _ in range(peers)]
        _greet(sockets, address)
        connection.send("ready")
        connection.recv()
        frame = _frame("sink", data, envelopes)
        for _ in range(frames // peers):
            for socket in sockets:
                socket.send(frame)
        connection.recv()
        for socket in sockets:
            socket.close(0)


def shake_hands(connection: Connection, address: str, key: NodeKey | None) -> float:
    """Open a thousand sessions; returns the seconds from the first connect to the last Welcome."""
    with zmq.Context() as context:
        context.set(zmq.MAX_SOCKETS, 4 * PEERS)
        sockets = [_dealer(context, key) for _ in range(PEERS)]
        began = time.perf_counter()
        _greet(sockets, address)
        for socket in sockets:
            if not socket.poll(20_000):
                raise TimeoutError("no Welcome")
            assert isinstance(handshake.decode(socket.recv()), handshake.Welcome)
        elapsed = time.perf_counter() - began
        for socket in sockets:
            socket.close(0)
    return elapsed


def _greet(sockets: list[zmq.Socket[bytes]], address: str) -> None:
    for number, socket in enumerate(sockets):
        socket.connect(address)
        socket.send(handshake.hello(Identity(f"bench.{number}", 1 + number)))
