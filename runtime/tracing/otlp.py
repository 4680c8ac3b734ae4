"""Traces as OpenTelemetry spans: an OTLP JSON file, one resource per node, one span per turn.

Kaon's ids have 64 bits; a trace id has 128 there and gets zeros in front. A span lasts from the mailbox to the end of
the turn, an event in it says when the turn began. Field names: opentelemetry-proto, trace/v1/trace.proto, in JSON as
the OTLP specification says (ids in hexadecimal, 64-bit numbers as text).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from runtime.tracing.text import span_text, subjects
from runtime.tracing.tree import Hop, Trace

SPAN_KIND_INTERNAL: Final = 1
SPAN_KIND_CONSUMER: Final = 5
STATUS_CODE_ERROR: Final = 2


def otlp(traces: Iterable[Trace], version: str = "") -> dict[str, Any]:
    """The JSON object of these traces (`TracesData`). version: of Kaon."""
    spans: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for trace in traces:
        for hop in trace.hops():
            machine = (hop.turn.actor.node, hop.turn.actor.incarnation)
            spans.setdefault(machine, []).append(_span(hop))
    return {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [
                        _attribute("service.name", "kaon"),
                        _attribute("service.instance.id", f"{node}/{incarnation:x}"),
                        _attribute("kaon.node", node),
                    ]
                },
                "scopeSpans": [{"scope": {"name": "kaon", "version": version}, "spans": found}],
            }
            for (node, incarnation), found in spans.items()
        ]
    }


def _span(hop: Hop) -> dict[str, Any]:
    turn = hop.turn
    attributes = [
        _attribute("kaon.actor", turn.actor.name),
        _attribute("kaon.sender", str(turn.sender)),
        _attribute("kaon.kind", hop.kind),
        _attribute("kaon.network_us", round(hop.network * 1e6)),
        _attribute("kaon.queueing_us", round(hop.queueing * 1e6)),
    ]
    attributes += [_attribute(f"kaon.{name}", value) for name, value in subjects(turn).items()]
    span: dict[str, Any] = {
        "traceId": f"{turn.trace:032x}",
        "spanId": span_text(turn.span),
        "name": f"{turn.actor.name} {turn.message_type}",
        "kind": SPAN_KIND_CONSUMER if hop.crosses_nodes else SPAN_KIND_INTERNAL,
        "startTimeUnixNano": _nanoseconds(hop.received),
        "endTimeUnixNano": _nanoseconds(hop.ended),
        "attributes": attributes,
        "events": [{"timeUnixNano": _nanoseconds(hop.started), "name": "turn"}],
    }
    if turn.parent:
        span["parentSpanId"] = span_text(turn.parent)
    if turn.error:
        span["status"] = {"code": STATUS_CODE_ERROR, "message": turn.error.strip().rpartition("\n")[2]}
    return span


def _attribute(key: str, value: str | int) -> dict[str, Any]:
    return {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


def _nanoseconds(seconds: float) -> str:
    return str(round(seconds * 1e9))
