"""Resources: what an agent has, an offer holds or a task uses, and the algebra on it.

::

    total = Resources.parse("cpus:4;mem:8192;ports:[31000-32000]")
    task = Resources.parse("cpus:1;mem:1024")
    rest = total - task
    assert rest + task == total and task in total and rest.scalars() == {"cpus": 3000, "mem": 7_168_000}

Collections are canonical (sorted, merged, nothing empty), so that equal resources are equal objects with equal bytes.
The role to which resources are allocated is no part of them: an allocation says it once (`allocator.messages`).
Laws, held by properties in the tests: ``+`` is commutative and associative; for scalars ``(a + b) - b == a``;
``b in a`` exactly when ``(a - b) + b == a``; ``-`` never goes below nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from allocator.resource import (
    Key,
    Reservation,
    Resource,
    added,
    amount,
    holds,
    key_of,
    order_of,
    reserved_as,
    subtracted,
)
from allocator.roles import DEFAULT_ROLE, check_role, is_within, lineage
from runtime.errors import KaonError

Quantities: TypeAlias = dict[str, int]
"""Totals of scalars by name, in thousandths."""

Amounts: TypeAlias = tuple[tuple[str, int], ...]
"""The same as pairs sorted by name, for messages: immutable to the bottom; see :func:`amounts`."""


class InvalidResources(KaonError, ValueError):
    """A text, a JSON value or an operation describes no resources."""


class Resources(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An immutable collection of resources. Make one with `of`, `parse`, `scalar_only` or the algebra, which keep it
    canonical; the constructor takes `items` as they are."""

    items: tuple[Resource, ...] = ()

    # Making ----------------------------------------------------------------------------------------------------------

    @staticmethod
    def of(*resources: Resource) -> Resources:
        """Merge single resources."""
        return _merged(resources)

    @staticmethod
    def parse(text: str, default_role: str = DEFAULT_ROLE) -> Resources:
        """Read Mesos's text form or JSON; see `allocator.resources_text`. Raises :class:`InvalidResources`."""
        from allocator.resources_text import parse_resources  # which imports this module

        return parse_resources(text, default_role)

    @staticmethod
    def scalar_only(**quantities: float) -> Resources:
        """Unreserved scalars from plain numbers: ``Resources.scalar_only(cpus=0.5, mem=128)``."""
        return from_quantities({name: round(value * 1000) for name, value in quantities.items()})

    # Algebra ---------------------------------------------------------------------------------------------------------

    def __add__(self, other: Resources) -> Resources:
        if not other.items:
            return self
        if not self.items:
            return other
        if len(self.items) == len(other.items) and _are_plain(self.items) and _are_plain(other.items):
            # Of the same names, as nearly always.
            sums = [
                Resource(mine.name, mine.scalar + others.scalar)
                for mine, others in zip(self.items, other.items, strict=True)
                if mine.name == others.name
            ]
            if len(sums) == len(self.items):
                return Resources(tuple(sums))
        return _merged((*self.items, *other.items))

    def __sub__(self, other: Resources) -> Resources:
        """What is left, never below nothing; what is not there is not subtracted."""
        if not other.items or not self.items:
            return self
        if self is other or self.items == other.items:
            return EMPTY
        if _are_plain(self.items) and _are_plain(other.items):
            return self._without_plain({resource.name: resource.scalar for resource in other.items})
        taken = {key_of(resource): resource for resource in other.items}
        rest: list[Resource] = []
        for resource in self.items:
            gone = taken.get(key_of(resource))
            if gone is not None:
                resource = subtracted(resource, gone)
                if resource.is_empty:
                    continue
            rest.append(resource)
        return Resources(tuple(rest))

    def _without_plain(self, taken: Mapping[str, int]) -> Resources:
        rest: list[Resource] = []
        for resource in self.items:
            left = resource.scalar - taken.get(resource.name, 0)
            if left == resource.scalar:
                rest.append(resource)
            elif left > 0:
                rest.append(Resource(resource.name, left))
        return Resources(tuple(rest))

    def __contains__(self, other: object) -> bool:
        """Whether all of `other` is in here: ``task in offer``."""
        if not isinstance(other, Resources):
            return False
        if self is other or not other.items or self.items == other.items:
            return True
        if _are_plain(self.items) and _are_plain(other.items):
            amounts = {resource.name: resource.scalar for resource in self.items}
            for resource in other.items:  # noqa: SIM110  quicker than a generator
                if amounts.get(resource.name, 0) < resource.scalar:
                    return False
            return True
        held = {key_of(resource): resource for resource in self.items}
        for resource in other.items:
            mine = held.get(key_of(resource))
            if mine is None or not holds(mine, resource):
                return False
        return True

    def __bool__(self) -> bool:
        return bool(self.items)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __str__(self) -> str:
        from allocator.resources_text import format_resources  # which imports this module

        return format_resources(self)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self.items

    # Amounts ---------------------------------------------------------------------------------------------------------

    def scalars(self) -> Quantities:
        """Totals of the scalars by name, in thousandths, whoever they are reserved for; shared ones count once."""
        totals: Quantities = {}
        for resource in self.items:
            if resource.scalar:
                amount = resource.scalar if resource.copies == 1 else resource.quantity
                totals[resource.name] = totals.get(resource.name, 0) + amount
        return totals

    def scalar(self, name: str) -> int:
        """Total of one scalar in thousandths; 0 when there is none."""
        return sum(resource.quantity for resource in self.items if resource.name == name)

    def names(self) -> tuple[str, ...]:
        """Names of what is in it, sorted."""
        return tuple(sorted({resource.name for resource in self.items}))

    def ports(self) -> Iterator[int]:
        """Every single port, ascending within a reservation."""
        for resource in self.items:
            if resource.name == "ports":
                for begin, end in resource.ranges:
                    yield from range(begin, end + 1)

    # Parts -----------------------------------------------------------------------------------------------------------

    def filter(self, keep: Callable[[Resource], bool]) -> Resources:
        """Those for which `keep` holds."""
        kept = tuple([resource for resource in self.items if keep(resource)])
        return self if len(kept) == len(self.items) else Resources(kept)

    def unreserved(self) -> Resources:
        """What anybody may be given."""
        return self.filter(lambda resource: not resource.reservations)

    def reserved(self, role: str | None = None) -> Resources:
        """What is reserved, for exactly `role` if given."""
        if role is None:
            return self.filter(lambda resource: bool(resource.reservations))
        return self.filter(lambda resource: resource.role == role)

    def reserved_within(self, role: str) -> Resources:
        """What is reserved for `role` or a role under it."""
        return self.filter(lambda resource: resource.role is not None and is_within(resource.role, role))

    def allocatable_to(self, role: str) -> Resources:
        """What a framework in `role` may be given: unreserved, or reserved for the role or an ancestor."""
        owners = lineage(role)
        return self.filter(lambda resource: not resource.reservations or resource.reservations[-1].role in owners)

    def revocable(self) -> Resources:
        """What may be taken back at any time."""
        return self.filter(lambda resource: resource.revocable)

    def non_revocable(self) -> Resources:
        """What may not."""
        return self.filter(lambda resource: not resource.revocable)

    def shared(self) -> Resources:
        """What several tasks may use at a time."""
        return self.filter(lambda resource: resource.shared)

    def non_shared(self) -> Resources:
        """What only one may use."""
        return self.filter(lambda resource: not resource.shared)

    def has_shared(self) -> bool:
        """Whether any of it is shared."""
        for resource in self.items:  # noqa: SIM110  a generator takes five times as long, and every change asks
            if resource.shared:
                return True
        return False

    def persistent_volumes(self) -> Resources:
        """Disks with data that outlives its task."""
        return self.filter(lambda resource: resource.disk is not None and bool(resource.disk.persistence_id))

    # Reservations ----------------------------------------------------------------------------------------------------

    def flatten(self) -> Resources:
        """The same without any reservation: for comparing amounts across roles."""
        return self._with_reservations(lambda resource: ())

    def push_reservation(self, reservation: Reservation) -> Resources:
        """Reserve all of it; within the present reservation when it has one (refinement)."""
        check_role(reservation.role)
        for resource in self.items:
            if resource.revocable:
                raise InvalidResources(f"{resource.name} is revocable, which cannot be reserved: leave it out")
            if resource.role is not None and not reservation.role.startswith(resource.role + "/"):
                raise InvalidResources(
                    f"{resource.name} is reserved for {resource.role!r}, it can be reserved further only for a role "
                    f"under it, not for {reservation.role!r}"
                )
        return self._with_reservations(lambda resource: (*resource.reservations, reservation))

    def pop_reservation(self) -> Resources:
        """Give all of it back to the previous owner, or to everybody."""
        for resource in self.items:
            if not resource.reservations:
                raise InvalidResources(f"{resource.name} is not reserved, so it cannot be unreserved")
            if resource.reservations[-1].kind == "static":
                raise InvalidResources(
                    f"{resource.name} is reserved for {resource.role!r} by the agent's --resources; change it there"
                )
        return self._with_reservations(lambda resource: resource.reservations[:-1])

    def _with_reservations(self, stack: Callable[[Resource], tuple[Reservation, ...]]) -> Resources:
        changed = [reserved_as(resource, stack(resource)) for resource in self.items]
        return _merged(changed)


