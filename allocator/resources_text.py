"""Resources as text, in the form of Mesos's ``--resources``: ``cpus:4;mem:8192;ports:[31000-32000];disks:{a,b}``.

A name may carry a role, ``cpus(eng):2``, which reserves statically. Memory and disk are in MiB; ``8GB`` and ``512MB``
(powers of 1024, as in Mesos) are read too. The full form, which JSON also has (`allocator.resources_json`), shows what
this one has no words for: dynamic and refined reservations, volumes, shared and revocable resources.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Final

from allocator import ranges
from allocator.resource import Disk, Reservation, Resource
from allocator.resources import Amounts, InvalidResources, Quantities, Resources, amounts
from allocator.resources_json import resources_from_json
from allocator.roles import DEFAULT_ROLE, InvalidRole, check_role

_ITEM: Final = re.compile(r"(?P<name>[^\s:(){}\[\];,]+)\s*(?:\((?P<role>[^()]*)\))?\s*:\s*(?P<value>.+)", re.DOTALL)
_BYTES: Final = re.compile(r"([0-9.]+)\s*(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_UNIT_BYTES: Final = {"B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_IN_MIB: Final = frozenset({"mem", "disk"})
_LARGEST_SCALAR: Final = 2**53 // 1000
"""Beyond it a double, which Mesos's JSON uses, no longer holds thousandths."""

_EXAMPLE: Final = "write it like cpus:4;mem:8192;ports:[31000-32000];disks:{a,b}"


def parse_resources(text: str, default_role: str = DEFAULT_ROLE) -> Resources:
    """Read the text form, or a JSON array of resources.

    default_role  for which what names no role is reserved; ``*`` leaves it unreserved
    Raises :class:`InvalidResources` that quotes the faulty part and shows how to write it.
    """
    stripped = text.strip()
    if stripped.startswith(("[", "{")):
        try:
            return resources_from_json(json.loads(stripped), default_role)
        except json.JSONDecodeError as error:
            raise InvalidResources(f"resources start like JSON, but are not: {error}; {_EXAMPLE}") from None
    kinds: dict[str, str] = {}
    parsed: list[Resource] = []
    for part in stripped.split(";"):
        if part.strip():
            resource = _parse_one(part.strip(), default_role)
            kind = _kind(resource)
            if kinds.setdefault(resource.name, kind) != kind:
                raise InvalidResources(
                    f"{resource.name!r} is given once as {kinds[resource.name]} and once as {kind}; decide for one"
                )
            parsed.append(resource)
    return Resources.of(*parsed)


def parse_amounts(text: str) -> Amounts:
    """Read scalars such as ``cpus:4;mem:8GB`` for a quota or a minimum; unlike in resources, 0 stays.

    Raises :class:`InvalidResources` as `parse_resources` does, and for anything that is no unreserved scalar.
    """
    quantities: Quantities = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        resource = _parse_one(part, DEFAULT_ROLE)
        if resource.reservations or _kind(resource) != "a number":
            raise InvalidResources(f"in {part!r}: only plain amounts are meant here; write it like cpus:4;mem:8GB")
        quantities[resource.name] = quantities.get(resource.name, 0) + resource.scalar
    return amounts(quantities)


def _kind(resource: Resource) -> str:
    return "a set" if resource.items else "ranges" if resource.ranges else "a number"


def _parse_one(part: str, default_role: str) -> Resource:
    match = _ITEM.fullmatch(part)
    if match is None:
        raise InvalidResources(f"{part!r} is no resource: it needs a name, a colon and a value; {_EXAMPLE}")
    name, value = match["name"], match["value"].strip()
    role = default_role if match["role"] is None else match["role"].strip()
    try:
        check_role(role)
    except InvalidRole as error:
        raise InvalidResources(f"in {part!r}: {error}") from None
    reservations = () if role == DEFAULT_ROLE else (Reservation(role),)
    if value.startswith("["):
        return Resource(name, ranges=_parse_ranges(part, value), reservations=reservations)
    if value.startswith("{"):
        return Resource(name, items=_parse_set(part, value), reservations=reservations)
    return Resource(name, _parse_scalar(part, name, value), reservations=reservations)


