"""What caused what: the turns of several nodes, put together to trees, one per trace.

A hop is one message: from the turn that sent it, through the network and the receiver's mailbox, to the end of the turn
that handled it. Along a path the times add up: a hop's network time begins where its parent's turn ended.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from runtime.message import AskFailed, tag_of
from runtime.pid import PID
from runtime.tracing.clocks import Machine, Passage, shifts
from runtime.tracing.records import TurnRecord


class Unseen(msgspec.Struct, frozen=True):
    """A message that a turn sent and whose handling is not among the turns.

    It was lost, is still on its way or waiting, or the receiver's node was not asked or has forgotten.
    """

    effect: str
    to: str
    message_type: str


class Hop(msgspec.Struct, kw_only=True):
    """One message and the turn that handled it. Times in seconds, by the clock of the trace's first node.

    kind     how it came: ``message``, ``answer``, ``timer``, ``work`` (of an edge, outside turns), ``start`` (nothing
             in the trace led to it) or ``runtime`` (the runtime said it: an ask that failed, a full mailbox, an end)
    sent     when the parent's turn ended
    network  from there to the mailbox: also a timer's delay, an edge's work, and what `durable` says
    durable  the parent's turn wrote to its journal: what it sent waited for the disk
    """

    turn: TurnRecord
    kind: str = "start"
    sent: float
    received: float
    started: float
    ended: float
    durable: bool = False
    parent: Hop | None = None
    children: list[Hop] = []
    unseen: list[Unseen] = []

    @property
    def network(self) -> float:
        """Seconds between the sender's turn and the mailbox."""
        return self.received - self.sent

    @property
    def queueing(self) -> float:
        """Seconds in the mailbox."""
        return self.started - self.received

    @property
    def handling(self) -> float:
        """Seconds of the turn."""
        return self.ended - self.started

    @property
    def crosses_nodes(self) -> bool:
        """Whether it came from another node."""
        return self.turn.sender.node != self.turn.actor.node


class Trace(msgspec.Struct, kw_only=True):
    """One chain of causes.

    roots    hops that nothing caused; one, as a rule
    orphans  hops whose cause is not among the turns: forgotten by its node, or not asked for
    shifts   what was added to the clocks of some nodes, in seconds
    """

    trace: int
    roots: list[Hop]
    orphans: list[Hop]
    shifts: dict[Machine, float]

    def hops(self) -> Iterator[Hop]:
        """All hops, a parent before its children, in the order of time otherwise."""
        ready = [(hop.started, hop.turn.span, hop) for hop in (*self.roots, *self.orphans)]
        heapq.heapify(ready)
        while ready:
            _, _, hop = heapq.heappop(ready)
            yield hop
            for child in hop.children:
                heapq.heappush(ready, (max(child.started, hop.started), child.turn.span, child))

    @property
    def began(self) -> float:
        """When its first message came."""
        return min(hop.received for hop in self.hops())

    @property
    def ended(self) -> float:
        """When its last turn ended."""
        return max(hop.ended for hop in self.hops())

    @property
    def nodes(self) -> list[str]:
        """Those that took part, in the order of their first turn."""
        return list(dict.fromkeys(hop.turn.node for hop in self.hops()))


def build(turns: Iterable[TurnRecord]) -> list[Trace]:
    """The traces that these turns belong to, the earliest first. A turn that is there twice counts once."""
    by_trace: dict[int, dict[tuple[str, str, int], TurnRecord]] = {}
    for turn in turns:
        by_trace.setdefault(turn.trace, {})[turn.actor.node, turn.actor.name, turn.span] = turn
    traces = [_build_one(trace, list(found.values())) for trace, found in by_trace.items()]
    return sorted(traces, key=lambda trace: (trace.began, trace.trace))


def in_causal_order(turns: Iterable[TurnRecord]) -> list[TurnRecord]:
    """Turns of several nodes in one order: by time, but never an effect before its cause."""
    hops: list[tuple[float, int, Hop]] = []
    for trace in build(turns):
        placed: dict[int, tuple[float, int]] = {}
        for hop in trace.hops():
            before, above = (hop.started, -1) if hop.parent is None else placed[hop.parent.turn.span]
            placed[hop.turn.span] = at, depth = max(hop.started, before), above + 1
            hops.append((at, depth, hop))
    return [hop.turn for _, _, hop in sorted(hops, key=lambda each: each[:2])]


