"""What comes first when connections end, begin and overtake one another."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from runtime.transport.protocol import Identity
from runtime.transport.zeromq import handshake


def frame_of(number: int) -> bytes:
    body = {"type": "transport_tests.Number", "number": number}
    return msgspec.msgpack.encode([["receiver", "sender", 1, 2, 3, body]])


def calls(server: Any) -> list[str]:
    """The door's calls by kind, repetitions once."""
    kinds = [type(call).__name__ for call in server.door.calls]
    return [kind for place, kind in enumerate(kinds) if place == 0 or kinds[place - 1] != kind]


def test_a_successor_enters_after_the_last_message_of_its_predecessor(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        address = server.transport.listen(world.address())
        first = await world.raw_joined(address)
        for number in range(900):
            first.send(frame_of(number))
        await first.writer.drain()
        await first.close()
        second = await world.raw_greeted(address)
        second.send(handshake.hello(Identity("raw", 8)))
        await world.until(lambda: len(server.sessions) == 2)
        assert server.numbers == list(range(900))
        assert calls(server) == ["Opened", "Received", "Closed", "Opened"]
        assert server.closed[0].reason == "connection lost"

    kit.within(kit.InsecureWorld, scenario)


def test_a_peer_that_does_not_wait_for_its_welcome_is_opened_before_it_is_heard(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        peer = await world.raw_greeted(server.transport.listen(world.address()))
        peer.send(handshake.hello(Identity("raw", 7)))
        peer.send(frame_of(1))
        await world.until(lambda: server.received)
        assert calls(server) == ["Opened", "Received"]

    kit.within(kit.InsecureWorld, scenario)


def test_a_goodbye_comes_after_everything_that_was_sent_before_it(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        peer = await world.raw_joined(server.transport.listen(world.address()))
        for number in range(100):
            peer.send(frame_of(number))
        peer.send(handshake.encode(handshake.Goodbye(reason="done\n\x1b[31m")))
        peer.send(frame_of(100))
        await world.until(lambda: server.closed)
        assert handshake.decode(await peer.receive()) == handshake.Farewell()
        assert await peer.hung_up()
        assert server.numbers == list(range(100))
        assert server.closed[0].reason.startswith("closed by the peer: ")
        assert server.closed[0].reason.isprintable()

    kit.within(kit.InsecureWorld, scenario)


def test_a_second_connection_with_a_routing_id_in_use_takes_nothing_from_the_first(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        address = server.transport.listen(world.address())
        routing_id = b"\x01" + os.urandom(15)
        first = await world.raw_joined(address, routing_id=routing_id)
        second = await world.raw_greeted(address, routing_id)
        second.send(handshake.hello(Identity("raw", 8)))
        first.send(frame_of(1))
        await world.until(lambda: server.received)
        assert calls(server) == ["Opened", "Received"]
        assert server.session.peer.incarnation == 7

    kit.within(kit.InsecureWorld, scenario)


def test_the_same_life_that_dials_again_replaces_its_connection(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        address = server.transport.listen(world.address())
        silent = await world.raw_joined(address)
        await world.raw_joined(address)
        await world.until(lambda: len(server.sessions) == 2)
        assert calls(server) == ["Opened", "Closed", "Opened"]
        assert "another connection of raw" in server.closed[0].reason
        assert await silent.hung_up()

    kit.within(kit.InsecureWorld, scenario)
