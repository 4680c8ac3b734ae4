"""Worlds: a carrier each, with nodes on it, for the contract that all transports keep."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from runtime.clock import RealClock, VirtualClock
from runtime.message import Message
from runtime.transport.memory import MemoryTransport, Network
from runtime.transport.protocol import Arrived, Envelope, Identity, Session, Transport
from runtime.transport.simulated import SimulatedNetwork
from runtime.transport.zeromq import handshake
from runtime.transport.zeromq.keys import AuthorisedKeys, NodeKey, make_key
from runtime.transport.zeromq.transport import ZeroMQTransport

DEADLINE_SECONDS = 20.0


class Number(Message, frozen=True, kw_only=True, tag="transport_tests.Number"):
    number: int
    padding: bytes = b""
    anything: Any = None


class Opened(msgspec.Struct):
    session: Session


class Received(msgspec.Struct):
    session: Session
    envelopes: list[Envelope]
    size_bytes: int


class Closed(msgspec.Struct):
    session: Session
    reason: str


class Undeliverable(msgspec.Struct):
    session: Session
    envelope: Envelope
    reason: str


class Unconfirmed(msgspec.Struct):
    session: Session
    count: int


class Unreachable(msgspec.Struct):
    address: str
    reason: str


class RefusedInput(msgspec.Struct):
    reason: str
    peer: str
    detail: str


class RecordingDoor:
    """A node that only writes down what its transport tells it."""

    def __init__(self, node: str, incarnation: int) -> None:
        self.identity = Identity(node, incarnation)
        self.calls: list[Any] = []

    def opened(self, session: Session) -> None:
        self.calls.append(Opened(session))

    def received(self, frames: Sequence[Arrived]) -> None:
        self.calls.extend(Received(*frame) for frame in frames)

    def drained(self) -> None:
        """Everything is noted as it comes."""

    def closed(self, session: Session, reason: str) -> None:
        self.calls.append(Closed(session, reason))

    def undeliverable(self, session: Session, envelope: Envelope, reason: str) -> None:
        self.calls.append(Undeliverable(session, envelope, reason))

    def unconfirmed(self, session: Session, count: int) -> None:
        self.calls.append(Unconfirmed(session, count))

    def unreachable(self, address: str, reason: str) -> None:
        self.calls.append(Unreachable(address, reason))

    def refused(self, reason: str, peer: str, detail: str) -> None:
        self.calls.append(RefusedInput(reason, peer, detail))


class Node:
    """A transport with the door that it serves, and questions about what came through it."""

    def __init__(self, name: str, incarnation: int, transport: Transport) -> None:
        self.door = RecordingDoor(name, incarnation)
        self.transport = transport
        transport.start(self.door)

    def of(self, kind: type[Any]) -> list[Any]:
        return [call for call in self.door.calls if isinstance(call, kind)]

    @property
    def sessions(self) -> list[Session]:
        return [call.session for call in self.of(Opened)]

    @property
    def session(self) -> Session:
        return self.sessions[-1]

    @property
    def received(self) -> list[Envelope]:
        return [envelope for call in self.of(Received) for envelope in call.envelopes]

    @property
    def numbers(self) -> list[int]:
        return [envelope.body.number for envelope in self.received]  # type: ignore[attr-defined]

    @property
    def unconfirmed(self) -> int:
        return sum(call.count for call in self.of(Unconfirmed))

    @property
    def closed(self) -> list[Closed]:
        return self.of(Closed)

    @property
    def undeliverable(self) -> list[Undeliverable]:
        return self.of(Undeliverable)

    @property
    def unreachable(self) -> list[Unreachable]:
        return self.of(Unreachable)

    @property
    def refused(self) -> list[tuple[str, str]]:
        return [(call.reason, call.peer) for call in self.of(RefusedInput)]

    @property
    def reasons(self) -> set[str]:
        return {call.reason for call in self.of(RefusedInput)}


class RawPeer:
    """Speaks ZMTP 3.0 without encryption, byte by byte, so that it can say what no ZeroMQ socket would (RFC 23)."""

    GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, address: str) -> RawPeer:
        host, _, port = address.removeprefix("tcp://").partition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def handshake(self, routing_id: bytes) -> None:
        self.writer.write(self.GREETING)
        properties = b""
        for name, value in ((b"Socket-Type", b"DEALER"), (b"Identity", routing_id)):
            properties += bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value
        command = b"\x05READY" + properties
        self.writer.write(b"\x04" + bytes((len(command),)) + command)
        await self.reader.readexactly(len(self.GREETING))
        await self.receive()

    def send(self, *parts: bytes) -> None:
        for place, part in enumerate(parts):
            self.writer.write(self.frame(part, more=place < len(parts) - 1))

    @staticmethod
    def frame(part: bytes, more: bool = False) -> bytes:
        if len(part) < 256:
            return bytes((more, len(part))) + part
        return bytes((2 | more,)) + len(part).to_bytes(8, "big") + part

    async def receive(self) -> bytes:
        """The next frame, be it a message or a command."""
        flags = (await self.reader.readexactly(1))[0]
        size = int.from_bytes(await self.reader.readexactly(8 if flags & 2 else 1), "big")
        return await self.reader.readexactly(size)

    async def hung_up(self) -> bool:
        """Wait until the other end closes."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while await self.reader.read(65536):
                    continue
        except ConnectionError:
            return True
        return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class World:
    """Nodes joined by one kind of transport."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.raw_peers: list[RawPeer] = []
        self._names = itertools.count()

    def transport(self) -> Transport:
        raise NotImplementedError

    def address(self) -> str:
        """Of a place where nobody listens yet."""
        raise NotImplementedError

    def node(self, name: str, incarnation: int = 1) -> Node:
        node = Node(name, incarnation, self.transport())
        self.nodes.append(node)
        return node

    async def until(self, condition: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
        """Let things happen until `condition` holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.001)

    async def join(self, server: Node, client: Node, address: str = "") -> str:
        """Open a session between two nodes; returns the address dialled."""
        bound = address or server.transport.listen(self.address())
        before = len(server.sessions), len(client.sessions)
        client.transport.dial(bound)
        await self.until(lambda: (len(server.sessions), len(client.sessions)) == (before[0] + 1, before[1] + 1))
        return bound

    async def pair(self) -> tuple[Node, Node, str]:
        """A node that listens, one that has dialled it, and where."""
        server, client = self.node("server"), self.node("client")
        return server, client, await self.join(server, client)

    async def exchange(self, one: Session, sender: Node, receiver: Node) -> None:
        """Send something and wait until it has come: what was sent before it has come as well."""
        number = 1_000_000 + next(self._names)
        one.send(envelope(number))
        await self.until(lambda: number in receiver.numbers[-300:])

    async def raw(self, address: str) -> RawPeer:
        """A raw connection."""
        peer = await RawPeer.connect(address)
        self.raw_peers.append(peer)
        return peer

    async def raw_greeted(self, address: str, routing_id: bytes = b"") -> RawPeer:
        """A raw peer that has gone through ZeroMQ's handshake, not through ours."""
        peer = await self.raw(address)
        await peer.handshake(routing_id or b"\x01" + os.urandom(15))
        return peer

    async def raw_joined(self, address: str, node: str = "raw", routing_id: bytes = b"") -> RawPeer:
        """A raw peer with an open session."""
        peer = await self.raw_greeted(address, routing_id)
        peer.send(handshake.hello(Identity(node, 7)))
        await peer.receive()
        return peer

    async def close(self) -> None:
        for peer in self.raw_peers:
            await peer.close()
        for node in self.nodes:
            await node.transport.close(1.0)


class MemoryWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.network = Network(RealClock(asyncio.get_running_loop()))

    def transport(self) -> Transport:
        return MemoryTransport(self.network)

    def address(self) -> str:
        return f"memory://{next(self._names)}"


class SimulatedWorld(World):
    """A world with a latency of a millisecond, in which waiting takes virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.network = SimulatedNetwork(self.clock, latency=lambda sender, receiver: 0.001)

    def transport(self) -> Transport:
        return MemoryTransport(self.network)

    def address(self) -> str:
        return f"simulated://{next(self._names)}"

    async def until(self, condition: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
        end = self.clock.now() + seconds
        while not condition():
            due = self.clock.next_at()
            assert due is not None, "nothing will ever happen"
            assert due <= end, f"not within {seconds} virtual seconds"
            self.clock.step()


class InsecureWorld(World):
    def transport(self) -> Transport:
        return ZeroMQTransport(insecure=True)

    def address(self) -> str:
        return "tcp://127.0.0.1:0"


class SecureWorld(World):
    """Every node has the cluster's one key, which may be any node."""

    def __init__(self) -> None:
        super().__init__()
        key = make_key("cluster")
        self.key = NodeKey(key.principal, key.public, key.secret, key.public)

    def transport(self) -> Transport:
        return ZeroMQTransport(self.key, AuthorisedKeys(self.key), may=lambda principal, node_id: True)

    def address(self) -> str:
        return "tcp://127.0.0.1:0"


class Kit:
    """What the tests of this folder share; they cannot import one another."""

    World = World
    InsecureWorld = InsecureWorld
    SimulatedWorld = SimulatedWorld
    SecureWorld = SecureWorld
    RawPeer = RawPeer
    Node = Node
    Number = Number
    Opened = Opened
    Received = Received
    Closed = Closed
    Undeliverable = Undeliverable
    RefusedInput = RefusedInput

    @staticmethod
    def envelope(number: int, padding: bytes = b"", to: str = "receiver", answers: int = 0) -> Envelope:
        return envelope(number, padding, to, answers)

    @staticmethod
    def within(make: Callable[[], Any], scenario: Callable[[Any], Any]) -> None:
        within(make, scenario)


def envelope(number: int, padding: bytes = b"", to: str = "receiver", answers: int = 0) -> Envelope:
    return Envelope(to, "sender", 1, number, 3, Number(number=number, padding=padding), answers)


def within(make: Callable[[], World], scenario: Callable[[World], Any]) -> None:
    """Run a coroutine function in a world, and close it."""

    async def main() -> None:
        world = make()
        try:
            await scenario(world)
        finally:
            await world.close()

    asyncio.run(main())


@pytest.fixture
def kit() -> Kit:
    return Kit()


WORLDS: dict[str, Callable[[], World]] = {
    "memory": MemoryWorld,
    "simulated": SimulatedWorld,
    "zeromq": SecureWorld,
    "zeromq-insecure": InsecureWorld,
}


@pytest.fixture(params=sorted(WORLDS))
def in_world(request: pytest.FixtureRequest) -> Callable[[Callable[[World], Any]], None]:
    """Runs a coroutine function in a fresh world of each kind, and closes it."""

    return lambda scenario: within(WORLDS[request.param], scenario)
