"""`kaon trace`: what happened in a cluster, and what happens. See docs/tracing.md."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Final

import click

from actors.cli.client import Tool, cluster_options, with_tool
from actors.cli.trace_nodes import find_tracers
from actors.cli.trace_options import (
    FIELDS,
    filter_options,
    form_options,
    node_option,
    rendered,
    say,
    trace_id,
    write,
)
from actors.messages.operating import Question
from actors.messages.why import Why
from actors.scheduler.cluster import Cluster
from allocator.messages import Explain
from runtime.errors import KaonError
from runtime.message import message_types, tag_of
from runtime.tracing.files import Header, TraceWriter, read_turns
from runtime.tracing.messages import Filter, GetTurns
from runtime.tracing.records import TurnRecord, encode_record, turns_in
from runtime.tracing.tree import in_causal_order

ELSEWHERE: Final = {
    "tail": "actors.cli.trace_live:tail",
    "grep": "actors.cli.trace_live:grep",
    "record": "actors.cli.trace_record:record",
    "replay": "actors.cli.trace_record:replay",
    "crashes": "actors.cli.trace_record:crashes",
}
"""Commands of other modules: where they are."""

LOOKING: Final = ("Get", "Read")
"""How questions begin that change nothing."""


class _Group(click.Group):
    """Commands of this module and those of `ELSEWHERE`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Sorted."""
        return sorted((*self.commands, *ELSEWHERE))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name in ELSEWHERE:
            module, _, attribute = ELSEWHERE[cmd_name].partition(":")
            command = getattr(importlib.import_module(module), attribute)
            assert isinstance(command, click.Command)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Group)
def trace() -> None:
    """Follow messages through the cluster: live, afterwards, and again on your own machine.

    Every node remembers its last turns. `kaon trace tail` shows new ones, `kaon trace show` what one message led to,
    `kaon trace record` and `kaon trace replay` take one actor home.
    """


@trace.command()
@click.argument("which", required=False, metavar="[ID]", callback=trace_id)
@click.option("--task", default="", metavar="ID", help="The traces that a task was mentioned in.")
@click.option("--framework", default="", metavar="ID", help="Those of a framework.")
@click.option("--agent", default="", metavar="ID", help="Those of an agent.")
@node_option
@form_options
@cluster_options
def show(
    cluster: Cluster, which: int, task: str, framework: str, agent: str, node: str, form: str, output: Path | None
) -> None:
    """Show what one message caused, across all nodes: who handled what, and where the time went.

    ID is a trace's, as `kaon trace tail` and the logs show it. Without one, --task and the like look for traces.
    """
    given = {"task": task, "framework": framework, "agent": agent}
    fields = tuple((FIELDS[name], value) for name, value in given.items() if value)
    if bool(which) == bool(fields):
        raise click.UsageError("say which trace: its ID, or one of --task, --framework and --agent")

    async def work(tool: Tool) -> list[TurnRecord]:
        if which:
            return await gather(tool, Filter(trace=which), node)
        found = await gather(tool, Filter(fields=fields), node)
        ids = dict.fromkeys(turn.trace for turn in found)
        traces = [await gather(tool, Filter(trace=each), node, quiet=True) for each in ids]
        return [turn for turns in traces if not only_looks(turns) for turn in turns]

    turns = with_tool(cluster, work)
    if not turns:
        what = f"trace {which:016x}" if which else " ".join(value for _, value in fields)
        raise KaonError(
            f"no node remembers {what}: flight recorders keep some thousand turns; `kaon trace tail` follows"
        )
    write(rendered(turns, form), output)


@trace.command()
@filter_options
@node_option
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="To write."
)
@cluster_options
def export(cluster: Cluster, chosen: Filter, node: str, output: Path) -> None:
    """Write what the flight recorders hold to a trace file; `kaon trace convert` makes other forms of it."""
    turns = with_tool(cluster, lambda tool: gather(tool, chosen, node))
    try:
        writer = TraceWriter(output, Header(started=time.time()), limit_bytes=1 << 62)
        for turn in in_causal_order(turns):
            writer.write(encode_record(turn))
        writer.close()
    except OSError as error:
        raise KaonError(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"wrote {len(turns)} turns to {output}")


@trace.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE...")
@click.option("--trace", "which", default="", callback=trace_id, metavar="ID", help="Only one trace.")
@form_options
def convert(files: tuple[Path, ...], which: int, form: str, output: Path | None) -> None:
    """Read trace files, of several nodes too, and write them in another form."""
    turns: list[TurnRecord] = []
    for file in files:
        found, torn_bytes = read_turns(file)
        turns += found
        if torn_bytes:
            say([f"{file} ends in the middle of a record: its last {torn_bytes} bytes were skipped"])
    if which:
        turns = [turn for turn in turns if turn.trace == which]
        if not turns:
            raise KaonError(f"trace {which:016x} is not in {', '.join(map(str, files))}")
    write(rendered(turns, form), output)


def only_looks(turns: list[TurnRecord]) -> bool:
    """Whether a trace is about somebody who looked: a tool that asked for tasks, or read a sandbox."""
    looks = {tag_of(Explain), tag_of(Why)}
    looks |= {tag for tag, kind in message_types().items() if issubclass(kind, Question) and tag.startswith(LOOKING)}
    return any(turn.message_type in looks for turn in turns)


async def gather(tool: Tool, chosen: Filter, node: str = "", *, quiet: bool = False) -> list[TurnRecord]:
    """The turns that match, out of the flight recorders of all nodes."""
    found = await find_tracers(tool, node)
    answers = await found.ask_all(GetTurns(filter=chosen))
    turns: list[TurnRecord] = []
    for reached, answer in answers:
        turns += turns_in(answer.records)
        if answer.left_out:
            found.problems.append(f"{reached.node}: {answer.left_out} older turns do not fit the answer")
    if not quiet:
        say(found.problems)
    return turns
