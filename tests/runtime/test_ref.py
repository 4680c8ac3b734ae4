"""Asking actors from outside: answers, failures, and no wait without an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from runtime import ref
from runtime.clock import RealClock
from runtime.errors import NameTaken
from runtime.node import Node
from runtime.ref import NoAnswer, Outside
from runtime.transport.memory import MemoryTransport, Network
from tests.runtime.puppets import Fatal, Note, Puppet, PuppetState, Question


def with_outside(test: Callable[[Node, Outside], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        clock = RealClock(asyncio.get_running_loop())
        node = Node("n1", MemoryTransport(Network(clock)), clock, seed="1")
        node.spawn(Puppet, "b", PuppetState())
        outside = Outside.on(node)
        try:
            async with asyncio.timeout(20):
                await test(node, outside)
        finally:
            await node.stop(1.0)

    asyncio.run(run())


def test_answers_come_back_each_to_its_question() -> None:
    async def test(node: Node, outside: Outside) -> None:
        answers = await asyncio.gather(
            *(outside.fetch_answer(node.pid("b"), Question(text=str(number))) for number in range(10))
        )
        assert answers == [Note(text=f"re {number}") for number in range(10)]

    with_outside(test)


def test_a_question_that_cannot_be_answered_raises_with_the_reason() -> None:
    async def test(node: Node, outside: Outside) -> None:
        with pytest.raises(NoAnswer, match="no such actor"):
            await outside.fetch_answer(node.pid("nobody"), Question(text="?"))
        with pytest.raises(NoAnswer, match="timeout"):
            await outside.fetch_answer(node.pid("b"), Question(text="?", later=True), timeout_seconds=0.01)
        with pytest.raises(NoAnswer, match="failed: ValueError: fatal"):
            await outside.fetch_answer(node.pid("b"), Fatal())

    with_outside(test)


def test_the_end_of_the_node_ends_every_wait() -> None:
    async def test(node: Node, outside: Outside) -> None:
        waiting = asyncio.create_task(outside.fetch_answer(node.pid("b"), Question(text="?", later=True)))
        await asyncio.sleep(0)
        await node.stop(1.0)
        with pytest.raises(NoAnswer, match="the node has stopped"):
            await waiting
        with pytest.raises(NoAnswer, match="the node has stopped"):
            await outside.fetch_answer(node.pid("b"), Question(text="?"))

    with_outside(test)


def test_a_node_that_has_failed_does_not_keep_anybody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ref, "GRACE_SECONDS", 0.01)

    async def test(node: Node, outside: Outside) -> None:
        node.fail("the disk")
        with pytest.raises(NoAnswer, match="the node does not turn"):
            await outside.fetch_answer(node.pid("b"), Question(text="?"), timeout_seconds=0.01)

    with_outside(test)


def test_one_outside_actor_serves_all_and_its_name_may_be_taken() -> None:
    async def test(node: Node, outside: Outside) -> None:
        assert Outside.on(node) is outside
        with pytest.raises(NameTaken, match="runs a Puppet called 'b'"):
            Outside.on(node, "b")

    with_outside(test)


def test_whoever_stops_waiting_leaves_nothing_behind() -> None:
    async def test(node: Node, outside: Outside) -> None:
        waiting = asyncio.create_task(outside.fetch_answer(node.pid("b"), Question(text="?", later=True)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert outside._questions == {}

    with_outside(test)
