"""The promises of `runtime.transport.protocol`, kept by every transport."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.constants import COALESCED_ENVELOPES, MAX_MESSAGE_BYTES, SESSION_QUEUE_ENVELOPES
from runtime.errors import TransportError
from runtime.transport.protocol import Envelope, Identity


def test_opened_tells_both_ends_who_is_there(in_world: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        assert server.session.peer == Identity("client", 1)
        assert client.session.peer == Identity("server", 1)
        assert (server.session.address, client.session.address) == ("", address)

    in_world(scenario)


def test_envelopes_arrive_whole(in_world: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        body = kit.Number(number=5, padding=b"x")
        client.session.send(Envelope("to", "from", 2**63 - 1, 2, 3, body, answers=9))
        client.session.send(("to", "from", 1, 2, 0, body))
        await world.until(lambda: len(server.received) == 2)
        first, second = server.received
        assert (first.to, first.sender, first.trace, first.span, first.parent) == ("to", "from", 2**63 - 1, 2, 3)
        assert (first.body, first.answers) == (body, 9)
        assert (second.trace, second.parent, second.body, second.answers) == (1, 0, body, 0)

    in_world(scenario)


def test_order_is_kept_both_ways_without_duplicates(in_world: Any, kit: Any) -> None:
    count = 3 * COALESCED_ENVELOPES + 7

    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        for number in range(count):
            client.session.send(kit.envelope(number))
            server.session.send(kit.envelope(-number))
        await world.until(lambda: len(server.received) >= count and len(client.received) >= count)
        assert server.numbers == list(range(count))
        assert client.numbers == [-number for number in range(count)]
        frames = server.of(kit.Received)
        assert max(len(frame.envelopes) for frame in frames) <= COALESCED_ENVELOPES
        assert len(frames) < count

    in_world(scenario)


def test_an_envelope_over_the_limit_is_reported_and_its_neighbours_arrive(in_world: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        client.session.send(kit.envelope(1))
        client.session.send(kit.envelope(2, bytes(MAX_MESSAGE_BYTES)))
        client.session.send(kit.envelope(3, bytes(MAX_MESSAGE_BYTES - 200)))
        client.session.send(kit.envelope(4))
        await world.until(lambda: len(server.received) == 3 and client.undeliverable)
        assert server.numbers == [1, 3, 4]
        assert [(call.envelope.body.number, "too large" in call.reason) for call in client.undeliverable] == [(2, True)]

    in_world(scenario)


def test_a_message_that_cannot_be_encoded_is_reported_and_its_neighbours_arrive(in_world: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        client.session.send(kit.envelope(1))
        client.session.send(("to", "from", 1, 2, 3, kit.Number(number=2, anything=object())))
        client.session.send(kit.envelope(3))
        await world.until(lambda: len(server.received) == 2 and client.undeliverable)
        assert server.numbers == [1, 3]
        assert "cannot be encoded" in client.undeliverable[0].reason

    in_world(scenario)


def test_what_a_full_queue_does_not_take_is_undeliverable(in_world: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        body = kit.Number(number=1)
        for span in range(SESSION_QUEUE_ENVELOPES + 3):
            client.session.send(("to", "from", 1, span, 3, body))
        assert client.undeliverable == [], "the door must not be called from within send"
        await world.until(lambda: len(client.undeliverable) == 3)
        await world.until(lambda: sum(len(f.envelopes) for f in server.of(kit.Received)) == SESSION_QUEUE_ENVELOPES)
        assert [call.envelope.span for call in client.undeliverable] == [SESSION_QUEUE_ENVELOPES + n for n in range(3)]

    in_world(scenario)


@pytest.mark.parametrize("closing_end", [0, 1])
def test_closed_comes_once_at_both_ends_after_everything_sent(in_world: Any, kit: Any, closing_end: int) -> None:
    async def scenario(world: Any) -> None:
        ends = (await world.pair())[:2]
        closing, other = ends[closing_end], ends[1 - closing_end]
        session = closing.session
        for number in range(1000):
            session.send(kit.envelope(number))
        session.close("enough")
        session.close("really")
        session.send(kit.envelope(1000))
        assert closing.closed == []
        await world.until(lambda: closing.closed and other.closed)
        assert [call.reason for call in closing.closed] == ["enough"]
        assert ["enough" in call.reason for call in other.closed] == [True]
        assert other.numbers == list(range(1000))
        assert isinstance(other.door.calls[-1], kit.Closed)
        assert [call.envelope.body.number for call in closing.undeliverable] == [1000]

    in_world(scenario)


def test_nothing_is_received_from_a_session_once_it_was_closed(in_world: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        client.session.send(kit.envelope(1))
        server.session.close("not listening")
        await world.until(lambda: client.closed and server.closed)
        assert server.received == []

    in_world(scenario)


def test_closing_a_transport_delivers_what_was_sent(in_world: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        for number in range(5000):
            client.session.send(kit.envelope(number))
            server.session.send(kit.envelope(number))
        await client.transport.close(10.0)
        await client.transport.close(10.0)
        assert len(client.closed) == 1
        await world.until(lambda: server.closed)
        assert server.numbers == list(range(5000))
        assert (client.undeliverable, len(server.closed)) == ([], 1)

    in_world(scenario)


def test_a_closed_transport_dials_no_more(in_world: Any) -> None:
    async def scenario(world: Any) -> None:
        _, client, address = await world.pair()
        other = world.node("other")
        await other.transport.close(1.0)
        other.transport.dial(address)
        await world.until(lambda: other.unreachable)
        assert other.sessions == []
        assert len(client.sessions) == 1

    in_world(scenario)


def test_what_was_queued_for_one_life_never_reaches_the_next(in_world: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        old = server.session
        old.send(kit.envelope(1))
        client.session.close("restarting")
        await world.until(lambda: server.closed)
        old.send(kit.envelope(2))
        reborn = world.node("client", incarnation=2)
        await world.join(server, reborn, address)
        old.send(kit.envelope(3))
        await world.exchange(server.session, server, reborn)
        assert not {1, 2, 3} & set(reborn.numbers)
        assert {call.envelope.body.number for call in server.undeliverable} >= {2, 3}

    in_world(scenario)


def test_a_newer_life_supersedes_an_older_one_which_cannot_come_back(in_world: Any) -> None:
    async def scenario(world: Any) -> None:
        server, old, address = await world.pair()
        new = world.node("client", incarnation=2)
        await world.join(server, new, address)
        await world.until(lambda: old.closed)
        assert "superseded" in old.closed[0].reason
        assert [type(call).__name__ for call in server.door.calls] == ["Opened", "Closed", "Opened"]
        old.transport.dial(address)
        await world.until(lambda: old.unreachable)
        assert "superseded" in old.unreachable[0].reason
        assert server.reasons == {"superseded"}
        assert len(new.closed) == 0

    in_world(scenario)


def test_a_node_with_this_nodes_own_id_is_refused(in_world: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        double = world.node("server", incarnation=2)
        double.transport.dial(server.transport.listen(world.address()))
        await world.until(lambda: double.unreachable and server.refused)
        assert server.reasons == {"wrong_principal"}
        assert server.sessions == double.sessions == []

    in_world(scenario)


def test_dialling_nobody_is_unreachable_and_may_be_repeated(in_world: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client = world.node("server"), world.node("client")
        address = server.transport.listen(world.address())
        await server.transport.close(1.0)
        for attempt in range(2):
            client.transport.dial(address)
            assert len(client.unreachable) == attempt
            await world.until(lambda attempt=attempt: len(client.unreachable) == attempt + 1)
        assert client.unreachable[0].address == address
        assert client.sessions == []

    in_world(scenario)


def test_dialling_again_does_nothing_while_a_session_is_open(in_world: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client = world.node("server"), world.node("client")
        address = server.transport.listen(world.address())
        client.transport.dial(address)
        client.transport.dial(address)
        await world.until(lambda: server.sessions and client.sessions)
        client.transport.dial(address)
        await world.exchange(client.session, client, server)
        assert (len(server.sessions), len(client.sessions)) == (1, 1)
        client.session.close("again")
        await world.until(lambda: client.closed)
        await world.join(server, client, address)

    in_world(scenario)


def test_an_address_that_is_none_is_an_error(in_world: Any) -> None:
    async def scenario(world: Any) -> None:
        node = world.node("node")
        with pytest.raises(TransportError, match="is no address"):
            node.transport.dial("carrier-pigeon")
        with pytest.raises(TransportError, match="is no address"):
            node.transport.listen("http://example.org")

    in_world(scenario)


def test_two_nodes_cannot_listen_at_one_address(in_world: Any) -> None:
    async def scenario(world: Any) -> None:
        address = world.node("one").transport.listen(world.address())
        with pytest.raises(TransportError, match="cannot listen"):
            world.node("two").transport.listen(address)

    in_world(scenario)
