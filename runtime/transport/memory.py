"""Sessions between nodes of one process: addresses are ``memory://name``, and a frame arrives one loop turn later.

Messages are passed on as they are; they are encoded all the same, so that what is too large, or no message at all, is
found here as it would be on a wire.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from runtime.clock import Clock
from runtime.codec import Codec, as_envelope
from runtime.constants import COALESCED_ENVELOPES, SESSION_QUEUE_ENVELOPES
from runtime.errors import TransportError
from runtime.transport.admission import Admission
from runtime.transport.calls import Calls
from runtime.transport.protocol import Door, Envelope, Identity, Posted

LOST: Final = "connection lost"


class Network:
    """What joins the nodes: who listens where, and how things travel.

    clock  of all nodes; `RealClock` for real ones, `VirtualClock` in a simulation
    """

    scheme = "memory"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.codec = Codec()
        self.transports: list[MemoryTransport] = []
        """Of the nodes that live, in the order of their start."""
        self._listening: dict[str, MemoryTransport] = {}

    def bind(self, address: str, transport: MemoryTransport) -> None:
        """Accept dials to `address`. Raises :class:`TransportError` when somebody does already."""
        self.check(address)
        if address in self._listening:
            raise TransportError(f"cannot listen at {address}: another node listens there")
        self._listening[address] = transport

    def unbind(self, transport: MemoryTransport) -> None:
        """Accept no more dials for this node."""
        self._listening = {address: other for address, other in self._listening.items() if other is not transport}

    def check(self, address: str) -> None:
        """Raises :class:`TransportError` for an address that is none of this network's."""
        scheme, separator, name = address.partition("://")
        if scheme != self.scheme or not separator or not name:
            raise TransportError(f"{address!r} is no address here: write {self.scheme}://name")

    def listener(self, address: str) -> MemoryTransport | None:
        """Who listens there."""
        return self._listening.get(address)

    def dial(self, attempt: Attempt) -> None:
        """Bring a Hello to whoever listens at the address."""
        self.clock.call_soon(lambda: self.connect(attempt))

    def connect(self, attempt: Attempt) -> None:
        """A Hello arrives."""
        listener = self.listener(attempt.address)
        if listener is None:
            attempt.caller.failed(attempt, f"nobody listens at {attempt.address}")
        else:
            listener.greet(attempt)

    def carry(self, origin: MemorySession, envelopes: list[Envelope], size_bytes: int) -> None:
        """Bring a frame to the other end. What one end sends arrives in the order of sending."""
        self.clock.call_soon(lambda: origin.other.arrive(envelopes, size_bytes))

    def tell(self, origin: MemorySession, arrive: Callable[[], None]) -> None:
        """Call `arrive` when a word about the session has reached the other end, behind what was sent before."""
        self.clock.call_soon(arrive)

    def reaches(self, origin: MemorySession) -> bool:
        """Whether the other end can be reached at present."""
        return True

    def ended(self, session: MemorySession) -> None:
        """A session is over at one end."""


class Attempt:
    """A dial that has not been answered."""

    def __init__(self, caller: MemoryTransport, address: str) -> None:
        self.caller = caller
        self.address = address


class MemorySession:
    """One end of a session within the process: see :class:`runtime.transport.protocol.Session`."""

    def __init__(self, transport: MemoryTransport, peer: Identity, address: str) -> None:
        self.peer = peer
        self.address = address
        self.principal = ""
        self.transport = transport
        self.over = False
        self.other: MemorySession
        self._network = transport.network
        self._queue: list[Posted] = []
        self._due = False

    def __repr__(self) -> str:
        return f"<session of {self.transport.door.identity.node} with {self.peer.node}>"

    def send(self, envelope: Posted) -> None:
        """Queue an envelope; what is queued in one turn travels together."""
        if self.over or len(self._queue) >= SESSION_QUEUE_ENVELOPES:
            reason = "the session is over" if self.over else f"{len(self._queue)} envelopes wait for {self.peer.node}"
            self._undeliverable([envelope], reason)
            return
        self._queue.append(envelope)
        if not self._due:
            self._due = True
            self._network.clock.call_soon(self.flush)

    def flush(self) -> None:
        """Send what is queued; it stays while the other end is out of reach."""
        if not self._network.reaches(self):
            return
        self._due = False
        while self._queue:
            chunk = self._queue[:COALESCED_ENVELOPES]
            frame = self._network.codec.pack(chunk)
            del self._queue[: len(frame.envelopes) + len(frame.unfit)]
            for posted, reason in frame.unfit:
                self._undeliverable([posted], reason)
            if frame.data:
                self._network.carry(self, [as_envelope(posted) for posted in frame.envelopes], len(frame.data))

    def arrive(self, envelopes: list[Envelope], size_bytes: int) -> None:
        """A frame has come to this end."""
        if self.over:
            self.other.transport.door.unconfirmed(self.other, len(envelopes))
        else:
            self.transport.door.received(((self, envelopes, size_bytes),))

    def _undeliverable(self, rest: Sequence[Posted], reason: str) -> None:
        for posted in rest:
            self.transport.later(self.transport.door.undeliverable, self, as_envelope(posted), reason)

    def close(self, reason: str) -> None:
        """End it: the peer gets what is queued, and then hears of it."""
        if self.over:
            return
        self.flush()
        other = self.other
        self._network.tell(self, lambda: other.end(f"closed by the peer: {reason}"))
        self.end(reason)

    def end(self, reason: str) -> None:
        """It is over at this end."""
        if self.over:
            return
        self.over = True
        rest, self._queue = self._queue, []
        self._undeliverable(rest, f"session over: {reason}")
        self.transport.forget(self)
        self._network.ended(self)
        self.transport.later(self.transport.door.closed, self, reason)


