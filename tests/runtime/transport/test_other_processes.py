"""Peers in other processes that are killed, stopped, half-open or slow."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from runtime.constants import HEARTBEAT_INTERVAL_MS, HEARTBEAT_TIMEOUT_MS, SESSION_QUEUE_ENVELOPES

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

NOTICED_SECONDS = (HEARTBEAT_INTERVAL_MS + HEARTBEAT_TIMEOUT_MS) / 1000 + 2.0


class Peer:
    """A process that runs `peer_process.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self.stdin, self.stdout = process.stdin, process.stdout

    def tell(self, line: str) -> None:
        self.stdin.write(line.encode() + b"\n")

    async def says(self, word: str) -> str:
        """Wait for a line that begins with `word`."""
        async with asyncio.timeout(20):
            while line := (await self.stdout.readline()).decode():
                if line.startswith(word):
                    return line.removeprefix(word).strip()
        raise AssertionError(f"the process ended without saying {word!r}")

    def kill(self, number: int) -> None:
        os.kill(self.process.pid, number)


@asynccontextmanager
async def peer(node: str, address: str) -> AsyncIterator[Peer]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "peer_process.py"),
        node,
        address,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    started = Peer(process)
    try:
        if address != "listen":
            await started.says("opened")
        yield started
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        started.stdin.close()


def test_a_killed_peer_is_noticed_within_a_second_after_its_last_message(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        async with peer("child", server.transport.listen(world.address())) as child:
            child.tell("send 5000")
            await world.until(lambda: server.received)
            child.kill(signal.SIGKILL)
            killed = time.monotonic()
            await world.until(lambda: server.closed)
            assert time.monotonic() - killed < 1.0
            assert server.numbers == list(range(len(server.numbers)))
            assert isinstance(server.door.calls[-1], kit.Closed)
            assert len(server.closed) == 1
            session = server.session
            session.send(kit.envelope(1))
            await world.until(lambda: server.undeliverable)

    kit.within(kit.InsecureWorld, scenario)


def test_a_killed_listener_is_noticed_within_a_second(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        client = world.node("client")
        async with peer("child", "listen") as child:
            client.transport.dial(await child.says("listening"))
            await child.says("opened")
            await world.until(lambda: client.sessions)
            child.tell("send 5000")
            await world.until(lambda: client.received)
            child.kill(signal.SIGKILL)
            killed = time.monotonic()
            await world.until(lambda: client.closed)
            assert time.monotonic() - killed < 1.0
            assert client.numbers == list(range(len(client.numbers)))
            assert isinstance(client.door.calls[-1], kit.Closed)

    kit.within(kit.InsecureWorld, scenario)


def test_an_orderly_end_is_told_with_its_reason(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        async with peer("child", server.transport.listen(world.address())) as child:
            await server.transport.close(5.0)
            assert "closing" in await child.says("closed")

    kit.within(kit.InsecureWorld, scenario)


def test_a_stopped_peer_is_noticed_by_heartbeats(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        async with peer("child", server.transport.listen(world.address())) as child:
            child.kill(signal.SIGSTOP)
            await world.until(lambda: server.closed, NOTICED_SECONDS)
            assert len(server.closed) == 1
            child.kill(signal.SIGCONT)
            await child.says("closed")

    kit.within(kit.InsecureWorld, scenario)


def test_a_half_open_peer_is_noticed_by_heartbeats(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        await world.raw_joined(server.transport.listen(world.address()))
        await world.until(lambda: server.sessions)
        await world.until(lambda: server.closed, NOTICED_SECONDS)

    kit.within(kit.InsecureWorld, scenario)


def test_a_slow_peer_holds_up_no_other_and_what_it_does_not_take_is_bounded(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        address = server.transport.listen(world.address())
        client = world.node("client")
        await world.join(server, client, address)
        async with peer("child", address) as child:
            await world.until(lambda: len(server.sessions) == 2)
            slow, quick = server.sessions[1], server.sessions[0]
            child.kill(signal.SIGSTOP)
            body = kit.Number(number=1)
            sent = 0
            while not server.undeliverable:
                for _ in range(10_000):
                    slow.send(("to", "from", 1, sent, 3, body))
                    sent += 1
                await world.exchange(quick, server, client)
            assert len(slow_queue := server.undeliverable) < sent
            assert slow_queue[0].session is slow
            assert slow_queue[0].envelope.span >= SESSION_QUEUE_ENVELOPES
            await world.exchange(quick, server, client)
            await world.exchange(client.session, client, server)

    kit.within(kit.InsecureWorld, scenario)


def test_closing_waits_for_a_live_peer_to_take_everything(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        async with peer("live", server.transport.listen(world.address())) as live:
            for number in range(SESSION_QUEUE_ENVELOPES):
                server.session.send(("to", "from", 1, number, 3, kit.Number(number=number, padding=bytes(100))))
            await server.transport.close(15.0)
            assert [call.reason for call in server.closed] == ["closed"]
            live.tell("count")
            assert int(await live.says("count")) == SESSION_QUEUE_ENVELOPES
            assert server.undeliverable == []
            assert server.unconfirmed == 0

    kit.within(kit.InsecureWorld, scenario)


def test_closing_waits_no_longer_than_its_linger_for_a_stopped_peer_and_reports_what_it_did_not_take(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        async with peer("stopped", server.transport.listen(world.address())) as stopped:
            stopped.kill(signal.SIGSTOP)
            body = kit.Number(number=1)
            sent = 0
            while not server.undeliverable:
                for _ in range(10_000):
                    server.session.send(("to", "from", 1, sent, 3, body))
                    sent += 1
                await asyncio.sleep(0)
            begun = time.monotonic()
            await server.transport.close(0.3)
            assert time.monotonic() - begun < 2.0
            assert len(server.closed) == 1
            reported = [call.envelope.span for call in server.undeliverable]
            assert len(reported) == len(set(reported)) >= SESSION_QUEUE_ENVELOPES
            assert max(reported) == sent - 1
            assert len(reported) + server.unconfirmed == sent

    kit.within(kit.InsecureWorld, scenario)


def test_what_a_killed_peer_had_not_confirmed_is_counted_and_nothing_else(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        async with peer("killed", server.transport.listen(world.address())) as killed:
            await world.until(lambda: server.sessions)
            body = kit.Number(number=1)
            for number in range(1000):
                server.session.send(("to", "from", 1, number, 3, body))
            await world.until(lambda: server.session.unconfirmed)
            await world.until(lambda: not server.session.unconfirmed)
            killed.kill(signal.SIGSTOP)
            for number in range(50_000):
                server.session.send(("to", "from", 1, number, 3, body))
            await world.until(lambda: server.session.unconfirmed)
            killed.kill(signal.SIGKILL)
            await world.until(lambda: server.closed)
            assert len(server.undeliverable) + server.unconfirmed == 50_000

    kit.within(kit.InsecureWorld, scenario)


def test_what_was_on_its_way_to_a_peer_that_closes_in_order_has_arrived(kit: Any) -> None:
    async def scenario(world: Any) -> None:
        server = world.node("server")
        client = world.node("client")
        await world.join(server, client, server.transport.listen(world.address()))
        for number in range(1000):
            server.session.send(kit.envelope(number))
        await client.transport.close(5.0)
        await world.until(lambda: server.closed)
        assert client.numbers == list(range(1000))
        assert (server.unconfirmed, client.unconfirmed, server.undeliverable) == (0, 0, [])

    kit.within(kit.InsecureWorld, scenario)
