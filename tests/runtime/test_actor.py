"""What the declaration of an actor checks, and what edges may do besides."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import pytest

from runtime.actor import Actor, Edge, State, receive, state_type
from runtime.clock import RealClock
from runtime.effects import After, Ask, Cancel, Link, Persist, Reply, Request, Send, Spawn, Stop
from runtime.errors import ActorError
from runtime.message import EdgeFailed, Message
from runtime.node import Node
from runtime.pid import PID
from runtime.supervision import FATAL, Supervision
from runtime.testing import make, turn
from runtime.transport.memory import MemoryTransport, Network
from tests.runtime.puppets import FOREVER, Fatal, Kept, Note, Ping, Puppet, PuppetState, Question

B = PID("b", "n1")


def test_handlers_are_inherited_and_may_be_replaced() -> None:
    class Child(Puppet):
        @receive(Note)
        def note(self, sender: PID, message: Note) -> None:
            self.state.notes.append(f"child: {message.text}")

    child = make(Child, PuppetState())
    turn(child, Note(text="1"))
    turn(child, Question(text="2", later=True))
    assert child.state.notes == ["child: 1"]
    assert len(child.state.requests) == 1
    assert Ping in Child.handlers


def test_a_message_type_has_one_handler_per_class() -> None:
    with pytest.raises(ActorError, match="Twice handles Note twice: one and two"):

        class Twice(Actor[State]):
            @receive(Note)
            def one(self, sender: PID, message: Note) -> None: ...

            @receive(Note)
            def two(self, sender: PID, message: Note) -> None: ...


def test_a_handler_is_no_coroutine() -> None:
    with pytest.raises(ActorError, match="is a coroutine: a turn does not await"):

        class Waiting(Actor[State]):
            @receive(Note)  # type: ignore[arg-type]
            async def note(self, sender: PID, message: Note) -> None: ...


def test_the_state_of_a_class_can_be_told() -> None:
    class Child(Puppet): ...

    assert state_type(Child) is PuppetState
    with pytest.raises(ActorError, match="Bare does not name its state"):
        state_type(type("Bare", (Actor,), {}))


def test_everything_that_a_handler_asks_for_is_an_effect_in_order() -> None:
    actor = make(Puppet, PuppetState())
    asked = Request(B, 7, 5)
    assert actor.after(2.0, Note(text="t")) == 1
    assert actor.spawn(Puppet, "child", PuppetState(), FATAL) == PID("child", "test", 1)
    actor.send(B, Note(text="s"))
    actor.ask(B, Note(text="a"), actor.answered, None, 3.0)
    actor.reply(Note(text="r"), to=asked)
    actor.cancel(1)
    actor.link(B)
    actor.stop("child", "enough")
    actor.stop()
    assert actor._outbox == [
        After(1, 2.0, Note(text="t")),
        Spawn("child", Puppet, PuppetState(), FATAL),
        Send(B, Note(text="s")),
        Ask(B, Note(text="a"), "answered", None, 3.0),
        Reply(asked, Note(text="r")),
        Cancel(1),
        Link(B),
        Stop("child", "enough"),
        Stop("", "stopped"),
    ]


def test_a_union_of_record_types_may_be_persisted() -> None:
    class Other(msgspec.Struct, frozen=True, tag=True):
        number: int

    class Both(Puppet):
        records = Kept | Other

    class Grandchild(Both): ...

    for actor_class in (Both, Grandchild):
        actor = make(actor_class, PuppetState())
        actor.persist(Kept(text="1"))
        actor.persist(Other(number=2))
        assert [type(effect) for effect in actor._outbox] == [Persist, Persist]


def test_chance_is_the_same_for_the_same_seed_and_only_then() -> None:
    drawn = [make(Puppet, PuppetState(), seed=seed).random.random() for seed in ("1", "1", "2")]
    assert drawn[0] == drawn[1] != drawn[2]


# Edges --------------------------------------------------------------------------------------------------------------


class Run(Message, frozen=True, kw_only=True, tag="edges.Run"):
    """Have the edge run something."""

    work: Any
    local = True


class Worker(Edge[PuppetState]):
    """Runs what it is given."""

    heard: asyncio.Queue[tuple[str, int]]
    closed = False

    @receive(Run)
    def begin(self, sender: PID, message: Run) -> None:
        self.start(message.work(), "the work")

    @receive(Note)
    def note(self, sender: PID, message: Note) -> None:
        self.heard.put_nowait((message.text, self._delivery[4]))

    @receive(EdgeFailed)
    def failed(self, sender: PID, message: EdgeFailed) -> None:
        self.heard.put_nowait((f"{message.task}: {message.error}", self._delivery[4]))

    @receive(Fatal)
    def fatal(self, sender: PID, message: Fatal) -> None:
        raise ValueError("fatal")

    def close(self) -> None:
        self.closed = True


def with_worker(
    test: Callable[[Node, Worker], Coroutine[Any, Any, None]], supervision: Supervision | None = None
) -> None:
    async def run() -> None:
        clock = RealClock(asyncio.get_running_loop())
        node = Node("n1", MemoryTransport(Network(clock)), clock, seed="1")
        node.spawn(Worker, "worker", PuppetState(), supervision)
        worker = node.cells["worker"].actor
        assert isinstance(worker, Worker)
        worker.heard = asyncio.Queue()
        try:
            async with asyncio.timeout(20):
                await test(node, worker)
        finally:
            await node.stop(1.0)
        assert worker.closed

    asyncio.run(run())


async def note(text: str) -> Message:
    await asyncio.sleep(0)
    return Note(text=text)


def test_the_result_of_a_coroutine_comes_as_a_message_caused_by_the_turn_that_started_it() -> None:
    async def test(node: Node, worker: Worker) -> None:
        node.post(worker.pid, Run(work=lambda: note("done")))
        text, parent = await worker.heard.get()
        assert text == "done"
        assert parent > 0

    with_worker(test)


def test_a_coroutine_that_raises_comes_as_edge_failed(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> Message:
        raise OSError("no route to host")

    async def test(node: Node, worker: Worker) -> None:
        node.post(worker.pid, Run(work=fail))
        assert (await worker.heard.get())[0] == "the work: OSError: no route to host"

    with_worker(test)
    (record,) = [record for record in caplog.records if record.name == "kaon.edge"]
    assert record.exc_info is not None


def test_a_coroutine_may_have_nothing_to_say() -> None:
    async def nothing() -> None:
        return None

    async def test(node: Node, worker: Worker) -> None:
        node.post(worker.pid, Run(work=nothing))
        node.post(worker.pid, Run(work=lambda: note("next")))
        assert (await worker.heard.get())[0] == "next"
        assert worker.heard.empty()

    with_worker(test)


def test_the_end_of_an_edge_cancels_what_it_runs_even_what_has_not_begun() -> None:
    cancelled: list[str] = []

    async def test(node: Node, worker: Worker) -> None:
        running = asyncio.Event()

        async def wait() -> Message:
            running.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append("running")
            return Note(text="never")

        node.post(worker.pid, Run(work=wait))
        await running.wait()

        def start_and_end() -> Awaitable[Message]:
            node.clock.call_soon(lambda: node.lifecycle.remove(node.cells["worker"], "enough"))
            return note("never begun")

        node.post(worker.pid, Run(work=start_and_end))
        while not cancelled:
            await asyncio.sleep(0)

    with_worker(test)
    assert cancelled == ["running"]


def test_what_comes_from_a_last_life_goes_nowhere() -> None:
    async def test(node: Node, worker: Worker) -> None:
        node.post(worker.pid, Fatal())
        while node.cells["worker"].actor is worker:
            await asyncio.sleep(0.01)
        successor = node.cells["worker"].actor
        assert isinstance(successor, Worker)
        successor.heard = asyncio.Queue()
        worker.post(Note(text="from the last life"))
        successor.post(Note(text="from this life"))
        assert (await successor.heard.get())[0] == "from this life"
        assert successor.heard.empty()

    with_worker(test, Supervision(restart=FOREVER.restart, backoff_seconds=0.01))


def test_other_threads_post_in_their_order() -> None:
    async def test(node: Node, worker: Worker) -> None:
        def post() -> None:
            for number in range(50):
                worker.post(Note(text=str(number)))

        thread = threading.Thread(target=post)
        thread.start()
        heard = [(await worker.heard.get())[0] for _ in range(50)]
        thread.join(10)
        assert heard == [str(number) for number in range(50)]

    with_worker(test)


def test_a_thread_that_posts_when_the_loop_is_gone_is_not_bothered() -> None:
    kept: list[Node] = []

    async def test(node: Node, worker: Worker) -> None:
        kept.append(node)

    with_worker(test)
    failures: list[BaseException] = []

    def post() -> None:
        try:
            kept[0].post(kept[0].pid("worker"), Note(text="too late"))
        except BaseException as error:  # noqa: BLE001  carried to the thread that looks
            failures.append(error)

    thread = threading.Thread(target=post)
    thread.start()
    thread.join(10)
    assert failures == []
