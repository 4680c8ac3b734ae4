"""Sets of whole numbers, such as ports, as inclusive ranges: sorted, disjoint, coalesced, so that equal sets are equal.

Pure functions over tuples of ``(begin, end)``; they expect that canonical form, which `coalesce` makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

Range: TypeAlias = tuple[int, int]
"""Inclusive at both ends, as in Mesos: ``(31000, 32000)`` are 1,001 ports."""

Ranges: TypeAlias = tuple[Range, ...]


def coalesce(ranges: Iterable[Range]) -> Ranges:
    """Sort, and join what overlaps or touches."""
    joined: list[Range] = []
    for begin, end in sorted(ranges):
        if joined and begin <= joined[-1][1] + 1:
            if end > joined[-1][1]:
                joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return tuple(joined)


def union(left: Ranges, right: Ranges) -> Ranges:
    """What is in either."""
    return coalesce((*left, *right))


def difference(left: Ranges, right: Ranges) -> Ranges:
    """What is in `left` and not in `right`."""
    rest: list[Range] = []
    cuts = iter((*right, None))
    cut = next(cuts)
    for begin, end in left:
        while cut is not None and cut[1] < begin:
            cut = next(cuts)
        while cut is not None and cut[0] <= end:
            if cut[0] > begin:
                rest.append((begin, cut[0] - 1))
            begin = cut[1] + 1
            if begin > end:
                break
            cut = next(cuts)
        if begin <= end:
            rest.append((begin, end))
    return tuple(rest)


def covers(left: Ranges, right: Ranges) -> bool:
    """Whether everything in `right` is in `left`."""
    return left == right or not difference(right, left)


def size(ranges: Ranges) -> int:
    """How many numbers there are."""
    return sum(end - begin + 1 for begin, end in ranges)


def text(ranges: Ranges) -> str:
    """Mesos's form: ``[31000-32000, 33000-33010]``."""
    return "[" + ", ".join(f"{begin}-{end}" for begin, end in ranges) + "]"
