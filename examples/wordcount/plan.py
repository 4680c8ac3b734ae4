"""What there is to do: which files make a map task, and which results are merged next. Pure, but for the listing."""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from examples.wordcount.counting import MapWork, ReduceWork, Work, batches, parts_of
from runtime.errors import KaonError

PATTERNS: Final = ("*.txt", "*.py", "*.md", "*.rst", "LICENSE*")
"""What counts as a text file."""

LEFT_OUT: Final = frozenset({"__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test"})

REDUCE_BYTES: Final = 2 * 1024 * 1024
"""Packed counts that one reduce task is given, unless two of them are larger."""

MAX_TASK_BYTES: Final = 6 * 1024 * 1024
"""A task's data: what is around it in a message must fit as well (`runtime.constants.MAX_MESSAGE_BYTES`)."""


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one map task.

    place  value of the attribute `data` of agents where they lie; empty: anywhere
    """

    paths: tuple[str, ...]
    place: str = ""
    size_bytes: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The whole job: `partitions` parts of the result are merged side by side."""

    splits: tuple[Split, ...]
    partitions: int
    pause_seconds: float = 0.0

    @property
    def paths(self) -> list[str]:
        """Every file."""
        return [path for split in self.splits for path in split.paths]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do now; its key is the same in every life of the scheduler."""

    key: str
    work: Work
    place: str = ""


def default_directory() -> Path:
    """A directory of text files that any machine with Python has: its standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def list_files(directory: Path) -> list[tuple[str, int]]:
    """The text files under a directory with their sizes, sorted. Raises :class:`KaonError` when there is none."""
    found: dict[str, int] = {}
    for pattern in PATTERNS:
        for path in directory.rglob(pattern):
            inside = path.relative_to(directory)
            if path.is_file() and not LEFT_OUT.intersection(inside.parts) and (size := path.stat().st_size):
                found[str(path.absolute())] = size
    if not found:
        raise KaonError(f"no text files ({', '.join(PATTERNS)}) under {directory}: name a directory that has some")
    return sorted(found.items())


def make_plan(
    files: Sequence[tuple[str, int]], places: Sequence[str], split_bytes: int, partitions: int, pause_seconds: float = 0
) -> Plan:
    """Give each file a place, the largest first to the place that has least, and make splits of about `split_bytes`.

    places  values of the agents' attribute `data`; none: files lie everywhere
    """
    at: dict[str, list[tuple[str, int]]] = {place: [] for place in places or ("",)}
    load = dict.fromkeys(at, 0)
    for path, size in sorted(files, key=lambda file: (-file[1], file[0])):
        place = min(load, key=lambda name: load[name])
        at[place].append((path, size))
        load[place] += size
    splits = [split for place in at for split in _cut(sorted(at[place]), place, split_bytes)]
    return Plan(splits=tuple(splits), partitions=partitions, pause_seconds=pause_seconds)


def _cut(files: Sequence[tuple[str, int]], place: str, split_bytes: int) -> list[Split]:
    splits: list[Split] = []
    paths: list[str] = []
    size_bytes = 0
    for number, (path, size) in enumerate(files):
        paths.append(path)
        size_bytes += size
        if size_bytes >= split_bytes or number == len(files) - 1:
            splits.append(Split(paths=tuple(paths), place=place, size_bytes=size_bytes))
            paths, size_bytes = [], 0
    return splits


def outstanding(plan: Plan, results: Mapping[str, bytes]) -> list[Item]:
    """What can be done now and has no result: the map tasks; after them, round by round, what merges their parts."""
    maps = [
        Item(
            key=f"map-{number}",
            work=MapWork(split.paths, plan.partitions, plan.pause_seconds),
            place=split.place,
        )
        for number, split in enumerate(plan.splits)
        if f"map-{number}" not in results
    ]
    if maps:
        return maps
    return [item for partition in range(plan.partitions) for item in _reduction(plan, results, partition)[0]]


def final_parts(plan: Plan, results: Mapping[str, bytes]) -> list[bytes]:
    """The packed counts of each partition, once nothing is outstanding."""
    return [_reduction(plan, results, partition)[1][0] for partition in range(plan.partitions)]


def _reduction(plan: Plan, results: Mapping[str, bytes], partition: int) -> tuple[list[Item], list[bytes]]:
    """The merges of a partition that are to be done next, and what is left of it so far."""
    blobs = [parts_of(results[f"map-{number}"])[partition] for number in range(len(plan.splits))]
    merged = 0
    while len(blobs) > 1:
        left: list[bytes] = []
        items: list[Item] = []
        for number, group in enumerate(batches(blobs, REDUCE_BYTES)):
            key = f"reduce-{partition}-{merged}-{number}"
            if len(group) == 1:
                left += group
            elif key in results:
                left.append(results[key])
            else:
                items.append(Item(key=key, work=ReduceWork(tuple(group), plan.pause_seconds)))
        if items:
            return items, blobs
        blobs = left
        merged += 1
    return [], blobs
