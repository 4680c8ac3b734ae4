"""Launches that a test keeps waiting."""

from __future__ import annotations

import asyncio

from containerizer.isolator import Container, Isolator


class HoldingIsolator(Isolator):
    """Keeps a launch between its clone and the word to go on."""

    name = "test/holding"

    def __init__(self) -> None:
        self.process_id = 0
        self.released = asyncio.Event()

    async def isolate(self, container: Container) -> None:
        self.process_id = container.process_id
        await self.released.wait()


class HeldLaunch:
    """A launch that is kept waiting."""

    def __init__(self) -> None:
        self.isolator = HoldingIsolator()

    @property
    def pid(self) -> int:
        return self.isolator.process_id

    def release(self) -> None:
        self.isolator.released.set()
