"""A master in a process of its own, with a tracer, and an actor to look at: what trace commands talk to.

    python -m tests.actors.cli.tracing_cluster WORK_DIR

Prints where it listens, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from actors.master.compose import spawn_master
from actors.master.settings import MasterSettings
from runtime.actor import Actor, State, receive
from runtime.clock import RealClock
from runtime.message import Message, Secret
from runtime.node import Node
from runtime.pid import PID
from runtime.store_sqlite import SqliteStore
from runtime.tracing.crash import CrashReports
from runtime.tracing.recorder import FlightRecorder
from runtime.tracing.tracer import spawn_tracer
from runtime.transport.zeromq.transport import ZeroMQTransport

TICK_SECONDS = 0.05


class Tick(Message, frozen=True, kw_only=True, tag="look.Tick"):
    """From the clock to itself."""

    task_id: str
    number: int = 0
    password: Secret = "hunter2"


class Stumble(Message, frozen=True, kw_only=True, tag="look.Stumble"):
    """Makes the stumbler fail."""


class ClockState(State):
    ticks: int = 0
    last: float = 0.0


class TickClock(Actor[ClockState]):
    """Ticks for ever, a little by chance."""

    def started(self) -> None:
        self.after(TICK_SECONDS, Tick(task_id="tick-task"))

    @receive(Tick)
    def tick(self, sender: PID, message: Tick) -> None:
        self.state.ticks += 1
        self.state.last = self.random.random()
        self.after(TICK_SECONDS, Tick(task_id="tick-task", number=message.number + 1))


class Stumbler(Actor[State]):
    """Fails once."""

    @receive(Stumble)
    def stumble(self, sender: PID, message: Stumble) -> None:
        raise ValueError("it stumbled")


async def main(work_dir: Path) -> None:
    """Run until standard input ends."""
    loop = asyncio.get_running_loop()
    node = Node(
        "master",
        ZeroMQTransport(None, insecure=True),
        RealClock(loop),
        recorder=FlightRecorder(),
        crash_reports=CrashReports(work_dir / "crashes"),
    )
    address = node.listen("tcp://127.0.0.1:0")
    spawn_master(
        node, lambda: SqliteStore(work_dir / "registry"), MasterSettings(hostname="localhost", address=address)
    )
    node.spawn(TickClock, "clock", ClockState())
    stumbler = node.spawn(Stumbler, "stumbler", State())
    spawn_tracer(node, work_dir)
    node.post(stumbler, Stumble())
    print(address, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await node.stop(1.0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
