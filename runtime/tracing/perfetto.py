"""A trace in the Trace Event Format, which Perfetto and chrome://tracing show: turns as slices, messages as arrows.

Format: "Trace Event Format" of the Chromium project; times are microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from runtime.tracing.text import span_text
from runtime.tracing.tree import Hop, Trace


def perfetto(traces: Iterable[Trace]) -> dict[str, Any]:
    """The JSON object of these traces: a process per node, a thread per actor."""
    traces = list(traces)
    began = min((trace.began for trace in traces), default=0.0)
    places = _Places()
    events = [event for trace in traces for hop in trace.hops() for event in _events(hop, began, places)]
    return {"traceEvents": [*places.metadata(), *events], "displayTimeUnit": "ms"}


class _Places:
    """Numbers for nodes and actors, given as they come up."""

    def __init__(self) -> None:
        self._nodes: dict[str, int] = {}
        self._actors: dict[tuple[str, str], int] = {}

    def of(self, node: str, actor: str) -> dict[str, int]:
        process = self._nodes.setdefault(node, len(self._nodes) + 1)
        return {"pid": process, "tid": self._actors.setdefault((node, actor), len(self._actors) + 1)}

    def metadata(self) -> Iterator[dict[str, Any]]:
        for node, number in self._nodes.items():
            yield {"ph": "M", "name": "process_name", "pid": number, "tid": 0, "args": {"name": node}}
        for (node, actor), number in self._actors.items():
            place = {"pid": self._nodes[node], "tid": number}
            yield {"ph": "M", "name": "thread_name", **place, "args": {"name": actor}}


def _events(hop: Hop, began: float, places: _Places) -> Iterator[dict[str, Any]]:
    turn = hop.turn
    place = places.of(turn.actor.node, turn.actor.name)
    span = span_text(turn.span)
    started, ended = _microseconds(hop.started - began), _microseconds(hop.ended - began)
    waiting = {"ph": "b", "cat": "queue", "name": f"{turn.message_type} waits", "id": span, **place}
    yield {**waiting, "ts": _microseconds(hop.received - began)}
    yield {**waiting, "ph": "e", "ts": started}
    yield {
        "ph": "X",
        "cat": "turn,failed" if turn.error else "turn",
        "name": turn.message_type,
        **place,
        "ts": started,
        "dur": max(0.0, ended - started),
        "args": {
            "trace": span_text(turn.trace),
            "span": span,
            "sender": str(turn.sender),
            "kind": hop.kind,
            "network_us": _microseconds(hop.network),
            "queueing_us": _microseconds(hop.queueing),
            "effects": [name for name, _ in turn.effects],
            **({"error": turn.error} if turn.error else {}),
        },
    }
    if hop.parent is not None:
        cause = hop.parent.turn
        flow = {"cat": "message", "name": turn.message_type, "id": span}
        yield {
            "ph": "s",
            **flow,
            **places.of(cause.actor.node, cause.actor.name),
            "ts": _microseconds(hop.parent.ended - began),
        }
        yield {"ph": "f", "bp": "e", **flow, **place, "ts": started}


def _microseconds(seconds: float) -> float:
    return round(seconds * 1e6, 3)
