"""`kaon trace tail` and `grep`: turns as they happen, and turns whose text matches."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from actors.cli.client import Tool, cluster_options, with_tool
from actors.cli.trace import gather
from actors.cli.trace_nodes import Reached, Tracers, find_tracers
from actors.cli.trace_options import filter_options, node_option, say
from actors.scheduler.cluster import Cluster
from runtime.errors import KaonError
from runtime.tracing.files import Header, TraceWriter
from runtime.tracing.merge import Merger
from runtime.tracing.messages import Counts, Filter, StartTap, TapData, TapEnded
from runtime.tracing.records import TurnRecord, encode_record, plain_turn, turns_in
from runtime.tracing.text import turn_line
from runtime.tracing.tree import in_causal_order

HOLD_SECONDS: Final = 0.3
"""That turns wait for their causes on other nodes before they are shown."""

ABOVE_ZERO: Final = click.FloatRange(min=0, min_open=True)

Show = Callable[[TurnRecord], None]


@click.command()
@filter_options
@click.option("--sample", default=1.0, show_default=True, type=click.FloatRange(0, 1), help="Share of traces.")
@click.option("--rate", default=1000.0, show_default=True, type=ABOVE_ZERO, help="Turns a second at most, per node.")
@click.option(
    "--bytes", "volume", default=1e6, show_default=True, type=ABOVE_ZERO, help="Bytes a second at most, per node."
)
@click.option("--count", "-n", type=click.IntRange(min=1), help="End after so many turns.")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="End after so long.")
@click.option("--json", "json_", is_flag=True, help="A JSON object per line.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="To a trace file.")
@node_option
@cluster_options
def tail(
    cluster: Cluster,
    chosen: Filter,
    sample: float,
    rate: float,
    volume: float,
    count: int | None,
    seconds: float | None,
    json_: bool,
    output: Path | None,
    node: str,
) -> None:
    """Show turns as they happen, in causal order, until ^C. What the bounds keep out is counted and said at the end."""
    tap = StartTap(filter=chosen, sample=sample, turns_per_second=rate, bytes_per_second=volume)
    writer = _writer(output) if output is not None else None

    def show(turn: TurnRecord) -> None:
        if writer is not None:
            writer.write(encode_record(turn))
        else:
            print_turn(turn, json_=json_)

    with_tool(cluster, lambda tool: watch(tool, tap, node, show, count, seconds))
    if writer is not None:
        writer.close()
        click.echo(f"wrote {output}", err=True)


@click.command()
@click.argument("pattern")
@filter_options
@click.option("--follow", "-f", is_flag=True, help="Go on with new turns, until ^C.")
@click.option("--ignore-case", "-i", is_flag=True, help="Upper and lower case are the same.")
@click.option("--json", "json_", is_flag=True, help="A JSON object per line.")
@node_option
@cluster_options
def grep(
    cluster: Cluster, pattern: str, chosen: Filter, follow: bool, ignore_case: bool, json_: bool, node: str
) -> None:
    """Show the turns that the nodes remember and in which PATTERN, a regular expression, is found.

    It is looked for in the line that would be shown and in all fields of the message and of what the turn did.
    Exit status 1 if nothing is found.
    """
    try:
        expression = re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise click.UsageError(f"{pattern!r} is no regular expression: {error}") from None
    found = 0

    def show(turn: TurnRecord) -> None:
        nonlocal found
        if expression.search(_clocked(turn)) or expression.search(_json(turn)):
            found += 1
            print_turn(turn, json_=json_)

    async def work(tool: Tool) -> None:
        for turn in in_causal_order(await gather(tool, chosen, node)):
            show(turn)
        if follow:
            await watch(tool, StartTap(filter=chosen), node, show, None, None)

    with_tool(cluster, work)
    if not found:
        raise click.exceptions.Exit(1)


async def watch(tool: Tool, tap: StartTap, node: str, show: Show, count: int | None, seconds: float | None) -> None:
    """Tap all nodes and show what comes, until ^C or a bound ends it; then say what was dropped."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        found = await find_tracers(tool, node)
        running = await _start(found, tap)
        say(found.problems)
        if sys.stderr.isatty():
            nodes = ", ".join(sorted(reached.node for reached in running.values()))
            say([f"following {tap.filter} on {nodes}; ^C ends it"])
        counts: dict[tuple[str, int], Counts] = {}
        try:
            await _Screen(found, running, counts, show, count).run(stop, seconds)
        finally:
            for key, reached in running.items():
                counts[key] = (await found.stop(reached, key[1])).counts
            _say_drops(counts, running)
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _start(found: Tracers, tap: StartTap) -> dict[tuple[str, int], Reached]:
    """Start the tap everywhere; by node that its data comes from, and number there."""
    running = {(reached.relay, started.tap): reached for reached, started in await found.ask_all(tap)}
    if not running:
        say(found.problems)
        raise KaonError("no node could be tapped")
    return running


