"""A trace as a Mermaid sequence diagram, for documents and bug reports."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.tracing.text import about, hop_times, span_text
from runtime.tracing.tree import Hop, Trace

_ARROWS = {"answer": "-->>", "timer": "-)", "work": "-)", "runtime": "--x"}

_CODES = str.maketrans({"#": "#35;", ";": "#59;", "\n": " "})


def participants(trace: Trace) -> list[str]:
    """The actors of a trace as ``name@node``, in the order in which they come up."""
    found: dict[str, None] = {}
    for hop in trace.hops():
        if hop.kind != "start" or hop.turn.sender != hop.turn.actor:
            found.setdefault(str(hop.turn.sender))
        found.setdefault(str(hop.turn.actor))
        for unseen in hop.unseen:
            found.setdefault(unseen.to)
    return list(found)


def mermaid(trace: Trace) -> str:
    """The diagram's text."""
    return "\n".join(_lines(trace)) + "\n"


def _lines(trace: Trace) -> Iterator[str]:
    names = {actor: f"a{place}" for place, actor in enumerate(participants(trace))}
    yield "sequenceDiagram"
    yield f"    %% trace {span_text(trace.trace)}"
    for actor, name in names.items():
        yield f"    participant {name} as {_escaped(actor)}"
    orphans = {hop.turn.span for hop in trace.orphans}
    for hop in trace.hops():
        if hop.turn.span in orphans:
            yield f"    Note over {names[str(hop.turn.actor)]}: its cause is not among the turns"
        yield from _hop(hop, names)


def _hop(hop: Hop, names: dict[str, str]) -> Iterator[str]:
    turn = hop.turn
    sender, receiver = names.get(str(turn.sender), names[str(turn.actor)]), names[str(turn.actor)]
    label = " ".join(part for part in (turn.message_type, about(turn), f"[{hop_times(hop)}]") if part)
    yield f"    {sender}{_ARROWS.get(hop.kind, '->>')}{receiver}: {_escaped(label)}"
    if turn.error:
        yield f"    Note over {receiver}: FAILED {_escaped(turn.error.strip().rpartition(chr(10))[2])}"
    for unseen in hop.unseen:
        yield f"    {receiver}-x{names[unseen.to]}: {_escaped(unseen.message_type)} [not seen there]"


def _escaped(text: str) -> str:
    """Mermaid's entity codes for what ends a statement or begins a code."""
    return text.translate(_CODES)
