"""Speak only of what is durable: what an actor sends waits until what it persisted before is on disk."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from runtime.effects import After, Cancel, Effect, Persist, Send, Stop, Turn
from runtime.errors import JournalError
from runtime.journal import Journal, JournalStore
from runtime.mailbox import COMPACT_AT_BYTES, Cell

if TYPE_CHECKING:
    from runtime.node import Node

_encode: Final = msgspec.msgpack.Encoder().encode

Held: TypeAlias = "tuple[int, Cell, Turn | Callable[[], None]]"
"""What waits: the ticket that it waits for, whose it is, and effects to carry out or something else to do."""


class Durability:
    """The journals of a node's actors, and the effects that wait for them."""

    def __init__(self, node: Node, store: JournalStore | None) -> None:
        """A node without a store runs only actors that persist nothing."""
        self._node = node
        self._store = store
        self._held: deque[Held] = deque()
        self._durable = 0
        self.persisted = 0
        if store is not None:
            store.start(self._on_durable, node.fail)

    def open(self, cell: Cell) -> Sequence[msgspec.Struct]:
        """Open the journal of an actor that persists, and read it.

        Raises :class:`JournalError` when there is no store, or when the journal holds records that the actor's
        `records` do not know.
        """
        records = cell.actor_class.records
        if records is None:
            return []
        if self._store is None:
            raise JournalError(f"{cell.actor_class.__name__} persists, but node {cell.pid.node} has no journal store")
        if cell.journal is None:
            cell.journal = self._store.open(cell.name)
        decoder = msgspec.msgpack.Decoder(records)
        try:
            return [decoder.decode(encoded) for encoded in cell.journal.read()]
        except msgspec.MsgspecError as error:
            raise JournalError(
                f"the journal of {cell.name} holds a record that {cell.actor_class.__name__} cannot read: {error}; "
                f"it was written by another version, or is damaged"
            ) from error

    def close(self, cell: Cell) -> None:
        """An actor has ended: give its journal back, records and all."""
        if cell.journal is not None:
            cell.journal.close()
            cell.journal = None

    def stop(self) -> None:
        """Make everything queued durable."""
        if self._store is not None:
            self._store.close()

    def apply(self, cell: Cell, turn: Turn) -> None:
        """Append what a turn persists; hold its other effects, and those of later turns, until that is on disk.

        Timers are no words to anybody: they are set at once. A stop is one to those who watch, but no turn follows it.
        """
        journal = cell.journal
        assert journal is not None
        records = [_encode(effect.record) for effect in turn.effects if type(effect) is Persist]
        if records:
            append = journal.append
            for record in records:
                cell.barrier = append(record)
            self.persisted += len(records)
            if journal.size_bytes > cell.compact_at:
                self._compact(cell, journal)
        if cell.barrier <= self._durable:
            self._node.turns.apply(cell, turn)
            return
        waiting: list[Effect] = []
        for effect in turn.effects:
            kind = type(effect)
            if kind is Send:
                waiting.append(effect)
            elif kind is After or kind is Cancel:
                self._node.turns.apply_other(cell, turn, effect)
            elif kind is not Persist:
                waiting.append(effect)
                cell.ended = cell.ended or (isinstance(effect, Stop) and not effect.name)
        if waiting:
            self._held.append((cell.barrier, cell, _with(turn, waiting)))

    def hold(self, cell: Cell, then: Callable[[], None]) -> bool:
        """Do something once all that the actor has persisted so far is durable; False when it waits for nothing."""
        if cell.barrier <= self._durable:
            return False
        self._held.append((cell.barrier, cell, then))
        return True

    def _on_durable(self, ticket: int) -> None:
        """Everything up to `ticket` is on disk: let go what waited for it."""
        self._durable = ticket
        held = self._held
        now = self._node.now()
        while held and held[0][0] <= ticket:
            _, cell, waiting = held.popleft()
            if isinstance(waiting, Turn):
                # Waiting for the disk is no time in a mailbox: what it sends is received now.
                waiting.ended = now
                self._node.turns.carry_out(cell, waiting)
            else:
                waiting()
        self._node.wake()

    def _compact(self, cell: Cell, journal: Journal) -> None:
        """Rewrite a journal that has grown, if the actor can say all of it in fewer records."""
        records = cell.actor.snapshot()
        if records is None:
            cell.compact_at = sys.maxsize
            return
        cell.barrier = journal.replace([_encode(record) for record in records])
        cell.compact_at = max(COMPACT_AT_BYTES, 2 * journal.size_bytes)


def _with(turn: Turn, effects: list[Effect]) -> Turn:
    """That turn with fewer effects."""
    return Turn(
        turn.actor,
        turn.sender,
        turn.message,
        turn.trace,
        turn.span,
        turn.parent,
        turn.received,
        turn.started,
        turn.ended,
        effects,
    )
