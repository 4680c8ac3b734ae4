"""A node for the time of one actor's life: what a program needs whose whole business is one actor."""

from __future__ import annotations

import asyncio

from runtime.actor import Edge, State, receive
from runtime.message import Exited
from runtime.node import Node
from runtime.pid import PID
from runtime.supervision import Restart, Supervision

WHOLE_BUSINESS = Supervision(restart=Restart.TRANSIENT, intensity=0)
"""For an actor that is the program: its stop is an end, its failure is the node's."""


def watch_end(node: Node, pid: PID) -> asyncio.Future[str]:
    """A future of why an actor of this node ended, ``stopped`` or ``failed: ...``; spawn the actor first."""
    ended: asyncio.Future[str] = node.loop.create_future()

    class Watch(Edge[State]):
        """Is linked to the actor."""

        def started(self) -> None:
            """Ask to be told."""
            self.link(pid)

        @receive(Exited)
        def exited(self, sender: PID, message: Exited) -> None:
            """Tell, once."""
            if not ended.done():
                ended.set_result(message.reason)
            self.stop()

    def failed(reason: str) -> None:
        if not ended.done():
            ended.set_result(f"failed: {reason}")

    node.on_failure = failed
    node.spawn(Watch, f"watch-{pid.name}", State())
    return ended
