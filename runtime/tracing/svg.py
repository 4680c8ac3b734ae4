"""A trace as a sequence diagram in SVG: a lifeline per actor, grouped by node, an arrow per message, time from above.

Rows are in causal order and evenly spaced, since turns take microseconds and timers seconds; the left edge says when
each turn began, the second line under an arrow how its time was spent.
"""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

import msgspec

from runtime.tracing.mermaid import participants
from runtime.tracing.text import about, duration, hop_times, span_text
from runtime.tracing.tree import Hop, Trace

LEFT: Final = 96.0
TOP: Final = 106.0
ROW: Final = 44.0
MARGIN: Final = 24.0
LEAST_GAP: Final = 120.0
MOST_GAP: Final = 420.0
FONT: Final = 11.0
SMALL: Final = 9.5
CHARACTER: Final = 0.61
"""Width of a character of a monospaced font, in units of its size."""

LONGEST_LABEL: Final = 64

_PALETTE: Final = ("#e8f0fe", "#e6f4ea", "#fef7e0", "#fce8e6", "#f3e8fd", "#e4f7fb")
_STYLE: Final = f"""
  text {{ font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, monospace; font-size: {FONT}px; fill: #202124 }}
  .small {{ font-size: {SMALL}px; fill: #5f6368 }}
  .title {{ font-size: 14px; font-weight: bold }}
  .life {{ stroke: #bdc1c6; stroke-dasharray: 3 3 }}
  .turn {{ fill: #8ab4f8; stroke: #1a73e8 }}
  .failed {{ fill: #f28b82; stroke: #d93025 }}
  .message {{ stroke: #202124; fill: none; stroke-width: 1.2 }}
  .dashed {{ stroke-dasharray: 5 3 }}
  .lost {{ stroke: #d93025 }}
  .bad {{ fill: #d93025 }}
"""

_ARROW_HEAD: Final = (
    '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M 0 1 L 9 5 L 0 9 z" fill="#202124"/></marker>'
)


class _Row(msgspec.Struct):
    """An arrow: from one column to another, with two lines of text."""

    sender: int
    receiver: int
    label: str
    times: str
    at: str
    style: str
    failed: bool = False
    seen: bool = True


def svg(trace: Trace) -> str:
    """The picture."""
    actors = _columns(trace)
    rows = _rows(trace, {actor: place for place, actor in enumerate(actors)})
    xs = _place(rows, len(actors))
    width = max(xs[-1] + MARGIN + _right(rows, len(actors)), 480.0)
    height = TOP + ROW * len(rows) + MARGIN
    count = sum(row.seen for row in rows)
    title = (
        f"trace {span_text(trace.trace)}: {count} turns on {len(trace.nodes)} nodes "
        f"in {duration(trace.ended - trace.began)}"
    )
    size = f'width="{width:.0f}" height="{height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<style>{_STYLE}</style>",
        f"<defs>{_ARROW_HEAD}</defs>",
        f'<rect {size} fill="#ffffff"/>',
        _text(MARGIN, 28, title, "title"),
        *_heads(actors, xs, height),
    ]
    for place, row in enumerate(rows):
        parts += _draw(row, xs, TOP + ROW * (place + 0.6))
    return "\n".join([*parts, "</svg>", ""])


def _columns(trace: Trace) -> list[str]:
    """The actors, those of one node side by side."""
    found = participants(trace)
    nodes = list(dict.fromkeys(actor.partition("@")[2] for actor in found))
    return sorted(found, key=lambda actor: nodes.index(actor.partition("@")[2]))


def _rows(trace: Trace, columns: dict[str, int]) -> list[_Row]:
    rows: list[_Row] = []
    orphans = {hop.turn.span for hop in trace.orphans}
    for hop in trace.hops():
        rows.append(_row(hop, columns, trace.began, orphan=hop.turn.span in orphans))
        for unseen in hop.unseen:
            receiver, target = columns[str(hop.turn.actor)], columns[unseen.to]
            rows.append(_Row(receiver, target, unseen.message_type, "sent, not seen there", "", "dashed", seen=False))
    return rows


