"""How read commands show their answers: a table for people, JSON for programs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from allocator.resources import Resources
from runtime.codec import redact

if TYPE_CHECKING:
    from rich.table import Table


def as_json(value: object) -> Any:
    """Plain values of an answer: resources in Mesos's text form, secrets masked."""
    if isinstance(value, Resources):
        return str(value)
    if isinstance(value, msgspec.Struct):
        masked = redact(value)
        return {
            name: as_json(getattr(value, name)) if _nested(getattr(value, name)) else masked[name] for name in masked
        }
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _nested(value: object) -> bool:
    """Whether a field holds something that has a form of its own here."""
    if isinstance(value, (list, tuple)):
        return any(isinstance(item, msgspec.Struct) for item in value)
    return isinstance(value, msgspec.Struct)


def print_json(values: Sequence[object]) -> None:
    """A JSON list on standard output."""
    click.echo(json.dumps([as_json(value) for value in values], indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """A table; `empty` is the sentence to say when there are no rows. Columns that end in '>' are right-aligned.

    On a terminal that is too narrow long ids are shortened in the middle; ``kaon why`` takes them so.
    """
    from rich.console import Console

    listed = list(rows)
    if not listed:
        click.echo(empty)
        return
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = max(console.width, 400)
    table = _table(columns, listed)
    if console.measure(table, options=console.options.update(width=_ANY_WIDTH)).maximum > console.width:
        table = _table(columns, [[_LONG_ID.sub(r"\1…\2", cell) for cell in row] for row in listed])
    console.print(table)


_LONG_ID: Final = re.compile(r"\b([0-9a-f]{6})[0-9a-f]{26}(-[A-Z]?\d+)\b")
"""Ids of agents, frameworks and offers begin with that of a master: of one cluster's, only the ends differ."""


_ANY_WIDTH: Final = 10_000


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.endswith(">")
        table.add_column(column.rstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def age(since: float) -> str:
    """How long ago, in one unit: ``42s``, ``7m``, ``3h``, ``2d``; a dash for never."""
    if not since:
        return "-"
    seconds = max(0.0, time.time() - since)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def shown(resources: Resources) -> str:
    """Resources as text; a dash for nothing."""
    return str(resources) if resources.items else "-"
