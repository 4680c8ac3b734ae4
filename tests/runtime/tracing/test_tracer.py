"""The tracer of a node: taps, the flight recorder, and who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.effects import Turn
from runtime.tracing import messages as m
from runtime.tracing.files import read_turns
from runtime.tracing.messages import Filter
from runtime.tracing.reading import STEP_TURNS
from runtime.tracing.records import TurnRecord, turns_in
from runtime.tracing.tap import QUEUE_BYTES, WINDOW_CHUNKS
from runtime.tracing.tracer import MAX_TAPS, Tracer
from runtime.tracing.tracer_base import TracerState
from tests.runtime.tracing.mall import Break, Line, Mall, Order


def heard(mall: Mall) -> list[TurnRecord]:
    """What the taps of a mall have told so far."""
    chunks = [each for each in mall.asker.heard if isinstance(each, m.TapData)]
    return [turn for chunk in chunks for turn in turns_in(chunk.records)]


def counts(mall: Mall) -> m.Counts:
    """What the last chunk says."""
    return [each.counts for each in mall.asker.heard if isinstance(each, m.TapData)][-1]


def tracer(mall: Mall, node: str = "front") -> Tracer:
    actor = mall.node(node).cells["tracer"].actor
    assert isinstance(actor, Tracer)
    return actor


def test_a_tap_tells_of_turns_from_then_on(mall: Mall) -> None:
    mall.order("t0")
    started = mall.ask(m.StartTap())
    mall.order("t1")
    assert started == m.TapStarted(tap=1, node="front")
    assert [turn.message_type for turn in heard(mall)] == ["shop.Order", "shop.Packed"]
    order = heard(mall)[0]
    assert order.message["lines"] == ({"task_id": "t1", "token": "***"},)
    assert [name for name, _ in order.effects] == ["Ask"]


def test_a_tap_that_is_stopped_says_no_more_and_leaves_no_hook(mall: Mall) -> None:
    before = mall.front.observe
    tap = mall.ask(m.StartTap()).tap
    mall.order("t1")
    ended = mall.ask(m.StopTap(tap=tap))
    said = len(heard(mall))
    mall.order("t2")
    assert (ended.counts.seen, ended.counts.sent, len(heard(mall))) == (2, 2, said)
    assert mall.front.observe is before


def test_only_what_passes_the_filter_is_told(mall: Mall) -> None:
    mall.ask(m.StartTap(filter=Filter(fields=(("task_id", "t2"),))))
    mall.order("t1")
    mall.order("t2", "t3")
    assert [(turn.message_type, turn.message.get("task_id")) for turn in heard(mall)] == [
        ("shop.Order", None),
        ("shop.Packed", "t2"),
    ]


def test_several_taps_and_an_older_observer_see_the_same_turns(mall: Mall) -> None:
    seen: list[Turn] = []
    mall.front.observe = seen.append
    mall.ask(m.StartTap())
    mall.ask(m.StartTap(filter=Filter(message_type="shop.Order")))
    mall.order("t1")
    assert [turn.message_type for turn in heard(mall)].count("shop.Order") == 2
    assert any(isinstance(turn.message, Order) for turn in seen)


def test_a_rate_is_kept_and_what_is_beyond_it_is_counted(mall: Mall) -> None:
    mall.ask(m.StartTap(turns_per_second=2, filter=Filter(message_type="shop.Order")))
    for place in range(5):
        mall.front.post(mall.shop, Order(framework_id=f"f{place}"))
    mall.world.run(2.0)
    assert [turn.message["framework_id"] for turn in heard(mall)] == ["f0", "f1"]
    assert (counts(mall).seen, counts(mall).rate) == (5, 3)
    mall.order("t1")
    assert len(heard(mall)) == 3


def test_a_bound_on_bytes_is_kept(mall: Mall) -> None:
    mall.ask(m.StartTap(bytes_per_second=1.0))
    for _ in range(4):
        mall.front.post(mall.shop, Order())
    mall.world.run(2.0)
    assert (counts(mall).sent, counts(mall).volume) == (1, 3)


def test_drops_are_told_even_when_nothing_else_is(mall: Mall) -> None:
    mall.ask(m.StartTap(sample=0.0))
    mall.order("t1")
    mall.world.run(2.0)
    assert heard(mall) == []
    assert counts(mall).sampled == 2


def test_a_subscriber_that_does_not_keep_up_loses_turns_and_holds_nobody_up(mall: Mall) -> None:
    mall.ask(m.StartTap(turns_per_second=1e9, bytes_per_second=1e12))
    line = tuple(Line(f"task-{place}") for place in range(1000))
    mall.world.network.faults.add(mall.hold_acks)
    for place in range(300):
        mall.front.post(mall.shop, Order(framework_id=f"f{place}", lines=line[: 500 + place]))
        mall.world.run(0.1)
    tap = tracer(mall).taps[1]
    assert tap.sequence == WINDOW_CHUNKS
    assert tap.counts.queue > 0
    assert tap.counts.sent + tap.counts.queue < tap.counts.seen
    assert tap._waiting_bytes < QUEUE_BYTES + 200_000
    assert mall.front.state_of("shop").orders == 300


def test_a_tap_ends_with_its_subscriber(mall: Mall) -> None:
    mall.ask(m.StartTap())
    assert len(tracer(mall).taps) == 1
    mall.world.crash("desk")
    mall.world.run(5.0)
    assert tracer(mall).taps == {}


def test_a_tap_that_fails_ends_and_its_node_goes_on(mall: Mall, monkeypatch: pytest.MonkeyPatch) -> None:
    mall.ask(m.StartTap())

    def broken(turn: Turn) -> bytes:
        raise RuntimeError("cannot encode")

    monkeypatch.setattr("runtime.tracing.tap.encode_turn", broken)
    mall.order("t1")
    (ended,) = [each for each in mall.asker.heard if isinstance(each, m.TapEnded)]
    assert "cannot encode" in ended.reason
    assert mall.front.state_of("shop").packed.keys() == {"t1"}
    assert tracer(mall).taps == {}


def test_taps_are_listed_and_bounded(mall: Mall) -> None:
    for _ in range(MAX_TAPS):
        mall.ask(m.StartTap(filter=Filter(actor="shop")))
    assert "end one first" in mall.ask(m.StartTap()).reason
    listed = mall.ask(m.GetTaps()).taps
    assert len(listed) == MAX_TAPS
    assert (listed[0].subscriber.name, listed[0].filter.actor) == ("asker", "shop")


def test_the_flight_recorder_answers_about_a_trace(mall: Mall) -> None:
    mall.order("t1")
    mall.order("t2")
    everything = mall.ask(m.GetTurns())
    (wanted,) = {turn.trace for turn in turns_in(everything.records) if turn.message.get("task_id") == "t2"}
    answer = mall.ask(m.GetTurns(filter=Filter(trace=wanted)))
    assert [turn.message_type for turn in turns_in(answer.records)] == ["shop.Order", "shop.Packed"]
    assert (answer.node, answer.left_out) == ("front", 0)
    assert answer.recorded >= everything.recorded


def test_an_answer_is_bounded_and_says_what_it_left_out(mall: Mall) -> None:
    for place in range(10):
        mall.order(f"t{place}")
    chosen = Filter(message_type="shop.Order")
    answer = mall.ask(m.GetTurns(filter=chosen, limit=3))
    assert [turn.message["lines"][0]["task_id"] for turn in turns_in(answer.records)] == ["t7", "t8", "t9"]
    assert answer.left_out == 7
    small = mall.ask(m.GetTurns(filter=chosen, limit_bytes=700))
    assert small.left_out + len(turns_in(small.records)) == 10
    assert len(small.records) <= 700


def test_a_long_answer_is_read_in_steps_that_let_others_have_their_turn(mall: Mall) -> None:
    for place in range(STEP_TURNS):
        mall.front.post(mall.shop, Order(framework_id=f"f{place}"))
    mall.world.run(1.0)
    before = tracer(mall).node.cells["tracer"].turns
    answer = mall.ask(m.GetTurns(filter=Filter(message_type="shop.Order")))
    assert [turn.message["framework_id"] for turn in turns_in(answer.records)] == [f"f{n}" for n in range(STEP_TURNS)]
    assert tracer(mall).node.cells["tracer"].turns - before == 2


def test_a_tracer_that_fails_again_and_again_does_not_end_its_node(mall: Mall, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Tracer, *given: object) -> None:
        raise RuntimeError("a mistake in the tracer")

    mall.ask(m.StartTap())
    with monkeypatch.context() as patched:
        patched.setattr(Tracer, "_read", broken)
        for place in range(10):
            mall.desk.post(mall.desk.pid("asker"), mall.say(m.GetTurns(limit=place)))
            mall.world.run(70.0)
    assert mall.front.failure == ""
    mall.order("t1")
    assert mall.front.state_of("shop").packed.keys() == {"t1"}
    assert isinstance(mall.ask(m.GetTurns()), m.Turns)


def test_a_failed_turn_is_found(mall: Mall) -> None:
    mall.order("t1")
    mall.front.post(mall.shop, Break())
    mall.world.run(1.0)
    (turn,) = turns_in(mall.ask(m.GetTurns(filter=Filter(failed=True))).records)
    assert (turn.message_type, turn.error.splitlines()[-1]) == ("shop.Break", "ValueError: the till is empty")


def test_only_operators_may_ask_where_they_are_named(mall: Mall) -> None:
    tracer(mall).state = TracerState(operators=("operator",))
    answer = mall.ask(m.GetTurns())
    assert isinstance(answer, m.TracerRefused)
    assert "operator's key" in answer.reason
    tracer(mall).state = TracerState(operators=("operator", "desk"))
    assert isinstance(mall.ask(m.GetTurns()), m.Turns)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (m.StartTap(sample=2.0), "is no share"),
        (m.StartTap(file="../escape"), "no directory for trace files"),
        (m.StopTap(tap=99), "no tap 99"),
        (m.StartRecording(actor="nobody"), "no actor is called 'nobody' here; there are shop, tracer"),
        (m.StopRecording(actor="shop"), "is not being recorded"),
        (m.Relay(path=(), question=m.GetNode()), "1 to 4 nodes"),
        (m.Relay(path=("a",) * 5, question=m.GetNode()), "1 to 4 nodes"),
        (m.Relay(path=("nowhere",), question=m.GetNode()), "nowhere does not answer"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(mall: Mall, question: m.Question, says: str) -> None:
    answer = mall.ask(question)
    assert isinstance(answer, m.TracerRefused)
    assert says in answer.reason


def test_a_relay_asks_a_node_that_the_tool_does_not_dial(mall: Mall) -> None:
    mall.order("t1")
    answer = mall.ask(m.Relay(path=("back",), question=m.GetTurns(filter=Filter(message_type="shop.Pack"))))
    assert answer.node == "back"
    assert [turn.message["line"]["task_id"] for turn in turns_in(answer.records)] == ["t1"]


def test_the_tap_of_a_node_behind_another_comes_back_the_same_way_and_ends(mall: Mall) -> None:
    mall.order("t0")
    started = mall.ask(m.Relay(path=("back",), question=m.StartTap(filter=Filter(actor="store"))))
    for place in range(3 * WINDOW_CHUNKS):
        mall.order(f"t{place}")
    assert started.node == "back"
    assert [turn.message_type for turn in heard(mall)] == ["shop.Pack"] * 3 * WINDOW_CHUNKS
    ended = mall.ask(m.StopTap(tap=started.tap))
    assert (ended.tap, ended.counts.sent) == (started.tap, 3 * WINDOW_CHUNKS)
    assert tracer(mall, "back").taps == {}


def test_the_tap_of_a_node_behind_another_ends_when_the_tool_goes(mall: Mall) -> None:
    mall.order("t0")
    mall.ask(m.Relay(path=("back",), question=m.StartTap()))
    assert len(tracer(mall, "back").taps) == 1
    mall.world.crash("desk")
    mall.world.run(5.0)
    assert tracer(mall, "back").taps == {}


def test_the_tool_hears_when_a_node_behind_another_is_gone(mall: Mall) -> None:
    mall.order("t0")
    mall.ask(m.Relay(path=("back",), question=m.StartTap()))
    mall.world.crash("back")
    mall.world.run(5.0)
    (ended,) = [each for each in mall.asker.heard if isinstance(each, m.TapEnded)]
    assert "its node is gone" in ended.reason


def test_a_tap_writes_a_file_on_its_node(make_mall: Callable[[Path], Mall], tmp_path: Path) -> None:
    mall = make_mall(tmp_path)
    started = mall.ask(m.StartTap(file="everything"))
    mall.order("t1")
    tap = tracer(mall).taps[started.tap]
    assert tap.sink is not None
    mall.desk.post(mall.desk.pid("asker"), mall.say(m.StopTap(tap=started.tap)))
    mall.world.run(1.0)
    assert tap.sink.join(10.0)
    assert started.path == str(tmp_path / "front" / "traces" / "everything")
    turns, torn_bytes = read_turns(Path(started.path))
    assert [turn.message_type for turn in turns] == ["shop.Order", "shop.Packed"]
    assert torn_bytes == 0


def test_a_name_of_a_file_cannot_lead_elsewhere(make_mall: Callable[[Path], Mall], tmp_path: Path) -> None:
    mall = make_mall(tmp_path)
    for name in ("../escape", "/etc/passwd", "a/b", ".hidden", "a" * 200):
        answer = mall.ask(m.StartTap(file=name))
        assert isinstance(answer, m.TracerRefused), name
        assert "is no name for a file" in answer.reason


def test_the_end_of_a_node_finishes_its_files(make_mall: Callable[[Path], Mall], tmp_path: Path) -> None:
    mall = make_mall(tmp_path)
    path = Path(mall.ask(m.StartTap(file="everything")).path)
    mall.order("t1")
    asyncio.run(mall.front.stop(0.0))
    turns, torn_bytes = read_turns(path)
    assert ([turn.message_type for turn in turns][:2], torn_bytes) == (["shop.Order", "shop.Packed"], 0)
