"""The flight recorder: a node's last turns, always on, kept by reference because messages never change."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from runtime.actor import Delivery
from runtime.constants import RECORDER_BYTES, RECORDER_TURNS
from runtime.effects import Turn
from runtime.pid import PID

ASSUMED_TURN_BYTES: Final = 512
"""What a turn without bulk is taken to weigh: the structs of a turn and of a small message."""

SEGMENTS: Final = 16
"""Parts that the ring is dropped in when it weighs too much; one more turn costs nothing but an append."""


Moment: TypeAlias = tuple[PID, Delivery, float, float]
"""A turn without effects, as its node has it: actor, what was delivered, started, ended. Most are never looked at, and
making a Turn of each would cost a fifth of it."""


class FlightRecorder:
    """A ring of turns, bounded in turns and in bytes.

    The bytes of what came over sockets are known exactly (`weigh`); everything else is assumed to be small. When the
    ring weighs more than `limit_bytes`, its oldest part goes.
    """

    def __init__(self, turns: int = RECORDER_TURNS, limit_bytes: int = RECORDER_BYTES) -> None:
        """Keep at most `turns` turns and about `limit_bytes` bytes."""
        self._ring: deque[Turn | Moment] = deque(maxlen=turns)
        self._limit_bytes = limit_bytes
        self._weighed_bytes = 0
        self._segment = max(1, turns // SEGMENTS)
        self.record: Callable[[Turn | Moment], None] = self._ring.append

    def weigh(self, size_bytes: int) -> None:
        """Say that messages of so many bytes came in; forgets old turns when it is too much."""
        self._weighed_bytes += size_bytes
        if self._weighed_bytes > self._limit_bytes:
            self._shed()

    def _shed(self) -> None:
        """Drop the oldest part, and with it its share of the weight."""
        ring = self._ring
        while ring and self._weighed_bytes > self._limit_bytes:
            count = min(self._segment, len(ring))
            share = self._weighed_bytes * count // len(ring)
            for _ in range(count):
                ring.popleft()
            self._weighed_bytes -= share
        if not ring:
            self._weighed_bytes = 0

    @property
    def size_bytes(self) -> int:
        """About what the ring keeps alive."""
        return self._weighed_bytes + len(self._ring) * ASSUMED_TURN_BYTES

    def turns(self, last: int | None = None, actor: str | None = None) -> list[Turn]:
        """The recorded turns, oldest first: those of one actor, the last so many."""
        turns = map(_turn, self._ring)
        chosen = [turn for turn in turns if actor is None or turn.actor.name == actor]
        return chosen if last is None else chosen[-last:]

    def __len__(self) -> int:
        return len(self._ring)


def idle_turn(actor: PID, delivery: Delivery, started: float, ended: float) -> Turn:
    """A turn that had no effects."""
    message, sender, trace, span, parent, _, received = delivery
    return Turn(actor, sender, message, trace, span, parent, received, started, ended, [])


def _turn(kept: Turn | Moment) -> Turn:
    """What is in the ring, as a Turn."""
    return kept if isinstance(kept, Turn) else idle_turn(*kept)
