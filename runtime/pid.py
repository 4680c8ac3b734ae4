"""Addresses of actors: ``name@node``, as libprocess's UPID, plus the incarnation it lacked."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from runtime.errors import InvalidPID

NODE_ACTOR: Final = ""
"""The name under which a node itself is addressed: Hello, Ping and Exited travel to it."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:()/#+=~-]{0,254}")
_NODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_ADDRESS_SCHEMES: Final = ("tcp://", "ipc://", "memory://", "simulated://")


class PID(msgspec.Struct, frozen=True, gc=False, array_like=True, order=True, cache_hash=True):
    """Where an actor is.

    name         of the actor, unique on its node
    node         id of its node, or an address to dial (``tcp://10.0.0.1:5040``): see :meth:`is_address`
    incarnation  of the node: the random number that a node draws at each start. 0 means "whichever lives now";
                 any other value names one life, and a message to a life that is over becomes a dead letter.
    """

    name: str
    node: str
    incarnation: int = 0

    def __str__(self) -> str:
        return f"{self.name}@{self.node}"

    def __deepcopy__(self, memo: object) -> PID:
        return self

    @property
    def is_address(self) -> bool:
        """Whether `node` is an address: the first message to it opens a session, and answers come from the real id."""
        return self.node.startswith(_ADDRESS_SCHEMES)

    @classmethod
    def parse(cls, text: str) -> PID:
        """Read ``name@node``; raises :class:`InvalidPID` that says what is wrong with it."""
        name, at, node = text.partition("@")
        if not at:
            raise InvalidPID(f"{text!r} has no '@': an actor's address is written name@node")
        if not _NAME.fullmatch(name):
            raise InvalidPID(f"{name!r} is no actor name: letters, digits and _.:()/#+=~- (255 at most)")
        if not is_node_id(node) and not node.startswith(_ADDRESS_SCHEMES):
            raise InvalidPID(f"{node!r} is neither a node id nor an address (tcp://host:port or ipc:///path)")
        return cls(name, node)


def is_node_id(text: str) -> bool:
    """Whether `text` may be a node's id: letters, digits, ``_``, ``.`` and ``-``, 128 at most."""
    return _NODE.fullmatch(text) is not None


def is_actor_name(text: str) -> bool:
    """Whether `text` may name an actor."""
    return _NAME.fullmatch(text) is not None
