"""The format of a journal file: a stream of MessagePack entries ``[crc32, payload]``, one entry per commit.

The payload is a MessagePack list of records (binary strings) that became durable together. CRC and length are written
at full width, so that an entry begins with eleven bytes of known shape and can be looked for behind damage.

What a crash can leave is one unfinished entry at the end, because the next is written only once the last is on disk:
that is a torn tail. Everything else that does not check is damage to what was durable, and nobody may go on as if it
had never been said.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgpack
import msgspec

from runtime.errors import JournalError

ENTRY_BYTES: Final = 64 * 1024 * 1024
"""Payload of one entry at most, if it has more than one record; a larger commit becomes several entries."""

RECORD_OVERHEAD_BYTES: Final = 3
"""Bytes that a record of 256 to 65,535 bytes costs beyond its own; shorter ones cost one less, longer two more."""

_HEADER: Final = struct.Struct(">BBIBI")  # array of two, uint32: CRC of the payload, bin32: its length in bytes
_ARRAY_OF_TWO, _UINT32, _BIN32 = 0x92, 0xCE, 0xC6
_MAGIC: Final = bytes((_ARRAY_OF_TWO, _UINT32))
_SECTOR_BYTES: Final = 512


class Scan(msgspec.Struct, frozen=True):
    """What a journal file holds.

    records     oldest first
    good_bytes  length of the part that checks
    torn_bytes  length of an unfinished entry behind it
    """

    records: list[bytes]
    good_bytes: int
    torn_bytes: int


def encode_entry(records: Sequence[bytes]) -> bytes:
    """One entry of these records."""
    payload: bytes = msgpack.packb(records)
    return _HEADER.pack(_ARRAY_OF_TWO, _UINT32, zlib.crc32(payload), _BIN32, len(payload)) + payload


def split_entries(records: Sequence[bytes], entry_bytes: int = ENTRY_BYTES) -> list[Sequence[bytes]]:
    """Cut records into runs that fit an entry each; a record that is larger alone is alone."""
    if sum(map(len, records)) <= entry_bytes:
        return [records]
    runs: list[Sequence[bytes]] = []
    run: list[bytes] = []
    size = 0
    for record in records:
        if run and size + len(record) > entry_bytes:
            runs.append(run)
            run, size = [], 0
        run.append(record)
        size += len(record)
    runs.append(run)
    return runs


def scan(path: Path) -> Scan:
    """Read a whole file. Raises :class:`JournalError`, naming file and offset, for damage that no crash explains."""
    records: list[bytes] = []
    size = path.stat().st_size
    with path.open("rb") as file:
        unpacker = msgpack.Unpacker(file, raw=True, max_buffer_size=0)
        good, whole = 0, False
        try:
            for entry in unpacker:
                whole = True
                payload = _checked(entry)
                if payload is None:
                    break
                records += _records(payload, path, good)
                good, whole = unpacker.tell(), False
        except (msgpack.UnpackException, ValueError):
            whole = True
        if good < size:
            _refuse_damage(file, path, good, whole)
    return Scan(records, good, size - good)


def _checked(entry: object) -> bytes | None:
    """The payload of an entry whose CRC is right."""
    if not (isinstance(entry, list) and len(entry) == 2):
        return None
    crc, payload = entry
    return payload if isinstance(payload, bytes) and zlib.crc32(payload) == crc else None


def _records(payload: bytes, path: Path, offset: int) -> list[bytes]:
    """The records of a payload that checks: if they cannot be read, another program wrote them."""
    try:
        records = msgpack.unpackb(payload, raw=True)
    except (msgpack.UnpackException, ValueError) as error:
        raise JournalError(f"{path}: the entry at offset {offset} is whole, but no list of records: {error}") from error
    if not (isinstance(records, list) and all(isinstance(record, bytes) for record in records)):
        raise JournalError(f"{path}: the entry at offset {offset} is whole, but no list of records")
    return records


def _refuse_damage(file: BinaryIO, path: Path, offset: int, whole: bool) -> None:
    """Tell a torn tail, which returns, from damage, which raises.

    whole  the entry at `offset` has all its bytes, and they are wrong. A write that was cut off leaves zeros where a
           sector did not reach the disk (as etcd's write-ahead log decides, `server/storage/wal/decoder.go`).
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        later = _entry_after(data, offset)
        if later is not None:
            raise JournalError(
                f"{path}: damaged at offset {offset}, and what follows at offset {later} was written after it; "
                f"restore the file from a copy, or move it away to start without it"
            )
        if whole and not _has_blank_sector(data, offset):
            raise JournalError(
                f"{path}: damaged at offset {offset}: the last entry has all its bytes, but they are not those that "
                f"were written; restore the file from a copy, or cut it there to do without that entry"
            )


def _entry_after(data: mmap.mmap, offset: int) -> int | None:
    """Where the next entry that checks begins, behind `offset`."""
    at = offset
    while (at := data.find(_MAGIC, at + 1)) >= 0:
        if at + _HEADER.size > len(data):
            return None
        _, _, crc, kind, length = _HEADER.unpack_from(data, at)
        start = at + _HEADER.size
        if kind == _BIN32 and start + length <= len(data) and zlib.crc32(data[start : start + length]) == crc:
            return at
    return None


def _has_blank_sector(data: mmap.mmap, offset: int) -> bool:
    """Whether a disk sector behind `offset`, or the part of one, is all zeros."""
    start = offset
    while start < len(data):
        end = min((start // _SECTOR_BYTES + 1) * _SECTOR_BYTES, len(data))
        if not any(data[start:end]):
            return True
        start = end
    return False
