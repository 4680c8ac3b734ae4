"""What tracing costs, as CPU time of the process per turn: the flight recorder, and a tap of everything to a file.

Each figure is the median of 15 differences between a run with and a run without, taken in turn so that a machine that
warms up or slows down affects both alike. A turn handles a message of the size of a status update and sends one.

    .venv/bin/python benchmarks/bench_tracing.py [--turns N] [--pairs N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors.messages.records import CommandInfo, FrameworkInfo, Source, TaskInfo, TaskState, TaskStatus
from actors.messages.tasks import RunTask, StatusUpdate
from allocator.resources import Resources
from benchmarks._harness import Figure, report
from runtime.actor import Actor, State, receive
from runtime.clock import RealClock
from runtime.message import Message
from runtime.node import Node
from runtime.pid import PID
from runtime.tracing.files import Header, TraceWriter
from runtime.tracing.messages import StartTap
from runtime.tracing.recorder import FlightRecorder
from runtime.tracing.sink import FileSink
from runtime.tracing.tap import Tap
from runtime.tracing.tracer import FLUSH_SECONDS
from runtime.transport.memory import MemoryTransport, Network

RECORDER_LIMIT_NS: Final = 400.0
RECORDER_GOAL_NS: Final = 200.0
TAP_LIMIT_US: Final = 4.0


Hook: TypeAlias = Callable[[Node], Callable[[], None]]
"""Prepares a node, and returns what takes that back."""


class Ball(Message, frozen=True, kw_only=True, tag="bench.Ball"):
    """What is played back and forth. left: how often still."""

    left: int


class UpdateBall(Ball, frozen=True, kw_only=True, tag="bench.UpdateBall"):
    """Carries a status update."""

    update: StatusUpdate


class LaunchBall(Ball, frozen=True, kw_only=True, tag="bench.LaunchBall"):
    """Carries a task with a secret in its environment."""

    launch: RunTask


class PlayerState(State):
    """Whom to play with, and whom to tell."""

    other: PID


class Player(Actor[PlayerState]):
    """Plays a ball back until it has gone far enough."""

    @receive(UpdateBall)
    def hit_update(self, sender: PID, message: UpdateBall) -> None:
        self.hit(message)

    @receive(LaunchBall)
    def hit_launch(self, sender: PID, message: LaunchBall) -> None:
        self.hit(message)

    def hit(self, message: Ball) -> None:
        if message.left:
            self.send(self.state.other, msgspec.structs.replace(message, left=message.left - 1))


def update(turns: int) -> Ball:
    status = TaskStatus(
        task_id="task-0123456789",
        state=TaskState.RUNNING,
        source=Source.EXECUTOR,
        agent_id="a-000001-S1",
        timestamp=1_700_000_000.0,
        uuid="0123456789abcdef0123456789abcdef",
    )
    sent = StatusUpdate(
        agent_id="a-000001-S1", framework_id="f-000001-0001", status=status, latest_state=TaskState.RUNNING
    )
    return UpdateBall(left=turns, update=sent)


def launch(turns: int) -> Ball:
    task = TaskInfo(
        task_id="task-0123456789",
        agent_id="a-000001-S1",
        resources=Resources.parse("cpus:1;mem:64"),
        command=CommandInfo(shell="exec true", secrets=(("PASSWORD", "hunter2"),)),
    )
    return LaunchBall(left=turns, launch=RunTask(framework=FrameworkInfo(name="bench"), task=task, role="*"))


async def cpu_seconds(turns: int, ball: Ball, prepare: Hook, recorder: FlightRecorder | None) -> float:
    """CPU time of `turns` turns on a node. `prepare` may hook into it, and returns what undoes that."""
    loop = asyncio.get_running_loop()
    clock = RealClock(loop)
    node = Node("bench", MemoryTransport(Network(clock)), clock, recorder=recorder)
    first, second = node.pid("first"), node.pid("second")
    node.spawn(Player, "first", PlayerState(other=second))
    node.spawn(Player, "second", PlayerState(other=first))
    await asyncio.sleep(0)
    undo = prepare(node)
    gc.collect()
    gc.disable()
    wanted = node.turns.total + turns
    began = time.process_time()
    node.post(first, ball)
    while node.turns.total < wanted:
        await asyncio.sleep(0)
    undo()
    taken = time.process_time() - began
    gc.enable()
    await node.stop(0.0)
    return taken


def untouched(node: Node) -> Callable[[], None]:
    """No hook."""
    return lambda: None


def tapped(path: Path) -> Hook:
    """A tap of everything to a file, without bounds, as `Tracer` wires it."""

    def prepare(node: Node) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        no_bounds = StartTap(file=path.name, turns_per_second=1e12, bytes_per_second=1e15)

        def wake(tap: Tap) -> None:
            loop.call_later(FLUSH_SECONDS, flush)

        def flush() -> None:
            tap.slept()
            tap.to_file()

        tap = Tap(1, node.pid("bench"), no_bounds, wake)
        tap.sink = FileSink(TraceWriter(path, Header()), lambda sink: None)

        def undo() -> None:
            node.remove_observer(tap.observe)
            tap.to_file()
            assert tap.sink is not None
            tap.sink.close()
            tap.sink.join(10.0)
            path.unlink()
            assert tap.counts.sent == tap.counts.seen, tap.counts

        node.add_observer(tap.observe)
        return undo

    return prepare


async def measure(turns: int, pairs: int) -> dict[str, float]:
    """Medians, in seconds per turn: of a bare turn, and of what the recorder and taps add."""
    found: dict[str, list[float]] = {name: [] for name in ("bare", "recorder", "tap", "tap with secrets")}
    with tempfile.TemporaryDirectory() as directory:
        tap = tapped(Path(directory) / "trace")

        async def run(make: Callable[[int], Ball], hook: Hook, recorder: FlightRecorder | None) -> float:
            return await cpu_seconds(turns, make(turns - 1), hook, recorder) / turns

        await run(update, tap, FlightRecorder())
        for _ in range(pairs):
            bare = await run(update, untouched, None)
            recorded = await run(update, untouched, FlightRecorder())
            found["bare"].append(bare)
            found["recorder"].append(recorded - bare)
            found["tap"].append(await run(update, tap, FlightRecorder()) - recorded)
            secret = await run(launch, tap, FlightRecorder())
            found["tap with secrets"].append(secret - await run(launch, untouched, FlightRecorder()))
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> int:
    """Measure and judge; the exit status is 1 when a limit is passed."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--turns", type=int, default=20_000, help="per run")
    parser.add_argument("--pairs", type=int, default=15, help="of which the median is taken")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    medians = asyncio.run(measure(options.turns, options.pairs))
    figures = [
        Figure("turn_us", medians["bare"] * 1e6, note="without any tracing"),
        Figure("recorder_ns_per_turn", medians["recorder"] * 1e9, RECORDER_LIMIT_NS, RECORDER_GOAL_NS, most=True),
        Figure("tap_us_per_turn", medians["tap"] * 1e6, TAP_LIMIT_US, most=True, note="a status update"),
        Figure("tap_secret_us_per_turn", medians["tap with secrets"] * 1e6, note="a task with a secret to mask"),
    ]
    return report(figures, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
