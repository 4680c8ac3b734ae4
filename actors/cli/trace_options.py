"""Options that the trace commands share: which turns, which nodes, which form."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from runtime import __version__
from runtime.errors import KaonError
from runtime.tracing.mermaid import mermaid
from runtime.tracing.messages import Filter
from runtime.tracing.otlp import otlp
from runtime.tracing.perfetto import perfetto
from runtime.tracing.records import TurnRecord, plain_turn
from runtime.tracing.svg import svg
from runtime.tracing.text import span_text, tree_text
from runtime.tracing.tree import Trace, build, in_causal_order

FORMS: Final = ("text", "json", "mermaid", "svg", "perfetto", "otlp")

FIELDS: Final = {"task": "task_id", "framework": "framework_id", "agent": "agent_id"}
"""Option: the field of messages whose value it names."""


def trace_id(context: click.Context, parameter: click.Parameter, text: str | None) -> int:
    """Read a trace's id, hexadecimal; 0 where none is given. OpenTelemetry's 128 bits are taken, too."""
    if not text:
        return 0
    try:
        number = int(text, 16)
    except ValueError:
        number = 0
    if not 0 < number < 1 << 128:
        raise click.BadParameter(f"{text!r} is no trace id: 16 hexadecimal digits, as `kaon trace tail` shows them")
    return number & ((1 << 64) - 1)


_FILTERS: Final = (
    click.option("--actor", default="", metavar="NAME", help="Turns of actors called so (* and ? stand for any)."),
    click.option("--type", "message_type", default="", metavar="TYPE", help="Turns on messages of such a type."),
    click.option("--peer", default="", metavar="NAME@NODE", help="That came from, or sent to, such an actor."),
    click.option("--task", default="", metavar="ID", help="About a task."),
    click.option("--framework", default="", metavar="ID", help="About a framework."),
    click.option("--agent", default="", metavar="ID", help="About an agent."),
    click.option("--field", multiple=True, metavar="NAME=VALUE", help="About what has a field of that value."),
    click.option("--trace", "trace", callback=trace_id, metavar="ID", help="Of one trace."),
    click.option("--failed", is_flag=True, help="That failed."),
)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command the options of a filter; it gets `chosen`."""

    @functools.wraps(command)
    def run(*args: Any, **given: Any) -> Any:
        fields = [(field, given.pop(option)) for option, field in FIELDS.items()]
        fields += [_pair(text) for text in given.pop("field")]
        chosen = Filter(
            actor=given.pop("actor"),
            message_type=given.pop("message_type"),
            peer=given.pop("peer"),
            fields=tuple((name, value) for name, value in fields if value),
            trace=given.pop("trace"),
            failed=given.pop("failed"),
        )
        return command(*args, chosen=chosen, **given)

    for option in reversed(_FILTERS):
        run = option(run)
    return run


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.UsageError(f"--field {text!r}: write NAME=VALUE")
    return name, value


def node_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command the option that names nodes; it gets `node`."""
    return click.option(
        "--node",
        default="",
        metavar="ID",
        help="Only nodes called so (* and ? stand for any); all of the cluster unless given.",
    )(command)


def form_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command the options of its output; it gets `form` and `output`."""
    command = click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Instead of the terminal.",
    )(command)
    return click.option(
        "--to", "form", type=click.Choice(FORMS), default="text", show_default=True, help="What it is written as."
    )(command)


def rendered(turns: Iterable[TurnRecord], form: str) -> str:
    """Turns in one of `FORMS`."""
    turns = list(turns)
    if form == "json":
        return dump([plain_turn(turn) for turn in in_causal_order(turns)])
    traces = build(turns)
    if form == "perfetto":
        return dump(perfetto(traces))
    if form == "otlp":
        return dump(otlp(traces, __version__))
    if form == "text":
        return "\n\n".join(map(tree_text, traces)) + "\n"
    if len(traces) != 1:
        ids = ", ".join(span_text(trace.trace) for trace in _largest(traces)[:5])
        raise KaonError(
            f"a diagram shows one trace, and here are {len(traces)}: choose one by its id; the largest are {ids}"
        )
    return svg(traces[0]) if form == "svg" else mermaid(traces[0])


def _largest(traces: list[Trace]) -> list[Trace]:
    return sorted(traces, key=lambda trace: -sum(1 for _ in trace.hops()))


def dump(value: object) -> str:
    """JSON for people and programs."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode() + "\n"


def write(text: str, output: Path | None) -> None:
    """To a file, or to the terminal."""
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise KaonError(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"wrote {output}", err=True)


def say(problems: Iterable[str]) -> None:
    """What could not be asked, to standard error."""
    for problem in dict.fromkeys(problems):
        click.echo(f"kaon: {problem}", err=True)
