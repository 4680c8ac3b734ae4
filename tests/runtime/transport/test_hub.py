"""One flush for all that a burst has brought about, also when the flush itself finds more to read."""

from __future__ import annotations

import asyncio
from typing import Any

from runtime.transport.zeromq.hub import Hub


class Door:
    """Handles nothing."""

    def drained(self) -> None:
        """Nothing has come."""


class Session:
    """Flushes at once; `found` runs in the look at its socket that follows."""

    def __init__(self, found: Any = None) -> None:
        self.flushed = 0
        self.link = self
        self.socket = self
        self._found = found

    def flush(self) -> bool:
        self.flushed += 1
        return True

    def look(self) -> None:
        if self._found is not None:
            self._found()


def test_an_answer_to_what_a_flush_has_found_is_flushed_too() -> None:
    async def scenario() -> None:
        hub = Hub(asyncio.get_running_loop(), Door(), 256)  # type: ignore[arg-type]
        answered = Session()

        def ping_has_come() -> bool:
            hub.wait(answered)  # type: ignore[arg-type]
            return False

        first = Session(found=lambda: hub.burst(ping_has_come))

        def message_has_come() -> bool:
            hub.wait(first)  # type: ignore[arg-type]
            return False

        assert not hub.burst(message_has_come)
        assert first.flushed == 1
        await asyncio.sleep(0)
        assert answered.flushed == 1
        hub.close()

    asyncio.run(scenario())
