"""What a checker raises."""

from __future__ import annotations

from runtime.errors import KaonError


class Violation(KaonError):
    """Something that must never be was.

    rule     name of the invariant
    what     happened, in a sentence
    at       virtual seconds since the start of the simulation
    context  seed, command that replays it, the last turns: lines to print below
    """

    def __init__(self, rule: str, what: str, at: float = 0.0, context: str = "") -> None:
        super().__init__(f"{rule}: {what} (after {at:.3f} s){context and chr(10)}{context}")
        self.rule = rule
        self.what = what
        self.at = at
        self.context = context
