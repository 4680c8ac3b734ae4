"""`kaon trace record`, `replay` and `crashes`: take what an actor did home, and look at it there."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from actors.cli.client import Tool, cluster_options, with_tool
from actors.cli.show import print_table
from actors.cli.trace_nodes import Reached, Tracers, find_tracers
from actors.cli.trace_options import dump, node_option, say
from actors.scheduler.cluster import Cluster
from runtime.errors import KaonError
from runtime.tracing import messages as m
from runtime.tracing.records import plain
from runtime.tracing.replay import Difference, Outcome, Replay

MEGABYTE = 1_000_000


@click.command()
@click.argument("actor")
@node_option
@click.option("--seconds", type=click.FloatRange(min=0.1), help="End after so long; at ^C otherwise.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="To write here.")
@click.option("--limit", default=256, show_default=True, type=click.IntRange(1, 100_000), help="Megabytes at most.")
@cluster_options
def record(cluster: Cluster, actor: str, node: str, seconds: float | None, output: Path | None, limit: int) -> None:
    """Record everything that ACTOR receives, with its state, clock and chance, for `kaon trace replay`.

    One node must have such an actor, or --node says which is meant. Secrets are masked before anything is written.
    """
    target = output or Path(f"{actor.replace('/', '_')}.recording")

    async def work(tool: Tool) -> None:
        found = await find_tracers(tool, node)
        reached = _the_one(found, actor)
        started = await found.ask(reached, m.StartRecording(actor=actor, limit_bytes=limit * MEGABYTE))
        click.echo(f"recording {actor} on {reached.node}" + ("" if seconds else ", until ^C"), err=True)
        await _wait(seconds)
        ended: m.RecordingEnded = await found.ask(reached, m.StopRecording(actor=actor))
        await _download(found, reached, Path(started.path).name, target)
        why = "" if ended.reason == "stopped" else f" ({ended.reason})"
        click.echo(f"wrote {target}: {ended.turns} turns{why}; replay it with `kaon trace replay {target}`")

    with_tool(cluster, work)


def _the_one(found: Tracers, actor: str) -> Reached:
    """The only node with an actor of that name."""
    having = [reached for reached in found.reached if actor in reached.actors]
    if not having:
        names = sorted({name for reached in found.reached for name in reached.actors})
        raise KaonError(f"no actor is called {actor!r}; there are {', '.join(names)}")
    if len(having) > 1:
        nodes = ", ".join(reached.node for reached in having)
        raise KaonError(f"{len(having)} nodes have an actor {actor!r}: choose with --node one of {nodes}")
    return having[0]


async def _wait(seconds: float | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _download(found: Tracers, reached: Reached, name: str, target: Path) -> None:
    """Copy a file of the node's trace directory."""
    offset = 0
    try:
        with target.open("wb") as file:
            while True:
                chunk: m.TraceFileChunk = await found.ask(reached, m.ReadTraceFile(file=name, offset=offset))
                file.write(chunk.data)
                offset += len(chunk.data)
                if offset >= chunk.size_bytes or not chunk.data:
                    return
    except OSError as error:
        raise KaonError(f"{target} cannot be written: {error.strerror}") from None


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--turn", type=click.IntRange(min=1), metavar="N", help="Stop after turn N, and show it.")
@click.option("--pdb", "debug", is_flag=True, help="Step into the turn where it stops, with the Python debugger.")
@click.option("--json", "json_", is_flag=True, help="JSON instead of text.")
def replay(file: Path, turn: int | None, debug: bool, json_: bool) -> None:
    """Replay a recording: the same code, turn by turn, compared with what it did then.

    Stops at the first turn that does something else, or at --turn. Exit status 1 if there is a difference. The
    recording names the code to import: replay only those that you trust.
    """
    replayed = Replay(file)
    if debug and turn is None:
        turn = _first_difference(file)
        if turn is None:
            raise KaonError("there is no difference to debug: say where to stop with --turn")
    last: Outcome | None = None
    for outcome in replayed.turns(debug_at=turn if debug and turn else 0):
        last = outcome
        if outcome.difference is not None or outcome.number == turn:
            break
    if turn is not None and (last is None or last.number < turn) and (last is None or last.difference is None):
        raise KaonError(f"{file} has {last.number if last else 0} turns: there is no turn {turn}")
    stopped = last is not None and (last.difference is not None or last.number == turn)
    difference = last.difference if last is not None and last.difference else None
    if difference is None and not stopped:
        difference = replayed.final_difference()
    if json_:
        click.echo(dump(_report(replayed, last, difference, stopped=stopped)), nl=False)
    else:
        _print(replayed, last, difference, stopped=stopped)
    if difference is not None:
        raise click.exceptions.Exit(1)


