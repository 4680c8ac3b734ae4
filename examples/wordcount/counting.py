"""Counting words, and the bytes in which counts travel. Pure functions: executors and the check both use them."""

from __future__ import annotations

import re
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

WORD: Final = re.compile(r"[^\W\d_]+")
"""Letters of any script."""

Counts: TypeAlias = Mapping[str, int]


class MapWork(msgspec.Struct, frozen=True, tag="map"):
    """Count the words of these files, into `partitions` parts by the word's hash.

    pause_seconds  to wait first: for those who want to watch, or pull a plug meanwhile
    """

    paths: tuple[str, ...]
    partitions: int
    pause_seconds: float = 0.0


class ReduceWork(msgspec.Struct, frozen=True, tag="reduce"):
    """Add up these packed counts."""

    packed: tuple[bytes, ...]
    pause_seconds: float = 0.0


Work: TypeAlias = MapWork | ReduceWork

_work: Final = msgspec.msgpack.Decoder(Work)
_parts: Final = msgspec.msgpack.Decoder(tuple[bytes, ...])
_counts: Final = msgspec.msgpack.Decoder(dict[str, int])


def do_work(data: bytes) -> bytes:
    """What an executor does with a task's data. Map: the packed parts of `parts_of`; reduce: packed counts."""
    work = _work.decode(data)
    time.sleep(work.pause_seconds)
    if isinstance(work, ReduceWork):
        return pack(merge(unpack(packed) for packed in work.packed))
    parts = split(count_files(work.paths), work.partitions)
    return msgspec.msgpack.encode([pack(part) for part in parts])


def parts_of(result: bytes) -> tuple[bytes, ...]:
    """The packed parts of a map task's result."""
    return _parts.decode(result)


def count_files(paths: Iterable[str]) -> Counter[str]:
    """Count the words of files, in lower case; what is no UTF-8 is skipped. Raises OSError for a file that is gone."""
    counts: Counter[str] = Counter()
    for path in paths:
        counts.update(WORD.findall(Path(path).read_text("utf-8", errors="ignore").lower()))
    return counts


def split(counts: Counts, partitions: int) -> list[dict[str, int]]:
    """Parts by a hash that is the same in every process."""
    parts: list[dict[str, int]] = [{} for _ in range(partitions)]
    for word, count in counts.items():
        parts[zlib.crc32(word.encode()) % partitions][word] = count
    return parts


def merge(many: Iterable[Counts]) -> Counter[str]:
    """Add counts up."""
    merged: Counter[str] = Counter()
    for counts in many:
        merged.update(counts)
    return merged


def pack(counts: Counts) -> bytes:
    """Counts as few bytes, the same for the same counts."""
    return zlib.compress(msgspec.msgpack.encode(dict(sorted(counts.items()))))


def unpack(packed: bytes) -> dict[str, int]:
    """What `pack` packed."""
    return _counts.decode(zlib.decompress(packed))


def batches(blobs: Sequence[bytes], limit_bytes: int) -> list[list[bytes]]:
    """Neighbours together, up to `limit_bytes`, but two at least: so that each round of merging leaves fewer."""
    groups: list[list[bytes]] = []
    size = 0
    for blob in blobs:
        if groups and (len(groups[-1]) < 2 or size + len(blob) <= limit_bytes):
            groups[-1].append(blob)
            size += len(blob)
        else:
            groups.append([blob])
            size = len(blob)
    return groups
