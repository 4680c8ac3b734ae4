"""What messaging costs: typed messages through real actor turns at both ends, beside raw pyzmq without a codec.

    python benchmarks/bench_messaging.py [--json] [--rounds N] [--only GROUP,...]

Two processes over TCP loopback, flight recorders on. Each figure is a ratio of rates taken in the same round, or a rate
on this machine; medians of interleaved rounds. Clocks run from before the first message is asked for until the last
one has been handled by the receiving actor; credit keeps what is on its way bounded, so that nothing is dropped, and
the receiver checks that nothing was. Peers: PUSH/PULL and ROUTER/DEALER of pyzmq, two nodes of Erlang/OTP.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import zmq

from benchmarks import _messaging_actors as actors
from benchmarks import _messaging_peers as peers
from benchmarks._erlang import erlang
from benchmarks._harness import Companion, Figure, arguments, interleave, ratio, report
from runtime.clock import RealClock
from runtime.constants import COALESCED_ENVELOPES
from runtime.journal_file import FileJournalStore
from runtime.node import Node
from runtime.pid import PID
from runtime.tracing.recorder import FlightRecorder
from runtime.transport.memory import MemoryTransport, Network
from runtime.transport.zeromq.keys import NodeKey, make_key

SECONDS = 50.0
"""After which no further round begins."""

TIMEOUT_SECONDS = 15.0
RAW_MESSAGES, MESSAGES, SINGLE_MESSAGES = 320_000, 160_000, 64_000
ROUND_TRIPS = 2_000
FAN_IN_MESSAGES = 100_000
TURNS = 200_000
PERSISTED = 30_000
SIZES = {"100b": 100, "1kb": 1024}
LOOPBACK = "tcp://127.0.0.1:0"


class Bench:
    """All measures; each returns messages a second, or seconds where it says so."""

    def __init__(self, companion: Companion) -> None:
        self._companion = companion
        fresh = make_key("bench")
        self._key = NodeKey("bench", fresh.public, fresh.secret, fresh.public)

    async def _both(self, event: asyncio.Event) -> None:
        """Wait for something while the other process runs; what it has to say meanwhile can only be that it failed."""
        loop, descriptor = asyncio.get_running_loop(), self._companion.connection.fileno()
        loop.add_reader(descriptor, event.set)
        try:
            await _within(event)
        finally:
            loop.remove_reader(descriptor)
        if self._companion.connection.poll():
            self._companion.wait()

    # One way ---------------------------------------------------------------------------------------------------------

    def raw(self, size_bytes: int) -> float:
        """PUSH/PULL, blocking."""
        with zmq.Context() as context, context.socket(zmq.PULL) as socket:
            port = socket.bind_to_random_port("tcp://127.0.0.1")
            self._companion.begin(peers.send_raw, f"tcp://127.0.0.1:{port}", RAW_MESSAGES, size_bytes)
            self._companion.wait()
            began = time.perf_counter()
            self._companion.tell()
            for _ in range(RAW_MESSAGES):
                socket.recv()
            elapsed = time.perf_counter() - began
            self._companion.tell()
            self._companion.wait()
        return RAW_MESSAGES / elapsed

    def oneway(
        self, size_bytes: int, *, curve: bool = False, envelopes: int = COALESCED_ENVELOPES, count: int = MESSAGES
    ) -> float:
        """Actor to actor, coalesced in frames of at most so many envelopes."""
        key = self._key if curve else None

        async def run() -> float:
            async with peers.running_node("bench", key) as node:
                node.spawn(actors.Sink, "sink", actors.SinkState())
                sink = _actor(node, "sink")
                sink.ready, sink.finished = asyncio.Event(), asyncio.Event()
                data = actors.filler(size_bytes)
                self._companion.begin(peers.send_from_node, node.listen(LOOPBACK), data, key, envelopes)
                await self._both(sink.ready)
                began = time.perf_counter()
                node.post(node.pid("sink"), actors.Begin(count=count))
                await self._both(sink.finished)
                elapsed = time.perf_counter() - began
                _check(node)
                self._companion.tell()
            self._companion.wait()
            return count / elapsed

        return asyncio.run(run())

    def receiver(self, envelopes: int) -> float:
        """A node that gets ready-made frames of so many envelopes from one raw socket."""
        return self._flood(1, MESSAGES // envelopes, envelopes)

    def fanin(self) -> float:
        """A node that gets single envelopes from a thousand peers."""
        return self._flood(peers.PEERS, FAN_IN_MESSAGES, 1)

    def _flood(self, peer_count: int, frames: int, envelopes: int) -> float:
        async def run() -> float:
            async with peers.running_node("bench") as node:
                node.spawn(actors.Counter, "sink", actors.SinkState())
                counter = _actor(node, "sink")
                counter.finished = asyncio.Event()
                node.post(node.pid("sink"), actors.Begin(count=frames * envelopes))
                data = actors.filler(100)
                address = node.listen(LOOPBACK)
                self._companion.begin(peers.flood, address, peer_count, frames, envelopes, data)
                await _until(lambda: len(node.peers.sessions) == peer_count and self._companion.connection.poll())
                self._companion.wait()
                began = time.perf_counter()
                self._companion.tell()
                await self._both(counter.finished)
                elapsed = time.perf_counter() - began
                _check(node)
                self._companion.tell()
            self._companion.wait()
            return frames * envelopes / elapsed

        return asyncio.run(run())

    def fanin_raw(self) -> float:
        """A ROUTER that gets the same from the same peers, and looks at nothing."""
        with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
            socket.setsockopt(zmq.BACKLOG, 4096)
            port = socket.bind_to_random_port("tcp://127.0.0.1")
            address = f"tcp://127.0.0.1:{port}"
            self._companion.begin(peers.flood, address, peers.PEERS, FAN_IN_MESSAGES, 1, actors.filler(100))
            for _ in range(2 * peers.PEERS):  # the Hellos
                socket.recv()
            self._companion.wait()
            began = time.perf_counter()
            self._companion.tell()
            for _ in range(2 * FAN_IN_MESSAGES):
                socket.recv()
            elapsed = time.perf_counter() - began
            self._companion.tell()
            self._companion.wait()
        return FAN_IN_MESSAGES / elapsed

    # There and back --------------------------------------------------------------------------------------------------

    def roundtrip(self) -> float:
        """Seconds, the median, from one actor to another and back."""

        async def run() -> float:
            async with peers.running_node("bench") as node:
                self._companion.begin(peers.echo_from_node)
                echo = PID("echo", self._companion.wait())
                state = actors.PingerState(echo=echo, left=ROUND_TRIPS, data=actors.filler(100))
                node.spawn(actors.Pinger, "pinger", state)
                pinger = _actor(node, "pinger")
                pinger.finished = asyncio.Event()
                node.post(node.pid("pinger"), actors.Begin(count=ROUND_TRIPS))
                await self._both(pinger.finished)
                self._companion.tell()
                seconds: list[float] = node.state_of("pinger").seconds
            self._companion.wait()
            return statistics.median(seconds)

        return asyncio.run(run())

    def roundtrip_raw(self) -> float:
        """Seconds, the median, from a DEALER to a ROUTER and back, blocking."""
        seconds = []
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            self._companion.begin(peers.echo_raw, ROUND_TRIPS)
            socket.connect(self._companion.wait())
            payload = b"x" * 100
            for _ in range(ROUND_TRIPS):
                began = time.perf_counter()
                socket.send(payload)
                socket.recv()
                seconds.append(time.perf_counter() - began)
            self._companion.tell()
            self._companion.wait()
        return statistics.median(seconds)

    def handshakes(self) -> float:
        """Sessions a second, encrypted and authenticated."""

        async def run() -> float:
            async with peers.running_node("bench", self._key) as node:
                self._companion.begin(peers.shake_hands, node.listen(LOOPBACK), self._key)
                await _until(self._companion.connection.poll)
            return peers.PEERS / float(self._companion.wait())

        return asyncio.run(run())

    # In one process --------------------------------------------------------------------------------------------------

    def turns(self, workers: int) -> float:
        """Turns a second of so many actors that share the messages; sending them is part of it."""

        async def run() -> float:
            node = _local_node(None)
            names = [f"worker-{number}" for number in range(workers)]
            pids = [node.spawn(actors.Worker, name, actors.EchoState()) for name in names]
            elapsed = await _drive(node, actors.Driver, actors.DriverState(workers=pids, rounds=TURNS // actors.BATCH))
            await node.stop(0.0)
            return TURNS / elapsed

        return asyncio.run(run())

    def persisted(self) -> float:
        """Turns a second that each persist about 100 bytes and answer; groups of 100, files."""

        async def run(directory: str) -> float:
            loop = asyncio.get_running_loop()
            node = _local_node(FileJournalStore(Path(directory), loop.call_soon_threadsafe))
            worker = node.spawn(actors.PersistingWorker, "worker", actors.SinkState())
            state = actors.DriverState(workers=[worker], rounds=PERSISTED // 100)
            elapsed = await _drive(node, actors.PersistingDriver, state)
            await node.stop(0.0)
            return PERSISTED / elapsed

        with tempfile.TemporaryDirectory() as directory:
            return asyncio.run(run(directory))


def _actor(node: Node, name: str):  # type: ignore[no-untyped-def]
    """The actor itself, to hang events on."""
    return node.cells[name].actor


def _local_node(journals: FileJournalStore | None) -> Node:
    clock = RealClock(asyncio.get_running_loop())
    return Node("bench", MemoryTransport(Network(clock)), clock, recorder=FlightRecorder(), journals=journals)


async def _drive(node: Node, driver_class: type[actors.Actor[actors.DriverState]], state: actors.DriverState) -> float:
    """Seconds that a driver takes, from its first turn to the last of its workers'."""
    node.spawn(driver_class, "driver", state)
    finished = _actor(node, "driver").finished = asyncio.Event()
    began = time.perf_counter()
    node.post(node.pid("driver"), actors.Begin(count=0))
    await _within(finished)
    assert not any(cell.queue for cell in node.cells.values())
    elapsed = time.perf_counter() - began
    _check(node)
    return elapsed