EMPTY: Final = Resources()
"""No resources."""


def total(parts: Iterable[Resources]) -> Resources:
    """The sum of many."""
    return _merged([resource for part in parts for resource in part.items])


def amounts(quantities: Mapping[str, int]) -> Amounts:
    """Pairs sorted by name. Zeros stay: a limit of 0 is a limit."""
    return tuple(sorted(quantities.items()))


def from_quantities(quantities: Mapping[str, int]) -> Resources:
    """Unreserved scalars from thousandths by name; raises :class:`InvalidResources` for negative ones."""
    for name, value in quantities.items():
        if value < 0:
            raise InvalidResources(f"{name} is {value / 1000:g}: an amount cannot be negative")
    return Resources(tuple(Resource(name, value) for name, value in sorted(quantities.items()) if value))


def shrink(resources: Resources, bound: Mapping[str, int]) -> Resources:
    """As much of the scalars as `bound` allows, by name in thousandths; a name that it lacks is not bounded.

    What cannot be cut (mounted disks, volumes) is taken whole where it fits, else left out.
    """
    left = dict(bound)
    kept: list[Resource] = []
    for resource in resources.items:
        limit = left.get(resource.name)
        if limit is None or not resource.scalar:
            kept.append(resource)
            continue
        if resource.quantity <= limit:
            kept.append(resource)
            left[resource.name] = limit - resource.quantity
        elif limit > 0 and not resource.whole:
            kept.append(amount(resource, scalar=limit))
            left[resource.name] = 0
    return resources if len(kept) == len(resources.items) and tuple(kept) == resources.items else Resources(tuple(kept))