def _first_difference(file: Path) -> int | None:
    return next((outcome.number for outcome in Replay(file).turns() if outcome.difference is not None), None)


def _report(
    replayed: Replay, last: Outcome | None, difference: Difference | None, *, stopped: bool
) -> dict[str, object]:
    report: dict[str, object] = {
        "actor": str(replayed.start.actor),
        "class": replayed.start.actor_class,
        "turns": last.number if last else 0,
        "difference": None
        if difference is None
        else {"where": difference.where, "recorded": difference.recorded, "replayed": difference.replayed},
    }
    if stopped and last is not None:
        report |= {
            "message": last.step.message,
            "sender": str(last.step.sender),
            "effects": last.effects,
            "error": last.error,
            "state": replayed.state(),
        }
    return report


def _print(replayed: Replay, last: Outcome | None, difference: Difference | None, *, stopped: bool) -> None:
    start = replayed.start
    number = last.number if last else 0
    if replayed.torn_bytes:
        say([f"{replayed.path} ends in the middle of a record: its last {replayed.torn_bytes} bytes were skipped"])
    if stopped and last is not None:
        click.echo(f"turn {number} of {start.actor}, {_time(last.step.at)}, from {last.step.sender}:")
        click.echo(_indented(dump(last.step.message)))
        click.echo("did:" if last.effects else "did nothing")
        for name, fields in last.effects:
            click.echo(_indented(f"{name} {msgspec.json.encode(fields, enc_hook=str).decode()}"))
        if last.error:
            click.echo(_indented(last.error))
        click.echo("state then:")
        click.echo(_indented(dump(plain(replayed.state()))))
    if difference is None:
        click.echo(f"{number} turns of {start.actor} replayed, no difference" + _cut_off(replayed, stopped=stopped))
        return
    click.echo(f"turn {number} differs: {difference}" if stopped else f"the end differs: {difference}")
    if start.outside:
        click.echo(f"not in the recording, since not in the state: {', '.join(start.outside)}")


def _cut_off(replayed: Replay, *, stopped: bool) -> str:
    if stopped:
        return " so far"
    return "" if replayed.end is not None else "; the recording was cut off there"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.rstrip().splitlines())


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@click.command()
@click.argument("name", required=False)
@node_option
@click.option("--json", "json_", is_flag=True, help="JSON instead of a table.")
@cluster_options
def crashes(cluster: Cluster, name: str | None, node: str, json_: bool) -> None:
    """List the crash reports of all nodes; with a NAME, show that one."""

    async def work(tool: Tool) -> tuple[list[tuple[str, m.CrashFile]], bytes | None, list[str]]:
        found = await find_tracers(tool, node)
        listed = [
            (reached, crash) for reached, answer in await found.ask_all(m.GetCrashes()) for crash in answer.crashes
        ]
        if name is None:
            return [(reached.node, crash) for reached, crash in listed], None, found.problems
        where = next((reached for reached, crash in listed if crash.name == name), None)
        if where is None:
            raise KaonError(f"no node has a crash report {name!r}; `kaon trace crashes` lists them")
        return [], (await found.ask(where, m.GetCrash(name=name))).report, found.problems

    listed, report, problems = with_tool(cluster, work)
    say(problems)
    if report is not None:
        click.echo(report.decode(errors="replace"))
        return
    listed.sort(key=lambda each: -each[1].at)
    if json_:
        click.echo(dump([{"node": each, **msgspec.structs.asdict(crash)} for each, crash in listed]), nl=False)
        return
    rows = ((_time(crash.at), each, crash.actor, crash.message_type, crash.error, crash.name) for each, crash in listed)
    print_table(("TIME", "NODE", "ACTOR", "MESSAGE", "ERROR", "REPORT"), rows, "no actor has failed")
