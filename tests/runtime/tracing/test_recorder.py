"""The flight recorder: the last turns, bounded in number and in bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.effects import Turn
from runtime.message import Started, message_types
from runtime.pid import PID
from runtime.testing import World
from runtime.tracing.recorder import SEGMENTS, FlightRecorder
from tests.runtime.puppets import Note, Stage, at


def a_turn(number: int, actor: str = "a") -> Turn:
    pid = PID(actor, "n1", 1)
    return Turn(pid, pid, Note(text=str(number)), number, number, 0, 0.0, 0.0, 0.0, [])


def texts(turns: list[Turn]) -> list[str]:
    return [turn.message.text for turn in turns if isinstance(turn.message, Note)]


def test_it_keeps_the_last_turns() -> None:
    recorder = FlightRecorder(turns=3)
    for number in range(5):
        recorder.record(a_turn(number, "ab"[number % 2]))
    assert texts(recorder.turns()) == ["2", "3", "4"]
    assert texts(recorder.turns(last=2)) == ["3", "4"]
    assert texts(recorder.turns(actor="a")) == ["2", "4"]
    assert texts(recorder.turns(last=1, actor="b")) == ["3"]
    assert len(recorder) == 3


@given(st.lists(st.integers(0, 5_000), max_size=400))
def test_it_never_keeps_much_more_than_its_limit_whatever_comes(sizes: list[int]) -> None:
    limit = 10_000
    recorder = FlightRecorder(turns=64, limit_bytes=limit)
    weights: dict[int, int] = {}
    for number, size in enumerate(sizes):
        recorder.weigh(size)
        recorder.record(a_turn(number))
        weights[number] = size
        assert len(recorder) <= 64
        kept = sum(weights[int(text)] for text in texts(recorder.turns()))
        assert kept <= 2 * limit + SEGMENTS * max(sizes) // 2 + max(sizes)


def test_heavy_messages_push_out_the_oldest_and_light_ones_do_not() -> None:
    recorder = FlightRecorder(turns=64, limit_bytes=10_000)
    for number in range(64):
        recorder.record(a_turn(number))
    recorder.weigh(9_000)
    assert len(recorder) == 64
    recorder.weigh(2_000)
    assert 0 < len(recorder) < 64
    assert texts(recorder.turns())[-1] == "63"
    recorder.weigh(50_000)
    assert len(recorder) < 16
    recorder.weigh(1_000_000)
    assert len(recorder) == 0
    assert recorder.size_bytes == 0


def test_a_node_records_its_turns_and_weighs_what_comes_from_others() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a = stage.puppet(here, "a")
    stage.puppet(there, "b")
    assert there.recorder is not None
    light = there.recorder.size_bytes
    stage.tell(a, lambda actor: actor.send(at("n2", "b"), Note(text="x" * 100_000)))
    assert texts(there.recorder.turns(actor="b")) == ["x" * 100_000]
    assert there.recorder.size_bytes - light > 100_000


def test_failed_turns_are_recorded_with_their_traceback_and_without_effects() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")
    stage.tell(a, lambda actor: [actor.send(a, Note(text="x")), 1 / 0])
    assert node.recorder is not None
    failed = node.recorder.turns(last=1)[0]
    assert failed.error.startswith("Traceback")
    assert failed.error.strip().endswith("ZeroDivisionError: division by zero")
    assert failed.effects == []


def test_messages_can_be_kept_by_reference_because_all_of_them_are_frozen() -> None:
    """What turns share with the recorder must not change: every message type refuses it."""
    loose = [tag for tag, cls in message_types().items() if not cls.__struct_config__.frozen]
    assert loose == []


def test_a_world_of_one_node_starts_with_one_recorded_turn() -> None:
    world = World()
    node = world.node("n1")
    world.probe(node)
    world.settle()
    assert node.recorder is not None
    assert [type(turn.message) for turn in node.recorder.turns()] == [Started]
