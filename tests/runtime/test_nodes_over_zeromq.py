"""Nodes over real sockets: what holds on a simulated network holds there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from runtime.clock import RealClock
from runtime.effects import Turn
from runtime.message import Exited
from runtime.node import Node
from runtime.pid import PID
from runtime.ref import Outside
from runtime.transport.zeromq.transport import ZeroMQTransport
from tests.runtime.puppets import Do, Note, Order, Puppet, PuppetState, Question

Talk = Callable[[Node, Node, PID], Coroutine[Any, Any, None]]


def with_two_nodes(talk: Talk) -> None:
    """Node `n2` runs puppet `b`, which `talk` gets as it is reached from node `n1`; that one runs puppet `a`."""

    async def run() -> None:
        clock = RealClock(asyncio.get_running_loop())
        nodes = [Node(name, ZeroMQTransport(insecure=True), clock, seed="1") for name in ("n1", "n2")]
        address = nodes[1].listen("tcp://127.0.0.1:0")
        nodes[0].spawn(Puppet, "a", PuppetState())
        nodes[1].spawn(Puppet, "b", PuppetState())
        try:
            async with asyncio.timeout(30):
                await talk(nodes[0], nodes[1], PID("b", address))
        finally:
            for node in nodes:
                await node.stop(2.0)

    asyncio.run(run())


async def turn_of(node: Node, is_it: Callable[[Turn], bool]) -> None:
    """Wait for a turn."""
    seen = asyncio.Event()

    def observe(turn: Turn) -> None:
        if is_it(turn):
            seen.set()

    node.observe = observe
    await seen.wait()
    node.observe = None


def test_thousands_of_messages_arrive_in_order_and_questions_are_answered_between() -> None:
    async def talk(here: Node, there: Node, b: PID) -> None:
        outside = Outside.on(here)
        numbers = [str(number) for number in range(5_000)]

        def speak(actor: Puppet) -> None:
            for number in numbers:
                actor.send(b, Order(text=number))

        here.post(here.pid("a"), Do(act=speak))
        assert await outside.fetch_answer(b, Question(text="still there")) == Note(text="re still there")
        if len(there.state_of("b").notes) < len(numbers):
            await turn_of(there, lambda turn: isinstance(turn.message, Order) and turn.message.text == numbers[-1])
        assert there.state_of("b").notes == numbers
        assert not here.dead_letters
        assert there.peers.envelopes_in == len(numbers) + 1

    with_two_nodes(talk)


def test_two_actors_that_answer_one_another_do_not_starve_the_loop() -> None:
    async def talk(here: Node, there: Node, b: PID) -> None:
        rounds = 300

        def serve(actor: Puppet) -> None:
            actor.ask(b, Question(text=str(len(actor.state.answers))), actor.answered)

        here.post(here.pid("a"), Do(act=serve))
        for number in range(rounds):
            if len(here.state_of("a").answers) <= number:
                await turn_of(here, lambda turn: turn.sender.name == "b")
            here.post(here.pid("a"), Do(act=serve))
        assert here.state_of("a").answers[:rounds] == [f"re {number}" for number in range(rounds)]

    with_two_nodes(talk)


def test_nobody_can_say_in_anothers_name_that_an_actor_is_gone() -> None:
    async def talk(here: Node, there: Node, b: PID) -> None:
        outside = Outside.on(here)
        forged = Exited(pid=PID("agent", "n3"), reason="so they say")
        here.post(here.pid("a"), Do(act=lambda actor: actor.send(b, forged)))
        await outside.fetch_answer(b, Question(text="done"))
        assert there.refusals == {"unknown_type": 1}
        assert there.state_of("b").notes == []

    with_two_nodes(talk)


def test_the_end_of_a_node_is_told_to_those_who_are_linked_to_its_actors() -> None:
    async def talk(here: Node, there: Node, b: PID) -> None:
        here.post(here.pid("a"), Do(act=lambda actor: actor.link(b)))
        await Outside.on(here).fetch_answer(b, Question(text="linked by now"))
        gone = asyncio.create_task(turn_of(here, lambda turn: isinstance(turn.message, Exited)))
        await asyncio.sleep(0)
        await there.stop(2.0)
        await gone
        assert here.state_of("a").notes == ["b: node stopped"]

    with_two_nodes(talk)
