"""Live turns of several nodes in one order: each waits a moment, so that its cause can come before it."""

from __future__ import annotations

from runtime.tracing.records import TurnRecord
from runtime.tracing.tree import in_causal_order


class Merger:
    """Holds turns back for a while; what leaves together leaves in causal order, and no effect leaves before its cause
    if that has come."""

    def __init__(self, hold_seconds: float) -> None:
        """Longer than the slowest node needs to tell of a turn."""
        self._hold_seconds = hold_seconds
        self._waiting: dict[tuple[str, int], tuple[float, TurnRecord]] = {}

    def push(self, turn: TurnRecord, now: float) -> None:
        """A turn has come, at `now` of the reader's clock."""
        self._waiting.setdefault((turn.actor.node, turn.span), (now, turn))

    def pop(self, now: float) -> list[TurnRecord]:
        """What has waited long enough, and what led to it."""
        due = {key for key, (came, _) in self._waiting.items() if came <= now - self._hold_seconds}
        by_span = {turn.span: key for key, (_, turn) in self._waiting.items()}
        ahead = list(due)
        while ahead:
            cause = by_span.get(self._waiting[ahead.pop()][1].parent)
            if cause is not None and cause not in due:
                due.add(cause)
                ahead.append(cause)
        leaving = [turn for key, (_, turn) in self._waiting.items() if key in due]
        self._waiting = {key: each for key, each in self._waiting.items() if key not in due}
        return in_causal_order(leaving)

    def flush(self) -> list[TurnRecord]:
        """Everything."""
        return self.pop(float("inf"))
