"""A trace as text, diagrams and files of other tools."""

from __future__ import annotations

import base64
import copy
import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData

from runtime.tracing.mermaid import mermaid
from runtime.tracing.otlp import otlp
from runtime.tracing.perfetto import perfetto
from runtime.tracing.svg import svg
from runtime.tracing.text import duration, tree_text, turn_line
from runtime.tracing.tree import build
from tests.runtime.tracing.turns import AGENT, MASTER, USER, launch, turn

(TRACE,) = build(launch())
FAILED = turn(AGENT, MASTER, "RunTask", 3, 1, (3, 4, 5), error="Traceback:\n  x\nValueError: <no> & 'room'; #1")
(BROKEN,) = build([turn(MASTER, USER, "Accept", 1, times=(0, 1, 2)), FAILED, turn(AGENT, USER, "Late", 9, 77)])

STATEMENT = r"%% .*|participant \w+ as [^;]+|Note over \w+: .*|\w+(->>|-->>|-\)|--x|-x)\w+: .*"


def test_text() -> None:
    assert tree_text(TRACE) == (
        "trace 0000000000000001: 6 turns on 3 nodes in 1.02 s\n"
        "   2.00 ms  scheduler@framework Offers task=t1  [queue 1.00 ms, turn 1.00 ms]\n"
        "   8.00 ms  └─ master@m1 Accept task=t1  [net 3.00 ms, queue 1.00 ms, turn 2.00 ms]\n"
        "   9.00 ms     ├─ allocator@m1 Settle  [local 0 µs, queue 0 µs, turn 1.00 ms]\n"
        "  14.00 ms     └─ agent@a1 RunTask task=t1  [net 2.00 ms, queue 3.00 ms, turn 1.00 ms]\n"
        "  18.00 ms        ├─ master@m1 Running (answer)  [disk+net 3.00 ms, queue 0 µs, turn 1.00 ms]\n"
        "                  │  └─ scheduler@framework Update  [sent, not seen there]\n"
        "    1.02 s        └─ agent@a1 Reap  [timer 1.00 s, queue 0 µs, turn 6.00 ms]"
    )


def test_text_of_failures_and_orphans() -> None:
    lines = tree_text(BROKEN).splitlines()
    assert lines[2].endswith("FAILED: ValueError: <no> & 'room'; #1")
    assert lines[3] == "1 turn whose cause was forgotten, or is on a node that was not asked:"
    assert "agent@a1 Late" in lines[4]


def test_text_says_that_a_clock_was_wrong() -> None:
    (trace,) = build(launch(-500.0))
    assert "the clock of a1 was shifted by 50" in tree_text(trace)


