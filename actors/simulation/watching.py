"""How checkers see a simulation: every turn, by what its actor heard, said and wrote down.

A checker costs what it looks at: turns whose message and effects nobody asked for take two look-ups.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from actors.simulation.violation import Violation
from runtime.effects import Persist, Reply, Send, Turn
from runtime.message import Message, tag_of

if TYPE_CHECKING:
    from actors.simulation.cluster import Cluster

Handler: TypeAlias = Callable[[Any, Turn, Any], None]
H = TypeVar("H", bound=Handler)
T = TypeVar("T")

_Table: TypeAlias = dict[type[Any], tuple[Callable[[Turn, Any], None], ...]]

LAST_TURNS: Final = 40
"""Shown below a violation."""

PACE_TURNS: Final = 1024
"""Between two looks at how fast turns follow each other."""

STORM_TURNS: Final = 4 * PACE_TURNS
"""Turns in less than a virtual second that are too many for a cluster of few nodes: its messages never come to rest."""

STORM_TURNS_PER_NODE: Final = 256
"""And for each node so many more."""

REMEMBERED: Final = 100_000
"""Things of one kind that a checker remembers once they are over: a day of a big cluster has millions."""

_WATCHES = "__kaon_watches__"


def heard(*message_types: type[Message]) -> Callable[[H], H]:
    """Mark a method ``(self, turn, message)`` that sees the turns in which an actor got a message of these types."""
    return _mark("heard", message_types)


def said(*message_types: type[Message]) -> Callable[[H], H]:
    """Mark a method that sees each message of these types when the turn that sends it has ended."""
    return _mark("said", message_types)


def wrote(*record_types: type[msgspec.Struct]) -> Callable[[H], H]:
    """Mark a method that sees each record of these types when it is put into a journal."""
    return _mark("wrote", record_types)


def _mark(way: str, types: tuple[type[msgspec.Struct], ...]) -> Callable[[H], H]:
    def mark(method: H) -> H:
        marks: tuple[tuple[str, type[msgspec.Struct]], ...] = getattr(method, _WATCHES, ())
        setattr(method, _WATCHES, (*marks, *((way, each) for each in types)))
        return method

    return mark


class Recent(Generic[T]):
    """Bounds what a checker remembers: of more than `limit` things the oldest are forgotten, one by one."""

    def __init__(self, forget: Callable[[T], object], limit: int = REMEMBERED) -> None:
        """`forget` is called with each that goes."""
        self._forget = forget
        self._limit = limit
        self._items: deque[T] = deque()

    def add(self, item: T) -> None:
        """One more, each once."""
        self._items.append(item)
        if len(self._items) > self._limit:
            self._forget(self._items.popleft())


class Checker:
    """Base of the checkers: one invariant each, kept up with every turn, so that no turn costs a recount."""

    rule: str = ""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def crashed(self, node_id: str, *, wiped: bool) -> None:
        """A node is down; what its disk has stays unless it is wiped. Called before the disk forgets what it must."""

    def failed(self, turn: Turn) -> None:
        """A turn raised."""

    def passed(self, turns: int) -> None:
        """Another `PACE_TURNS` turns have passed, so many altogether."""

    def settled(self) -> None:
        """Faults have stopped for long enough: everything must be as it should be."""

    def violated(self, what: str) -> Violation:
        """To be raised."""
        return self.cluster.violation(self.rule, what)


class Watch:
    """Shows turns to checkers, and keeps the last ones.

    turns    seen so far
    by_type  turns by the tag of their message, when counting was asked for
    """

    def __init__(self, checkers: Iterable[Checker], *, counting: bool = False) -> None:
        self.checkers = list(checkers)
        self.turns = 0
        self.by_type: Counter[str] = Counter()
        self.last: deque[Turn] = deque(maxlen=LAST_TURNS)
        self._keep = self.last.append
        self._heard: _Table = {}
        self._said: _Table = {}
        """What was said and what was written: no type is both."""
        self._counting = counting
        for checker in self.checkers:
            self.add(checker)

    def add(self, checker: Checker) -> None:
        """Let one more checker see."""
        for base in reversed(type(checker).__mro__):
            for name, member in vars(base).items():
                for way, watched in getattr(member, _WATCHES, ()):
                    table = self._heard if way == "heard" else self._said
                    table[watched] = (*table.get(watched, ()), getattr(checker, name))

    def observe(self, turn: Turn) -> None:
        """One turn has ended. Every turn of a simulation comes by here."""
        self.turns = turns = self.turns + 1
        self._keep(turn)
        if not turns % PACE_TURNS:
            for checker in self.checkers:
                checker.passed(turns)
        message = turn.message
        message_type = type(message)
        if self._counting:
            self.by_type[tag_of(message_type)] += 1
        heard = self._heard
        if message_type in heard:
            for handler in heard[message_type]:
                handler(turn, message)
        said = self._said
        for effect in turn.effects:
            kind = type(effect)
            what: Any
            if kind is Send or kind is Reply:
                what = effect.message  # type: ignore[union-attr]  # both have one
            elif kind is Persist:
                what = effect.record  # type: ignore[union-attr]
            else:
                continue
            said_type = type(what)
            if said_type in said:
                for handler in said[said_type]:
                    handler(turn, what)
        if turn.error:
            for checker in self.checkers:
                checker.failed(turn)

    def tail(self) -> str:
        """The last turns, a line each, oldest first."""
        return "\n".join(_line(turn) for turn in self.last)


def _line(turn: Turn) -> str:
    said_too = [_short(effect) for effect in turn.effects]
    return f"  {turn.started:.6f} {turn.actor} <- {_words(turn.message)} from {turn.sender}: {', '.join(said_too)}"


def _short(effect: Any) -> str:
    if isinstance(effect, Send):
        return f"{tag_of(type(effect.message))} to {effect.to}"
    return type(effect).__name__


def _words(message: Message) -> str:
    text = repr(message)
    return text if len(text) <= 160 else text[:157] + "..."
