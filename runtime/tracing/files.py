"""Trace files: a header and then records, one MessagePack value after the other.

A process that dies while it writes leaves a last record that is not whole. A reader says so and goes on without it; a
writer never appends to what another life wrote, but begins a new file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgpack
import msgspec

from runtime.errors import KaonError
from runtime.tracing.records import TurnRecord, read_record

VERSION: Final = 1
LIMIT_BYTES: Final = 64 * 1024 * 1024
KEPT_FILES: Final = 4
CHUNK_BYTES: Final = 262_144
LONGEST_RECORD_BYTES: Final = 64 * 1024 * 1024
"""Of what is read: a damaged length must not fill the memory."""


class TraceFileError(KaonError):
    """A file that is no trace file, or is damaged before its end."""


class Header(msgspec.Struct, kw_only=True, tag="header", omit_defaults=True):
    """First record of a file.

    kaon      what the file holds: ``trace`` or ``recording``
    node      that wrote it; empty for a tool that gathered from several
    started   seconds since the epoch
    position  0 for the first file of a run, counted up at each rotation
    """

    kaon: str = "trace"
    version: int = VERSION
    node: str = ""
    incarnation: int = 0
    started: float = 0.0
    position: int = 0


class TraceWriter:
    """Writes records; begins a new file when one is full and keeps the last few as ``name.1`` (the youngest) and so on.

    Every `write` is whole records and goes to the system at once, so that a crash of the process loses none of them.
    """

    def __init__(
        self, path: Path, header: Header, limit_bytes: int = LIMIT_BYTES, kept: int = KEPT_FILES, mode: int = 0o600
    ) -> None:
        """Begins `path` afresh; a file that is there becomes ``name.1``. Raises OSError."""
        self.path = path
        self.size_bytes = 0
        self._header = header
        self._limit_bytes = limit_bytes
        self._kept = kept
        self._mode = mode
        self._fd = -1
        path.parent.mkdir(parents=True, exist_ok=True)
        self._begin()

    def write(self, records: bytes) -> None:
        """Append whole records. Raises OSError, as a full disk does; what was begun of them is taken back."""
        if self.size_bytes + len(records) > self._limit_bytes and self.size_bytes:
            self._header = msgspec.structs.replace(self._header, position=self._header.position + 1)
            self._begin()
        self._append(records)

    def close(self) -> None:
        """Give the file back; twice is once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _begin(self) -> None:
        """Make room for `path`, and begin it with a header."""
        self.close()
        for number in range(self._kept, 0, -1):
            older = self.path if number == 1 else self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self.path, flags, self._mode)
        self.size_bytes = 0
        self._append(msgspec.msgpack.encode(self._header))

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, self.size_bytes)
            raise
        self.size_bytes += len(data)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


class TraceReader:
    """Reads one file, record by record.

    header      of the file
    torn_bytes  length of the unfinished record at its end; known when all has been read
    """

    def __init__(self, path: Path, kaon: str = "trace") -> None:
        """Raises :class:`TraceFileError` unless it is a file of that kind, OSError when it cannot be opened."""
        self.path = path
        self.torn_bytes = 0
        self._kaon = kaon
        self._file = path.open("rb")
        self._size = self._whole = 0
        self._unpacker = msgpack.Unpacker(
            raw=False, use_list=False, strict_map_key=False, timestamp=1, max_buffer_size=LONGEST_RECORD_BYTES
        )
        try:
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TraceReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The records behind the header. Raises :class:`TraceFileError` where the file is damaged."""
        while (record := self._next()) is not None:
            yield record

    def turns(self) -> Iterator[TurnRecord]:
        """The turns among them."""
        for record in self:
            if record.get("type") == "turn":
                yield read_record(record)

    def _read_header(self) -> Header:
        try:
            first = self._next()
            header = msgspec.convert(first, Header)
        except (TraceFileError, msgspec.ValidationError):
            raise TraceFileError(f"{self.path} is no {self._kaon} of Kaon: it has no header") from None
        if header.kaon != self._kaon:
            raise TraceFileError(f"{self.path} is a {header.kaon}, not a {self._kaon}")
        if header.version != VERSION:
            raise TraceFileError(
                f"{self.path} has version {header.version} of the format; this version of Kaon reads {VERSION}"
            )
        return header

    def _next(self) -> dict[str, Any] | None:
        """The next record; None at the end, whole or torn."""
        while True:
            try:
                record = self._unpacker.unpack()
            except msgpack.OutOfData:
                chunk = self._file.read(CHUNK_BYTES)
                if not chunk:
                    self.torn_bytes = self._size - self._whole
                    return None
                self._size += len(chunk)
                self._unpacker.feed(chunk)
                continue
            except (msgpack.UnpackException, ValueError, TypeError) as error:
                raise TraceFileError(f"{self.path} is damaged behind byte {self._whole}: {error}") from None
            if not isinstance(record, dict):
                raise TraceFileError(
                    f"{self.path} is damaged behind byte {self._whole}: no record but {type(record).__name__}"
                )
            self._whole = self._unpacker.tell()
            return record


def read_turns(path: Path) -> tuple[list[TurnRecord], int]:
    """All turns of a trace file, and the bytes of its torn tail. Raises :class:`KaonError` that names the file."""
    try:
        with TraceReader(path) as reader:
            turns = list(reader.turns())
            return turns, reader.torn_bytes
    except OSError as error:
        raise TraceFileError(f"{path} cannot be read: {error.strerror}") from None
