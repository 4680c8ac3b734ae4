"""Addresses as people write them, and Unix sockets, whose paths are short."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from runtime.constants import IPC_PATH_BYTES
from runtime.errors import TransportError
from runtime.transport.zeromq.addresses import parse_address

KEY = "ab" * 32


@pytest.mark.parametrize(
    ("text", "endpoint", "key"),
    [
        ("tcp://127.0.0.1:5040", "tcp://127.0.0.1:5040", ""),
        ("tcp://*:0", "tcp://*:0", ""),
        ("tcp://master-1.example.org:5040", "tcp://master-1.example.org:5040", ""),
        ("tcp://[::1]:5040", "tcp://[::1]:5040", ""),
        (f"tcp://127.0.0.1:5040?key={KEY}", "tcp://127.0.0.1:5040", KEY),
        (f"ipc:///run/kaon.sock?key={KEY}", "ipc:///run/kaon.sock", KEY),
    ],
)
def test_an_address_is_read(text: str, endpoint: str, key: str) -> None:
    address = parse_address(text)
    assert (address.endpoint, address.server_key.hex()) == (endpoint, key)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no address"),
        ("127.0.0.1:5040", "is no address"),
        ("inproc://zeromq.zap.01", "is no address"),
        ("tcp://127.0.0.1", "tcp://host:port"),
        ("tcp://127.0.0.1:65536", "from 0 to 65535"),
        ("tcp://127.0.0.1:x", "tcp://host:port"),
        ("tcp://a b:1", "tcp://host:port"),
        ("tcp://eth0;127.0.0.1:1", "tcp://host:port"),
        ("ipc://relative", "is absolute"),
        ("ipc://@abstract", "is absolute"),
        ("ipc:///" + "x" * IPC_PATH_BYTES, "at most 107 bytes, this one has 108"),
        ("tcp://127.0.0.1:1?key=12", "64 hexadecimal digits"),
        (f"tcp://127.0.0.1:1?secret={KEY}", "64 hexadecimal digits"),
    ],
)
def test_a_wrong_address_says_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(TransportError, match=complaint):
        parse_address(text)


def test_sessions_through_a_unix_socket(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        with tempfile.TemporaryDirectory(dir="/tmp") as directory:
            path = Path(directory) / "socket"
            server, client = world.node("server"), world.node("client")
            address = server.transport.listen(f"ipc://{path}")
            assert address == f"ipc://{path}"
            await world.join(server, client, address)
            await world.exchange(client.session, client, server)
            with pytest.raises(TransportError, match="another process listens there"):
                world.node("thief").transport.listen(address)
            await world.exchange(server.session, server, client)
            await server.transport.close(1.0)
            await world.until(lambda: not path.exists())
            path.touch()
            world.node("heir").transport.listen(address)

    kit.within(kit.SecureWorld, scenario)


def test_a_path_as_long_as_may_be_works_and_a_missing_directory_is_named(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        with tempfile.TemporaryDirectory(dir="/tmp") as directory:
            path = f"{directory}/".ljust(IPC_PATH_BYTES, "s")
            server, client = world.node("server"), world.node("client")
            await world.join(server, client, server.transport.listen(f"ipc://{path}"))
            with pytest.raises(TransportError, match="there is no directory"):
                world.node("other").transport.listen(f"ipc://{directory}/absent/socket")

    kit.within(kit.SecureWorld, scenario)


def test_an_ipv6_address(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server, client = world.node("server"), world.node("client")
        try:
            address = server.transport.listen("tcp://[::1]:0")
        except TransportError:
            pytest.skip("this machine has no IPv6 loopback")
        await world.join(server, client, address)
        await world.exchange(client.session, client, server)

    kit.within(kit.SecureWorld, scenario)


def test_a_name_that_does_not_resolve_is_unreachable(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        client = world.node("client")
        client.transport.dial("tcp://no-such-host.invalid:5040")
        await world.until(lambda: client.unreachable)

    kit.within(kit.SecureWorld, scenario)
