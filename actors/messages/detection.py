"""Who leads: what a detector tells agents and schedulers.

With one master that is known from the start there is no detector; with several, one that watches the election sends
each change.
"""

from __future__ import annotations

from typing import ClassVar

from actors.messages.records import MasterInfo
from runtime.message import Message, Overflow
from runtime.pid import PID


class MasterDetected(Message, frozen=True, kw_only=True):
    """Detector -> agent or scheduler, on each change: that master leads; None: nobody does for now.

    master  where to dial it, as ``master@tcp://host:port``
    info    what the election says of it, if there was one
    """

    overflow: ClassVar[Overflow] = Overflow.NEVER

    master: PID | None
    info: MasterInfo | None = None
