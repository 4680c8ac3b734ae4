"""Hierarchical weighted dominant resource fairness.

Ghodsi, Zaharia, Hindman, Konwinski, Shenker, Stoica: Dominant Resource Fairness, NSDI 2011. The dominant share of a
role or framework is the largest of its fractions of the cluster's scalars; who has the least, divided by weight, is
served next. Rules as in Mesos (`src/master/allocator/mesos/sorter/drf/sorter.cpp`):

- Roles form a tree; the shares of siblings are compared, each with all that is under it, divided by the weight of its
  path. A role that has both frameworks and roles under it competes with these as a leaf ``role/.`` of its own.
- Shares are of the whole cluster at every level. What is offered counts as allocated.
- Equal shares: fewer allocations so far go first, then the path, or the framework's id, in the order of code points.
"""

from __future__ import annotations

import functools
import itertools
import operator
import random
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from allocator.allocate import SortedPolicy
from allocator.roles import lineage
from allocator.snapshot import Snapshot, Vector
from allocator.sorter import Sorter, Turn

_INFINITE: Final = float("inf")
_VIRTUAL: Final = "/."
_ROOT: Final = ""
_NAME: Final = operator.itemgetter(2)

Key: TypeAlias = tuple[float, int, str]
"""What siblings are sorted by: share by weight, count, name."""


class Shares:
    """Dominant shares in a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._zero: Vector = (0,) * len(snapshot.names)
        self.divisors = tuple(
            amount if amount and name not in snapshot.excluded else _INFINITE
            for name, amount in zip(snapshot.names, snapshot.total, strict=True)
        )

    def dominant(self, allocated: Vector) -> float:
        """The largest fraction of a cluster total; what the cluster has none of counts nothing."""
        return max(map(operator.truediv, allocated, self.divisors), default=0.0)

    def client(self, role: str, framework_id: str) -> Standing:
        """How a framework stands among those of its role."""
        totals = self._snapshot.clients.get((role, framework_id))
        allocated, count = (self._zero, 0) if totals is None else (totals.allocated, totals.count)
        return Standing(framework_id, allocated, count, 1.0, self.divisors)

    def clients(self, role: str, framework_ids: Collection[str]) -> Ranking:
        """The frameworks of a role; how each stands is worked out in full only when it is allocated to."""
        clients, divisors = self._snapshot.clients, self.divisors
        keys: list[Key] = []
        for framework_id in framework_ids:
            totals = clients.get((role, framework_id))
            if totals is None:
                keys.append((0.0, 0, framework_id))
            else:
                share = max(map(operator.truediv, totals.allocated, divisors), default=0.0)
                keys.append((share, totals.count, framework_id))
        return Ranking(keys, functools.partial(self.client, role))

    def node(self, path: str) -> Standing:
        """How a node of the role tree stands among its siblings, with all that is under it.

        A path that ends in ``/.`` is the leaf of a role's own frameworks among the roles under it.
        """
        virtual = path.endswith(_VIRTUAL)
        totals = self._snapshot.roles.get(path.removesuffix(_VIRTUAL))
        if totals is None:
            allocated, count = self._zero, 0
        elif virtual:
            allocated, count = totals.own, totals.own_count
        else:
            allocated, count = totals.subtree, totals.subtree_count
        return Standing(path, allocated, count, self._snapshot.weights.get(path, 1.0), self.divisors)

    def nodes(self, paths: Collection[str]) -> Ranking:
        """Siblings in the role tree."""
        return Ranking([self.node(path).key for path in paths], self.node)


class Standing:
    """One competitor among its siblings: what it has, and its sort key."""

    __slots__ = ("allocated", "count", "divisors", "key", "name", "weight")

    def __init__(self, name: str, allocated: Vector, count: int, weight: float, divisors: Sequence[float]) -> None:
        self.name = name
        self.allocated = allocated
        self.count = count
        self.weight = weight
        self.divisors = divisors
        self.key: Key = (max(map(operator.truediv, allocated, divisors), default=0.0) / weight, count, name)


class Ranking:
    """Siblings, least share first; at most one of them moves at a time."""

    __slots__ = ("_members", "_standing", "keys", "names")

    def __init__(self, keys: list[Key], standing: Callable[[str], Standing]) -> None:
        keys.sort()
        self.keys = keys
        self.names = {key[2] for key in keys}
        self._standing = standing
        self._members: dict[str, Standing] = {}

    def grow(self, name: str, vector: Vector) -> None:
        """One of them was allocated to: it moves towards the end."""
        member = self._members.get(name)
        if member is None:
            member = self._members[name] = self._standing(name)
        keys = self.keys
        at = bisect_left(keys, member.key)
        del keys[at]
        member.allocated = allocated = tuple(map(operator.add, member.allocated, vector))
        member.count = count = member.count + 1
        share = max(map(operator.truediv, allocated, member.divisors), default=0.0) / member.weight
        member.key = key = (share, count, name)
        insort(keys, key, at)


class _Rank:
    """The role tree over some of the clients, sorted at every level."""

    def __init__(self, number: int, members: Mapping[str, Collection[str]], shares: Shares) -> None:
        self._number = number
        self._members = members
        self._shares = shares
        children: dict[str, set[str]] = {_ROOT: set()}
        for role in members:
            for path, parent in _steps(role):
                children.setdefault(parent, set()).add(path)
        for role in members:
            if role in children:
                children[role].add(role + _VIRTUAL)
        self._children = {parent: shares.nodes(paths) for parent, paths in children.items()}
        self._frameworks: dict[str, Ranking] = {}
        self._routes: dict[str, list[tuple[Ranking, str]]] = {}

    def roles(self, parent: str = _ROOT) -> Iterator[Turn]:
        """Leaves in pre-order."""
        children = self._children
        for _, _, path in children[parent].keys:
            if path in children:
                yield from self.roles(path)
            else:
                yield (path.removesuffix(_VIRTUAL), self._number)

    def frameworks(self, role: str) -> Ranking:
        """The frameworks of one role."""
        ranking = self._frameworks.get(role)
        if ranking is None:
            ranking = self._frameworks[role] = self._shares.clients(role, self._members[role])
        return ranking

    def grow(self, role: str, framework_id: str, vector: Vector) -> None:
        """A grant was made, in this rank or another: its client, role and the role's ancestors have more."""
        route = self._routes.get(role)
        if route is None:
            route = self._routes[role] = list(self._route(role))
        for siblings, name in route:
            siblings.grow(name, vector)
        ranking = self._frameworks.get(role)
        if ranking is None:
            if framework_id not in self._members.get(role, ()):
                return
            ranking = self.frameworks(role)
        if framework_id in ranking.names:
            ranking.grow(framework_id, vector)

    def _route(self, role: str) -> Iterator[tuple[Ranking, str]]:
        """Where an allocation to `role` counts; an only child is never compared with anybody."""
        for path, parent in _steps(role):
            siblings = self._children.get(parent)
            if siblings is not None and path in siblings.names and len(siblings.names) > 1:
                yield siblings, path
        own = self._children.get(role)
        if own is not None and role + _VIRTUAL in own.names:
            yield own, role + _VIRTUAL


