"""The history of a simulation as one number: the same seed must give the same, whatever the hash seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from runtime.effects import Turn


class History:
    """Folds every turn, in order, into a digest: who heard what from whom, when, and what kinds of effects it had."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._hash = hashlib.blake2b(digest_size=16)
        self._encode = msgspec.msgpack.Encoder(enc_hook=repr).encode
        self.turns = 0

    def observe(self, turn: Turn) -> None:
        """One turn has ended."""
        self.turns += 1
        effects = [type(effect).__name__ for effect in turn.effects]
        self._hash.update(self._encode((self._now(), turn.actor, turn.sender, turn.span, turn.message, effects)))

    def digest(self) -> str:
        """32 hexadecimal digits, of all turns so far."""
        return self._hash.hexdigest()
