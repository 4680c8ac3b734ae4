"""One message, one turn: atomic, in order, and nothing lost silently."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.message import Started
from runtime.pid import PID
from runtime.supervision import Restart, Strategy, Supervision
from tests.runtime.puppets import FOREVER, Do, Fatal, Note, Puppet, PuppetState, Question, Stage, Unknown, at

REST = Supervision(restart=Restart.PERMANENT, strategy=Strategy.REST_FOR_ONE)


def test_a_turn_that_raises_has_no_effects() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")

    def speak_and_fail(actor: Puppet) -> None:
        actor.send(b, Note(text="half said"))
        actor.after(1.0, Note(text="later"))
        actor.spawn(Puppet, "child", actor.state)
        raise ValueError("on second thoughts")

    stage.tell(a, speak_and_fail)
    stage.run(5.0)
    assert stage.notes(b) == []
    assert list(node.cells) == ["b"]


def test_messages_of_one_sender_arrive_in_order_and_those_of_a_turn_together() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")
    stage.tell(a, lambda actor: [actor.send(b, Note(text=str(number))) for number in range(200)])
    assert stage.notes(b) == [str(number) for number in range(200)]


def test_messages_travel_between_nodes_in_order() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a, b = stage.puppet(here, "a"), stage.puppet(there, "b")
    stage.tell(
        a, *(lambda actor, number=number: actor.send(at("n2", "b"), Note(text=str(number))) for number in range(9))
    )
    assert stage.notes(b) == [str(number) for number in range(9)]


def test_answers_return_over_the_session_to_a_node_that_does_not_listen() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    here.transport.network.unbind(here.transport)  # type: ignore[attr-defined]
    a = stage.puppet(here, "a")
    stage.puppet(there, "b")
    stage.tell(a, lambda actor: actor.send(at("n2", "b"), Question(text="who")))
    assert stage.notes(a) == ["re who"]


def test_a_message_without_handler_is_a_dead_letter_and_the_actor_lives_on() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")
    stage.tell(a, lambda actor: actor.send(b, Unknown()), lambda actor: actor.send(b, Note(text="still there")))
    assert node.dead_letters == {"unhandled": 1}
    assert stage.notes(b) == ["still there"]


def test_a_message_to_nobody_is_a_dead_letter() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")
    stage.tell(a, lambda actor: actor.send(node.pid("nobody"), Note(text="hello")))
    assert node.dead_letters == {"no such actor": 1}


def test_started_is_the_first_turn_of_an_actor_whatever_waits() -> None:
    stage = Stage()
    node = stage.node()
    b = node.spawn(Puppet, "b", PuppetState())
    node.post(b, Note(text="early"))
    stage.settle()
    assert [type(turn.message) for turn in stage.turns] == [Started, Note]


def test_every_message_of_a_turn_has_the_turns_span_as_its_parent_and_shares_its_trace() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a = stage.puppet(here, "a")
    stage.puppet(there, "b")
    stage.tell(a, lambda actor: actor.send(at("n2", "b"), Question(text="who")))
    cause, asked, answered = stage.turns[-3:]
    assert isinstance(cause.message, Do)
    assert (asked.parent, asked.trace) == (cause.span, cause.trace)
    assert (answered.parent, answered.trace) == (asked.span, cause.trace)
    assert len({cause.span, asked.span, answered.span}) == 3


def test_a_turn_knows_when_its_message_came_and_when_it_began() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")
    stage.tell(a, lambda actor: actor.after(3.0, Note(text=str(actor.now))))
    stage.run(3.0)
    turn = stage.turns[-1]
    assert turn.received == turn.started == turn.ended == stage.clock.now()
    assert stage.notes(a) == [str(stage.clock.now() - 3.0)]


def test_failure_of_one_actor_leaves_the_others_and_their_mailboxes_alone() -> None:
    stage = Stage()
    node = stage.node()
    a, b, c = (stage.puppet(node, name) for name in "abc")
    stage.tell(a, lambda actor: [actor.send(b, Fatal()), actor.send(c, Note(text="1")), actor.send(b, Note(text="2"))])
    assert stage.notes(c) == ["1"]
    assert node.dead_letters == {"actor ended": 1}
    assert not stage.lives(b)


def test_what_waits_for_an_actor_that_restarts_waits_on() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")
    b = stage.puppet(node, "b", supervision=FOREVER)
    stage.tell(a, lambda actor: [actor.send(b, Fatal()), actor.send(b, Note(text="after"))])
    stage.tell(a, lambda actor: actor.send(b, Note(text="while it is away")))
    assert stage.heard("b") == []
    stage.run(1.0)
    assert stage.notes(b) == ["after", "while it is away"]


def test_an_actor_that_waits_for_its_restart_has_no_turns_though_it_was_scheduled() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")
    first = stage.puppet(node, "first", supervision=REST)
    second = stage.puppet(node, "second", supervision=FOREVER)
    stage.tell(a, lambda actor: [actor.send(first, Fatal()), actor.send(second, Note(text="to the next life"))])
    assert stage.heard("second") == []
    stage.run(2.0)
    assert stage.notes(second) == ["to the next life"]


@settings(max_examples=60, deadline=None)
@given(
    script=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", *"abc"])), max_size=4),
        ),
        max_size=12,
    ),
    picks=st.integers(min_value=0, max_value=2**32),
)
def test_whatever_is_sent_arrives_once_and_in_order_along_each_way(
    script: list[tuple[str, list[tuple[str, str]]]], picks: int
) -> None:
    """Each step has an actor send notes to others, some of them by way of a third; the order of turns is arbitrary."""
    stage = Stage()
    node = stage.node()
    pids = {name: stage.puppet(node, name) for name in "abc"}
    chance = random.Random(picks)
    node.choose = lambda queue: chance.randrange(len(queue))
    sent: dict[str, list[str]] = {name: [] for name in pids}
    for step, (speaker, sends) in enumerate(script):
        letters = []
        for place, (to, by) in enumerate(sends):
            note = Note(text=f"{speaker}-{by}-{step:03}.{place}")
            sent[to].append(note.text)
            letters.append((pids[by], relay(pids[to], note)) if by else (pids[to], note))
        node.post(pids[speaker], Do(act=lambda actor, letters=letters: [actor.send(*letter) for letter in letters]))
    stage.settle()
    for name, pid in pids.items():
        assert sorted(stage.notes(pid)) == sorted(sent[name])
        for way in {text.rpartition("-")[0] for text in sent[name]}:
            along = [text for text in stage.notes(pid) if text.rpartition("-")[0] == way]
            assert along == sorted(along)
    assert not node.dead_letters


def relay(to: PID, note: Note) -> Do:
    return Do(act=lambda actor: actor.send(to, note))
