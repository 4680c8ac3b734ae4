"""What a node makes of bad input from a raw socket: counted, each with its reason, said at a bounded rate."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from runtime.clock import RealClock
from runtime.logs import LIMIT_RECORDS, remove_logs, setup_logs
from runtime.node import Node
from runtime.pid import PID
from runtime.ref import Outside
from runtime.transport.protocol import Identity
from runtime.transport.zeromq import handshake
from runtime.transport.zeromq.transport import ZeroMQTransport
from tests.runtime.puppets import Note, Puppet, PuppetState, Question

FLOOD = 500
ROUTING_ID = b"\x01" + b"raw-peer-number"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    level = logging.getLogger().level
    stream = io.StringIO()
    setup_logs(stream=stream)
    yield stream
    remove_logs()
    logging.getLogger().setLevel(level)


def with_a_raw_peer(kit: Any, scenario: Callable[[Node, Any, Callable[[], Awaitable[None]]], Awaitable[None]]) -> None:
    """A node with an actor that answers, a raw peer in a session with it, and a question of a third that is answered
    once all that the raw peer said before has been looked at."""

    async def run() -> None:
        clock = RealClock(asyncio.get_running_loop())
        server, other = (Node(name, ZeroMQTransport(insecure=True), clock, seed="1") for name in ("server", "other"))
        address = server.listen("tcp://127.0.0.1:0")
        server.spawn(Puppet, "receiver", PuppetState())
        peer = await kit.RawPeer.connect(address)
        await peer.handshake(ROUTING_ID)
        peer.send(handshake.hello(Identity("raw", 7)))
        await peer.receive()
        outside = Outside.on(other)

        async def undisturbed() -> None:
            answer = await outside.fetch_answer(PID("receiver", address), Question(text="still there"))
            assert answer == Note(text="re still there")

        try:
            async with asyncio.timeout(30):
                await scenario(server, peer, undisturbed)
        finally:
            await peer.close()
            for node in (server, other):
                await node.stop(2.0)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def frame_to(actor: str) -> bytes:
    return msgspec.msgpack.encode([[actor, "raw", 1, 2, 0, {"type": "puppet.Note", "text": "hello"}]])


def test_a_flood_of_bad_frames_is_counted_whole_and_said_a_few_times(kit: Any, log: io.StringIO) -> None:
    async def scenario(server: Node, peer: Any, undisturbed: Callable[[], Awaitable[None]]) -> None:
        for _ in range(FLOOD):
            peer.send(b"\xc1")
        await undisturbed()
        await until(lambda: server.refusals["malformed_frame"] == FLOOD)
        await undisturbed()
        assert server.refusals == {"malformed_frame": FLOOD}

    with_a_raw_peer(kit, scenario)
    said = [line for line in log.getvalue().splitlines() if "refused (malformed_frame) from raw" in line]
    assert len(said) == LIMIT_RECORDS


def test_a_message_to_nobody_is_a_dead_letter_with_its_reason(kit: Any) -> None:
    async def scenario(server: Node, peer: Any, undisturbed: Callable[[], Awaitable[None]]) -> None:
        for _ in range(FLOOD):
            peer.send(frame_to("nobody"))
        await undisturbed()
        await until(lambda: server.dead_letters["no such actor"] == FLOOD)
        await undisturbed()
        assert server.refusals == {}

    with_a_raw_peer(kit, scenario)
