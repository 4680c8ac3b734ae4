"""The test kit, for Kaon's own actors and for those of framework authors.

One turn, without a node::

    effects = turn(actor, PingTimedOut(agent_id="a1"), now=75.0)
    assert effects == [Send(REGISTRAR, MarkUnreachable(agent_id="a1"))]

A world of nodes on a virtual clock, with messages intercepted on their way::

    world = World(seed=7)
    node = world.node("m1", listen="simulated://m1")
    with world.drop(RegisterAgent, to="master") as lost:
        world.run(seconds=1)
    assert len(lost) == 1
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from runtime.actor import Actor
from runtime.clock import VirtualClock
from runtime.effects import Effect, Send
from runtime.faults import DROP, PASS, Parcel, Verdict
from runtime.journal_memory import MemoryJournalStore
from runtime.message import Message
from runtime.node import Node
from runtime.pid import PID
from runtime.tracing.recorder import FlightRecorder
from runtime.transport.memory import MemoryTransport
from runtime.transport.simulated import SimulatedNetwork

SENDER = PID("sender", "test")
"""Who sends in a test that does not say."""


def make(actor_class: type[Actor[Any]], state: msgspec.Struct, name: str = "actor", seed: str = "test") -> Any:
    """An actor outside any node, ready for `turn`."""
    return actor_class(state, PID(name, "test", 1), seed)


def start(actor: Actor[Any], *, now: float = 0.0) -> list[Effect]:
    """Run an actor's first turn; returns its effects."""
    actor.now = now
    actor.started()
    return _take(actor)


def turn(
    actor: Actor[Any],
    message: Message,
    *,
    sender: PID = SENDER,
    now: float = 0.0,
    span: int = 1,
) -> list[Effect]:
    """Run one turn of an actor and return its effects. What the handler raises comes through.

    now   time of the turn, seconds
    span  of the message: what the Request of a Reply names
    """
    actor.now = now
    actor._delivery = (message, sender, span, span, 0, 0, now)
    handler = type(actor).handlers.get(type(message))
    if handler is None:
        actor.unhandled(sender, message)
    else:
        handler(actor, sender, message)
    return _take(actor)


def answer(actor: Actor[Any], then: str, reply: Message, context: Any, *, now: float = 0.0) -> list[Effect]:
    """Go on with an ask: run the method that it named, with `reply` (or AskFailed); returns the effects."""
    actor.now = now
    actor._delivery = (reply, SENDER, 1, 1, 0, 1, now)
    getattr(actor, then)(SENDER, reply, context)
    return _take(actor)


def sent(effects: Sequence[Effect], message_type: type[Message]) -> list[Any]:
    """The messages of one type that these effects send, in order."""
    return [effect.message for effect in effects if isinstance(effect, Send) and type(effect.message) is message_type]


def _take(actor: Actor[Any]) -> list[Effect]:
    effects, actor._outbox = actor._outbox, []
    return effects


class Probe(Actor[msgspec.Struct]):
    """An actor that keeps whatever it gets; `World.probe` makes it."""

    received: list[tuple[PID, Message]]

    def unhandled(self, sender: PID, message: Message) -> None:
        """Keep the message."""
        self.received.append((sender, message))

    def __init__(self, state: msgspec.Struct, pid: PID, seed: str) -> None:
        """Nothing received yet."""
        super().__init__(state, pid, seed)
        self.received = []


class World:
    """Nodes on one virtual clock and one simulated network: the same seed gives the same history."""

    def __init__(self, seed: int = 0, start: float = 1_000_000.0) -> None:
        """`start` is the first virtual time, in seconds since the epoch."""
        self.seed = seed
        self.clock = VirtualClock(start)
        self.network = SimulatedNetwork(self.clock)
        self.nodes: dict[str, Node] = {}
        self.disks: dict[str, MemoryJournalStore] = {}
        self._lives = 0

    def node(self, node_id: str, listen: str = "") -> Node:
        """Start a node; starting one of the same id again gives it a new incarnation and its old disk."""
        self._lives += 1
        disk = self.disks.setdefault(node_id, MemoryJournalStore(self.clock))
        node = Node(
            node_id,
            MemoryTransport(self.network),
            self.clock,
            seed=str(self.seed),
            incarnation=self._lives,
            journals=disk,
            recorder=FlightRecorder(),
        )
        self.nodes[node_id] = node
        if listen:
            node.listen(listen)
        return node

    def crash(self, node_id: str) -> None:
        """End a node as kill -9 does: its peers see the connections break, its unwritten records are gone."""
        node = self.nodes.pop(node_id)
        node.kill()
        self.disks[node_id].crash()
        self.network.crash(node_id)

    def probe(self, node: Node, name: str = "probe") -> Probe:
        """An actor on `node` that keeps what it gets."""
        node.spawn(Probe, name, msgspec.Struct())
        actor = node.cells[name].actor
        assert isinstance(actor, Probe)
        return actor

    def settle(self) -> None:
        """Run everything that is due now, without letting time pass."""
        self.clock.settle()

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.clock.advance(seconds)

    @contextmanager
    def drop(
        self, message_type: type[Message], *, to: str = "", sender: str = "", count: int | None = None
    ) -> Iterator[list[Message]]:
        """Lose messages of one type on the network, the first `count` of them or all; yields the list of those lost."""
        lost: list[Message] = []

        def rule(parcel: Parcel) -> Verdict:
            envelope = parcel.envelope
            if type(envelope.body) is not message_type or (count is not None and len(lost) >= count):
                return PASS
            if (to and envelope.to != to) or (sender and envelope.sender != sender):
                return PASS
            lost.append(envelope.body)
            return DROP

        remove = self.network.faults.add(rule)
        try:
            yield lost
        finally:
            remove()
