"""Sessions over a simulated network: addresses are ``simulated://name``, time is virtual, faults are by order.

A network that fails behaves as TCP does. What is sent into a partition is not lost but waits, and arrives if the
partition heals in time; if not, each end closes the session when it has heard nothing for too long. What arrives
within one session arrives in order, whatever the latencies.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from runtime.clock import Clock
from runtime.constants import HANDSHAKE_TIMEOUT_SECONDS, HEARTBEAT_TIMEOUT_MS
from runtime.faults import Delay, Drop, Faults, Parcel
from runtime.transport.memory import LOST, Attempt, MemorySession, Network
from runtime.transport.protocol import Envelope

Latency = Callable[[str, str], float]
"""Seconds from one node to another, by their ids; may draw them from a seeded `random.Random`."""

SILENCE_SECONDS: Final = HEARTBEAT_TIMEOUT_MS / 1000


def no_latency(sender: str, receiver: str) -> float:
    """Everything arrives at the time it is sent, after what is due already."""
    return 0.0


class _Way:
    """One direction of a session: what waits for a partition to heal, and when the last of what travels arrives."""

    __slots__ = ("last", "receiver", "sender", "waiting")

    def __init__(self, sender: str, receiver: str) -> None:
        self.sender = sender
        self.receiver = receiver
        self.last = 0.0
        self.waiting: deque[tuple[float, Callable[[], None]]] = deque()


def _ends(origin: MemorySession) -> tuple[str, str]:
    return origin.transport.door.identity.node, origin.peer.node


class SimulatedNetwork(Network):
    """A network with latency and faults, on a virtual clock.

    faults  rules for envelopes and partitions; change partitions through this network, which tells the sessions
    """

    scheme = "simulated"

    def __init__(self, clock: Clock, latency: Latency = no_latency, faults: Faults | None = None) -> None:
        super().__init__(clock)
        self.faults = faults or Faults()
        self._latency = latency
        self._ways: dict[MemorySession, _Way] = {}

    # Travel ----------------------------------------------------------------------------------------------------------

    def dial(self, attempt: Attempt) -> None:
        """Bring a Hello to whoever listens at the address; the caller waits for an answer only so long."""
        here = attempt.caller.door.identity.node
        listener = self.listener(attempt.address)
        there = listener.door.identity.node if listener is not None else attempt.address
        if not self.faults.is_cut(here, there) and not self.faults.is_cut(there, here):
            self._in(self._latency(here, there), lambda: self.connect(attempt))
        reason = f"no answer within {HANDSHAKE_TIMEOUT_SECONDS:g} seconds"
        self._in(HANDSHAKE_TIMEOUT_SECONDS, lambda: attempt.caller.failed(attempt, reason))

    def carry(self, origin: MemorySession, envelopes: list[Envelope], size_bytes: int) -> None:
        """Send a frame on its way, or what the fault rules leave of it."""
        extra_seconds = 0.0
        if self.faults.rules:
            envelopes, extra_seconds = self._judge(origin, envelopes)
        if envelopes:
            self._send(origin, extra_seconds, lambda: origin.other.arrive(envelopes, size_bytes))

    def tell(self, origin: MemorySession, arrive: Callable[[], None]) -> None:
        """Send a word about the session on its way; rules do not apply to it, partitions do."""
        self._send(origin, 0.0, arrive)

    def _judge(self, origin: MemorySession, envelopes: list[Envelope]) -> tuple[list[Envelope], float]:
        sender, receiver = _ends(origin)
        left: list[Envelope] = []
        extra_seconds = 0.0
        for envelope in envelopes:
            verdict = self.faults.verdict(Parcel(sender, receiver, envelope, self.clock.now()))
            if isinstance(verdict, Delay):
                extra_seconds = max(extra_seconds, verdict.seconds)
            if not isinstance(verdict, Drop):
                left.append(envelope)
        return left, extra_seconds

    def _send(self, origin: MemorySession, extra_seconds: float, arrive: Callable[[], None]) -> None:
        way = self._ways.get(origin)
        if way is None:
            way = self._ways[origin] = _Way(*_ends(origin))
        if not self.faults.cuts and not way.waiting:
            self._leave(way, extra_seconds, arrive)
            return
        way.waiting.append((extra_seconds, arrive))
        if not self.faults.is_cut(way.sender, way.receiver):
            self._release(way)

    def _release(self, way: _Way) -> None:
        while way.waiting:
            self._leave(way, *way.waiting.popleft())

    def _leave(self, way: _Way, extra_seconds: float, arrive: Callable[[], None]) -> None:
        """Be on the way, behind what left before."""
        at = self.clock.now() + (self._latency(way.sender, way.receiver) + extra_seconds)
        if at > way.last:
            way.last = at
        self.clock.call_at(way.last, arrive)

    def reaches(self, origin: MemorySession) -> bool:
        """Whether the other end can be reached at present: closing does not wait for a partition to heal."""
        return not self.faults.cuts or not self.faults.is_cut(*_ends(origin))

    def ended(self, session: MemorySession) -> None:
        """A session is over at one end: what it has sent still travels, unless a partition holds it."""
        self._ways.pop(session, None)

    def _in(self, seconds: float, callback: Callable[[], None]) -> None:
        self.clock.call_at(self.clock.now() + seconds, callback)

    # Faults ----------------------------------------------------------------------------------------------------------

    def cut(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        """Let nothing through from these nodes to those, one way; the receivers notice after SILENCE_SECONDS."""
        since = self.clock.now()
        self.faults.cut(senders, receivers, since)
        self._in(SILENCE_SECONDS, self._notice_silence)

    def partition(self, side: Iterable[str], other_side: Iterable[str]) -> None:
        """Let nothing through between the two sides, either way."""
        first, second = tuple(side), tuple(other_side)
        self.cut(first, second)
        self.cut(second, first)

    def heal(self) -> None:
        """Let everything through again, and release what waits."""
        self.faults.heal()
        self._release_all()

    def restore(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        """Take one cut of each of these directions back, and release what waits on those that carry again."""
        self.faults.restore(senders, receivers)
        self._release_all()

    def _release_all(self) -> None:
        for way in tuple(self._ways.values()):
            if not self.faults.is_cut(way.sender, way.receiver):
                self._release(way)
        for session in self._sessions():
            session.flush()

    def break_sessions(self, node: str, other_node: str) -> None:
        """End every session between two nodes, with what is on its way."""
        for session in self._sessions():
            if set(_ends(session)) == {node, other_node}:
                session.end(LOST)

    def crash(self, node: str) -> None:
        """A node's process is killed: it hears nothing more, and its peers get what it has sent and then the end."""
        for transport in tuple(self.transports):
            if transport.door.identity.node == node:
                for session in transport.sessions():
                    self.tell(session, functools.partial(session.other.end, LOST))
                transport.vanish()

    def _notice_silence(self) -> None:
        for session in self._sessions():
            receiver, sender = _ends(session)
            since = self.faults.cut_since(sender, receiver)
            if since is not None and self.clock.now() - since >= SILENCE_SECONDS:
                session.close(f"nothing heard for {SILENCE_SECONDS:g} seconds")

    def _sessions(self) -> list[MemorySession]:
        return [session for transport in self.transports for session in transport.sessions()]
