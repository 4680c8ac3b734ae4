"""Sorters: in which order roles, and the frameworks in a role, are served.

A sorter lives for one decision. It is built from a snapshot, told of each grant, and asked for the order again for
every agent. Orders are lazy, because the first in line usually takes all; who wants to go on after a grant takes the
rest of the order out first (``list(...)``), because the grant changes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeAlias

from allocator.snapshot import Vector

Turn: TypeAlias = tuple[str, int]
"""A role whose turn it is, and the sorter's number for the rank at which it is served (0 where there is one rank)."""


class Sorter(Protocol):
    """The order of service."""

    def roles(self) -> Iterator[Turn]:
        """Roles with frameworks that want offers, first come first; ends when all had their turn."""

    def frameworks(self, turn: Turn) -> Iterator[str]:
        """Ids of the frameworks of that role that want offers, first come first."""

    def allocated(self, role: str, framework_id: str, vector: Vector) -> None:
        """Take a grant into account: all its scalars, reserved and revocable ones included."""
