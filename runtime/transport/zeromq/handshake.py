"""What two ends of a connection say before and after everything else: Hello, Welcome or Refused; Goodbye, Farewell.

::

    dialling end                      listening end
      Hello            ->                              once, first
                       <-             Welcome          the session is open at both ends
                       <-             Refused          or it never will be; the dialling end hangs up
      Goodbye          <->            Goodbye          nothing more follows from this end
      Farewell         <->            Farewell         the answer: everything before the Goodbye has arrived

      Mark             <->            Mark             in between: say when everything before this has arrived
      Marked           <->            Marked           the answer

Each travels in a frame of its own, to the node itself, and never reaches the node: the transport keeps them.
"""

from __future__ import annotations

from typing import ClassVar, Final

from runtime.codec import Codec, only, without
from runtime.constants import PROTOCOL_VERSION
from runtime.errors import InvalidMessage
from runtime.message import Message, Overflow
from runtime.pid import NODE_ACTOR, is_node_id
from runtime.transport.admission import Unacceptable
from runtime.transport.protocol import Envelope, Identity

HANDSHAKE_BYTES: Final = 4096
"""Largest frame that a peer may send before it is known."""

ROUTING_ID_BYTES: Final = 16
"""A dialling end names its connection with so many random bytes: see `listener`."""

INCARNATIONS: Final = range(1, 2**63)


class Handshake(Message, frozen=True, kw_only=True, tag="node.{}".format):
    """Base of the messages between two transports."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class Hello(Handshake, frozen=True, kw_only=True):
    """Dialling end: who I am, and which version of the session protocol I speak."""

    version: int
    node: str
    incarnation: int


class Welcome(Handshake, frozen=True, kw_only=True):
    """Listening end: who I am; the session is open."""

    version: int
    node: str
    incarnation: int


class Refused(Handshake, frozen=True, kw_only=True):
    """Listening end: there will be no session. `reason` is one of `constants.REFUSALS`, `detail` says what to do."""

    reason: str
    detail: str


class Goodbye(Handshake, frozen=True, kw_only=True):
    """Either end: nothing follows; everything sent before this has been written.

    listening  until Farewell: what the other end has on its way still arrives
    """

    reason: str
    listening: bool = False


class Farewell(Handshake, frozen=True, kw_only=True):
    """Either end: your Goodbye and everything before it has arrived, and nothing follows from here either."""


class Mark(Handshake, frozen=True, kw_only=True):
    """Either end, in the middle of a session, once a second at most: let me know when this has arrived."""

    number: int


class Marked(Handshake, frozen=True, kw_only=True):
    """Either end: everything up to that Mark has arrived."""

    number: int


HANDSHAKES: Final = (Hello, Welcome, Refused, Goodbye, Farewell, Mark, Marked)

_codec: Final = Codec(only(HANDSHAKES))


def session_codec() -> Codec:
    """A codec for open sessions: to it a handshake is an unknown type, so that the hot path need not look for them.

    So is a message that only actors of one node may send one another (`Message.local`).
    """
    types = without(*HANDSHAKES)
    return Codec(lambda: {tag: cls for tag, cls in types().items() if not cls.local})


def encode(message: Handshake) -> bytes:
    """The frame of a handshake message."""
    return _codec.encode([(NODE_ACTOR, NODE_ACTOR, 0, 0, 0, message)])


def decode(frame: bytes) -> Handshake | None:
    """The handshake message of a frame; None if the frame is anything else."""
    if len(frame) > HANDSHAKE_BYTES:
        return None
    try:
        envelopes: list[Envelope] = _codec.decode(frame)
    except InvalidMessage:
        return None
    if len(envelopes) != 1 or envelopes[0].to != NODE_ACTOR:
        return None
    body = envelopes[0].body
    assert isinstance(body, Handshake)
    return body


def hello(identity: Identity) -> bytes:
    """The frame that opens a session."""
    return encode(Hello(version=PROTOCOL_VERSION, node=identity.node, incarnation=identity.incarnation))


def welcome(identity: Identity) -> bytes:
    """The frame that answers it."""
    return encode(Welcome(version=PROTOCOL_VERSION, node=identity.node, incarnation=identity.incarnation))


def check(greeting: Hello | Welcome) -> Identity | Unacceptable:
    """Who a peer says it is, if it speaks our version and its id is one."""
    if greeting.version != PROTOCOL_VERSION:
        return Unacceptable(
            "wrong_version",
            f"session protocol {greeting.version}, this node speaks {PROTOCOL_VERSION}: upgrade the older of the two",
        )
    if not is_node_id(greeting.node) or greeting.incarnation not in INCARNATIONS:
        return Unacceptable("wrong_fields", "a node has an id of letters, digits, '_', '.', '-' and an incarnation")
    return Identity(greeting.node, greeting.incarnation)