def _parse_scalar(part: str, name: str, value: str) -> int:
    sized = _BYTES.fullmatch(value) if name in _IN_MIB else None
    try:
        number = Decimal(sized[1] if sized else value)
    except InvalidOperation:
        hint = " (a number in MiB, or with a unit such as 8GB)" if name in _IN_MIB else ""
        raise InvalidResources(f"in {part!r}: {value!r} is no number{hint}; {_EXAMPLE}") from None
    if sized:
        number = number * _UNIT_BYTES[sized[2][0]] / _UNIT_BYTES["M"]
    if not number.is_finite() or number < 0 or number > _LARGEST_SCALAR:
        raise InvalidResources(f"in {part!r}: {value} is out of range, from 0 to {_LARGEST_SCALAR}")
    if name == "gpus" and number != int(number):
        raise InvalidResources(f"in {part!r}: GPUs come whole, {value} is not")
    return int((number * 1000).to_integral_value(rounding="ROUND_HALF_UP"))


def _parse_ranges(part: str, value: str) -> ranges.Ranges:
    if not value.endswith("]"):
        raise InvalidResources(f"in {part!r}: the list of ranges is not closed with ']'")
    parsed: list[ranges.Range] = []
    for text in value[1:-1].split(","):
        match = re.fullmatch(r"\s*([0-9]+)\s*-\s*([0-9]+)\s*", text)
        if match is None:
            if not text.strip() and value[1:-1].strip() == "":
                continue
            raise InvalidResources(f"in {part!r}: {text.strip()!r} is no range; write ports:[31000-32000, 33000-33010]")
        begin, end = int(match[1]), int(match[2])
        if begin > end:
            raise InvalidResources(f"in {part!r}: the range {begin}-{end} ends before it begins")
        if end >= 2**63:
            raise InvalidResources(f"in {part!r}: {end} is too large, 63 bits are the limit")
        parsed.append((begin, end))
    return ranges.coalesce(parsed)


def _parse_set(part: str, value: str) -> tuple[str, ...]:
    if not value.endswith("}"):
        raise InvalidResources(f"in {part!r}: the set is not closed with '}}'")
    items = [item.strip() for item in value[1:-1].split(",") if item.strip()]
    if len(set(items)) != len(items):
        raise InvalidResources(f"in {part!r}: an item stands in the set twice")
    return tuple(sorted(items))


def format_scalar(thousandths: int) -> str:
    """Thousandths as a decimal number without useless zeros: 500 is ``0.5``, 4000 is ``4``."""
    whole, part = divmod(abs(thousandths), 1000)
    sign = "-" if thousandths < 0 else ""
    return f"{sign}{whole}.{part:03d}".rstrip("0") if part else f"{sign}{whole}"


def format_quantities(quantities: dict[str, int]) -> str:
    """Amounts by name: ``cpus:4; mem:8192``."""
    return "; ".join(f"{name}:{format_scalar(value)}" for name, value in sorted(quantities.items()))


def format_resources(resources: Resources) -> str:
    """One line, as Mesos prints it: ``cpus(eng):2; mem:8192; ports:[31000-32000]``; nothing is ``{}``."""
    return "; ".join(format_resource(resource) for resource in resources.items) or "{}"


def format_resource(resource: Resource) -> str:
    """One resource."""
    if resource.ranges:
        value = ranges.text(resource.ranges)
    elif resource.items:
        value = "{" + ", ".join(resource.items) + "}"
    else:
        value = format_scalar(resource.scalar)
    marks = _reservations_text(resource.reservations) + _disk_text(resource.disk)
    marks += ("<SHARED>" if resource.shared else "") + ("{REV}" if resource.revocable else "")
    copies = f"<{resource.copies}>" if resource.copies > 1 else ""
    return f"{resource.name}{marks}:{value}{copies}"


def _reservations_text(stack: tuple[Reservation, ...]) -> str:
    if not stack:
        return ""
    if len(stack) == 1 and stack[0].kind == "static":
        return f"({stack[0].role})"
    parts = []
    for reservation in stack:
        fields = [reservation.kind.upper(), reservation.role]
        if reservation.principal:
            fields.append(reservation.principal)
        if reservation.labels:
            fields.append("{" + ", ".join(f"{key}: {value}" for key, value in reservation.labels) + "}")
        parts.append("(" + ",".join(fields) + ")")
    return "(reservations: [" + ",".join(parts) + "])"


def _disk_text(disk: Disk | None) -> str:
    if disk is None:
        return ""
    parts = []
    if disk.source is not None:
        parts.append(":".join(filter(None, (disk.source.kind, disk.source.id, disk.source.profile, disk.source.root))))
    if disk.persistence_id:
        parts.append(f"{disk.persistence_id}:{disk.container_path}:{disk.mode.lower()}")
    return "[" + ",".join(parts) + "]"
