"""Filters: what they hold back, when they end, and that remembering them costs little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.filters import Filters, filter_seconds
from allocator.resources import Resources

SMALL, BIG = Resources.scalar_only(cpus=1), Resources.scalar_only(cpus=2)
F, G = ("*", "f"), ("*", "g")


@pytest.mark.parametrize(
    ("asked", "lasts"),
    [
        (None, 0),
        (0, 0),
        (0.1, 1),
        (1, 1),
        (7.5, 7.5),
        (-3, 5),
        (-1e300, 5),
        (1e300, 31_536_000),
        (float("inf"), 31_536_000),
    ],
)
def test_how_long(asked: float | None, lasts: float) -> None:
    assert filter_seconds(asked, 1.0) == lasts


def test_not_a_number_counts_as_the_default() -> None:
    assert filter_seconds(float("nan"), 1.0) == 5.0


def test_a_superset_covers_and_a_bigger_offer_does_not() -> None:
    filters = Filters()
    filters.refuse(F, "s", BIG, until=10.0, now=0.0)
    (refusal,) = filters.by_agent["s"][F]
    assert refusal.refuses(SMALL, 10.0)
    assert refusal.refuses(BIG, 5.0)
    assert not refusal.refuses(BIG + SMALL, 5.0)
    assert not refusal.refuses(BIG, 10.1)


def test_a_filter_that_covers_another_replaces_it() -> None:
    filters = Filters()
    filters.refuse(F, "s", SMALL, until=10.0, now=0.0)
    filters.refuse(F, "s", BIG, until=9.0, now=0.0)
    assert len(filters.by_agent["s"][F]) == 2  # the smaller one lasts longer
    filters.refuse(F, "s", BIG, until=11.0, now=0.0)
    assert [refusal.until for refusal in filters.by_agent["s"][F]] == [11.0]
    assert filters.active("*") == 1


def test_clearing() -> None:
    filters = Filters()
    for client in (F, G):
        for agent_id in ("s", "t"):
            filters.refuse(client, agent_id, SMALL, until=10.0, now=0.0)
    filters.clear_client(F)
    assert filters.by_agent.keys() == {"s", "t"}
    assert filters.by_client == {G: {"s", "t"}}
    filters.clear_agent("s")
    assert filters.by_client == {G: {"t"}}
    filters.clear_agent("t")
    assert (filters.by_agent, filters.by_client) == ({}, {})


@given(
    st.lists(st.tuples(st.sampled_from("st"), st.sampled_from([F, G]), st.floats(0.5, 400_000)), max_size=12),
    st.lists(st.sampled_from([0.7, 1.0, 60.0, 5_000.0, 100_000.0]), max_size=30),
)
def test_an_agent_is_named_in_the_first_look_after_one_of_its_filters_ended(
    refusals: list[tuple[str, tuple[str, str], float]], steps: list[float]
) -> None:
    filters = Filters()
    ends: dict[tuple[str, tuple[str, str]], list[float]] = {}
    for agent_id, client, until in refusals:
        filters.refuse(client, agent_id, SMALL, until, now=0.0)
        # Of equal resources, the one that lasts longest covers those set before it.
        known = ends.setdefault((agent_id, client), [])
        known[:] = [other for other in known if other > until] + [until]
    now = 0.0
    for seconds in [*steps, 400_001.0]:
        now += seconds
        over = {agent_id for (agent_id, _), untils in ends.items() if any(until < now for until in untils)}
        assert filters.expire(now) == over
        ends = {key: [until for until in untils if until >= now] for key, untils in ends.items()}
    assert (filters.by_agent, filters.by_client) == ({}, {})


def test_refusing_for_a_year_time_and_again_does_not_pile_up() -> None:
    filters = Filters()
    now = 0.0
    for _ in range(5_000):
        filters.refuse(F, "s", SMALL, now + 31_536_000, now)
        filters.refuse(G, "s", SMALL, now + 3, now)
        filters.clear_client(F)
        now += 5.0
        filters.expire(now)
    assert len(filters.seconds) == len(filters.due) < 10
