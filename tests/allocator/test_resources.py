"""Resources: the laws of the algebra, parts, reservations, and both written forms."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import ranges
from allocator.resource import Disk, DiskSource, Reservation, Resource
from allocator.resources import EMPTY, InvalidResources, Resources, amounts, from_quantities, shrink, total
from allocator.resources_json import resources_from_json, resources_to_json
from allocator.resources_text import format_scalar, parse_amounts, parse_resources
from allocator.roles import InvalidRole, check_role, is_within, lineage, top_level

res = Resources.parse

stacks = st.sampled_from(
    (
        (),
        (Reservation("eng"),),
        (Reservation("eng", "dynamic", "alice", (("k", "v"),)),),
        (Reservation("eng"), Reservation("eng/web", "dynamic")),
    )
)
disks = st.sampled_from(
    (
        None,
        Disk(source=DiskSource("PATH", "/mnt")),
        Disk(source=DiskSource("MOUNT", "/mnt/1")),
        Disk("volume-1", "alice", "data"),
    )
)
spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=4
)


@st.composite
def single(draw: Any) -> Resource:
    kind = draw(st.sampled_from(("cpus", "mem", "disk", "ports", "zones")))
    stack = draw(stacks)
    if kind == "ports":
        return Resource(kind, ranges=ranges.coalesce(draw(spans)), reservations=stack)
    if kind == "zones":
        return Resource(kind, items=tuple(sorted(draw(st.sets(st.sampled_from("abcd"))))), reservations=stack)
    disk = draw(disks) if kind == "disk" else None
    shared = disk is not None and bool(disk.persistence_id) and draw(st.booleans())
    revocable = not stack and draw(st.booleans())
    scalar = 4000 if disk is not None and disk.source != DiskSource("PATH", "/mnt") else draw(st.integers(0, 9)) * 250
    return Resource(kind, scalar, reservations=stack, disk=disk, shared=shared, revocable=revocable)


everything = st.lists(single(), max_size=8).map(lambda items: Resources.of(*items))
scalars = st.lists(single().filter(lambda r: not r.ranges and not r.items), max_size=6).map(
    lambda items: Resources.of(*items)
)


@given(everything, everything)
def test_addition_commutes(a: Resources, b: Resources) -> None:
    assert a + b == b + a


@given(everything, everything, everything)
def test_addition_associates(a: Resources, b: Resources, c: Resources) -> None:
    assert (a + b) + c == a + (b + c) == total([a, b, c])


@given(scalars, scalars)
def test_what_was_added_can_be_taken_away(a: Resources, b: Resources) -> None:
    assert (a + b) - b == a
    assert b in a + b


@given(everything, everything)
def test_containing_is_being_a_part(a: Resources, b: Resources) -> None:
    assert (b in a) == ((a - b) + b == a)
    assert (a - b) in a
    assert a - a == EMPTY
    assert a - EMPTY == a
    assert EMPTY in a


@given(everything, everything, everything)
def test_containing_is_transitive(a: Resources, b: Resources, c: Resources) -> None:
    ab = a + b
    assert a in ab
    assert ab in ab + c
    assert a in ab + c


@given(everything)
def test_equal_resources_have_equal_bytes_and_hashes(a: Resources) -> None:
    again = Resources.of(*reversed(a.items))
    assert again == a
    assert hash(again) == hash(a)
    encoded = msgspec.msgpack.encode(a)
    assert msgspec.msgpack.encode(again) == encoded
    assert msgspec.msgpack.decode(encoded, type=Resources) == a


@given(everything)
def test_parts_make_the_whole(a: Resources) -> None:
    assert a.reserved() + a.unreserved() == a
    assert a.revocable() + a.non_revocable() == a
    assert a.shared() + a.non_shared() == a
    assert a.allocatable_to("eng/web/api") == a
    assert a.allocatable_to("ops") == a.unreserved()


@given(everything)
def test_json_goes_there_and_back(a: Resources) -> None:
    assert resources_from_json(json.loads(json.dumps(resources_to_json(a)))) == a


@given(st.lists(single().filter(lambda r: r.disk is None and not r.revocable and len(r.reservations) < 2), max_size=6))
def test_text_goes_there_and_back(items: list[Resource]) -> None:
    static = [
        msgspec.structs.replace(r, reservations=tuple(Reservation(x.role) for x in r.reservations)) for r in items
    ]
    a = Resources.of(*static)
    assert a.is_empty or parse_resources(str(a)) == a


def numbers(of: ranges.Ranges) -> set[int]:
    return set(itertools.chain.from_iterable(range(begin, end + 1) for begin, end in of))


@given(spans, spans)
def test_ranges_are_sets_of_numbers(left: Any, right: Any) -> None:
    a, b = ranges.coalesce(left), ranges.coalesce(right)
    assert numbers(a) == numbers(left)
    assert numbers(ranges.union(a, b)) == numbers(a) | numbers(b)
    assert numbers(ranges.difference(a, b)) == numbers(a) - numbers(b)
    assert ranges.covers(a, b) == (numbers(a) >= numbers(b))
    assert ranges.size(a) == len(numbers(a))
    assert all(x[1] + 1 < y[0] for x, y in itertools.pairwise(a)), "coalesced"


def test_shared_resources_count_once_and_whole_disks_are_counted() -> None:
    disk = Disk("id", container_path="data")
    shared = Resource("disk", 10_000, reservations=(Reservation("r"),), disk=disk, shared=True)
    owned = msgspec.structs.replace(shared, shared=False)
    twice = Resources.of(shared, shared)
    assert twice.scalars() == {"disk": 10_000}
    assert twice - Resources.of(shared) == Resources.of(shared)
    mount = Resource("disk", 10_000, disk=Disk(source=DiskSource("MOUNT", "/mnt")))
    assert Resources.of(mount, mount).scalars() == {"disk": 20_000}
    assert Resources.of(mount) - res("disk:1") == Resources.of(mount)  # cannot be cut
    assert Resources.of(owned) not in Resources.of(shared)
    assert Resources.of(shared).persistent_volumes() == Resources.of(shared)


def test_shrinking_cuts_what_can_be_cut() -> None:
    mount = Resource("disk", 10_000, disk=Disk(source=DiskSource("MOUNT", "/mnt")))
    a = Resources.of(mount) + res("cpus:4;mem:100;ports:[1-2]")
    assert shrink(a, {"cpus": 1500}) == Resources.of(mount) + res("cpus:1.5;mem:100;ports:[1-2]")
    assert shrink(a, {"disk": 9_999, "mem": 0}) == res("cpus:4;ports:[1-2]")
    assert shrink(a, {"cpus": 4000}) is a


def test_reserving_and_unreserving() -> None:
    free = res("cpus:4;ports:[1-2]")
    eng = free.push_reservation(Reservation("eng", "dynamic", "alice"))
    web = eng.push_reservation(Reservation("eng/web", "dynamic"))
    assert {resource.role for resource in web} == {"eng/web"}
    assert web.pop_reservation() == eng
    assert eng.pop_reservation() == free == web.flatten()
    assert web.reserved("eng/web") == web == web.reserved_within("eng")
    with pytest.raises(InvalidResources, match="only for a role under it, not for 'ops'"):
        eng.push_reservation(Reservation("ops", "dynamic"))
    with pytest.raises(InvalidResources, match="is not reserved"):
        free.pop_reservation()
    with pytest.raises(InvalidResources, match="--resources; change it there"):
        res("cpus(eng):1").pop_reservation()
    with pytest.raises(InvalidResources, match="revocable, which cannot be reserved"):
        Resources.of(Resource("cpus", 1000, revocable=True)).push_reservation(Reservation("eng", "dynamic"))


def test_text() -> None:
    a = res(" cpus:4 ; mem:8GB; ports:[31000-32000, 31500-33000];disks:{b, a};cpus(eng):0.1234;")
    assert str(a) == "cpus:4; cpus(eng):0.123; disks:{a, b}; mem:8192; ports:[31000-33000]"
    assert a.scalars() == {"cpus": 4123, "mem": 8_192_000}
    assert a.scalar("cpus") == 4123
    assert a.names() == ("cpus", "disks", "mem", "ports")
    assert list(res("ports:[1-2,5-5]").ports()) == [1, 2, 5]
    assert str(EMPTY) == "{}"
    assert res("") == res("cpus:0") == EMPTY
    assert parse_resources("cpus:1;mem(*):2", "eng") == res("cpus(eng):1;mem:2")
    assert [format_scalar(n) for n in (0, 5, 1000, 1500, -250)] == ["0", "0.005", "1", "1.5", "-0.25"]
    assert str(Resources.of(Resource("cpus", 500, reservations=(Reservation("a"), Reservation("a/b", "dynamic", "p")))))
    assert parse_amounts("cpus:0;mem:1GB") == amounts({"cpus": 0, "mem": 1_024_000})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cpus", "needs a name, a colon and a value"),
        ("cpus:x", "'x' is no number"),
        ("cpus:-1", "out of range"),
        ("cpus:nan", "out of range"),
        ("cpus:inf", "out of range"),
        ("cpus:1e300", "out of range"),
        ("cpus:8GB", "'8GB' is no number"),
        ("mem:8XB", "(a number in MiB, or with a unit such as 8GB)"),
        ("gpus:0.5", "GPUs come whole"),
        ("ports:[1-2", "not closed with ']'"),
        ("ports:[2-1]", "ends before it begins"),
        ("ports:[a-b]", "'a-b' is no range"),
        ("ports:[1-99999999999999999999]", "63 bits"),
        ("zones:{a", "not closed with '}'"),
        ("zones:{a,a}", "twice"),
        ("cpus(a//b):1", "empty component"),
        ("cpus():1", "a role is empty"),
        ("cpus:1;cpus:[1-2]", "once as a number and once as ranges"),
        ("[not json", "start like JSON, but are not"),
    ],
)
def test_malformed_text_is_refused_with_its_reason(text: str, said: str) -> None:
    with pytest.raises(InvalidResources) as caught:
        res(text)
    assert said in str(caught.value)


def test_only_plain_amounts_where_amounts_are_meant() -> None:
    with pytest.raises(InvalidResources, match="only plain amounts"):
        parse_amounts("cpus(eng):1")
    with pytest.raises(InvalidResources, match="only plain amounts"):
        parse_amounts("ports:[1-2]")


def test_json_as_mesos_writes_it() -> None:
    encoded = [
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.5}, "role": "eng"},
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 2}]}, "role": "*"},
        {
            "name": "disk",
            "type": "SCALAR",
            "scalar": {"value": 10},
            "role": "eng",
            "reservation": {"principal": "alice", "labels": {"labels": [{"key": "k"}]}},
            "disk": {
                "persistence": {"id": "v", "principal": "alice"},
                "volume": {"mode": "RW", "container_path": "data"},
                "source": {"type": "PATH", "path": {"root": "/mnt"}},
            },
            "shared": {},
            "unknown field": 1,
        },
    ]
    a = resources_from_json(encoded)
    dynamic = Reservation("eng", "dynamic", "alice", (("k", ""),))
    disk = Disk("v", "alice", "data", source=DiskSource("PATH", "/mnt"))
    volume = Resource("disk", 10_000, reservations=(dynamic,), disk=disk, shared=True)
    assert a == res("cpus(eng):1.5;ports:[1-2]") + Resources.of(volume)
    (cpus,) = resources_to_json(res("cpus(eng):1.5"), allocated_to="eng/web")
    assert cpus == {
        "name": "cpus",
        "type": "SCALAR",
        "scalar": {"value": 1.5},
        "allocation_info": {"role": "eng/web"},
        "reservations": [{"type": "STATIC", "role": "eng"}],
    }
    assert resources_from_json(cpus) == res("cpus(eng):1.5")
    assert len(resources_to_json(Resources.of(volume, volume))) == 2


def scalar(**more: Any) -> dict[str, Any]:
    return {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, **more}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7, "a list of objects, not int"),
        ([7], "resources[0] is 7"),
        ([{}], "resources[0].name is None"),
        ([{"name": ""}], "name is missing"),
        ([scalar(type="TEXT")], "(cpus).type is 'TEXT'"),
        ([scalar(scalar={"value": "1"})], "scalar.value is '1'"),
        ([scalar(scalar={"value": -1})], "scalar.value is -1"),
        ([scalar(scalar=None)], "scalar is None: an object"),
        ([scalar(name="gpus", scalar={"value": 0.5})], "GPUs come whole"),
        ([{"name": "p", "type": "RANGES", "ranges": {"range": [{"begin": 2, "end": 1}]}}], "range[0] is 2-1"),
        ([{"name": "p", "type": "RANGES", "ranges": {"range": 5}}], "5: a list is needed"),
        ([{"name": "s", "type": "SET", "set": {"item": [1]}}], "item[0] is 1: a text"),
        ([scalar(revocable={}, role="eng")], "both revocable and reserved"),
        ([scalar(disk={"persistence": {"id": "x"}})], "only the resource called 'disk'"),
        ([scalar(name="disk", disk={"source": {"type": "TAPE"}})], "source.type is 'TAPE'"),
        ([scalar(name="disk", disk={"volume": {"mode": "WO"}})], "mode is 'WO'"),
        ([scalar(reservations=[{"type": "SOMETIMES", "role": "a"}])], "it must be STATIC or DYNAMIC"),
        ([scalar(reservations=[{"type": "STATIC"}])], "reservations[0].role is None"),
        ([scalar(role="a b")], "white space"),
    ],
)
def test_malformed_json_is_refused_with_its_place(value: Any, said: str) -> None:
    with pytest.raises(InvalidResources) as caught:
        resources_from_json(value)
    assert said in str(caught.value)


def test_quantities() -> None:
    assert from_quantities({"mem": 5, "cpus": 1000, "disk": 0}) == res("cpus:1;mem:0.005")
    with pytest.raises(InvalidResources, match="cannot be negative"):
        from_quantities({"cpus": -1})


@pytest.mark.parametrize("role", ["", "a//b", "/a", "a/", "a/./b", "..", "-x", "a b", "a/*", "a\t"])
def test_what_is_no_role(role: str) -> None:
    with pytest.raises(InvalidRole):
        check_role(role)


def test_roles() -> None:
    assert [check_role(role) for role in ("*", "eng", "eng/web-1.2/a_b")] == ["*", "eng", "eng/web-1.2/a_b"]
    assert lineage("a/b/c") == ("a/b/c", "a/b", "a")
    assert top_level("a/b/c") == "a"
    assert is_within("a/b", "a")
    assert is_within("a", "a")
    assert not is_within("ab", "a")
