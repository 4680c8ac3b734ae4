"""One resource of an agent: so many CPUs, these ports, that disk; for whom it is reserved and what lies on it.

Scalars are fixed point with three decimals, as in Mesos (`src/common/values.cpp`): 1 CPU is 1000 thousandths, 1 MiB of
memory or disk is 1000 as well. So sums are exact and two ways to the same amount are equal.

Some disks cannot be cut or joined: a persistent volume, a whole mounted or block disk. They, and everything shared, are
counted in copies instead of being added up.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from allocator.ranges import Ranges, covers, difference, union

THOUSANDTHS: Final = 1000
"""Fixed-point units in one CPU, one MiB, one GPU."""

Key: TypeAlias = tuple[object, ...]
"""What two resources must have in common to be added; see :func:`key_of`."""


class Reservation(msgspec.Struct, frozen=True, gc=False, order=True, omit_defaults=True):
    """Set aside for one role and those under it.

    kind       ``static`` (by the agent's flags, cannot be undone) or ``dynamic`` (by a framework or an operator)
    principal  who made a dynamic one
    labels     pairs of key and value; different labels never merge
    """

    role: str
    kind: Literal["static", "dynamic"] = "static"
    principal: str = ""
    labels: tuple[tuple[str, str], ...] = ()


class DiskSource(msgspec.Struct, frozen=True, gc=False, order=True, omit_defaults=True):
    """Where a disk resource comes from, when it is not the agent's work directory.

    kind     PATH can be cut; MOUNT and BLOCK are whole; RAW is whole once it has an id
    root     directory of a PATH or MOUNT
    id       of a disk that a storage plug-in made
    profile  name of the storage class
    """

    kind: Literal["PATH", "MOUNT", "BLOCK", "RAW"]
    root: str = ""
    id: str = ""
    profile: str = ""


class Disk(msgspec.Struct, frozen=True, gc=False, order=True, omit_defaults=True):
    """What a disk resource is beside its size.

    persistence_id  of a persistent volume, unique per role and agent; empty for none
    principal       who created the volume
    container_path  where it appears in the container
    mode            ``RW`` or ``RO``
    source          None: the agent's work directory
    """

    persistence_id: str = ""
    principal: str = ""
    container_path: str = ""
    mode: Literal["RW", "RO"] = "RW"
    source: DiskSource | None = None


class Resource(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An amount of one kind of resource. Exactly one of `scalar`, `ranges` and `items` is set.

    name          cpus, gpus, mem, disk, ports, or any other
    scalar        thousandths of a CPU, of a GPU, of a MiB, ...
    ranges        inclusive, coalesced
    items         of a set, sorted
    reservations  stack, outermost role first, the present owner last; empty for unreserved
    disk          see there
    shared        a volume that several tasks may use at a time: counted once
    revocable     may be taken back at any time; never reserved
    copies        of a resource that is counted (see :attr:`whole`)
    """

    name: str
    scalar: int = 0
    ranges: Ranges = ()
    items: tuple[str, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    disk: Disk | None = None
    shared: bool = False
    revocable: bool = False
    copies: int = 1

    @property
    def whole(self) -> bool:
        """Whether it can neither be cut nor joined, only counted."""
        if self.shared:
            return True
        disk = self.disk
        if disk is None:
            return False
        if disk.persistence_id:
            return True
        source = disk.source
        return source is not None and (source.kind in ("MOUNT", "BLOCK") or (source.kind == "RAW" and bool(source.id)))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing of it."""
        return not (self.scalar or self.ranges or self.items) or self.copies <= 0

    @property
    def role(self) -> str | None:
        """The role that it is reserved for at present; None when it is unreserved."""
        return self.reservations[-1].role if self.reservations else None

    @property
    def refined(self) -> bool:
        """Whether it has a reservation within a reservation (needs RESERVATION_REFINEMENT)."""
        return len(self.reservations) > 1

    @property
    def quantity(self) -> int:
        """Thousandths for totals: shared resources count once, other counted ones by copies, non-scalars not at all."""
        return self.scalar if self.shared else self.scalar * self.copies


def key_of(resource: Resource) -> Key:
    """What two resources must have in common to be added, subtracted or compared."""
    kind = 0 if resource.scalar else 1 if resource.ranges else 2
    if resource.disk is None and not resource.shared:
        return (resource.name, resource.reservations, resource.revocable, kind)
    size = resource.scalar if resource.whole else 0
    return (resource.name, resource.reservations, resource.revocable, kind, resource.disk, resource.shared, size)


def order_of(resource: Resource) -> tuple[object, ...]:
    """Sort key that gives a collection its one canonical order."""
    disk = resource.disk
    source = disk.source if disk is not None else None
    return (
        resource.name,
        resource.revocable,
        resource.reservations,
        resource.shared,
        () if disk is None else (disk.persistence_id, disk.principal, disk.container_path, disk.mode),
        () if source is None else (source.kind, source.root, source.id, source.profile),
        bool(resource.ranges),
        bool(resource.items),
        resource.scalar,
    )


def amount(
    resource: Resource, *, scalar: int = 0, ranges: Ranges = (), items: tuple[str, ...] = (), copies: int = 1
) -> Resource:
    """The same resource in another amount."""
    return Resource(
        resource.name,
        scalar,
        ranges,
        items,
        resource.reservations,
        resource.disk,
        resource.shared,
        resource.revocable,
        copies,
    )


def reserved_as(resource: Resource, reservations: tuple[Reservation, ...]) -> Resource:
    """The same amount under another stack of reservations."""
    return Resource(
        resource.name,
        resource.scalar,
        resource.ranges,
        resource.items,
        reservations,
        resource.disk,
        resource.shared,
        resource.revocable,
        resource.copies,
    )


def added(left: Resource, right: Resource) -> Resource:
    """Both together; their keys are equal."""
    if left.disk is not None or left.shared:
        if left.whole:
            return amount(
                left, scalar=left.scalar, ranges=left.ranges, items=left.items, copies=left.copies + right.copies
            )
    elif left.scalar:
        return Resource(left.name, left.scalar + right.scalar, (), (), left.reservations, None, False, left.revocable)
    return amount(
        left,
        scalar=left.scalar + right.scalar,
        ranges=union(left.ranges, right.ranges),
        items=tuple(sorted({*left.items, *right.items})),
    )


def subtracted(left: Resource, right: Resource) -> Resource:
    """`left` without `right`, never less than nothing; their keys are equal."""
    if left.whole:
        copies = max(0, left.copies - right.copies)
        return amount(left, scalar=left.scalar, ranges=left.ranges, items=left.items, copies=copies)
    if left.scalar:
        rest = max(0, left.scalar - right.scalar)
        return Resource(left.name, rest, (), (), left.reservations, left.disk, left.shared, left.revocable)
    gone = set(right.items)
    return amount(
        left,
        ranges=difference(left.ranges, right.ranges),
        items=tuple(item for item in left.items if item not in gone),
    )


def holds(left: Resource, right: Resource) -> bool:
    """Whether all of `right` is in `left`; their keys are equal."""
    if left.whole:
        return left.copies >= right.copies
    if left.scalar:
        return left.scalar >= right.scalar
    return covers(left.ranges, right.ranges) and set(left.items).issuperset(right.items)
