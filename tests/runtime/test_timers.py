"""Timers: messages to oneself, later; in order, once, and never after they were called off."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.actor import Actor, State, receive
from runtime.message import Message, Started
from runtime.pid import PID
from tests.runtime.puppets import Note, Puppet, Stage


def after(delay_seconds: float, text: str):  # type: ignore[no-untyped-def]
    return lambda actor: actor.after(delay_seconds, Note(text=text))


def test_a_timer_fires_when_its_time_has_come() -> None:
    stage = Stage()
    a = stage.puppet(stage.node(), "a")
    stage.tell(a, after(2.0, "x"))
    stage.run(1.999)
    assert stage.notes(a) == []
    stage.run(0.001)
    assert stage.notes(a) == ["x"]
    stage.run(10.0)
    assert stage.notes(a) == ["x"]


def test_timers_of_one_moment_fire_in_the_order_of_asking_and_the_past_is_now() -> None:
    stage = Stage()
    a = stage.puppet(stage.node(), "a")
    stage.tell(a, *(after(1.0, str(number)) for number in range(5)), after(-3.0, "late"))
    stage.run(1.0)
    assert stage.notes(a) == ["late", *"01234"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=20), st.integers(0, 20))
def test_timers_agree_with_a_sorted_list(delays: list[tuple[int, bool]], called_off_at: int) -> None:
    stage = Stage()
    a = stage.puppet(stage.node(), "a")
    ids: list[int] = []
    stage.tell(
        a, *(lambda actor, d=d, n=n: ids.append(actor.after(d, Note(text=str(n)))) for n, (d, _) in enumerate(delays))
    )
    stage.run(called_off_at + 0.5)
    doomed = [timer for timer, (_, off) in zip(ids, delays, strict=True) if off]
    stage.tell(a, lambda actor: [actor.cancel(timer) for timer in doomed])
    stage.run(30.0)
    firing = [(delay, number) for number, (delay, off) in enumerate(delays) if not off or delay <= called_off_at]
    assert stage.notes(a) == [str(number) for _, number in sorted(firing)]
    assert len(set(ids)) == len(ids)
    assert not stage.nodes["n1"].cells["a"].timers


def test_a_timer_may_be_called_off_in_the_turn_that_set_it_and_twice() -> None:
    stage = Stage()
    a = stage.puppet(stage.node(), "a")

    def set_and_cancel(actor: Puppet) -> None:
        timer = actor.after(1.0, Note(text="x"))
        actor.cancel(timer)
        actor.cancel(timer)
        actor.cancel(99)

    stage.tell(a, set_and_cancel)
    stage.run(5.0)
    assert stage.notes(a) == []


def test_timers_end_with_their_actor() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")
    stage.tell(a, after(1.0, "x"), lambda actor: actor.stop())
    stage.run(5.0)
    assert not node.dead_letters


class Beat(Message, frozen=True, kw_only=True, tag="timers.Beat"):
    pass


class Heart(Puppet):
    """Beats each second, and says so to somebody else."""

    @receive(Beat)
    def beat(self, sender: PID, message: Beat) -> None:
        self.after(1.0, Beat())
        self.after(0.5, Note(text="between"))


def test_a_timer_belongs_to_the_trace_that_set_it_but_a_heartbeat_begins_a_new_one_each_time() -> None:
    stage = Stage()
    a = stage.puppet(stage.node(), "a", Heart)
    stage.tell(a, lambda actor: actor.after(1.0, Beat()))
    stage.run(3.6)
    told, beats = stage.turns[1], [turn for turn in stage.turns if isinstance(turn.message, Beat)]
    assert (beats[0].trace, beats[0].parent) == (told.trace, told.span)
    assert len({beat.trace for beat in beats}) == len(beats) == 3
    assert [beat.parent for beat in beats[1:]] == [0, 0]
    notes = [turn for turn in stage.turns if isinstance(turn.message, Note)]
    assert [note.trace for note in notes] == [beat.trace for beat in beats]


class Stroke(Message, frozen=True, kw_only=True, tag="test_timers.Stroke"):
    """To itself, every second."""


class Work(Message, frozen=True, kw_only=True, tag="test_timers.Work"):
    """To itself: what a beat is for; it sets the time of the next."""


class Pump(Actor[State]):
    def started(self) -> None:
        self.send(self.pid, Work())

    @receive(Stroke)
    def stroke(self, sender: PID, message: Stroke) -> None:
        self.send(self.pid, Work())

    @receive(Work)
    def work(self, sender: PID, message: Work) -> None:
        self.after(1.0, Stroke())


def test_a_timer_that_is_set_again_by_what_it_led_to_begins_a_new_trace() -> None:
    stage = Stage()
    stage.node().spawn(Pump, "pump", State())
    stage.run(4.5)
    traces = [turn.trace for turn in stage.turns]
    kinds = [type(turn.message) for turn in stage.turns]
    assert kinds == [Started, Work] + [Stroke, Work] * 4
    first = traces[0]
    assert traces[:4] == [first] * 4, "the first beat follows from the start"
    assert len(set(traces)) == 4
    assert traces[4] == traces[5] != traces[6] == traces[7] != traces[8] == traces[9]
