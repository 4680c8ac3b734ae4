"""Recordings replay without a difference, a change of behaviour is found at its turn, and what cannot be is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.actor import Actor, Edge, Handler, State, receive
from runtime.message import Message
from runtime.pid import PID
from runtime.testing import World
from runtime.tracing import messages as m
from runtime.tracing.files import TraceFileError
from runtime.tracing.recording import CannotRecord
from runtime.tracing.replay import CannotReplay, Difference, Outcome, Replay, find_difference
from runtime.tracing.tracer import Tracer, spawn_tracer
from tests.runtime.tracing.mall import Break, Line, Mall, Order, Packed, Shop, ShopState, Since

Make = Callable[[Path], Mall]


def tracer(mall: Mall) -> Tracer:
    actor = mall.front.cells["tracer"].actor
    assert isinstance(actor, Tracer)
    return actor


def recorded(mall: Mall, tmp_path: Path, work: Callable[[], None], actor: str = "shop") -> Path:
    """Record an actor while `work` is done."""
    recording = tracer(mall).record(actor, "file", 1 << 30)
    work()
    mall.front.remove_observer(recording.observe)
    recording.end("stopped")
    assert recording.join(10.0)
    return tmp_path / "front" / "traces" / "file"


def change(monkeypatch: pytest.MonkeyPatch, message_type: type[Message], handler: Handler) -> None:
    """Let the shop do something else with messages of a type."""
    monkeypatch.setattr(Shop, "handlers", {**Shop.handlers, message_type: handler})


def nothing(self: Shop, sender: PID, message: Message) -> None:
    """What a shop does that does nothing."""


def some_orders(mall: Mall) -> None:
    mall.order("t1", "t2")
    mall.order("t3")


def outcomes(path: Path) -> list[Outcome]:
    return list(Replay(path).turns())


def test_the_same_code_does_the_same(make_mall: Make, tmp_path: Path) -> None:
    mall = make_mall(tmp_path)
    mall.order("before")
    path = recorded(mall, tmp_path, lambda: some_orders(mall))
    replay = Replay(path)
    found = list(replay.turns())
    assert [each.step.message["type"] for each in found] == [
        *("shop.Order", "shop.Packed", "shop.Packed"),
        *("shop.Order", "shop.Packed"),
    ]
    assert [each.difference for each in found] == [None] * 5
    assert replay.end is not None
    assert (replay.end.turns, replay.end.reason) == (5, "stopped")
    assert replay.final_difference() is None


def test_chance_goes_on_where_it_was_and_begins_where_it_began(make_mall: Make, tmp_path: Path) -> None:
    mall = make_mall(tmp_path)
    path = recorded(mall, tmp_path, lambda: some_orders(mall))
    fresh = Replay(path)
    list(fresh.turns())
    assert fresh.start.chance is None
    assert fresh.actor.state.packed == mall.front.state_of("shop").packed


def test_a_whole_life_is_recorded_from_its_first_turn(tmp_path: Path) -> None:
    world = World(seed=5)
    node = world.node("n1")
    node.spawn(Shop, "shop", ShopState(store=PID("nobody", "n1")))
    spawn_tracer(node, tmp_path, record=["shop"])
    node.post(node.pid("shop"), Order(lines=(Line("t1"),)))
    world.run(40.0)
    actor = node.cells["tracer"].actor
    assert isinstance(actor, Tracer)
    (recording,) = actor.finish_recordings()
    assert recording.join(10.0)
    found = outcomes(tmp_path / "traces" / "shop.recording")
    assert [each.step.message["type"] for each in found] == ["node.Started", "shop.Order", "node.AskFailed"]
    assert [each.difference for each in found] == [None] * 3


def test_a_change_of_behaviour_is_found_at_the_turn_where_it_shows(
    make_mall: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mall = make_mall(tmp_path)
    path = recorded(mall, tmp_path, lambda: some_orders(mall))

    def order(self: Shop, sender: PID, message: Order) -> None:
        if self.state.orders == 1:
            message = msgspec.structs.replace(message, lines=(Line("t9"),))
        real(self, sender, message)

    real = Shop.handlers[Order]
    change(monkeypatch, Order, order)
    first = next(each for each in outcomes(path) if each.difference is not None)
    assert first.number == 4
    assert first.difference == Difference("effects[0][1].message.line.task_id", "t3", "t9")


def test_an_effect_too_much_or_too_few_is_found(
    make_mall: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mall = make_mall(tmp_path)
    path = recorded(mall, tmp_path, lambda: mall.order("t1"))
    change(monkeypatch, Order, nothing)
    assert str(outcomes(path)[0].difference).startswith("effects[0]: recorded ['Ask'")


def test_a_change_that_shows_only_in_the_state_is_found_at_the_end(
    make_mall: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mall = make_mall(tmp_path)
    path = recorded(mall, tmp_path, lambda: mall.order("t1"))

    def packed(self: Shop, sender: PID, answer: Packed, context: Since) -> None:
        self.state.packed[answer.task_id] = 0.0

    monkeypatch.setattr(Shop, "packed", packed)
    replay = Replay(path)
    assert [each.difference for each in replay.turns()] == [None, None]
    difference = replay.final_difference()
    assert difference is not None
    assert (difference.where, difference.replayed) == ("state.packed.t1", 0.0)


def test_a_failure_is_repeated_and_one_that_is_mended_is_a_difference(
    make_mall: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mall = make_mall(tmp_path)

    def work() -> None:
        mall.order("t1")
        mall.front.post(mall.shop, Break())
        mall.world.run(1.0)

    path = recorded(mall, tmp_path, work)
    found = outcomes(path)
    assert [each.difference for each in found] == [None] * 3
    assert found[-1].error.endswith("ValueError: the till is empty\n")
    change(monkeypatch, Break, nothing)
    assert outcomes(path)[-1].difference == Difference("error", "ValueError: the till is empty", "")


def test_an_answer_that_came_too_late_does_nothing_again(make_mall: Make, tmp_path: Path) -> None:
    mall = make_mall(tmp_path)

    def work() -> None:
        mall.order("t1")
        delivery = (Packed(task_id="t9", weight=1.0), PID("store", "back", 1), 9, 10, 8, 9, mall.front.now())
        mall.front.deliver(mall.shop, delivery)
        mall.world.run(1.0)

    found = outcomes(recorded(mall, tmp_path, work))
    assert found[-1].step.late
    assert [each.difference for each in found] == [None] * 3


def test_secrets_are_in_no_recording(make_mall: Make, tmp_path: Path) -> None:
    mall = make_mall(tmp_path)
    mall.order("before")
    path = recorded(mall, tmp_path, lambda: some_orders(mall))
    data = path.read_bytes()
    assert b"t1" in data
    assert b"hunter2" not in data


def test_a_recording_that_was_cut_off_replays_as_far_as_it_goes(make_mall: Make, tmp_path: Path) -> None:
    mall = make_mall(tmp_path)
    path = recorded(mall, tmp_path, lambda: some_orders(mall))
    path.write_bytes(path.read_bytes()[:-400])
    replay = Replay(path)
    found = list(replay.turns())
    assert 0 < len(found) < 5
    assert [each.difference for each in found] == [None] * len(found)
    assert (replay.end, replay.final_difference()) == (None, None)
    assert replay.torn_bytes > 0


def test_a_recording_ends_at_its_limit_and_says_so(make_mall: Make, tmp_path: Path) -> None:
    mall = make_mall(tmp_path)
    recording = tracer(mall).record("shop", "file", 2_000)
    for place in range(20):
        mall.order(f"t{place}")
    assert recording.join(10.0)
    replay = Replay(tmp_path / "front" / "traces" / "file")
    found = list(replay.turns())
    assert replay.end is not None
    assert "limit of 2000 bytes" in replay.end.reason
    assert replay.end.turns == len(found) > 0
    ended = mall.ask(m.StopRecording(actor="shop"))
    assert (ended.turns, ended.reason) == (len(found), replay.end.reason)


def test_recordings_are_started_and_stopped_by_message(make_mall: Make, tmp_path: Path) -> None:
    mall = make_mall(tmp_path)
    started = mall.ask(m.StartRecording(actor="shop", file="mine"))
    assert started.path == str(tmp_path / "front" / "traces" / "mine")
    assert "is being recorded already" in mall.ask(m.StartRecording(actor="shop")).reason
    mall.order("t1")
    recording = tracer(mall).recordings["shop"]
    mall.desk.post(mall.desk.pid("asker"), mall.say(m.StopRecording(actor="shop")))
    mall.world.run(1.0)
    assert recording.join(10.0)
    assert [each.difference for each in outcomes(Path(started.path))] == [None, None]


class Odd:
    """Something that no recording can hold."""


class OddState(State):
    odd: Any = None


class OddActor(Actor[OddState]):
    @receive(Break)
    def nothing(self, sender: PID, message: Break) -> None:
        """Does nothing."""


class EdgeActor(Edge[OddState]):
    @receive(Break)
    def nothing(self, sender: PID, message: Break) -> None:
        """Does nothing."""


def test_a_state_that_cannot_be_written_is_refused(make_mall: Make, tmp_path: Path) -> None:
    mall = make_mall(tmp_path)
    mall.front.spawn(OddActor, "odd", OddState(odd=Odd()))
    with pytest.raises(CannotRecord, match=r"its state \(OddState\) cannot be written"):
        tracer(mall).record("odd", "file", 1 << 20)
    assert not (tmp_path / "front" / "traces" / "file").exists()


def test_an_edge_is_recorded_and_not_replayed(make_mall: Make, tmp_path: Path) -> None:
    mall = make_mall(tmp_path)
    mall.front.spawn(EdgeActor, "edge", OddState(odd=Odd()))
    path = recorded(mall, tmp_path, lambda: mall.front.post(mall.front.pid("edge"), Break()), "edge")
    with pytest.raises(CannotReplay, match="is an edge"):
        Replay(path)


def test_code_that_is_not_here_is_named(make_mall: Make, tmp_path: Path) -> None:
    mall = make_mall(tmp_path)
    path = recorded(mall, tmp_path, lambda: mall.order("t1"))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"mall:Shop", b"mall:Shed"))
    with pytest.raises(CannotReplay, match="mall:Shed cannot be imported"):
        Replay(path)
    path.write_bytes(data.replace(b"mall:Shop", b"mall:Line"))
    with pytest.raises(CannotReplay, match="mall:Line is no Actor"):
        Replay(path)


def test_a_trace_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(msgspec.msgpack.encode({"type": "header", "version": 1}))
    with pytest.raises(TraceFileError, match="is a trace, not a recording"):
        Replay(tmp_path / "file")


@pytest.mark.parametrize(
    ("recorded_value", "replayed", "where"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {"a": 2}, "x.a"),
        ({"a": 1}, {}, "x.a"),
        ({}, {"b": 1}, "x.b"),
        ([1, 2], (1, 2), None),
        ([1, 2], [1], "x[1]"),
        ([1], [1, 2], "x[1]"),
        ([{"a": [0, 1]}], [{"a": [0, 2]}], "x[0].a[1]"),
        (1, "1", "x"),
    ],
)
def test_differences_are_named_by_their_place(recorded_value: object, replayed: object, where: str | None) -> None:
    found = find_difference(recorded_value, replayed, "x")
    assert (found.where if found else None) == where