class _Screen:
    """Shows what taps say, in causal order."""

    def __init__(
        self,
        found: Tracers,
        running: dict[tuple[str, int], Reached],
        counts: dict[tuple[str, int], Counts],
        show: Show,
        count: int | None,
    ) -> None:
        self._found = found
        self._running = running
        self._counts = counts
        self._show = show
        self._left = count
        self._merger = Merger(HOLD_SECONDS)
        self._dropped = 0

    async def run(self, stop: asyncio.Event, seconds: float | None) -> None:
        """Until `stop`, or so long, or all taps have ended, or enough was shown."""
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        while self._running and not stop.is_set() and self._left != 0:
            if deadline is not None and loop.time() >= deadline:
                break
            try:
                sender, message = await asyncio.wait_for(self._found.heard.get(), HOLD_SECONDS / 3)
            except TimeoutError:
                pass
            else:
                self._hear(sender.node, message, loop.time())
            self._print(self._merger.pop(loop.time()))
        self._print(self._merger.flush())

    def _hear(self, node: str, message: TapData | TapEnded, now: float) -> None:
        key = (node, message.tap)
        self._counts[key] = message.counts
        if isinstance(message, TapEnded):
            reached = self._running.pop(key, None)
            say([f"{reached.node if reached else node}: the tap has ended: {message.reason}"])
            return
        for turn in turns_in(message.records):
            self._merger.push(turn, now)
        dropped = sum(counts.dropped for counts in self._counts.values())
        if dropped > self._dropped:
            say([f"{dropped - self._dropped} turns were dropped: narrow the filter, or raise --rate or --bytes"])
            self._dropped = dropped

    def _print(self, turns: list[TurnRecord]) -> None:
        for turn in turns:
            if self._left == 0:
                return
            if self._left is not None:
                self._left -= 1
            self._show(turn)


def _say_drops(counts: dict[tuple[str, int], Counts], running: dict[tuple[str, int], Reached]) -> None:
    """What each bound kept out, per node."""
    for key, each in counts.items():
        if each.dropped or each.sampled:
            node = running[key].node if key in running else key[0]
            say([f"{node}: {_drops(each)}"])


def _drops(counts: Counts) -> str:
    return (
        f"{counts.sent} of {counts.seen} turns; {counts.sampled} not in the sample; dropped: {counts.rate} by --rate, "
        f"{counts.volume} by --bytes, {counts.queue} because this end was too slow"
    )


def print_turn(turn: TurnRecord, *, json_: bool) -> None:
    """One turn on standard output."""
    click.echo(_json(turn) if json_ else _clocked(turn))


def _clocked(turn: TurnRecord) -> str:
    clock = datetime.fromtimestamp(turn.started, UTC).strftime("%H:%M:%S.%f")
    return turn_line(turn, clock)


def _json(turn: TurnRecord) -> str:
    return msgspec.json.encode(plain_turn(turn), enc_hook=str).decode()


def _writer(output: Path) -> TraceWriter:
    try:
        return TraceWriter(output, Header(started=time.time()), limit_bytes=1 << 62)
    except OSError as error:
        raise KaonError(f"{output} cannot be written: {error.strerror}") from None
