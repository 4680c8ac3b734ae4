"""Addresses: what is one, what is none, and that reading undoes writing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InvalidPID
from runtime.pid import PID, is_actor_name, is_node_id

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:()/#+=~-]{0,30}", fullmatch=True)
NODES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}", fullmatch=True)


@given(NAMES, NODES)
def test_reading_undoes_writing(name: str, node: str) -> None:
    pid = PID(name, node, 5)
    assert PID.parse(str(pid)) == PID(name, node)


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.1:5040", "ipc:///run/kaon.sock", "tcp://[::1]:5040", "simulated://m1"]
)
def test_a_node_may_be_an_address(address: str) -> None:
    pid = PID.parse(f"master@{address}")
    assert (pid.node, pid.is_address) == (address, True)
    assert not PID("master", "m1").is_address


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("master", "has no '@'"),
        ("@m1", "'' is no actor name"),
        ("two words@m1", "is no actor name"),
        ("-a@m1", "is no actor name"),
        ("a" * 256 + "@m1", "is no actor name"),
        ("master@", "'' is neither a node id nor an address"),
        ("master@http://m1", "is neither a node id nor an address"),
        ("master@m 1", "is neither a node id nor an address"),
        ("a@b@c", "is neither a node id nor an address"),
    ],
)
def test_what_is_no_address_is_told_so(text: str, wrong: str) -> None:
    with pytest.raises(InvalidPID, match=wrong):
        PID.parse(text)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        pid = PID.parse(text)
    except InvalidPID:
        return
    assert str(pid) == text


def test_lives_of_a_node_are_told_apart_and_pids_have_an_order() -> None:
    assert PID("a", "n1", 1) != PID("a", "n1", 2)
    assert sorted([PID("b", "n1"), PID("a", "n2"), PID("a", "n1")]) == [PID("a", "n1"), PID("a", "n2"), PID("b", "n1")]
    assert len({PID("a", "n1"), PID("a", "n1")}) == 1


@pytest.mark.parametrize("text", ["", " ", ".a", "a b", "ä", "a\n"])
def test_names_are_plain(text: str) -> None:
    assert not is_actor_name(text)
    assert not is_node_id(text)
