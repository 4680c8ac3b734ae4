"""Resources as JSON, in the form of Mesos's v1 protocol buffers (`include/mesos/v1/mesos.proto`, message Resource).

Both ways of naming a reservation are read: the stack ``reservations``, and the older ``role`` with ``reservation``.
The stack is written; ``allocation_info`` is written where the caller names the role of the allocation.
"""

from __future__ import annotations

from typing import Any, Final, Literal, cast

from allocator import ranges
from allocator.resource import Disk, DiskSource, Reservation, Resource
from allocator.resources import InvalidResources, Resources
from allocator.roles import DEFAULT_ROLE, InvalidRole, check_role

_SOURCES: Final = ("PATH", "MOUNT", "BLOCK", "RAW")


def resources_to_json(resources: Resources, allocated_to: str | None = None) -> list[dict[str, Any]]:
    """A list with one object per resource, and one per copy of a counted one.

    allocated_to  role for ``allocation_info``; None leaves it out
    """
    encoded: list[dict[str, Any]] = []
    for resource in resources.items:
        for _ in range(resource.copies):
            encoded.append(_resource_to_json(resource, allocated_to))  # noqa: PERF401  each copy is an object of its own
    return encoded


def _resource_to_json(resource: Resource, allocated_to: str | None) -> dict[str, Any]:
    encoded: dict[str, Any] = {"name": resource.name}
    if resource.ranges:
        encoded["type"] = "RANGES"
        encoded["ranges"] = {"range": [{"begin": begin, "end": end} for begin, end in resource.ranges]}
    elif resource.items:
        encoded["type"] = "SET"
        encoded["set"] = {"item": list(resource.items)}
    else:
        encoded["type"] = "SCALAR"
        encoded["scalar"] = {"value": resource.scalar / 1000}
    if allocated_to is not None:
        encoded["allocation_info"] = {"role": allocated_to}
    if resource.reservations:
        encoded["reservations"] = [_reservation_to_json(reservation) for reservation in resource.reservations]
    if resource.disk is not None:
        encoded["disk"] = _disk_to_json(resource.disk)
    if resource.shared:
        encoded["shared"] = {}
    if resource.revocable:
        encoded["revocable"] = {}
    return encoded


def _reservation_to_json(reservation: Reservation) -> dict[str, Any]:
    encoded: dict[str, Any] = {"type": reservation.kind.upper(), "role": reservation.role}
    if reservation.principal:
        encoded["principal"] = reservation.principal
    if reservation.labels:
        encoded["labels"] = {"labels": [{"key": key, "value": value} for key, value in reservation.labels]}
    return encoded


def _disk_to_json(disk: Disk) -> dict[str, Any]:
    encoded: dict[str, Any] = {}
    if disk.persistence_id:
        encoded["persistence"] = {"id": disk.persistence_id}
        if disk.principal:
            encoded["persistence"]["principal"] = disk.principal
        encoded["volume"] = {"mode": disk.mode, "container_path": disk.container_path}
    source = disk.source
    if source is not None:
        encoded["source"] = {"type": source.kind}
        if source.root:
            encoded["source"][source.kind.lower()] = {"root": source.root}
        if source.id:
            encoded["source"]["id"] = source.id
        if source.profile:
            encoded["source"]["profile"] = source.profile
    return encoded


def resources_from_json(value: Any, default_role: str = DEFAULT_ROLE) -> Resources:
    """Read a list of objects, or a single one; raises :class:`InvalidResources` naming the place."""
    entries = [value] if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise InvalidResources(f"resources in JSON are a list of objects, not {type(value).__name__}")
    return Resources.of(
        *(_resource_from_json(entry, f"resources[{at}]", default_role) for at, entry in enumerate(entries))
    )


def _resource_from_json(entry: Any, place: str, default_role: str) -> Resource:
    entry = _object(entry, place)
    name = _text(entry.get("name"), f"{place}.name")
    if not name:
        raise InvalidResources(f"{place}.name is missing: say which resource it is, such as cpus")
    place = f"{place} ({name})"
    scalar, spans, items = _value_from_json(entry, name, place)
    reservations = _reservations_from_json(entry, place, default_role)
    revocable = entry.get("revocable") is not None
    if revocable and reservations:
        raise InvalidResources(f"{place} is both revocable and reserved; it can be only one")
    disk = _disk_from_json(entry["disk"], f"{place}.disk") if entry.get("disk") else None
    if disk is not None and name != "disk":
        raise InvalidResources(f"{place} has disk info, which only the resource called 'disk' may have")
    return Resource(
        name, scalar, spans, items, reservations, disk, shared=entry.get("shared") is not None, revocable=revocable
    )


