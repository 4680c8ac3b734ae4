"""A node's HTTP endpoint, on a real node and real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

import runtime
from runtime.clock import RealClock
from runtime.errors import ConfigurationError, TransportError
from runtime.http import EndpointState, HttpEndpoint, bind
from runtime.node import Node
from runtime.transport.memory import MemoryTransport, Network

DEADLINE_SECONDS = 20


Visit = Callable[[Node, aiohttp.ClientSession, str], Awaitable[None]]


def with_endpoint(visit: Visit, host: str = "127.0.0.1") -> None:
    """Run a node with an endpoint, and a client that knows its address."""

    async def run() -> None:
        clock = RealClock(asyncio.get_running_loop())
        node = Node("m1", MemoryTransport(Network(clock)), clock, seed="1")
        node.spawn(HttpEndpoint, "http", EndpointState(host=host))
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not node.state_of("http").url:
                await asyncio.sleep(0)
            async with aiohttp.ClientSession() as client:
                await visit(node, client, node.state_of("http").url)
            await node.stop()
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0)

    asyncio.run(run())


def test_health_version_and_metrics_are_served() -> None:
    async def visit(node: Node, client: aiohttp.ClientSession, url: str) -> None:
        async with client.get(f"{url}/health") as answer:
            assert answer.status == 200
        async with client.get(f"{url}/version") as answer:
            assert await answer.json() == {
                "version": runtime.__version__,
                "node": "m1",
                "incarnation": str(node.identity.incarnation),
            }
        async with client.get(f"{url}/metrics") as answer:
            assert answer.content_type == "text/plain"
            assert "kaon_turns_total" in await answer.text()
        async with client.get(f"{url}/metrics/snapshot") as answer:
            assert (await answer.json())["node/actors"] == 1

    with_endpoint(visit)


def test_a_node_that_has_failed_is_not_healthy() -> None:
    async def visit(node: Node, client: aiohttp.ClientSession, url: str) -> None:
        node.fail("the disk is full")
        async with client.get(f"{url}/health") as answer:
            assert answer.status == 503
            assert await answer.text() == "the disk is full\n"

    with_endpoint(visit)


def test_what_is_not_there_and_what_is_not_allowed_is_refused() -> None:
    async def visit(node: Node, client: aiohttp.ClientSession, url: str) -> None:
        async with client.get(f"{url}/nowhere") as answer:
            assert answer.status == 404
        async with client.post(f"{url}/health", data=b"x") as answer:
            assert answer.status == 405

    with_endpoint(visit)


def test_nothing_listens_after_the_node_has_stopped() -> None:
    urls: list[str] = []

    async def visit(node: Node, client: aiohttp.ClientSession, url: str) -> None:
        async with client.get(f"{url}/health") as answer:
            assert answer.status == 200
        urls.append(url)

    with_endpoint(visit)

    async def knock() -> None:
        async with aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.get(f"{urls[0]}/health", timeout=aiohttp.ClientTimeout(DEADLINE_SECONDS))

    asyncio.run(knock())


def test_an_address_that_is_taken_or_wrong_is_named() -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TransportError, match=f"http://127.0.0.1:{port} cannot be served: Address already in use"):
            bind("127.0.0.1", port)
    with pytest.raises(ConfigurationError, match="'localhost' is no IP address"):
        bind("localhost", 0)
    with pytest.raises(TransportError, match="cannot be served"):
        bind("127.0.0.1", 70000)
