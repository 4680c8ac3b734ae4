"""What a node keeps of the ways to other nodes: a session, a route to a node, an address to dial."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from runtime.clock import Handle
from runtime.mailbox import Watcher
from runtime.pid import PID
from runtime.transport.protocol import Posted, Session


class Route:
    """How messages to one node, or to one dialled address, leave: through the session that was first to open.

    Sessions of a newer incarnation go before those of an older one, which cannot know yet that it is over.
    """

    __slots__ = ("envelopes", "incarnation", "node", "send", "sessions")

    def __init__(self) -> None:
        """No way yet."""
        self.sessions: list[Session] = []
        self.envelopes = 0
        self.incarnation = 0
        self.node = ""
        self.send: Callable[[Posted], None]

    def add(self, session: Session) -> None:
        """A session is there."""
        known = {each.peer.incarnation for each in self.sessions}
        self.sessions.insert(0 if session.peer.incarnation not in known else len(self.sessions), session)
        self._choose()

    def remove(self, session: Session) -> bool:
        """A session is over; whether any is left."""
        if session in self.sessions:
            self.sessions.remove(session)
        self._choose()
        return bool(self.sessions)

    def to(self, incarnation: int) -> Session | None:
        """The session for messages to one incarnation; 0 for any."""
        for session in self.sessions:
            if not incarnation or session.peer.incarnation == incarnation:
                return session
        return None

    def _choose(self) -> None:
        if self.sessions:
            first = self.sessions[0]
            self.incarnation, self.node, self.send = first.peer.incarnation, first.peer.node, first.send


class Peer:
    """What this node keeps of one session."""

    __slots__ = ("heard", "last", "misses", "pids", "session")

    def __init__(self, session: Session) -> None:
        """`heard` says whether anything came since the last look; `last` is the actor that it came from."""
        self.session = session
        self.pids: dict[str, PID] = {}
        self.last = PID("", session.peer.node, session.peer.incarnation)
        self.heard = True
        self.misses = 0


class Dial:
    """An address that actors talk to: what waits for its session, and when it may be dialled next."""

    __slots__ = ("attempts", "dialling", "links", "node", "queue", "session", "timer")

    def __init__(self) -> None:
        """Not dialled yet; `node` is who answered last."""
        self.node = ""
        self.session: Session | None = None
        self.dialling = False
        self.attempts = 0
        self.timer: Handle | None = None
        self.queue: deque[tuple[PID, PID, Posted]] = deque()
        self.links: list[Watcher] = []