def test_a_line_for_a_live_view() -> None:
    assert turn_line(launch()[1], "12:00:00") == (
        "12:00:00 0000000000000001 master@m1 <- scheduler@framework Accept task=t1 => send Settle to allocator, "
        "ask RunTask to agent  [queue 1.00 ms, turn 2.00 ms]"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 µs"),
        (0.000_085, "85 µs"),
        (0.000_999_9, "1.00 ms"),
        (0.0012, "1.20 ms"),
        (0.99996, "1.00 s"),
        (3.4, "3.40 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_mermaid() -> None:
    assert mermaid(TRACE) == (
        "sequenceDiagram\n"
        "    %% trace 0000000000000001\n"
        "    participant a0 as scheduler@framework\n"
        "    participant a1 as master@m1\n"
        "    participant a2 as allocator@m1\n"
        "    participant a3 as agent@a1\n"
        "    a0->>a0: Offers task=t1 [queue 1.00 ms, turn 1.00 ms]\n"
        "    a0->>a1: Accept task=t1 [net 3.00 ms, queue 1.00 ms, turn 2.00 ms]\n"
        "    a1->>a2: Settle [local 0 µs, queue 0 µs, turn 1.00 ms]\n"
        "    a1->>a3: RunTask task=t1 [net 2.00 ms, queue 3.00 ms, turn 1.00 ms]\n"
        "    a3-->>a1: Running [disk+net 3.00 ms, queue 0 µs, turn 1.00 ms]\n"
        "    a1-xa0: Update [not seen there]\n"
        "    a3-)a3: Reap [timer 1.00 s, queue 0 µs, turn 6.00 ms]\n"
    )


def test_mermaid_escapes_what_would_end_a_statement() -> None:
    text = mermaid(BROKEN)
    note = next(line for line in text.splitlines() if "FAILED" in line)
    assert note.endswith("ValueError: <no> & 'room'#59; #35;1")
    for line in text.splitlines()[1:]:
        assert re.fullmatch(
            r"    (%% .*|participant \w+ as [^;]+|Note over \w+: .*|\w+(->>|-->>|-\)|--x|-x)\w+: .*)", line
        )


@pytest.mark.parametrize("trace", [TRACE, BROKEN], ids=["whole", "broken"])
def test_svg_is_well_formed_and_has_all_hops(trace: Any) -> None:
    picture = ElementTree.fromstring(svg(trace))
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [element.text or "" for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    for hop in trace.hops():
        assert any(text.startswith(hop.turn.message_type) for text in texts)
        assert hop.turn.actor.name in texts
    classes = [element.get("class") for element in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert classes.count("turn") + classes.count("failed") == len(list(trace.hops()))
    assert classes.count("failed") == (1 if trace is BROKEN else 0)


def test_svg_keeps_everything_within_the_picture() -> None:
    picture = ElementTree.fromstring(svg(TRACE))
    width, height = float(picture.get("width", "0")), float(picture.get("height", "0"))
    for element in picture.iter():
        for name, limit in (("x", width), ("x1", width), ("x2", width), ("y", height), ("y1", height), ("y2", height)):
            assert 0 <= float(element.get(name, "0")) <= limit


def test_perfetto_keeps_the_documented_format() -> None:
    document = json.loads(json.dumps(perfetto([TRACE, BROKEN])))
    assert document["displayTimeUnit"] == "ms"
    needed = {
        "M": {"name", "pid", "tid", "args"},
        "X": {"name", "cat", "pid", "tid", "ts", "dur", "args"},
        "b": {"name", "cat", "pid", "tid", "ts", "id"},
        "e": {"name", "cat", "pid", "tid", "ts", "id"},
        "s": {"name", "cat", "pid", "tid", "ts", "id"},
        "f": {"name", "cat", "pid", "tid", "ts", "id", "bp"},
    }
    for event in document["traceEvents"]:
        assert needed[event["ph"]] <= event.keys(), event
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert event.get("dur", 0) >= 0
    phases = [event["ph"] for event in document["traceEvents"]]
    assert phases.count("X") == 9
    assert phases.count("b") == phases.count("e") == 9
    assert phases.count("s") == phases.count("f") == 6


def test_perfetto_binds_each_arrow_to_the_turns_at_its_ends() -> None:
    events = perfetto([TRACE])["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    for event in events:
        if event["ph"] in "sf":
            place = (event["pid"], event["tid"])
            assert any(
                place == (each["pid"], each["tid"]) and each["ts"] <= event["ts"] <= each["ts"] + each["dur"] + 0.01
                for each in slices
            ), event


def parsed(document: dict[str, Any]) -> TracesData:
    """By the protocol's own package. OTLP's JSON writes ids in hexadecimal, that of protobuf in base 64."""
    document = copy.deepcopy(document)
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    data = TracesData()
    json_format.Parse(json.dumps(document), data)
    return data


def spans(data: TracesData) -> dict[int, Span]:
    return {
        int.from_bytes(span.span_id, "big"): span
        for resource in data.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def test_otlp_is_what_the_protocol_says() -> None:
    data = parsed(otlp([TRACE], "0.1"))
    found = spans(data)
    assert set(found) == {1, 2, 4, 5, 7, 9}
    for span in found.values():
        assert (len(span.trace_id), len(span.span_id)) == (16, 8)
        assert int.from_bytes(span.trace_id, "big") == 1
        assert span.start_time_unix_nano <= span.events[0].time_unix_nano <= span.end_time_unix_nano
    assert {number: int.from_bytes(span.parent_span_id, "big") for number, span in found.items()} == {
        1: 0,
        2: 1,
        4: 2,
        5: 2,
        7: 5,
        9: 5,
    }
    assert found[1].kind == Span.SPAN_KIND_INTERNAL
    assert found[5].kind == Span.SPAN_KIND_CONSUMER
    nodes = [
        next(each.value.string_value for each in resource.resource.attributes if each.key == "kaon.node")
        for resource in data.resource_spans
    ]
    assert nodes == ["framework", "m1", "a1"]
    assert {each.key for each in found[5].attributes} >= {"kaon.task_id", "kaon.network_us", "kaon.queueing_us"}


def test_otlp_says_what_failed() -> None:
    found = spans(parsed(otlp([BROKEN])))
    assert found[3].status.code == Status.STATUS_CODE_ERROR
    assert found[3].status.message == "ValueError: <no> & 'room'; #1"
    assert found[1].status.code == Status.STATUS_CODE_UNSET
