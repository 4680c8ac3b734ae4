"""A network that fails by order, on virtual time."""

from __future__ import annotations

import random
from typing import Any

import pytest

from runtime.constants import HANDSHAKE_TIMEOUT_SECONDS, SESSION_QUEUE_ENVELOPES
from runtime.faults import DROP, PASS, Delay, Parcel, Verdict, between, delaying, losing
from runtime.transport.simulated import SILENCE_SECONDS


@pytest.fixture
def simulated(kit: Any) -> Any:
    return lambda scenario: kit.within(kit.SimulatedWorld, scenario)


def odd(parcel: Parcel) -> Verdict:
    return DROP if parcel.envelope.body.number % 2 else PASS  # type: ignore[attr-defined]


def test_latency_is_what_the_network_says(simulated: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        begun = world.clock.now()
        client.session.send(kit.envelope(1))
        await world.until(lambda: server.received)
        assert world.clock.now() - begun == pytest.approx(0.001)

    simulated(scenario)


def test_a_rule_drops_what_it_names_until_it_is_removed(simulated: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        remove = world.network.faults.add(between(["client"], ["server"], odd))
        for number in range(6):
            client.session.send(kit.envelope(number))
            server.session.send(kit.envelope(number))
        world.clock.advance(1.0)
        assert (server.numbers, client.numbers) == ([0, 2, 4], [0, 1, 2, 3, 4, 5])
        remove()
        client.session.send(kit.envelope(7))
        world.clock.advance(1.0)
        assert server.numbers[-1] == 7

    simulated(scenario)


def test_the_first_rule_that_does_not_pass_wins(simulated: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        world.network.faults.add(odd)
        world.network.faults.add(lambda parcel: Delay(1.0))
        begun = world.clock.now()
        client.session.send(kit.envelope(1))
        client.session.send(kit.envelope(2))
        await world.until(lambda: server.received)
        assert (server.numbers, world.clock.now() - begun) == ([2], pytest.approx(1.001))

    simulated(scenario)


def test_delays_never_reorder_one_session(simulated: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        world.network.faults.add(delaying(0.0, 1.0, random.Random(3)))
        for number in range(50):
            client.session.send(kit.envelope(number))
            world.clock.advance(0.01)
        await world.until(lambda: len(server.received) == 50)
        assert server.numbers == list(range(50))

    simulated(scenario)


def test_one_seed_is_one_history(simulated: Any, kit: Any) -> None:
    histories = []

    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        world.network.faults.add(losing(0.3, random.Random(11)))
        for number in range(200):
            client.session.send(kit.envelope(number))
        world.clock.advance(1.0)
        histories.append(server.numbers)

    simulated(scenario)
    simulated(scenario)
    assert histories[0] == histories[1]
    assert 100 < len(histories[0]) < 180


def test_a_short_partition_delays_and_loses_nothing(simulated: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        world.network.partition(["client"], ["server"])
        for number in range(10):
            client.session.send(kit.envelope(number))
            server.session.send(kit.envelope(number))
        world.clock.advance(SILENCE_SECONDS - 0.1)
        assert (server.received, client.received) == ([], [])
        world.network.heal()
        world.clock.advance(SILENCE_SECONDS + 1.0)
        assert server.numbers == client.numbers == list(range(10))
        assert (server.closed, client.closed) == ([], [])

    simulated(scenario)


def test_a_long_partition_ends_the_session_at_both_ends_and_reports_what_waited(simulated: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        world.network.partition(["client"], ["server"])
        client.session.send(kit.envelope(1))
        world.clock.advance(SILENCE_SECONDS + 0.1)
        assert [len(node.closed) for node in (server, client)] == [1, 1]
        assert "nothing heard" in client.closed[0].reason
        assert [call.envelope.body.number for call in client.undeliverable] == [1]
        world.network.heal()
        world.clock.advance(10.0)
        assert server.received == []
        await world.join(server, client, address)

    simulated(scenario)


def test_who_hears_nothing_in_a_one_way_partition_tells_the_other(simulated: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        world.network.cut(["client"], ["server"])
        client.session.send(kit.envelope(1))
        server.session.send(kit.envelope(2))
        world.clock.advance(SILENCE_SECONDS + 0.1)
        assert client.numbers == [2]
        assert server.received == []
        assert "nothing heard" in server.closed[0].reason
        assert "closed by the peer" in client.closed[0].reason

    simulated(scenario)


def test_what_waits_in_a_partition_is_bounded(simulated: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, _ = await world.pair()
        world.network.partition(["client"], ["server"])
        body = kit.Number(number=1)
        for span in range(SESSION_QUEUE_ENVELOPES + 5):
            client.session.send(("to", "from", 1, span, 3, body))
        world.clock.settle()
        assert len(client.undeliverable) == 5
        assert server.received == []

    simulated(scenario)


def test_a_dial_into_a_partition_is_given_up(simulated: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client = world.node("server"), world.node("client")
        address = server.transport.listen(world.address())
        world.network.cut(["server"], ["client"])
        client.transport.dial(address)
        world.clock.advance(HANDSHAKE_TIMEOUT_SECONDS - 0.1)
        assert client.unreachable == []
        world.clock.advance(0.2)
        assert [call.address for call in client.unreachable] == [address]
        assert client.sessions == []

    simulated(scenario)


def test_a_welcome_lost_in_a_partition_leaves_no_half_session_for_long(simulated: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client = world.node("server"), world.node("client")
        client.transport.dial(server.transport.listen(world.address()))
        world.network.partition(["server"], ["client"])  # with the Hello on its way already
        world.clock.advance(HANDSHAKE_TIMEOUT_SECONDS + 1.0)
        assert (len(server.closed), len(client.unreachable), client.sessions) == (1, 1, [])

    simulated(scenario)


def test_a_broken_session_loses_what_was_on_its_way(simulated: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        client.session.send(kit.envelope(1))
        world.clock.settle()
        world.network.break_sessions("client", "server")
        world.clock.advance(1.0)
        assert server.received == []
        assert [call.reason for call in (*server.closed, *client.closed)] == ["connection lost"] * 2
        await world.join(server, client, address)

    simulated(scenario)


def test_a_crashed_node_says_nothing_and_its_peers_get_what_it_had_sent(simulated: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client, address = await world.pair()
        client.session.send(kit.envelope(1))
        world.clock.settle()
        calls = list(client.door.calls)
        world.network.crash("client")
        server.session.send(kit.envelope(2))
        world.clock.advance(1.0)
        assert server.numbers == [1]
        assert [call.reason for call in server.closed] == ["connection lost"]
        assert client.door.calls == calls
        world.nodes.remove(client)
        await world.join(server, world.node("client", incarnation=2), address)

    simulated(scenario)


def test_closing_in_a_partition_reports_what_waits_without_waiting(simulated: Any, kit: Any) -> None:
    async def scenario(world: Any) -> None:
        _, client, _ = await world.pair()
        world.network.partition(["client"], ["server"])
        client.session.send(kit.envelope(1))
        await client.transport.close(30.0)
        assert [call.envelope.body.number for call in client.undeliverable] == [1]
        assert len(client.closed) == 1

    simulated(scenario)
