"""What can go wrong on a simulated network, as data and rules; the same rules and seed give the same history."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec

from runtime.message import Overflow
from runtime.transport.protocol import Envelope


class Pass(msgspec.Struct, frozen=True):
    """Nothing happens to the envelope."""


class Delay(msgspec.Struct, frozen=True):
    """The envelope, and all behind it on its way, arrives so much later."""

    seconds: float


class Drop(msgspec.Struct, frozen=True):
    """The envelope is lost."""


Verdict: TypeAlias = Pass | Delay | Drop

PASS: Final = Pass()
DROP: Final = Drop()


class Parcel(msgspec.Struct, frozen=True):
    """An envelope on its way between two nodes, by their ids; `now` in seconds."""

    sender: str
    receiver: str
    envelope: Envelope
    now: float


Rule: TypeAlias = Callable[[Parcel], Verdict]


class Faults:
    """The faults in force: rules for envelopes, and directions that carry nothing.

    rules  in the order in which they are asked; change them with `add` and what it returns
    cuts   directions in which nothing gets through, and since when; change them with `cut`, `restore` and `heal`
    """

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.cuts: dict[tuple[str, str], float] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, rule: Rule) -> Callable[[], None]:
        """Ask `rule` about every envelope from now on; returns what takes it back.

        Of several rules the first that does not pass wins.
        """
        self.rules.append(rule)

        def remove() -> None:
            if rule in self.rules:
                self.rules.remove(rule)

        return remove

    def verdict(self, parcel: Parcel) -> Verdict:
        """What happens to an envelope."""
        for rule in self.rules:
            verdict = rule(parcel)
            if verdict is not PASS:
                return verdict
        return PASS

    def cut(self, senders: Iterable[str], receivers: Iterable[str], since: float) -> None:
        """Let nothing through from these nodes to those, one way; what is cut already keeps its time.

        Cuts of one direction add up: it carries again when each was taken back by `restore`.
        """
        ends = tuple(receivers)
        for sender in senders:
            for receiver in ends:
                self.cuts.setdefault((sender, receiver), since)
                self._counts[sender, receiver] += 1

    def restore(self, senders: Iterable[str], receivers: Iterable[str]) -> None:
        """Take one cut of each of these directions back; no error for one that is not cut."""
        ends = tuple(receivers)
        for sender in senders:
            for receiver in ends:
                direction = (sender, receiver)
                self._counts[direction] -= 1
                if self._counts[direction] <= 0:
                    del self._counts[direction]
                    self.cuts.pop(direction, None)

    def heal(self) -> None:
        """Let everything through again; rules stay."""
        self.cuts.clear()
        self._counts.clear()

    def is_cut(self, sender: str, receiver: str) -> bool:
        """Whether nothing gets through from one node to another."""
        return (sender, receiver) in self.cuts

    def cut_since(self, sender: str, receiver: str) -> float | None:
        """Since when nothing gets through; None if something does."""
        return self.cuts.get((sender, receiver))


def between(senders: Iterable[str], receivers: Iterable[str], rule: Rule) -> Rule:
    """`rule` for what travels from these nodes to those only."""
    origins, targets = frozenset(senders), frozenset(receivers)
    return lambda parcel: rule(parcel) if parcel.sender in origins and parcel.receiver in targets else PASS


def losing(chance: float, source: random.Random) -> Rule:
    """Lose each envelope with this chance, from 0 to 1."""
    return lambda parcel: DROP if source.random() < chance else PASS


def delaying(least_seconds: float, most_seconds: float, source: random.Random) -> Rule:
    """Delay each envelope by a time drawn evenly between two limits."""
    return lambda parcel: Delay(source.uniform(least_seconds, most_seconds))


def losing_repeated(chance: float, source: random.Random) -> Rule:
    """Lose, with this chance, each envelope of a type that its sender repeats anyway (`Overflow.DROP`).

    Sessions lose nothing else while they last: this is what full mailboxes do to the messages that may be dropped.
    """

    def rule(parcel: Parcel) -> Verdict:
        return DROP if parcel.envelope.body.overflow is Overflow.DROP and source.random() < chance else PASS

    return rule


def hiccuping(chance: float, most_seconds: float, source: random.Random) -> Rule:
    """Delay an envelope with this chance, and with it all that is behind it: a way that stalls now and then."""

    def rule(parcel: Parcel) -> Verdict:
        return Delay(source.uniform(0.0, most_seconds)) if source.random() < chance else PASS

    return rule
