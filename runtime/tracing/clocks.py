"""Clocks of different machines, brought together by what cannot be: a message that came before it was sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

Machine: TypeAlias = tuple[str, int]
"""A node and its incarnation: one clock."""


class Passage(msgspec.Struct, frozen=True, gc=False):
    """A message from one clock to another: sent and received by each one's own time, in seconds."""

    sender: Machine
    receiver: Machine
    sent: float
    received: float


def shifts(passages: Iterable[Passage], reference: Machine) -> dict[Machine, float]:
    """Seconds to add to each clock, so that nothing is received before it was sent.

    A clock that contradicts nothing is left alone. Others are moved into the range that messages in both directions
    allow, to its middle, as NTP does; a clock that only one direction tells of, just far enough. Machines that no
    message joins with `reference` keep their time.
    """
    least: dict[tuple[Machine, Machine], float] = {}
    neighbours: dict[Machine, dict[Machine, None]] = {}
    for passage in passages:
        if passage.sender == passage.receiver:
            continue
        way = (passage.sender, passage.receiver)
        taken = passage.received - passage.sent
        least[way] = min(taken, least.get(way, taken))
        neighbours.setdefault(passage.sender, {})[passage.receiver] = None
        neighbours.setdefault(passage.receiver, {})[passage.sender] = None
    found = {reference: 0.0}
    ahead = deque([reference])
    while ahead:
        known = ahead.popleft()
        for other in neighbours.get(known, ()):
            if other not in found:
                found[other] = _shift(least, found, known, other)
                ahead.append(other)
    return found


def _shift(
    least: Mapping[tuple[Machine, Machine], float], found: Mapping[Machine, float], known: Machine, other: Machine
) -> float:
    """For `other`, whose neighbour `known` is placed: 0 if that will do."""
    base = found[known]
    lowest = base - least[known, other] if (known, other) in least else None
    highest = base + least[other, known] if (other, known) in least else None
    if lowest is not None and highest is not None:
        return 0.0 if lowest <= 0.0 <= highest else (lowest + highest) / 2
    if lowest is not None:
        return max(0.0, lowest)
    assert highest is not None
    return min(0.0, highest)
