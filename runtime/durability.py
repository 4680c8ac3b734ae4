"""Speak only of what is durable: what an actor sends waits until what it persisted before is on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from runtime.effects import After, Cancel, Effect, Persist, Turn
from runtime.errors import JournalError
from runtime.journal import Journal, JournalStore
from runtime.mailbox import Cell

if TYPE_CHECKING:
    from runtime.node import Node

COMPACT_AT_BYTES: Final = 4 * 1024 * 1024
"""A journal smaller than this is not worth rewriting; beyond it, it is rewritten each time it has doubled."""


class Durability:
    """The journals of a node's actors, and the effects that wait for them."""

    def __init__(self, node: Node, store: JournalStore | None) -> None:
        """A node without a store runs only actors that persist nothing."""
        self._node = node
        self._store = store
        self._held: deque[tuple[int, Cell, Turn]] = deque()
        self._compact_at: dict[str, int] = {}
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

        Timers are no words to anybody: they are set at once.
        """
        journal = cell.journal
        assert journal is not None
        effects: list[Effect] = []
        for effect in turn.effects:
            if type(effect) is Persist:
                cell.barrier = journal.append(msgspec.msgpack.encode(effect.record))
                self.persisted += 1
            else:
                effects.append(effect)
        if journal.size_bytes > self._compact_at.get(cell.name, COMPACT_AT_BYTES):
            self._compact(cell, journal)
        if cell.barrier > self._durable:
            waiting: list[Effect] = []
            for effect in effects:
                if isinstance(effect, (After, Cancel)):
                    self._node.turns.apply_other(cell, turn, effect)
                else:
                    waiting.append(effect)
            if waiting:
                self._held.append((cell.barrier, cell, msgspec.structs.replace(turn, effects=waiting)))
        elif effects:
            self._node.turns.apply(cell, msgspec.structs.replace(turn, effects=effects))

    def hold(self, cell: Cell, turn: Turn) -> bool:
        """Queue effects behind what the actor has said so far; False when it waits for nothing."""
        if cell.barrier <= self._durable:
            return False
        self._held.append((cell.barrier, cell, turn))
        return True

    def _on_durable(self, ticket: int) -> None:
        """Everything up to `ticket` is on disk: let go what waited for it."""
        self._durable = ticket
        held = self._held
        while held and held[0][0] <= ticket:
            _, cell, turn = held.popleft()
            self._node.turns.apply(cell, turn)
        self._node.wake()

    def _compact(self, cell: Cell, journal: Journal) -> None:
        """Rewrite a journal that has grown, if the actor can say all of it in fewer records."""
        records = cell.actor.snapshot()
        if records is None:
            self._compact_at[cell.name] = 1 << 62
            return
        cell.barrier = journal.replace([msgspec.msgpack.encode(record) for record in records])
        self._compact_at[cell.name] = max(COMPACT_AT_BYTES, 2 * journal.size_bytes)
