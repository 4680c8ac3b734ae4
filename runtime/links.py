"""Links: who wants to hear of whose end, here and on other nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from runtime.mailbox import Cell, Watcher
from runtime.message import Exited, Message, Overflow
from runtime.pid import NODE_ACTOR, PID
from runtime.transport.protocol import Envelope, Session

if TYPE_CHECKING:
    from runtime.node import Node


class NodeLink(Message, frozen=True, kw_only=True, tag="node.Link"):
    """Node -> node: tell me when your actor `name` is gone; at once if there is none."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    name: str


class NodeExited(Message, frozen=True, kw_only=True, tag="node.LinkExited"):
    """Node -> node: your link to my actor `name` is over. Follows every message that the actor sent."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    name: str
    reason: str


class Links:
    """The links of one node.

    Those to its own actors stand in the actors' cells; those through a session stand here, and break with it.
    """

    def __init__(self, node: Node) -> None:
        """Of one node."""
        self._node = node
        self._outgoing: dict[int, dict[str, dict[Watcher, None]]] = {}
        self._incoming: dict[str, dict[int, Session]] = {}

    # Links of this node's actors ------------------------------------------------------------------------------------

    def link(self, cell: Cell, pid: PID) -> None:
        """Carry out a Link effect."""
        node = self._node
        watcher = Watcher(cell.pid, pid, cell.life)
        if pid.node == node.identity.node:
            target = node.cells.get(pid.name)
            if target is None or pid.incarnation not in (0, node.identity.incarnation):
                self.tell(watcher, "no such actor")
            else:
                target.watchers[watcher] = None
        else:
            node.peers.link(watcher)

    def through(self, session: Session, watcher: Watcher) -> None:
        """Ask the peer of `session` to watch an actor of its for us; once per actor."""
        by_name = self._outgoing.setdefault(id(session), {})
        watchers = by_name.setdefault(watcher.linked.name, {})
        if not watchers:
            self._say(session, NodeLink(name=watcher.linked.name))
        watchers[watcher] = None

    def tell(self, watcher: Watcher, reason: str) -> None:
        """Deliver Exited to one watcher, if it still lives the life in which it linked; it comes from who is gone."""
        node = self._node
        cell = node.cells.get(watcher.watcher.name)
        if cell is None or cell.life != watcher.life:
            return
        span = node.turns.new_span()
        message = Exited(pid=watcher.linked, reason=reason)
        node.deliver(watcher.watcher, (message, watcher.linked, span, span, 0, 0, node.now()))

    # Ends -----------------------------------------------------------------------------------------------------------

    def ended(self, cell: Cell, reason: str) -> None:
        """An actor of this node has ended: tell all who watch it, here and elsewhere, once its last words are out."""
        watchers, cell.watchers = cell.watchers, {}
        sessions = self._incoming.pop(cell.name, {})

        def tell() -> None:
            for watcher in watchers:
                self.tell(watcher, reason)
            for session in sessions.values():
                self._say(session, NodeExited(name=cell.name, reason=reason))

        if (watchers or sessions) and not self._node.durability.hold(cell, tell):
            tell()

    def session_closed(self, session: Session, reason: str) -> None:
        """A session is over: every link through it breaks."""
        for watchers in self._outgoing.pop(id(session), {}).values():
            for watcher in watchers:
                self.tell(watcher, reason)
        for sessions in self._incoming.values():
            sessions.pop(id(session), None)

    # What other nodes say -------------------------------------------------------------------------------------------

    def asked(self, session: Session, message: NodeLink) -> None:
        """A peer wants to hear of the end of one of our actors."""
        if message.name in self._node.cells:
            self._incoming.setdefault(message.name, {})[id(session)] = session
        else:
            self._say(session, NodeExited(name=message.name, reason="no such actor"))

    def told(self, session: Session, message: NodeExited) -> None:
        """A peer says that an actor we watch has ended."""
        for watcher in self._outgoing.get(id(session), {}).pop(message.name, {}):
            self.tell(watcher, message.reason)

    def _say(self, session: Session, message: Message) -> None:
        span = self._node.turns.new_span()
        session.send(Envelope(NODE_ACTOR, NODE_ACTOR, span, span, 0, message))
