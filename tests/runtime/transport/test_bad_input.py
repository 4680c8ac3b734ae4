"""What a listening node makes of peers that do not behave: each is refused by name, and nobody else is disturbed."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.constants import COALESCED_ENVELOPES, MAX_FRAME_BYTES, PROTOCOL_VERSION
from runtime.transport.protocol import Identity
from runtime.transport.zeromq import handshake

pack = msgspec.msgpack.encode

GOOD: list[Any] = ["receiver", "sender", 1, 2, 3, {"type": "transport_tests.Number", "number": 7}]


def frame_of(*envelopes: Any) -> bytes:
    return pack(list(envelopes))


BAD_FRAMES = {
    "no MessagePack": (b"\xc1\xc1\xc1", "malformed_frame"),
    "nothing": (b"", "malformed_frame"),
    "a truncated frame": (frame_of(GOOD)[:-3], "malformed_frame"),
    "bytes after the end": (frame_of(GOOD) + b"\x00", "malformed_frame"),
    "a map": (pack({"to": "receiver"}), "malformed_frame"),
    "a deep nest": (b"\x91" * 100_000, "malformed_frame"),
    "an announced list that never comes": (b"\xdc\x00\xff", "malformed_frame"),
    "an envelope of five fields": (frame_of(GOOD[:5]), "malformed_envelope"),
    "a receiver that is a number": (frame_of([1, *GOOD[1:]]), "malformed_envelope"),
    "a span over 64 bits": (frame_of([*GOOD[:3], "2", *GOOD[4:]]), "malformed_envelope"),
    "a body that is no map": (frame_of([*GOOD[:5], 17]), "malformed_envelope"),
    "a body without a type": (frame_of([*GOOD[:5], {"number": 7}]), "malformed_envelope"),
    "a type that nobody has": (frame_of([*GOOD[:5], {"type": "no.Such\n\x1b[31mType"}]), "unknown_type"),
    "a handshake": (frame_of([*GOOD[:5], {"type": "node.Welcome"}]), "unknown_type"),
    "a field of the wrong type": (frame_of([*GOOD[:5], {**GOOD[5], "number": "seven"}]), "wrong_fields"),
    "a missing field": (frame_of([*GOOD[:5], {"type": "transport_tests.Number"}]), "wrong_fields"),
    "too many envelopes": (frame_of(*[GOOD] * (COALESCED_ENVELOPES + 1)), "too_large"),
    "too many bytes": (frame_of([*GOOD[:5], {**GOOD[5], "padding": bytes(MAX_FRAME_BYTES)}]), "too_large"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_bad_frame_is_refused_and_its_session_lives_on(kit: Any, name: str) -> None:
    bad, reason = BAD_FRAMES[name]

    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        peer = await world.raw_joined(address)
        peer.send(bad)
        peer.send(frame_of(GOOD))
        await world.until(lambda: 7 in server.numbers)
        assert server.refused == [(reason, "raw")]
        assert all(call.detail.isprintable() for call in server.of(kit.RefusedInput))
        await world.exchange(client.session, client, server)
        assert server.closed == []

    kit.within(kit.InsecureWorld, scenario)


def test_only_the_bad_envelopes_of_a_frame_are_refused(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, _, address = await world.pair()
        peer = await world.raw_joined(address)
        bad = [*GOOD[:5], {"type": "no.such"}]
        good = [[*GOOD[:5], {**GOOD[5], "number": number}] for number in range(3)]
        peer.send(frame_of(good[0], bad, good[1], bad, good[2]))
        await world.until(lambda: len(server.received) == 3)
        assert server.numbers == [0, 1, 2]
        assert server.refused == [("unknown_type", "raw")] * 2

    kit.within(kit.InsecureWorld, scenario)


def test_an_unknown_field_is_ignored(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, _, address = await world.pair()
        peer = await world.raw_joined(address)
        peer.send(frame_of([*GOOD[:5], {**GOOD[5], "since_the_next_version": [1, 2]}]))
        await world.until(lambda: server.numbers == [7])
        assert server.refused == []

    kit.within(kit.InsecureWorld, scenario)


def hello(**changes: Any) -> bytes:
    fields = {"type": "node.Hello", "version": PROTOCOL_VERSION, "node": "raw", "incarnation": 7, **changes}
    return frame_of(["", "", 0, 0, 0, fields])


FIRST_FRAMES = {
    "a message": (frame_of(GOOD), "no_hello"),
    "random bytes": (b"\x00\x01\x02", "no_hello"),
    "a Hello as large as a book": (hello(node="n" * 10_000), "no_hello"),
    "two Hellos": (frame_of(*[["", "", 0, 0, 0, {"type": "node.Farewell"}]] * 2), "no_hello"),
    "a Welcome": (handshake.welcome(Identity("raw", 7)), "no_hello"),
    "another version": (hello(version=PROTOCOL_VERSION + 1), "wrong_version"),
    "a node id with a newline": (hello(node="a\nb"), "wrong_fields"),
    "incarnation zero": (hello(incarnation=0), "wrong_fields"),
    "the listener's own id": (hello(node="server"), "wrong_principal"),
}


@pytest.mark.parametrize("name", FIRST_FRAMES)
def test_a_first_frame_that_is_no_good_hello_is_refused_and_the_peer_cut_off(kit: Any, name: str) -> None:
    first, reason = FIRST_FRAMES[name]

    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        peer = await world.raw_greeted(address)
        peer.send(first)
        peer.send(frame_of(GOOD))
        assert await peer.hung_up()
        assert [refused[0] for refused in server.refused] == [reason]
        await world.exchange(client.session, client, server)
        assert 7 not in server.numbers
        assert len(server.sessions) == 1

    kit.within(kit.InsecureWorld, scenario)


def test_a_connection_must_name_itself_by_a_long_random_id(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, _, address = await world.pair()
        peer = await world.raw_greeted(address, b"short")
        peer.send(hello())
        assert await peer.hung_up()
        assert server.reasons == {"no_hello"}

    kit.within(kit.InsecureWorld, scenario)


@pytest.mark.parametrize("surplus", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("part", ["own routing id", "a good frame", "random"])
def test_surplus_parts_forge_nobody_and_cost_nobody_else_a_message(kit: Any, surplus: int, part: str) -> None:
    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        own = b"\x01" + os.urandom(15)
        peer = await world.raw_joined(address, routing_id=own)
        victim = await world.raw_joined(address, node="victim")
        extra = {"own routing id": own, "a good frame": frame_of(GOOD), "random": os.urandom(16)}[part]
        for number in range(50):
            client.session.send(kit.envelope(number))
        peer.send(frame_of(GOOD), *[extra] * surplus)
        victim.send(frame_of([*GOOD[:5], {**GOOD[5], "number": 50}]))
        await victim.writer.drain()
        await world.until(lambda: {*range(51)} <= {*server.numbers})
        assert await peer.hung_up()
        await world.until(lambda: server.closed)
        assert [call.session.peer.node for call in server.closed] == ["raw"]
        assert {reason for reason, _ in server.refused} == {"malformed_frame"}
        assert {name for _, name in server.refused} == {"raw"}
        by_sender = {
            envelope.body.number: call.session.peer.node
            for call in server.of(kit.Received)
            for envelope in call.envelopes
        }
        assert by_sender.pop(7) in ("raw", "client")
        assert by_sender.pop(50) == "victim"
        assert set(by_sender.values()) == {"client"}

    kit.within(kit.InsecureWorld, scenario)


@pytest.mark.parametrize("secure", [False, True])
def test_random_bytes_at_the_socket_disturb_nobody(kit: Any, secure: bool) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4), st.booleans())
    def check(chunks: list[bytes], greet: bool) -> None:
        async def scenario(world: Any) -> None:
            server, client, address = await world.pair()
            peer = await world.raw(address)
            peer.writer.write((kit.RawPeer.GREETING if greet else b"") + b"".join(chunks))
            await peer.writer.drain()
            await world.exchange(client.session, client, server)
            assert (len(server.sessions), server.closed) == (1, [])

        kit.within(kit.SecureWorld if secure else kit.InsecureWorld, scenario)

    check()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames=st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_random_frames_in_a_session_are_refused(kit: Any, frames: list[bytes]) -> None:
    async def scenario(world: Any) -> None:
        server, _, address = await world.pair()
        peer = await world.raw_joined(address)
        for frame in frames:
            peer.send(frame)
        peer.send(frame_of(GOOD))
        await world.until(lambda: server.numbers == [7])
        assert len(server.refused) == sum(frame != b"\x90" for frame in frames)

    kit.within(kit.InsecureWorld, scenario)


def test_a_frame_far_too_large_ends_the_connection(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        peer = await world.raw_joined(address)
        peer.writer.write(b"\x02" + (3 * MAX_FRAME_BYTES).to_bytes(8, "big"))
        assert await peer.hung_up()
        await world.until(lambda: server.closed)
        await world.exchange(client.session, client, server)

    kit.within(kit.InsecureWorld, scenario)


def test_a_flood_from_one_peer_does_not_silence_another(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        peer = await world.raw_joined(address)
        flood = kit.RawPeer.frame(b"\xc1" * 64) * 2000
        for _ in range(10):
            peer.writer.write(flood)
            await world.exchange(client.session, client, server)
        assert server.reasons == {"malformed_frame"}
        assert [call.session.peer.node for call in server.closed] in ([], ["raw"])

    kit.within(kit.InsecureWorld, scenario)


def test_who_hangs_up_leaves_no_trouble_to_the_next_connection_of_that_descriptor(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        for number in range(100):
            rude = await world.raw_greeted(address)
            rude.send(b"no Hello")
            await rude.writer.drain()
            rude.writer.close()
            polite = world.node(f"polite-{number}")
            await world.join(server, polite, address)
            await world.exchange(polite.session, polite, server)
            assert polite.unreachable == polite.closed == []
            await polite.transport.close(1.0)
        assert server.reasons <= {"no_hello"}
        await world.exchange(client.session, client, server)

    kit.within(kit.InsecureWorld, scenario)


def test_two_thousand_idle_connections_leave_room_for_a_node(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        idle = [await world.raw(address) for _ in range(2000)]
        late = world.node("late")
        await world.join(server, late, address)
        await world.exchange(client.session, client, server)
        await asyncio.gather(*(peer.hung_up() for peer in idle))
        await world.until(lambda: len(server.refused) == len(idle))
        assert server.reasons == {"no_hello"}
        assert server.closed == []
        await world.exchange(late.session, late, server)

    kit.within(kit.InsecureWorld, scenario)


def test_a_peer_that_greets_and_then_says_nothing_is_cut_off(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        peer = await world.raw_greeted(address)
        assert await peer.hung_up()
        await world.until(lambda: server.reasons == {"no_hello"})
        await world.exchange(client.session, client, server)

    kit.within(kit.InsecureWorld, scenario)
