"""Weighted random order: each agent goes to a role, and a framework in it, drawn anew, by weight at every level.

As Mesos's random sorter (`sorter/random/sorter.cpp`): a role's chance is divided by weight among those under it, a role
that has both frameworks and roles under it competes with these as ``role/.`` of weight 1, and the leaves are shuffled
by what falls to them; frameworks in a role are equal. Nobody starves, and no figures are kept; a role's share of the
cluster tends to its share of the weights.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from allocator.allocate import SortedPolicy
from allocator.roles import lineage
from allocator.snapshot import Snapshot, Vector
from allocator.sorter import Sorter, Turn

_ROOT: Final = ""
_VIRTUAL: Final = "/."


def weighted_shuffle(members: Collection[str], weights: Mapping[str, float], chance: random.Random) -> list[str]:
    """A random order in which each next place is drawn with probability proportional to weight.

    Efraimidis and Spirakis: Weighted random sampling with a reservoir, 2006. A member without weight has 1.0.
    """
    return sorted(sorted(members), key=lambda member: chance.expovariate(weights.get(member, 1.0)))


class RandomSorter:
    """A fresh random order whenever it is asked."""

    def __init__(self, snapshot: Snapshot, chance: random.Random) -> None:
        self._snapshot = snapshot
        self._chance = chance
        children: dict[str, set[str]] = {_ROOT: set()}
        for role in snapshot.wanting:
            parent = _ROOT
            for path in reversed(lineage(role)):
                children.setdefault(parent, set()).add(path)
                parent = path
        for role in snapshot.wanting:
            if role in children:
                children[role].add(role + _VIRTUAL)
        self._leaves: dict[str, float] = {}
        self._spread(children, _ROOT, 1.0)

    def _spread(self, children: Mapping[str, Collection[str]], parent: str, part: float) -> None:
        """Divide a role's chance among those under it, by weight."""
        weights = {path: self._snapshot.weights.get(path, 1.0) for path in sorted(children[parent])}
        whole = sum(weights.values())
        for path, weight in weights.items():
            if path in children:
                self._spread(children, path, part * weight / whole)
            else:
                self._leaves[path] = part * weight / whole

    def roles(self) -> Iterator[Turn]:
        """See :class:`allocator.sorter.Sorter`."""
        for path in weighted_shuffle(self._leaves, self._leaves, self._chance):
            yield (path.removesuffix(_VIRTUAL), 0)

    def frameworks(self, turn: Turn) -> Iterator[str]:
        """See :class:`allocator.sorter.Sorter`."""
        return iter(weighted_shuffle(self._snapshot.wanting[turn[0]], {}, self._chance))

    def allocated(self, role: str, framework_id: str, vector: Vector) -> None:
        """Chance has no memory."""


class RandomOrder(SortedPolicy):
    """Weighted random order."""

    name = "random"

    def sorter(self, snapshot: Snapshot, chance: random.Random) -> Sorter:
        """Drawn anew for each agent."""
        return RandomSorter(snapshot, chance)
