"""A whole master on a real loop, with a store that blocks in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.master.compose import spawn_master
from actors.messages.records import AgentInfo
from actors.messages.registration import AgentRegistered, RegisterAgent
from allocator.resources import Resources
from runtime.clock import RealClock
from runtime.node import Node
from runtime.store import MemoryStore, StoreError
from runtime.store_sqlite import SqliteStore
from runtime.testing import World
from runtime.transport.memory import MemoryTransport, Network
from tests.actors.master.cluster import AgentClient, Cluster, Peer, PeerState, Say

DEADLINE_SECONDS = 20.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def run_once(path: Path, expected_absent: int) -> str:
    """Start a master on the store at `path`, register an agent, and stop it; returns the agent's id."""
    clock = RealClock(asyncio.get_running_loop())
    network = Network(clock)
    master = Node("m", MemoryTransport(network), clock)
    agent = Node("a", MemoryTransport(network), clock)
    try:
        master.listen("memory://m")
        spawn_master(master, lambda: SqliteStore(path))
        await until(lambda: master.state_of("master").recovered)
        assert len(master.state_of("master").absent) == expected_absent
        pid = agent.spawn(Peer, "peer", PeerState(master="memory://m"))
        info = AgentInfo(hostname="a", resources=Resources.parse("cpus:1"))
        agent.post(pid, Say(message=RegisterAgent(agent=info)))
        received = agent.state_of("peer").received
        await until(lambda: any(isinstance(message, AgentRegistered) for message in received))
        assert master.failure == ""
        agent_id: str = agent.state_of("peer").agent_id
        return agent_id
    finally:
        await agent.stop()
        await master.stop()


def test_registry_in_a_file_outlives_its_master(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    first = asyncio.run(run_once(path, expected_absent=0))
    second = asyncio.run(run_once(path, expected_absent=1))
    assert first != second


def test_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no directory")
    node = World().node("m")
    with pytest.raises(StoreError, match="file"):
        spawn_master(node, lambda: SqliteStore(file / "registry.db"), blocking_store=False)


def test_master_ends_with_its_registrar() -> None:
    cluster = Cluster()
    deposing: MemoryStore = cluster.store
    deposing.fence(deposing.epoch() + 1)
    agent = AgentClient(cluster, "a")
    agent.say(RegisterAgent(agent=AgentInfo(hostname="a", resources=Resources.parse("cpus:1"))))
    assert "StoreFenced" in cluster.node.failure
    assert agent.got(AgentRegistered) == []