def _build_one(trace: int, turns: list[TurnRecord]) -> Trace:
    turns.sort(key=lambda turn: turn.span)
    by_span = {turn.span: turn for turn in turns}
    hops = {turn.span: _hop(turn) for turn in turns}
    roots: list[Hop] = []
    orphans: list[Hop] = []
    for hop in hops.values():
        parent = hops.get(hop.turn.parent)
        if hop.turn.parent == 0:
            roots.append(hop)
        elif parent is None or _is_above(hop, parent):
            orphans.append(hop)
        else:
            hop.parent = parent
            parent.children.append(hop)
    for hop in hops.values():
        _match(hop)
    orphans = [orphan for orphan in orphans if not _adopt(orphan, hops.values())]
    first = min(roots or orphans or list(hops.values()), key=lambda hop: hop.turn.received)
    found = shifts(_passages(turns, by_span), _machine(first.turn))
    for hop in hops.values():
        _place(hop, found)
    return Trace(
        trace=trace,
        roots=sorted(roots, key=lambda hop: hop.received),
        orphans=sorted(orphans, key=lambda hop: hop.received),
        shifts={machine: shift for machine, shift in found.items() if shift},
    )


def _hop(turn: TurnRecord) -> Hop:
    return Hop(
        turn=turn,
        sent=turn.received,
        received=turn.received,
        started=turn.started,
        ended=turn.ended,
        children=[],
        unseen=[],
    )


def _is_above(hop: Hop, parent: Hop) -> bool:
    """Whether `parent` is `hop` itself or comes from it: a record that says so lies, and must not close a circle."""
    above: Hop | None = parent
    while above is not None:
        if above is hop:
            return True
        above = above.parent
    return False


def _machine(turn: TurnRecord) -> Machine:
    return turn.actor.node, turn.actor.incarnation


def _passages(turns: Sequence[TurnRecord], by_span: dict[int, TurnRecord]) -> Iterator[Passage]:
    for turn in turns:
        parent = by_span.get(turn.parent)
        if parent is not None:
            yield Passage(_machine(parent), _machine(turn), parent.ended, turn.received)


def _place(hop: Hop, found: dict[Machine, float]) -> None:
    """Set a hop's times by the common clock."""
    shift = found.get(_machine(hop.turn), 0.0)
    hop.received += shift
    hop.started += shift
    hop.ended += shift
    hop.sent += shift
    if hop.parent is not None:
        parent = hop.parent.turn
        hop.sent = parent.ended + found.get(_machine(parent), 0.0)


def _match(hop: Hop) -> None:
    """Find for each effect of a turn the hop that it became; what is left over was not seen."""
    waiting = list(hop.children)
    durable = any(name == "Persist" for name, _ in hop.turn.effects)
    for name, fields in hop.turn.effects:
        if name not in _KINDS:
            continue
        to = _target(hop.turn, name, fields)
        message_type = str((fields.get("message") or {}).get("type", "?"))
        child = next((each for each in waiting if _fits(each.turn, to, message_type)), None)
        if child is not None:
            waiting.remove(child)
            child.kind = _KINDS[name]
            child.durable = durable and name != "After"
        elif name != "After":
            hop.unseen.append(Unseen(name, f"{to[0]}@{to[1]}" if to[1] else to[0], message_type))
    for child in waiting:
        own = child.turn.sender == child.turn.actor == hop.turn.actor
        child.kind = "work" if own else "runtime"


def _adopt(orphan: Hop, hops: Iterable[Hop]) -> bool:
    """An ask that reached nobody has failed: that follows from the turn that asked; whether it is found."""
    turn = orphan.turn
    if turn.message_type != tag_of(AskFailed):
        return False
    for hop in hops:
        if hop.turn.actor != turn.actor or hop.turn.span > turn.span:
            continue
        for unseen in hop.unseen:
            if unseen.effect == "Ask" and unseen.to.partition("@")[0] == turn.sender.name:
                hop.unseen.remove(unseen)
                hop.children.append(orphan)
                orphan.parent, orphan.kind = hop, "runtime"
                return True
    return False


_KINDS = {"Send": "message", "Ask": "message", "Reply": "answer", "After": "timer"}


def _target(turn: TurnRecord, name: str, fields: dict[str, Any]) -> tuple[str, str]:
    """Name and node of whom an effect is for; an address, or what an elided record does not say, is no node."""
    if name == "After":
        return turn.actor.name, turn.actor.node
    given = (fields.get("request") or {}).get("sender") if name == "Reply" else fields.get("to")
    if not isinstance(given, (list, tuple)) or len(given) < 2:
        return "", ""
    pid = PID(str(given[0]), str(given[1]))
    return pid.name, "" if pid.is_address else pid.node


def _fits(turn: TurnRecord, to: tuple[str, str], message_type: str) -> bool:
    return turn.message_type == message_type and to[0] in ("", turn.actor.name) and to[1] in ("", turn.actor.node)
