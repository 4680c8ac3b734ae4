"""A trace as text: the tree of its turns, with the time of each hop, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from runtime.tracing.filters import mentions
from runtime.tracing.records import TurnRecord
from runtime.tracing.tree import Hop, Trace, Unseen

SHOWN_FIELDS: Final = ("task_id", "container_id", "offer_id", "framework_id", "agent_id")
"""Fields whose values a line shows, where the message has them: the first two that there are, in this order."""

DEEPEST: Final = 30
"""Levels of a tree side by side; what is deeper begins at the margin again, after the number of its level."""

_NAMES: Final = frozenset(SHOWN_FIELDS)
_LONGEST_ID: Final = 20


def span_text(span: int) -> str:
    """Trace or span id, as people write it: 16 hexadecimal digits."""
    return f"{span:016x}"


def duration(seconds: float) -> str:
    """In the unit that suits it: ``85 µs``, ``1.20 ms``, ``3.40 s``."""
    if abs(seconds) < 0.000_999_5:
        return f"{seconds * 1e6:.0f} µs"
    if abs(seconds) < 0.999_95:
        return f"{seconds * 1e3:.2f} ms"
    return f"{seconds:.2f} s"


_WAYS: Final = {"message": "net", "answer": "net", "timer": "timer", "work": "work", "runtime": "net", "start": "net"}


def hop_times(hop: Hop) -> str:
    """The parts of a hop's time: how it came, how long it waited, how long its turn took."""
    parts = [f"queue {duration(hop.queueing)}", f"turn {duration(hop.handling)}"]
    if hop.parent is not None:
        way = "local" if hop.kind in ("message", "answer") and not hop.crosses_nodes else _WAYS[hop.kind]
        way = f"disk+{way}" if hop.durable else way
        parts.insert(0, f"{way} {duration(hop.network)}")
    return ", ".join(parts)


def subjects(turn: TurnRecord) -> dict[str, str]:
    """Ids in a turn's messages, by field."""
    found = mentions(turn, _NAMES)
    return {name: found[name] for name in SHOWN_FIELDS if name in found}


def about(turn: TurnRecord, most: int = 2) -> str:
    """What a turn is about, in a few characters: ``task=t1 framework=…473cea223195307-0001``."""
    shown = list(subjects(turn).items())[:most]
    return " ".join(f"{name.removesuffix('_id')}={_end(value)}" for name, value in shown)


def _end(text: str) -> str:
    """The end of an id: that of one cluster's differ there."""
    return text if len(text) <= _LONGEST_ID else "…" + text[1 - _LONGEST_ID :]


def tree_text(trace: Trace) -> str:
    """The whole trace."""
    return "\n".join(_lines(trace))


def _lines(trace: Trace) -> Iterator[str]:
    hops = list(trace.hops())
    nodes = trace.nodes
    yield (
        f"trace {span_text(trace.trace)}: {len(hops)} turn{'s' * (len(hops) != 1)} on {len(nodes)} "
        f"node{'s' * (len(nodes) != 1)} in {duration(trace.ended - trace.began)}"
    )
    for (node, _), shift in sorted(trace.shifts.items()):
        yield f"the clock of {node} was shifted by {duration(shift)}: it had effects before their causes"
    for root in trace.roots:
        yield from _branch(root, trace.began)
    if trace.orphans:
        count = len(trace.orphans)
        yield f"{count} turn{'s' * (count != 1)} whose cause was forgotten, or is on a node that was not asked:"
        for orphan in trace.orphans:
            yield from _branch(orphan, trace.began)


def _branch(top: Hop, began: float) -> Iterator[str]:
    """A hop and all below it, however deep that is."""
    waiting: list[tuple[Hop | Unseen, int, str, str]] = [(top, 0, "", "")]
    while waiting:
        item, depth, first, rest = waiting.pop()
        if isinstance(item, Unseen):
            yield f"{'':>10}  {first}{item.to} {item.message_type}  [sent, not seen there]"
            continue
        yield _hop_line(item, began, first)
        below: list[Hop | Unseen] = [*sorted(item.children, key=lambda child: child.turn.span), *item.unseen]
        if below and depth and depth % DEEPEST == 0:
            rest = f"⋯{depth} "  # a screen is only so wide: from here on as if this hop stood at the margin
        for place, each in enumerate(reversed(below)):
            branch, trunk = ("└─ ", "   ") if place == 0 else ("├─ ", "│  ")
            waiting.append((each, depth + 1, rest + branch, rest + trunk))


def _hop_line(hop: Hop, began: float, first: str) -> str:
    turn = hop.turn
    what = " ".join(part for part in (turn.message_type, about(turn)) if part)
    at = duration(hop.ended - began)
    failed = f"  FAILED: {turn.error.strip().rpartition(chr(10))[2]}" if turn.error else ""
    answer = " (answer)" if hop.kind == "answer" else ""
    return f"{at:>10}  {first}{turn.actor} {what}{answer}  [{hop_times(hop)}]{failed}"


def turn_line(turn: TurnRecord, clock: str) -> str:
    """One turn in one line, for a live view."""
    what = " ".join(part for part in (turn.message_type, about(turn)) if part)
    effects = ", ".join(_effect(name, fields) for name, fields in turn.effects)
    failed = f"  FAILED: {turn.error.strip().rpartition(chr(10))[2]}" if turn.error else ""
    return (
        f"{clock} {span_text(turn.trace)} {turn.actor} <- {turn.sender} {what}"
        f"{f' => {effects}' if effects else ''}  [queue {duration(turn.started - turn.received)}, "
        f"turn {duration(turn.ended - turn.started)}]{failed}"
    )


def _effect(name: str, fields: dict[str, object]) -> str:
    message = fields.get("message")
    kind = str(message.get("type", "?")) if isinstance(message, dict) else ""
    to = fields.get("to")
    target = f" to {to[0]}" if isinstance(to, (list, tuple)) and to else ""
    return " ".join(part for part in (name.lower(), kind) if part) + target