def _value_from_json(entry: dict[str, Any], name: str, place: str) -> tuple[int, ranges.Ranges, tuple[str, ...]]:
    kind = entry.get("type")
    if kind == "SCALAR":
        number = _object(entry.get("scalar"), f"{place}.scalar").get("value")
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 2**53 / 1000:
            raise InvalidResources(f"{place}.scalar.value is {number!r}: a number from 0 on is needed")
        if name == "gpus" and number != int(number):
            raise InvalidResources(f"{place}.scalar.value is {number!r}: GPUs come whole")
        return int(number * 1000 + 0.5), (), ()
    if kind == "RANGES":
        spans: list[ranges.Range] = []
        for at, span in enumerate(_list(_object(entry.get("ranges"), f"{place}.ranges").get("range", []), place)):
            begin, end = _object(span, f"{place}.ranges.range[{at}]").get("begin"), span.get("end")
            if type(begin) is not int or type(end) is not int or not 0 <= begin <= end < 2**63:
                raise InvalidResources(f"{place}.ranges.range[{at}] is {begin!r}-{end!r}: whole numbers, begin <= end")
            spans.append((begin, end))
        return 0, ranges.coalesce(spans), ()
    if kind == "SET":
        listed = _list(_object(entry.get("set"), f"{place}.set").get("item", []), f"{place}.set.item")
        items = [_text(item, f"{place}.set.item[{at}]") for at, item in enumerate(listed)]
        return 0, (), tuple(sorted(set(items)))
    raise InvalidResources(f"{place}.type is {kind!r}: it must be SCALAR, RANGES or SET")


def _reservations_from_json(entry: dict[str, Any], place: str, default_role: str) -> tuple[Reservation, ...]:
    stack = entry.get("reservations")
    if stack:
        at = f"{place}.reservations"
        return tuple(_reservation_from_json(item, f"{at}[{i}]", None) for i, item in enumerate(_list(stack, at)))
    role = entry.get("role", default_role)
    if entry.get("reservation") is not None:
        return (_reservation_from_json(entry["reservation"], f"{place}.reservation", role),)
    if role == DEFAULT_ROLE:
        return ()
    return (Reservation(_role(role, f"{place}.role")),)


def _reservation_from_json(item: Any, place: str, role: Any) -> Reservation:
    item = _object(item, place)
    kind = str(item.get("type", "STATIC" if role is None else "DYNAMIC")).lower()
    if kind not in ("static", "dynamic"):
        raise InvalidResources(f"{place}.type is {item['type']!r}: it must be STATIC or DYNAMIC")
    labels: list[tuple[str, str]] = []
    for at, label in enumerate(_list(_object(item.get("labels", {}), f"{place}.labels").get("labels", []), place)):
        label = _object(label, f"{place}.labels[{at}]")
        labels.append((_text(label.get("key"), f"{place}.labels[{at}].key"), str(label.get("value") or "")))
    return Reservation(
        _role(item.get("role", role), f"{place}.role"),
        cast(Literal["static", "dynamic"], kind),
        _text(item.get("principal", ""), f"{place}.principal"),
        tuple(sorted(labels)),
    )


def _disk_from_json(value: Any, place: str) -> Disk:
    value = _object(value, place)
    persistence = _object(value.get("persistence", {}), f"{place}.persistence")
    volume = _object(value.get("volume", {}), f"{place}.volume")
    mode = volume.get("mode", "RW")
    if mode not in ("RW", "RO"):
        raise InvalidResources(f"{place}.volume.mode is {mode!r}: it must be RW or RO")
    source: DiskSource | None = None
    if value.get("source") is not None:
        described = _object(value["source"], f"{place}.source")
        kind = described.get("type")
        if kind not in _SOURCES:
            raise InvalidResources(f"{place}.source.type is {kind!r}: it must be one of {', '.join(_SOURCES)}")
        root = _object(described.get(kind.lower(), {}), f"{place}.source.{kind.lower()}").get("root", "")
        source = DiskSource(kind, str(root), str(described.get("id", "")), str(described.get("profile", "")))
    return Disk(
        _text(persistence.get("id", ""), f"{place}.persistence.id"),
        _text(persistence.get("principal", ""), f"{place}.persistence.principal"),
        _text(volume.get("container_path", ""), f"{place}.volume.container_path"),
        mode,
        source,
    )


def _role(value: Any, place: str) -> str:
    try:
        return check_role(_text(value, place))
    except InvalidRole as error:
        raise InvalidResources(f"{place}: {error}") from None


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidResources(f"{place} is {value!r}: an object is needed")
    return value


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidResources(f"{place} is {value!r}: a list is needed")
    return value


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise InvalidResources(f"{place} is {value!r}: a text is needed")
    return value
