"""Trace files: read as written, cut anywhere, rotated, and refused when they are something else."""

from __future__ import annotations

from pathlib import Path

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.pid import PID
from runtime.tracing.files import Header, TraceFileError, TraceReader, TraceWriter, read_turns
from runtime.tracing.records import TurnRecord, encode_record

HEADER = Header(node="n1", incarnation=7, started=5.0)


def record(span: int, text: str = "x") -> TurnRecord:
    pid = PID("actor", "n1", 7)
    return TurnRecord(
        actor=pid,
        sender=pid,
        message={"type": "t.Message", "text": text},
        trace=1,
        span=span,
        parent=0,
        received=1.0,
        started=1.5,
        ended=2.0,
    )


def written(path: Path, count: int, limit_bytes: int = 1 << 30, kept: int = 4) -> None:
    writer = TraceWriter(path, HEADER, limit_bytes=limit_bytes, kept=kept)
    for span in range(1, count + 1):
        writer.write(encode_record(record(span)))
    writer.close()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t"
    written(path, 3)
    with TraceReader(path) as reader:
        assert (reader.header.node, reader.header.incarnation) == ("n1", 7)
        assert [turn.span for turn in reader.turns()] == [1, 2, 3]
        assert reader.torn_bytes == 0


def test_any_msgpack_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "t"
    written(path, 2)
    with path.open("rb") as file:
        records = list(msgpack.Unpacker(file, raw=False))
    assert records[0] == {"type": "header", "node": "n1", "incarnation": 7, "started": 5.0}
    assert [each["span"] for each in records[1:]] == [1, 2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("files") / "t"
    written(path, 5)
    return path.read_bytes()


@given(data=st.data())
def test_a_file_that_ends_anywhere_gives_its_whole_records(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    header = len(msgspec.msgpack.encode(HEADER))
    cut = data.draw(st.integers(header, len(whole)))
    path = tmp_path_factory.mktemp("cut") / "t"
    path.write_bytes(whole[:cut])
    turns, torn_bytes = read_turns(path)
    size = len(encode_record(record(1)))
    assert [turn.span for turn in turns] == list(range(1, (cut - header) // size + 1))
    assert torn_bytes == (cut - header) % size


def test_a_full_file_makes_room_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "t"
    written(path, 40, limit_bytes=1000, kept=2)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["t", "t.1", "t.2"]
    spans = []
    positions = []
    for name in ("t.2", "t.1", "t"):
        with TraceReader(tmp_path / name) as reader:
            positions.append(reader.header.position)
            spans += [turn.span for turn in reader.turns()]
    assert spans == list(range(spans[0], 41))
    assert positions == [positions[0], positions[0] + 1, positions[0] + 2]
    assert all(each.stat().st_size <= 1000 for each in tmp_path.iterdir())


def test_a_torn_file_of_another_life_is_not_written_on(tmp_path: Path) -> None:
    path = tmp_path / "t"
    written(path, 2)
    path.write_bytes(path.read_bytes()[:-3])
    written(path, 1)
    assert len(read_turns(path)[0]) == 1
    assert read_turns(tmp_path / "t.1")[1] > 0


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    written(tmp_path / "t", 1)
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = tmp_path / "t"
    writer = TraceWriter(path, HEADER)
    writer.write(encode_record(record(1)))
    real = os.write
    room = [5]

    def write(fd: int, data: bytes) -> int:
        if room:
            return real(fd, data[: room.pop()])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        writer.write(encode_record(record(2)))
    monkeypatch.setattr(os, "write", real)
    writer.write(encode_record(record(3)))
    writer.close()
    turns, torn_bytes = read_turns(path)
    assert ([turn.span for turn in turns], torn_bytes) == ([1, 3], 0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no header"),
        (b"\x00", "no header"),
        (b"hello world", "no header"),
        (msgpack.packb({"type": "header", "kaon": "recording", "version": 1}), "is a recording, not a trace"),
        (msgpack.packb({"type": "header", "version": 99}), "version 99"),
    ],
)
def test_what_is_no_trace_file_is_refused_in_words(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(TraceFileError, match=says):
        read_turns(path)


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t"
    written(path, 2)
    path.write_bytes(path.read_bytes() + b"\xc1" + encode_record(record(3)))
    with pytest.raises(TraceFileError, match="damaged"):
        read_turns(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match="nowhere cannot be read: No such file"):
        read_turns(tmp_path / "nowhere")
