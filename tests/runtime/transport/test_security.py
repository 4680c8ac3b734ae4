"""Who may connect, as whom, and for how long."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import TransportError
from runtime.transport.zeromq.keys import AuthorisedKeys, NodeKey, add_node, make_key, own_key, read_key, revoke_node
from runtime.transport.zeromq.transport import ZeroMQTransport


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def cluster(world: Any, kit: Any, directory: Path) -> tuple[Any, str]:
    """A listening node with a key directory."""
    key = own_key(directory)
    server = kit.Node("master", 1, ZeroMQTransport(key, AuthorisedKeys(key, directory)))
    world.nodes.append(server)
    return server, server.transport.listen("tcp://127.0.0.1:0")


def member(world: Any, kit: Any, key: NodeKey, name: str, incarnation: int = 1) -> Any:
    node = kit.Node(name, incarnation, ZeroMQTransport(key))
    world.nodes.append(node)
    return node


def test_a_node_is_known_by_the_name_of_its_key(kit: Any, directory: Path) -> None:
    async def scenario(world: Any) -> None:
        server, address = cluster(world, kit, directory)
        key = read_key(add_node(directory, "agent-7"))
        await world.join(server, member(world, kit, key, "agent-7"), address)
        assert server.session.principal == "agent-7"
        await world.join(server, member(world, kit, key, "agent-7.containerizer"), address)
        await world.join(server, member(world, kit, own_key(directory), "master.2"), address)
        assert server.session.principal == "master"

    kit.within(kit.World, scenario)


def test_an_unknown_key_is_refused_until_it_is_authorised(kit: Any, directory: Path) -> None:
    async def scenario(world: Any) -> None:
        server, address = cluster(world, kit, directory)
        stranger = make_key("stranger", own_key(directory).public)
        node = member(world, kit, stranger, "stranger")
        node.transport.dial(address)
        await world.until(lambda: node.unreachable)
        assert "does not know this node's key" in node.unreachable[0].reason
        await world.until(lambda: server.refused)
        assert server.reasons == {"unauthenticated"}
        assert server.sessions == []
        (directory / "authorised" / "stranger").write_text(stranger.public.hex())

        def connected() -> bool:
            node.transport.dial(address)
            return bool(node.sessions)

        await world.until(connected)

    kit.within(kit.World, scenario)


def test_a_listener_that_cannot_prove_the_expected_key_gets_no_session(kit: Any, directory: Path) -> None:
    async def scenario(world: Any) -> None:
        server, address = cluster(world, kit, directory)
        key = read_key(add_node(directory, "agent-7"))
        other_server = make_key("other").public.hex()
        node = member(world, kit, key, "agent-7")
        node.transport.dial(f"{address}?key={other_server}")
        await world.until(lambda: node.unreachable and server.refused)
        assert server.reasons == {"unauthenticated"}
        assert (node.sessions, server.sessions) == ([], [])
        await world.join(server, node, f"{address}?key={own_key(directory).public.hex()}")

    kit.within(kit.World, scenario)


def test_a_peer_without_encryption_is_refused(kit: Any, directory: Path) -> None:
    async def scenario(world: Any) -> None:
        server, address = cluster(world, kit, directory)
        peer = await world.raw(address)
        peer.writer.write(kit.RawPeer.GREETING)
        assert await peer.hung_up()
        await world.until(lambda: server.refused)
        assert server.reasons == {"unauthenticated"}

    kit.within(kit.World, scenario)


def test_a_node_without_encryption_finds_nobody(kit: Any, directory: Path) -> None:
    async def scenario(world: Any) -> None:
        server, address = cluster(world, kit, directory)
        node = kit.Node("agent-7", 1, ZeroMQTransport(insecure=True))
        world.nodes.append(node)
        node.transport.dial(address)
        await world.until(lambda: node.unreachable and server.refused)
        assert (node.sessions, server.sessions) == ([], [])

    kit.within(kit.World, scenario)


def test_a_stolen_node_id_is_refused_and_its_owner_not_disturbed(kit: Any, directory: Path) -> None:
    async def scenario(world: Any) -> None:
        server, address = cluster(world, kit, directory)
        owner = member(world, kit, read_key(add_node(directory, "agent-7")), "agent-7")
        thief = member(world, kit, read_key(add_node(directory, "agent-8")), "agent-7", incarnation=2)
        await world.join(server, owner, address)
        thief.transport.dial(address)
        await world.until(lambda: thief.unreachable)
        assert "wrong_principal" in thief.unreachable[0].reason
        assert server.reasons == {"wrong_principal"}
        await world.exchange(owner.session, owner, server)
        assert owner.closed == []

    kit.within(kit.World, scenario)


def test_a_rule_of_ones_own_says_who_may_be_whom(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        pair = make_key("any")
        key = NodeKey("any", pair.public, pair.secret, pair.public)
        server = kit.Node("server", 1, ZeroMQTransport(key, may=lambda principal, node_id: node_id == "chosen"))
        world.nodes.append(server)
        address = server.transport.listen("tcp://127.0.0.1:0")
        await world.join(server, member(world, kit, key, "chosen"), address)
        other = member(world, kit, key, "any")
        other.transport.dial(address)
        await world.until(lambda: other.unreachable)
        assert server.reasons == {"wrong_principal"}

    kit.within(kit.World, scenario)


def test_revoking_a_key_cuts_its_owner_off(kit: Any, directory: Path) -> None:
    async def scenario(world: Any) -> None:
        server, address = cluster(world, kit, directory)
        revoked = member(world, kit, read_key(add_node(directory, "agent-7")), "agent-7")
        other = member(world, kit, read_key(add_node(directory, "agent-8")), "agent-8")
        await world.join(server, revoked, address)
        await world.join(server, other, address)
        revoke_node(directory, "agent-7")
        await world.until(lambda: revoked.closed, 3.0)
        assert [(call.session.peer.node, call.reason) for call in server.closed] == [("agent-7", "its key was revoked")]
        revoked.transport.dial(address)
        await world.until(lambda: revoked.unreachable)
        await world.exchange(other.session, other, server)

    kit.within(kit.World, scenario)


def test_encryption_is_not_left_out_by_accident() -> None:
    with pytest.raises(TransportError, match="has a key"):
        ZeroMQTransport()
    with pytest.raises(TransportError, match="has a key"):
        ZeroMQTransport(make_key("a"), insecure=True)


def test_dialling_needs_to_know_the_key_of_the_listener(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        node = member(world, kit, make_key("lonely"), "lonely")
        with pytest.raises(TransportError, match=r"append \?key="):
            node.transport.dial("tcp://127.0.0.1:5040")

    kit.within(kit.World, scenario)