def _row(hop: Hop, columns: dict[str, int], began: float, *, orphan: bool) -> _Row:
    turn = hop.turn
    receiver = columns[str(turn.actor)]
    label = " ".join(part for part in (turn.message_type, about(turn, 1)) if part)
    if len(label) > LONGEST_LABEL:
        label = label[: LONGEST_LABEL - 1] + "…"
    times = hop_times(hop) + (" (cause unknown)" if orphan else "")
    if turn.error:
        times = f"FAILED {turn.error.strip().rpartition(chr(10))[2]}"[:LONGEST_LABEL]
    style = "dashed" if hop.kind in ("answer", "timer", "work", "runtime") else ""
    sender = columns.get(str(turn.sender), receiver)
    return _Row(sender, receiver, label, times, duration(hop.started - began), style, bool(turn.error))


def _label_width(row: _Row) -> float:
    return max(len(row.label) * FONT, len(row.times) * SMALL) * CHARACTER + 22.0


def _place(rows: list[_Row], count: int) -> list[float]:
    """Where the columns stand: as far from each other as the texts between them need."""
    gaps = [LEAST_GAP] * max(count, 1)
    for row in sorted(rows, key=lambda row: abs(row.sender - row.receiver)):
        first, last = sorted((row.sender, row.receiver))
        last = max(last, first + 1)
        missing = _label_width(row) - sum(gaps[first:last])
        if missing > 0:
            for place in range(first, min(last, count)):
                gaps[place] = min(MOST_GAP, gaps[place] + missing / (last - first))
    xs = [LEFT + MARGIN]
    for gap in gaps[: count - 1]:
        xs.append(xs[-1] + gap)
    return xs


def _right(rows: list[_Row], count: int) -> float:
    """Room that is needed behind the last column."""
    return max((_label_width(row) for row in rows if row.sender == row.receiver == count - 1), default=60.0)


def _heads(actors: list[str], xs: list[float], height: float) -> list[str]:
    """Node bands, names of the actors, lifelines."""
    parts: list[str] = []
    nodes = list(dict.fromkeys(actor.partition("@")[2] for actor in actors))
    for number, node in enumerate(nodes):
        mine = [x for actor, x in zip(actors, xs, strict=True) if actor.partition("@")[2] == node]
        left, right = mine[0] - 46, mine[-1] + 46
        colour = _PALETTE[number % len(_PALETTE)]
        size = f'width="{right - left:.1f}" height="{height - 56:.1f}"'
        parts.append(f'<rect x="{left:.1f}" y="44" {size} rx="6" fill="{colour}"/>')
        parts.append(_text((left + right) / 2, 60, _fit(node, (right - left) / (SMALL * CHARACTER)), "small", "middle"))
    for actor, x in zip(actors, xs, strict=True):
        parts.append(_text(x, 80, _fit(actor.partition("@")[0], 15), "", "middle"))
        parts.append(f'<line class="life" x1="{x:.1f}" y1="88" x2="{x:.1f}" y2="{height - 18:.1f}"/>')
    return parts


def _fit(text: str, characters: float) -> str:
    most = max(4, int(characters))
    return text if len(text) <= most else text[: most - 1] + "…"


def _draw(row: _Row, xs: list[float], y: float) -> list[str]:
    start, end = xs[row.sender], xs[row.receiver]
    parts: list[str] = []
    if row.at:
        parts.append(_text(LEFT - 28, y + 4, row.at, "small", "end"))
    style = " ".join(part for part in ("message", row.style, "" if row.seen else "lost") if part)
    head = ' marker-end="url(#head)"'
    if row.sender == row.receiver:
        path = f"M {start + 5:.1f} {y - 9:.1f} h 14 v 9 h -8"
        parts.append(f'<path class="{style}" d="{path}"{head}/>')
        parts += [_text(start + 24, y - 2, row.label), _text(start + 24, y + 10, row.times, _small(row))]
    else:
        way = 1 if end > start else -1
        stop = end - way * 6
        parts.append(f'<line class="{style}" x1="{start:.1f}" y1="{y:.1f}" x2="{stop:.1f}" y2="{y:.1f}"{head}/>')
        left = min(start, end) + 11
        parts += [_text(left, y - 5, row.label), _text(left, y + 12, row.times, _small(row))]
        if not row.seen:
            parts.append(_text(end, y + 4, "x", "bad", "middle"))
    if row.seen:
        turn = "failed" if row.failed else "turn"
        parts.append(f'<rect class="{turn}" x="{end - 5:.1f}" y="{y - 4:.1f}" width="10" height="18" rx="2"/>')
    return parts


def _small(row: _Row) -> str:
    return "small bad" if row.failed else "small"


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "") -> str:
    attributes = (f' class="{style}"' if style else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(text)}</text>'