def _steps(role: str) -> list[tuple[str, str]]:
    """A role and its ancestors, each with its parent."""
    paths = lineage(role)
    return list(zip(paths, (*paths[1:], _ROOT), strict=True))


class ShareSorter:
    """Serves ranks one after the other, and within a rank the least dominant share first.

    ranks  for each, the frameworks by role; plain DRF has one rank with all that want offers
    """

    def __init__(self, snapshot: Snapshot, ranks: Sequence[Mapping[str, Collection[str]]]) -> None:
        shares = Shares(snapshot)
        self._ranks = [_Rank(number, members, shares) for number, members in enumerate(ranks)]

    def roles(self) -> Iterator[Turn]:
        """See :class:`allocator.sorter.Sorter`."""
        if len(self._ranks) == 1:
            return self._ranks[0].roles()
        return itertools.chain.from_iterable(rank.roles() for rank in self._ranks)

    def frameworks(self, turn: Turn) -> Iterator[str]:
        """See :class:`allocator.sorter.Sorter`."""
        role, number = turn
        return map(_NAME, self._ranks[number].frameworks(role).keys)

    def allocated(self, role: str, framework_id: str, vector: Vector) -> None:
        """See :class:`allocator.sorter.Sorter`."""
        for rank in self._ranks:
            rank.grow(role, framework_id, vector)


class DRF(SortedPolicy):
    """Weighted hierarchical dominant resource fairness: the default policy."""

    name = "drf"

    def sorter(self, snapshot: Snapshot, chance: random.Random) -> Sorter:
        """Least dominant share first."""
        return ShareSorter(snapshot, [snapshot.wanting])
