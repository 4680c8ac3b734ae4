"""The other nodes: sessions with them, messages to and from them, and whether they still answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from runtime.actor import Delivery
from runtime.clock import Handle
from runtime.codec import as_envelope
from runtime.constants import (
    DIAL_BACKOFF_MAX_SECONDS,
    DIAL_BACKOFF_SECONDS,
    PING_INTERVAL_SECONDS,
    PING_MISSES,
    SESSION_QUEUE_ENVELOPES,
)
from runtime.errors import TransportError
from runtime.links import NodeExited, NodeLink
from runtime.mailbox import Watcher
from runtime.message import AskFailed, Busy, Message, Overflow
from runtime.pid import NODE_ACTOR, PID
from runtime.routes import Dial, Peer, Route
from runtime.transport.protocol import Arrived, Envelope, Identity, Posted, Session, Transport

if TYPE_CHECKING:
    from runtime.node import Node

NOT_CONNECTED: Final = "no session with its node"


class NodePing(Message, frozen=True, kw_only=True, tag="node.Ping"):
    """Node -> node, over a session that was silent for an interval: does your loop still turn?"""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class NodePong(Message, frozen=True, kw_only=True, tag="node.Pong"):
    """Node -> node: it does."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class Peers:
    """All sessions of one node; its transport's door."""

    def __init__(self, node: Node, transport: Transport) -> None:
        """The transport is started by the node."""
        self._node = node
        self.identity: Identity = node.identity
        self._transport = transport
        self._peers: dict[Session, Peer] = {}
        self.routes: dict[str, Route] = {}
        self._dials: dict[str, Dial] = {}
        self._ping_timer: Handle | None = None
        self._stopped = False
        self._sent_before = 0
        self._drains = transport.drains
        self.envelopes_in = 0

    @property
    def envelopes_out(self) -> int:
        """How many envelopes have gone to other nodes."""
        return self._sent_before + sum(route.envelopes for route in self.routes.values())

    @property
    def sessions(self) -> list[Session]:
        """Every open session."""
        return [peer.session for peer in self._peers.values()]

    # What actors send -----------------------------------------------------------------------------------------------

    def send(self, to: PID, sender: PID, envelope: Posted) -> None:
        """Send an envelope to an actor of another node."""
        route = self.routes.get(to.node)
        if route is not None:
            session = route.to(to.incarnation)
            if session is None:
                self._lost(to, sender, envelope, "its node has started anew")
            else:
                route.envelopes += 1
                session.send(envelope)
        elif to.is_address:
            dial = self._dial(to.node)
            if len(dial.queue) < SESSION_QUEUE_ENVELOPES:
                dial.queue.append((to, sender, envelope))
            else:
                self._lost(to, sender, envelope, "too many messages wait for this address")
        else:
            self._lost(to, sender, envelope, NOT_CONNECTED)

    def link(self, watcher: Watcher) -> None:
        """Watch an actor of another node; Exited comes at once when that cannot be."""
        to = watcher.linked
        route = self.routes.get(to.node)
        session = route.to(to.incarnation) if route is not None else None
        if session is not None:
            self._node.links.through(session, watcher)
        elif route is None and to.is_address:
            self._dial(to.node).links.append(watcher)
        else:
            self._node.links.tell(watcher, NOT_CONNECTED)

    def is_same_node(self, one: str, other: str) -> bool:
        """Whether `one`, a node's id or an address that was dialled, is the node `other`."""
        dial = self._dials.get(one)
        return one == other or (dial is not None and dial.node == other)

    def _lost(self, to: PID, sender: PID, posted: Posted, reason: str) -> None:
        """An envelope of ours goes nowhere: a dead letter, and no answer to an ask."""
        envelope = as_envelope(posted)
        delivery = (
            envelope.body,
            sender,
            envelope.trace,
            envelope.span,
            envelope.parent,
            envelope.answers,
            self._node.now(),
        )
        self._node.dead_letter(delivery, to, reason)

    # Dialling -------------------------------------------------------------------------------------------------------

    def _dial(self, address: str) -> Dial:
        """The dial of an address, begun if it is not under way."""
        dial = self._dials.get(address)
        if dial is None:
            dial = self._dials[address] = Dial()
        if dial.session is None and not dial.dialling and dial.timer is None:
            self._begin(address, dial)
        return dial

    def _begin(self, address: str, dial: Dial) -> None:
        dial.timer = None
        dial.dialling = True
        try:
            self._transport.dial(address)
        except TransportError as error:
            reason = str(error)
            self._node.clock.call_soon(lambda: self.unreachable(address, reason))

    def unreachable(self, address: str, reason: str) -> None:
        """A dial failed: what waited for it is lost, and the next dial waits a while."""
        dial = self._dials.get(address)
        if dial is None or dial.session is not None:
            return
        dial.dialling = False
        queue, dial.queue = dial.queue, deque()
        links, dial.links = dial.links, []
        self._pause(address, dial)
        for to, sender, envelope in queue:
            self._lost(to, sender, envelope, f"unreachable: {reason}")
        for watcher in links:
            self._node.links.tell(watcher, f"unreachable: {reason}")
        self._node.wake()

    def _pause(self, address: str, dial: Dial) -> None:
        """Let a while pass before the next dial, longer each time; dial then only if somebody waits for it."""
        if self._stopped:
            return
        longest = min(DIAL_BACKOFF_SECONDS * 2.0**dial.attempts, DIAL_BACKOFF_MAX_SECONDS)
        delay = self._node.random.uniform(longest / 2, longest)
        dial.attempts += 1

        def again() -> None:
            dial.timer = None
            if dial.queue or dial.links:
                self._begin(address, dial)

        dial.timer = self._node.clock.call_at(self._node.now() + delay, again)

    # What the transport tells (Door) --------------------------------------------------------------------------------

    def opened(self, session: Session) -> None:
        """A session is there: everything that waited for it goes out."""
        self._peers[session] = Peer(session)
        self.routes.setdefault(session.peer.node, Route()).add(session)
        self._keep_pinging()
        dial = self._dials.get(session.address) if session.address else None
        if dial is not None:
            route = self.routes.setdefault(session.address, Route())
            route.add(session)
            dial.session = session
            dial.node = session.peer.node
            dial.dialling = False
            dial.attempts = 0
            links, dial.links = dial.links, []
            for watcher in links:
                self._node.links.through(session, watcher)
            queue, dial.queue = dial.queue, deque()
            for _, _, envelope in queue:
                route.envelopes += 1
                session.send(envelope)
        self._node.log.debug("session with %s opened", session.peer.node)

    def received(self, frames: Sequence[Arrived]) -> None:
        """Put what came into mailboxes. What is read in one go has one time of arrival."""
        node = self._node
        cells, peers = node.cells, self._peers
        now = node.now()
        count = weight = 0
        queue: deque[Delivery] | None = None  # of the actor `receiver`, while it takes what comes
        receiver, bound = "", 0
        for session, envelopes, size_bytes in frames:
            peer = peers.get(session)
            if peer is None:
                continue
            peer.heard = True
            count += len(envelopes)
            weight += size_bytes
            sender = peer.last
            known = sender.name
            for envelope in envelopes:
                name, to = envelope.sender, envelope.to
                if name != known:
                    sender, known = self._sender(peer, name), name
                if to != receiver:
                    receiver, queue = to, None
                    cell = cells.get(to)
                    if cell is not None and not cell.crashes:
                        queue, bound = cell.queue, cell.bound
                        if not cell.scheduled and not cell.ended:
                            cell.scheduled = True
                            node.run_queue.append(cell)
                body = envelope.body
                delivery = (body, sender, envelope.trace, envelope.span, envelope.parent, envelope.answers, now)
                if queue is not None and len(queue) < bound:
                    queue.append(delivery)
                elif to == NODE_ACTOR:
                    self._control(session, body)
                else:
                    node.deliver(PID(to, self.identity.node, self.identity.incarnation), delivery)
        self.envelopes_in += count
        if node.recorder is not None:
            node.recorder.weigh(weight)
        if not self._drains:
            node.wake()

    def drained(self) -> None:
        """Handle what has come, in the same turn of the loop."""
        if self._node.run_queue:
            self._node.run_turns()

    def _sender(self, peer: Peer, name: str) -> PID:
        """The pid of a peer's actor, remembered: its node is the session's, whatever the peer says."""
        pid = peer.pids.get(name)
        if pid is None:
            pid = PID(name, peer.session.peer.node, peer.session.peer.incarnation)
            if len(peer.pids) >= SESSION_QUEUE_ENVELOPES:
                peer.pids.clear()
            peer.pids[name] = pid
        peer.last = pid
        return pid

    def closed(self, session: Session, reason: str) -> None:
        """A session is over: links break, asks that wait for its node fail."""
        if self._peers.pop(session, None) is None:
            return
        reason = f"session lost: {reason}"
        peer, address = session.peer, session.address
        another = self._leave(peer.node, session)
        dial = self._dials.get(address) if address else None
        if dial is not None and dial.session is session:
            self._leave(address, session)
            dial.session = None
            self._pause(address, dial)
        self._node.log.debug("session with %s closed: %s", peer.node, reason)
        self._node.links.session_closed(session, reason)
        named = (peer.incarnation,) if another else (peer.incarnation, 0)
        alive = another and self.routes[peer.node].to(peer.incarnation) is not None
        self._node.turns.fail_asks(
            lambda to: (to.node == peer.node and not alive and to.incarnation in named) or to.node == address, reason
        )
        self._node.wake()

    def _leave(self, destination: str, session: Session) -> bool:
        """A session no longer leads there; whether another does."""
        route = self.routes.get(destination)
        if route is None:
            return False
        if route.remove(session):
            return True
        self._sent_before += route.envelopes
        del self.routes[destination]
        return False

    def undeliverable(self, session: Session, envelope: Envelope, reason: str) -> None:
        """The transport could not send an envelope of ours. Without words between nodes a session is worth nothing."""
        if envelope.to == NODE_ACTOR:
            session.close(f"a message between nodes could not be sent: {reason}")
            return
        sender = PID(envelope.sender, self.identity.node, self.identity.incarnation)
        to = PID(envelope.to, session.peer.node, session.peer.incarnation)
        self._lost(to, sender, envelope, f"undeliverable: {reason}")
        self._node.wake()

    def unconfirmed(self, session: Session, count: int) -> None:
        """A session ended with envelopes of ours on their way: nobody knows what became of them."""
        self._node.dead_letters["unconfirmed"] += count
        self._node.log.debug("%d messages to %s may not have arrived: their session is over", count, session.peer.node)

    def refused(self, reason: str, peer: str, detail: str) -> None:
        """The transport turned input away."""
        self._node.refused(reason, peer, detail)

    # Node to node ---------------------------------------------------------------------------------------------------

    def _control(self, session: Session, message: Message) -> None:
        """A message to this node itself."""
        if isinstance(message, NodePing):
            self._say(session, NodePong())
        elif isinstance(message, NodeLink):
            self._node.links.asked(session, message)
        elif isinstance(message, NodeExited):
            self._node.links.told(session, message)
        elif not isinstance(message, (NodePong, Busy, AskFailed)):
            self._node.refused("unknown_type", session.peer.node, f"{type(message).__name__} is nothing for a node")

    def _say(self, session: Session, message: Message) -> None:
        span = self._node.turns.new_span()
        session.send(Envelope(NODE_ACTOR, NODE_ACTOR, span, span, 0, message))

    def answer(self, to: PID, sender: PID, envelope: Envelope) -> None:
        """Send something that the runtime itself says (Busy, AskFailed) to an actor elsewhere, if it can be reached."""
        if to.node in self.routes:
            self.send(to, sender, envelope)

    def _keep_pinging(self) -> None:
        if self._ping_timer is None and not self._stopped:
            self._ping_timer = self._node.clock.call_at(self._node.now() + PING_INTERVAL_SECONDS, self._ping_all)

    def _ping_all(self) -> None:
        """Ping every session that was silent; close those that have been for too long."""
        self._ping_timer = None
        for peer in list(self._peers.values()):
            if peer.heard:
                peer.heard = False
                peer.misses = 0
                continue
            peer.misses += 1
            if peer.misses > PING_MISSES:
                silence = peer.misses * PING_INTERVAL_SECONDS
                peer.session.close(f"no answer for {silence:.0f} s")
            else:
                self._say(peer.session, NodePing())
        if self._peers:
            self._keep_pinging()
        self._node.wake()

    def stop(self) -> None:
        """Dial and ping no more."""
        self._stopped = True
        if self._ping_timer is not None:
            self._ping_timer.cancel()
            self._ping_timer = None
        for dial in self._dials.values():
            if dial.timer is not None:
                dial.timer.cancel()
