"""Clocks: virtual time moves only when told to, real time never goes back."""

from __future__ import annotations

import asyncio
import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.clock import Clock, RealClock, VirtualClock


def test_virtual_time_stands_still_until_it_is_told_to_move() -> None:
    clock = VirtualClock(100.0)
    called: list[float] = []
    clock.call_at(101.0, lambda: called.append(clock.now()))
    clock.call_soon(lambda: called.append(clock.now()))
    clock.settle()
    assert called == [100.0]
    clock.advance(0.5)
    assert (called, clock.now()) == ([100.0], 100.5)
    clock.advance(10.0)
    assert (called, clock.now()) == ([100.0, 101.0], 110.5)


@given(st.lists(st.integers(0, 5), max_size=30))
def test_callbacks_run_in_order_of_time_and_then_of_asking(whens: list[int]) -> None:
    clock = VirtualClock()
    called: list[tuple[int, int]] = []
    for number, when in enumerate(whens):
        clock.call_at(float(when), functools.partial(called.append, (when, number)))
    clock.advance(10.0)
    assert called == sorted((when, number) for number, when in enumerate(whens))


def test_what_is_due_in_the_past_runs_now() -> None:
    clock = VirtualClock(50.0)
    called: list[float] = []
    clock.call_at(3.0, lambda: called.append(clock.now()))
    clock.settle()
    assert called == [50.0]


def test_what_was_asked_for_at_a_time_comes_before_what_it_causes_and_may_call_it_off() -> None:
    clock = VirtualClock()
    called: list[str] = []

    def first() -> None:
        called.append("first")
        clock.call_soon(lambda: called.append("caused"))
        second.cancel()

    clock.call_at(1.0, first)
    second = clock.call_at(1.0, lambda: called.append("called off"))
    clock.call_at(1.0, lambda: called.append("third"))
    clock.advance(2.0)
    assert called == ["first", "third", "caused"]


def test_callbacks_may_ask_for_more_of_the_same_moment() -> None:
    clock = VirtualClock()
    called: list[int] = []

    def again(left: int) -> None:
        called.append(left)
        if left:
            clock.call_soon(lambda: again(left - 1))

    clock.call_soon(lambda: again(3))
    clock.settle()
    assert called == [3, 2, 1, 0]


def test_what_is_called_off_never_runs_and_keeps_nobody_waiting() -> None:
    clock = VirtualClock()
    called: list[int] = []
    handle = clock.call_at(1.0, lambda: called.append(1))
    assert clock.next_at() == 1.0
    handle.cancel()
    handle.cancel()
    assert clock.next_at() is None
    assert clock.step() is False
    clock.advance(5.0)
    assert called == []


@pytest.mark.parametrize("kind", ["real", "virtual"])
def test_clocks_keep_the_contract(kind: str) -> None:
    async def run() -> None:
        virtual = VirtualClock(5.0)
        clock: Clock = RealClock(asyncio.get_running_loop()) if kind == "real" else virtual
        called: list[str] = []
        done = asyncio.Event()

        def finish() -> None:
            called.append("later")
            done.set()

        clock.call_at(clock.now() + 0.02, finish)
        clock.call_at(clock.now() + 0.01, lambda: called.append("called off")).cancel()
        clock.call_soon(lambda: called.append("first"))
        clock.call_soon(lambda: called.append("second"))
        before = clock.now()
        virtual.advance(1.0)
        async with asyncio.timeout(10):
            await done.wait()
        assert called == ["first", "second", "later"]
        assert clock.now() >= before

    asyncio.run(run())
