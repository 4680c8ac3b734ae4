"""Who may be which node: one session for each node id, held by one principal and one incarnation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from runtime.transport.protocol import Identity

MayBe = Callable[[str, str], bool]
"""Whether a principal may be the node of that id: ``may(principal, node_id)``."""

REMEMBERED_LIVES: Final = 10_000
"""Past incarnations kept, of all nodes together; a node restarts now and then, so this is days of them."""


class Unacceptable(msgspec.Struct, frozen=True):
    """Why a peer is turned away: one of `constants.REFUSALS`, and what to do about it."""

    reason: str
    detail: str


class Held(Protocol):
    """What is asked of a session here."""

    peer: Identity
    principal: str

    def close(self, reason: str) -> None:
        """End it."""


S = TypeVar("S", bound=Held)


def principal_owns_node(principal: str, node_id: str) -> bool:
    """The default rule: a principal is the node of its own name, or one whose id begins with that name and a dot."""
    return node_id == principal or node_id.startswith(principal + ".")


class Admission(Generic[S]):
    """Judges every Hello; shared by everything that listens for one node."""

    def __init__(self, identity: Identity, may: MayBe) -> None:
        self._identity = identity
        self._may = may
        self._sessions: dict[str, S] = {}
        self._past: OrderedDict[tuple[str, int], None] = OrderedDict()

    def judge(self, peer: Identity, principal: str) -> Unacceptable | None:
        """Why `principal` cannot be `peer` now; None if it can."""
        if peer.node == self._identity.node:
            return Unacceptable("wrong_principal", f"{peer.node} is this node's own id: give each node another one")
        if not self._may(principal, peer.node):
            return Unacceptable("wrong_principal", f"{principal!r} may not be node {peer.node}")
        held = self._sessions.get(peer.node)
        if held is not None and held.principal != principal:
            return Unacceptable("wrong_principal", f"node {peer.node} is connected as {held.principal!r}")
        if (peer.node, peer.incarnation) in self._past:
            return Unacceptable("superseded", f"node {peer.node} has a newer incarnation: two processes with one id?")
        return None

    def held(self, node_id: str) -> S | None:
        """The session of a node."""
        return self._sessions.get(node_id)

    def admit(self, session: S) -> None:
        """`session` is its node's from now on, and an older one is over."""
        peer = session.peer
        held = self._sessions.pop(peer.node, None)
        if held is not None:
            if held.peer.incarnation != peer.incarnation:
                self._past[peer.node, held.peer.incarnation] = None
                if len(self._past) > REMEMBERED_LIVES:
                    self._past.popitem(last=False)
                held.close(f"superseded by incarnation {peer.incarnation:x} of {peer.node}")
            else:
                held.close(f"superseded by another connection of {peer.node}")
        self._sessions[peer.node] = session

    def forget(self, session: S) -> None:
        """`session` is over."""
        if self._sessions.get(session.peer.node) is session:
            del self._sessions[session.peer.node]

    def sessions(self) -> list[S]:
        """Every accepted session."""
        return list(self._sessions.values())