async def _within(event: asyncio.Event) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await event.wait()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


def _check(node: Node) -> None:
    """Nothing was dropped, refused or failed."""
    assert not node.dead_letters, node.dead_letters
    assert not node.refusals, node.refusals
    assert not node.failure, node.failure


# The table ------------------------------------------------------------------------------------------------------------


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__.splitlines()[0])
    only = {name for name in options.only.split(",") if name}
    deadline = time.monotonic() + SECONDS
    companion = Companion()
    try:
        with erlang(MESSAGES) as measure_erlang:
            figures = measure(Bench(companion), measure_erlang, only, options.rounds, deadline)
    finally:
        companion.close()
    return report(figures, as_json=options.json)


def measure(
    bench: Bench, measure_erlang: Callable[[], float] | None, only: set[str], rounds: int, deadline: float
) -> list[Figure]:
    """Take what is asked for."""
    wanted = lambda group: not only or group in only  # noqa: E731  reads well where it is used
    groups: dict[str, dict[str, Callable[[], float]]] = {
        "turns": {"turns_1": lambda: bench.turns(1), "turns_1000": lambda: bench.turns(1_000)},
        "oneway": {
            **{f"raw_{name}": (lambda size=size: bench.raw(size)) for name, size in SIZES.items()},
            **{f"oneway_{name}": (lambda size=size: bench.oneway(size)) for name, size in SIZES.items()},
            "single": lambda: bench.oneway(100, envelopes=1, count=SINGLE_MESSAGES),
            "receiver": lambda: bench.receiver(10),
        },
        "erlang": {"erlang": measure_erlang} if measure_erlang else {},
        "curve": {f"curve_{name}": (lambda size=size: bench.oneway(size, curve=True)) for name, size in SIZES.items()},
        "roundtrip": {"roundtrip_raw": bench.roundtrip_raw, "roundtrip": bench.roundtrip},
        "fanin": {"fanin_raw": bench.fanin_raw, "fanin": bench.fanin, "handshakes": bench.handshakes},
        "persist": {"persisted": bench.persisted},
    }
    taken = {name: take for group, takes in groups.items() if wanted(group) for name, take in takes.items()}
    values = interleave(taken, rounds, deadline)
    for name, seen in values.items():
        print(f"{name:<16}{statistics.median(seen):>14,.6g}   {len(seen)} rounds, {min(seen):,.4g} to {max(seen):,.4g}")
    print()
    return table(values)


