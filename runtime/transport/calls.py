"""Calls to a door that must wait until what runs at present has ended, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Calls:
    """A door is never called from within `send`, `dial` or `close`: such calls are put here.

    call_soon  of the loop or clock that runs the node
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._waiting: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()

    def later(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call `callback` after what runs at present."""
        self._waiting.append((callback, arguments))
        if len(self._waiting) == 1:
            self._call_soon(self.settle)

    def settle(self) -> None:
        """Make the calls that wait: before a call that must not overtake them."""
        while self._waiting:
            callback, arguments = self._waiting.popleft()
            callback(*arguments)