class MemoryTransport:
    """Implements :class:`runtime.transport.protocol.Transport` for one node of a :class:`Network`."""

    drains = False

    def __init__(self, network: Network) -> None:
        self.network = network
        calls = Calls(network.clock.call_soon)
        self.later, self._settle = calls.later, calls.settle
        self.door: Door
        self._admission: Admission[MemorySession]
        self._dialled: dict[str, MemorySession | Attempt] = {}
        self._closing = False

    def start(self, door: Door) -> None:
        """Serve `door`."""
        self.door = door
        self.network.transports.append(self)
        self._admission = Admission(door.identity, lambda principal, node_id: True)

    def listen(self, address: str) -> str:
        """Accept sessions at `address`."""
        self.network.bind(address, self)
        return address

    def dial(self, address: str) -> None:
        """Open one session to `address`."""
        self.network.check(address)
        if self._closing:
            self.later(self.door.unreachable, address, "this node is closing")
        elif address not in self._dialled:
            attempt = self._dialled[address] = Attempt(self, address)
            self.network.dial(attempt)

    def failed(self, attempt: Attempt, reason: str) -> None:
        """A dial has come to nothing."""
        if self._dialled.get(attempt.address) is attempt:
            del self._dialled[attempt.address]
            self.door.unreachable(attempt.address, reason)

    def greet(self, attempt: Attempt) -> None:
        """A Hello has come: open a session, or say why not."""
        caller = attempt.caller
        objection = self._admission.judge(caller.door.identity, "")
        if objection is not None:
            self.door.refused(objection.reason, caller.door.identity.node, objection.detail)
            caller.failed(attempt, f"refused as {objection.reason}: {objection.detail}")
            return
        here = MemorySession(self, caller.door.identity, "")
        there = MemorySession(caller, self.door.identity, attempt.address)
        here.other, there.other = there, here
        self._admission.admit(here)
        self.network.tell(here, lambda: caller.welcomed(attempt, there))
        self._settle()  # the end of a session that this one supersedes
        self.door.opened(here)

    def welcomed(self, attempt: Attempt, session: MemorySession) -> None:
        """The other end has opened a session."""
        if self._dialled.get(attempt.address) is not attempt:
            session.other.end(LOST)
            session.over = True
            return
        self._dialled[attempt.address] = session
        self._settle()
        self.door.opened(session)

    def forget(self, session: MemorySession) -> None:
        """A session is over."""
        self._admission.forget(session)
        if self._dialled.get(session.address) is session:
            del self._dialled[session.address]

    def sessions(self) -> list[MemorySession]:
        """Every session that is open."""
        dialled = [session for session in self._dialled.values() if isinstance(session, MemorySession)]
        return [*self._admission.sessions(), *dialled]

    async def close(self, linger_seconds: float) -> None:
        """End every session. What is queued is on its way when this returns; what cannot be is reported."""
        if self._closing:
            return
        self._closing = True
        self.network.unbind(self)
        for attempt in tuple(self._dialled.values()):
            if isinstance(attempt, Attempt):
                self.failed(attempt, "this node is closing")
        for session in self.sessions():
            session.close("the node is closing")
        self._settle()
        self.network.transports.remove(self)

    def vanish(self) -> None:
        """Be gone without a word, as a killed process is."""
        self._closing = True
        self.network.unbind(self)
        self.network.transports.remove(self)
        for session in self.sessions():
            session.over = True
            self.network.ended(session)
        self._dialled.clear()