def table(values: dict[str, list[float]]) -> list[Figure]:
    """The figures of what was measured."""

    def of(name: str, base: str) -> float | None:
        return ratio(values, name, base) if name in values and base in values else None

    def rate(name: str) -> float | None:
        return statistics.median(values[name]) if name in values else None

    absent = "" if shutil.which("erl") else "Erlang is absent: apt-get install erlang-base"
    return [
        Figure("oneway_ratio_100b", of("oneway_100b", "raw_100b"), 0.50, 0.65, note="of raw PUSH/PULL"),
        Figure("oneway_ratio_1kb", of("oneway_1kb", "raw_1kb"), 0.50, 0.65, note="of raw PUSH/PULL"),
        Figure("erlang_ratio", of("oneway_100b", "erlang"), 1.0, note=absent or "of two Erlang nodes over TCP"),
        Figure("receiver_ratio_x10", of("receiver", "raw_100b"), 0.80, 1.0, note="10 envelopes a frame, of raw"),
        Figure("single_ratio_100b", of("single", "raw_100b"), 0.25, 0.35, note="one envelope a frame, of raw"),
        Figure("roundtrip_ratio", of("roundtrip", "roundtrip_raw"), 2.5, 2.0, most=True, note="p50, of raw"),
        Figure("fanin_ratio", of("fanin", "fanin_raw"), 0.6, 0.8, note="1,000 peers, of a raw ROUTER"),
        Figure("turns_per_s_1", rate("turns_1"), 1.0e6, 2.0e6, note="one actor"),
        Figure("turns_per_s_1000", rate("turns_1000"), 0.30e6, 0.5e6, note="1,000 actors"),
        Figure("curve_ratio_100b", of("curve_100b", "oneway_100b"), 0.70, 0.9, note="encrypted, of plain"),
        Figure("curve_ratio_1kb", of("curve_1kb", "oneway_1kb"), 0.42, 0.55, note="encrypted, of plain"),
        Figure("handshakes_per_s", rate("handshakes"), 800, 1_100, note="1,000 encrypted peers"),
        Figure("persisted_turns_per_s", rate("persisted"), 80_000, 160_000, note="100 a commit, files"),
    ]


if __name__ == "__main__":
    sys.exit(main())