def contains_quantities(left: Mapping[str, int], right: Mapping[str, int]) -> bool:
    """Whether every amount of `right` is in `left`."""
    return all(left.get(name, 0) >= value for name, value in right.items())


def _are_plain(resources: Sequence[Resource]) -> bool:
    """Whether all are unreserved scalars and nothing special, as nearly always: then their names tell them apart."""
    for resource in resources:
        if (
            not resource.scalar
            or resource.reservations
            or resource.disk is not None
            or resource.shared
            or resource.revocable
        ):
            return False
    return True


def _merged(resources: Sequence[Resource]) -> Resources:
    """Canonical form of any sequence of resources."""
    if _are_plain(resources):
        return _merged_plain(resources)
    merged: dict[Key, Resource] = {}
    for resource in resources:
        if resource.is_empty:
            continue
        key = key_of(resource)
        present = merged.get(key)
        merged[key] = resource if present is None else added(present, resource)
    values = list(merged.values())
    if len(values) > 1:
        values.sort(key=order_of)
    return Resources(tuple(values)) if values else EMPTY


def _merged_plain(resources: Sequence[Resource]) -> Resources:
    merged: dict[str, Resource] = {}
    for resource in resources:
        name = resource.name
        present = merged.get(name)
        merged[name] = resource if present is None else Resource(name, present.scalar + resource.scalar)
    return Resources(tuple([merged[name] for name in sorted(merged)])) if merged else EMPTY
