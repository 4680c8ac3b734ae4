"""What every transport promises, whatever carries the bytes.

A transport joins nodes by sessions. A session is one connection between one incarnation of a node and one of another;
it delivers envelopes in order, none twice, and ends once. After its end nothing more comes from it. Which actors exist
is no business of a transport: it hands what arrives to its :class:`Door` and the node behind it decides.

The promises, checked by one contract suite for all transports:

* order per session, no duplicates, at most once;
* a session is bound to node id and incarnation of both ends: what was queued for one life never reaches the next;
* an envelope of more than `MAX_MESSAGE_BYTES` is not sent, and the door is told so;
* `closed` comes once per opened session, after the last `received` of it;
* peers that are killed, stopped or half-open are noticed: killed ones within a second;
* a slow peer holds up no other; what it cannot take is bounded, then refused to the sender as undeliverable;
* what is neither delivered nor undeliverable when a session ends is counted as unconfirmed;
* `close(linger)` delivers what was sent to live peers within `linger` seconds, reports the rest; twice is once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from runtime.message import Message


class Identity(msgspec.Struct, frozen=True, gc=False):
    """Who a node is in its sessions.

    node         its id
    incarnation  random and never 0: drawn at each start of the process
    """

    node: str
    incarnation: int


class Envelope(msgspec.Struct, array_like=True, gc=False):
    """One message on the wire: ``[to, sender, trace, span, parent, body]``, and ``answers`` behind it in an answer.

    to       name of the receiving actor on the peer; empty for the node itself
    sender   name of the sending actor; its node is the session's, so that it cannot be forged
    trace    id of the chain of causes that the message belongs to: the span of the chain's first message
    span     id of this message: odd when it asks for an answer, so that whoever cannot deliver it says so
    parent   span of the message whose turn sent it; 0 for the first of a chain
    body     the message
    answers  span of the ask that this answers; 0 if none
    """

    to: str
    sender: str
    trace: int
    span: int
    parent: int
    body: Message
    answers: int = 0


Posted: TypeAlias = Envelope | tuple[str, str, int, int, int, Message]
"""What may be queued: an envelope, or its first six fields as a plain tuple, which is cheaper to make and to encode."""


class Session(Protocol):
    """One end of a connection. Attributes are fixed from `opened` on.

    peer       id and incarnation of the node at the other end
    address    that was dialled; empty at the end that was
    principal  who the peer proved to be; empty where nothing proves it (memory, simulated, insecure)
    """

    peer: Identity
    address: str
    principal: str

    def send(self, envelope: Posted) -> None:
        """Queue an envelope; what is queued within one loop turn travels together.

        Never raises and never blocks: what cannot be sent goes to `Door.undeliverable`.
        """

    def close(self, reason: str) -> None:
        """End the session: `Door.closed` follows at this end, and at the other as soon as it notices. Twice is once."""


Arrived: TypeAlias = tuple[Session, list[Envelope], int]
"""A frame that came: its session, its envelopes in order, its size in bytes."""


class Door(Protocol):
    """The node, as its transport sees it. All calls come on the node's own thread, never from within `send`."""

    identity: Identity

    def opened(self, session: Session) -> None:
        """Both ends have said who they are."""

    def received(self, frames: Sequence[Arrived]) -> None:
        """These frames came, in order; many at once cost less than one by one. The sequence is still the caller's."""

    def drained(self) -> None:
        """A burst of `received` calls is over: a good moment to handle what came. See `Transport.drains`."""

    def closed(self, session: Session, reason: str) -> None:
        """The session is over: nothing more comes from it."""

    def undeliverable(self, session: Session, envelope: Envelope, reason: str) -> None:
        """A queued envelope will not reach the peer: too large, a full queue, or a session that ended first."""

    def unconfirmed(self, session: Session, count: int) -> None:
        """A session ended, and the peer had not confirmed so many envelopes: they may have arrived or not."""

    def unreachable(self, address: str, reason: str) -> None:
        """A dial ended without a session: nobody there, refused, no answer in time."""

    def refused(self, reason: str, peer: str, detail: str) -> None:
        """Bad input was turned away; counted by `reason` (one of `constants.REFUSALS`), logged at a bounded rate."""


class Transport(Protocol):
    """Opens and accepts sessions for one node.

    drains  whether it calls `Door.drained` after each burst; if not, a node handles what came in a later loop turn
    """

    drains: bool

    def start(self, door: Door) -> None:
        """Tell the transport whom it serves; once, before anything else."""

    def listen(self, address: str) -> str:
        """Accept sessions at `address`; returns it with the port filled in. Raises `TransportError`."""

    def dial(self, address: str) -> None:
        """Open one session to `address`: `opened` or `unreachable` follows. Dialling again while one is under way or
        open does nothing. Raises `TransportError` for an address that it cannot read."""

    async def close(self, linger_seconds: float) -> None:
        """End every session after sending what is queued, at most `linger_seconds` for it."""
