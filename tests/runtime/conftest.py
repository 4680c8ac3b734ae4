"""What tests of the runtime share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from runtime.node import Node
from runtime.testing import World

Stopping = Callable[..., None]


@pytest.fixture
def world_stop() -> Stopping:
    """Stop a node of a world, letting virtual time pass meanwhile."""

    def stop(world: World, node: Node, deadline_seconds: float = 10.0) -> None:
        async def run() -> None:
            stopping = asyncio.create_task(node.stop(deadline_seconds))
            while not stopping.done():
                await asyncio.sleep(0)
                world.clock.step()
            await stopping

        asyncio.run(run())
        world.settle()

    return stop
