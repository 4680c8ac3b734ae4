"""The thread that writes trace files: in order, bounded, and quiet about a disk that is full."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from runtime.tracing.files import Header, TraceWriter, read_turns
from runtime.tracing.records import encode_record
from runtime.tracing.sink import FileSink
from tests.runtime.tracing.turns import AGENT, turn


def record(span: int) -> bytes:
    return encode_record(turn(AGENT, AGENT, "M", span))


def test_everything_is_written_in_order_before_the_end(tmp_path: Path) -> None:
    ended = threading.Event()
    sink = FileSink(TraceWriter(tmp_path / "t", Header()), lambda sink: ended.set())
    assert all(sink.put(record(span)) for span in range(1, 1001))
    sink.close()
    assert ended.wait(10.0)
    assert sink.join(10.0)
    assert [each.span for each in read_turns(tmp_path / "t")[0]] == list(range(1, 1001))
    assert not sink.put(record(1001))


def test_what_a_slow_disk_cannot_take_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, go_on = threading.Event(), threading.Event()

    class SlowWriter(TraceWriter):
        def write(self, records: bytes) -> None:
            writing.set()
            assert go_on.wait(10.0)
            super().write(records)

    sink = FileSink(SlowWriter(tmp_path / "t", Header()), lambda sink: None, queue_bytes=len(record(1)))
    assert sink.put(record(1))
    assert writing.wait(10.0)
    assert sink.put(record(2))
    assert not sink.put(record(3))
    go_on.set()
    sink.close()
    assert sink.join(10.0)
    assert [each.span for each in read_turns(tmp_path / "t")[0]] == [1, 2]


def test_a_disk_that_fails_ends_the_file_with_a_reason(tmp_path: Path) -> None:
    class FullWriter(TraceWriter):
        def write(self, records: bytes) -> None:
            raise OSError(28, "No space left on device")

    ended = threading.Event()
    sink = FileSink(FullWriter(tmp_path / "t", Header()), lambda sink: ended.set())
    assert sink.put(record(1))
    assert ended.wait(10.0)
    assert "cannot be written: No space left on device" in sink.error
    assert not sink.put(record(2))
