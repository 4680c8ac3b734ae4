"""Asks: one answer, or the word that there will be none; late and foreign answers change nothing."""

from __future__ import annotations

import pytest

from runtime.actor import Actor
from runtime.effects import Request
from runtime.errors import ActorError
from runtime.message import AskFailed
from runtime.pid import PID
from runtime.testing import make
from runtime.transport.protocol import Envelope
from tests.runtime.puppets import (
    FOREVER,
    Context,
    Fatal,
    Note,
    Puppet,
    PuppetState,
    Question,
    Small,
    Stage,
    Unknown,
    at,
)


def ask(to: PID, question: Question | Fatal | Unknown, context: str = "", timeout_seconds: float = 10.0):  # type: ignore[no-untyped-def]
    """An act: ask `to`."""
    return lambda actor: actor.ask(
        to, question, actor.answered, Context(text=context) if context else None, timeout_seconds
    )


def answer_all(actor: Puppet) -> None:
    for number, request in enumerate(actor.state.requests):
        actor.reply(Note(text=f"at last {number}"), to=request)
    actor.state.requests.clear()


def test_the_answer_goes_to_the_method_that_was_named_with_its_context() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")
    stage.tell(a, ask(b, Question(text="1"), "first"), ask(b, Question(text="2")))
    assert stage.state(a).answers == ["first: re 1", "re 2"]
    assert stage.notes(a) == []


def test_answers_come_from_other_nodes() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a, b = stage.puppet(here, "a"), stage.puppet(there, "b")
    stage.tell(a, ask(at("n2", "b"), Question(text="by address")))
    stage.tell(a, ask(b, Question(text="by id")))
    assert stage.state(a).answers == ["re by address", "re by id"]
    stage.run(20.0)
    assert len(stage.state(a).answers) == 2


def test_an_answer_may_wait_for_a_later_turn() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")
    stage.tell(a, ask(b, Question(text="1", later=True)), ask(b, Question(text="2", later=True), "second"))
    assert stage.state(a).answers == []
    stage.tell(b, answer_all)
    assert stage.state(a).answers == ["at last 0", "second: at last 1"]


def test_an_ask_that_nobody_answers_fails_after_its_timeout_and_the_late_answer_is_ignored() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")
    stage.tell(a, ask(b, Question(text="1", later=True), timeout_seconds=3.0))
    stage.run(2.9)
    assert stage.state(a).answers == []
    stage.run(0.2)
    assert stage.state(a).answers == ["timeout"]
    stage.tell(b, answer_all)
    assert stage.state(a).answers == ["timeout"]
    assert stage.notes(a) == []
    assert node.dead_letters == {"late answer": 1}


def test_a_second_answer_is_ignored() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")
    stage.tell(a, ask(b, Question(text="1", later=True)))

    def answer_twice(actor: Puppet) -> None:
        (request,) = actor.state.requests
        actor.reply(Note(text="yes"), to=request)
        actor.reply(Note(text="no"), to=request)

    stage.tell(b, answer_twice)
    assert stage.state(a).answers == ["yes"]
    assert stage.notes(a) == []


def test_asking_nobody_fails_at_once() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")
    stage.tell(a, ask(node.pid("nobody"), Question(text="1")))
    stage.tell(a, ask(PID("nobody", "n9"), Question(text="2")))
    assert stage.state(a).answers == ["no such actor", "no session with its node"]


def test_asking_nobody_on_another_node_fails_at_once() -> None:
    stage = Stage()
    here = stage.node("n1")
    stage.node("n2")
    a = stage.puppet(here, "a")
    stage.tell(a, ask(at("n2", "nobody"), Question(text="1")))
    assert stage.state(a).answers == ["no such actor"]


def test_asking_an_address_where_nobody_listens_fails() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")
    stage.tell(a, ask(at("nowhere", "b"), Question(text="1")))
    assert stage.state(a).answers == ["unreachable: nobody listens at simulated://nowhere"]


def test_asking_an_actor_that_fails_over_it_says_so() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")
    stage.tell(a, ask(b, Fatal(text="too much")))
    assert stage.state(a).answers == ["failed: ValueError: too much"]


def test_asking_what_is_not_handled_fails() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")
    stage.tell(a, ask(b, Unknown()))
    assert stage.state(a).answers == ["unhandled"]


def test_asks_that_wait_in_the_mailbox_of_an_actor_that_stops_are_answered() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")
    node.choose = lambda queue: 0
    stage.tell(a, lambda actor: [actor.send(b, Fatal()), actor.ask(b, Question(text="1"), actor.answered)])
    assert stage.state(a).answers == ["actor ended: failed: ValueError: fatal"]


def test_a_full_mailbox_answers_busy() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b", Small)
    stage.tell(a, lambda actor: [actor.ask(b, Question(text=str(n)), actor.answered) for n in range(4)])
    assert sorted(stage.state(a).answers) == ["busy", "busy", "re 0", "re 1"]


def test_a_lost_session_fails_the_asks_through_it_and_no_others() -> None:
    stage = Stage()
    here = stage.node("n1")
    for name in ("n2", "n3"):
        stage.puppet(stage.node(name), "b")
    a = stage.puppet(here, "a")
    stage.tell(a, *(ask(at(name, "b"), Question(text=name, later=True), name) for name in ("n2", "n3")))
    stage.tell(a, ask(PID("b", "n2"), Question(text="x", later=True), "by id"))
    stage.crash("n2")
    stage.settle()
    assert stage.state(a).answers == ["n2: session lost: connection lost", "by id: session lost: connection lost"]
    stage.tell(PID("b", "n3"), answer_all)
    assert stage.state(a).answers[2:] == ["n3: at last 0"]


def test_a_partition_fails_asks_once_it_is_noticed() -> None:
    stage = Stage()
    here = stage.node("n1")
    stage.puppet(stage.node("n2"), "b")
    a = stage.puppet(here, "a")
    stage.tell(a, ask(at("n2", "b"), Question(text="1", later=True), timeout_seconds=60.0))
    stage.network.partition(["n1"], ["n2"])
    stage.run(5.0)
    assert stage.state(a).answers == ["session lost: nothing heard for 3 seconds"]


def test_a_question_to_a_node_that_has_started_anew_does_not_reach_the_new_life() -> None:
    stage = Stage()
    here = stage.node("n1")
    a = stage.puppet(here, "a")
    old = stage.puppet(stage.node("n2"), "b")
    stage.tell(a, ask(at("n2", "b"), Question(text="1")))
    stage.crash("n2")
    stage.puppet(stage.node("n2"), "b")
    stage.run(10.0)
    stage.tell(a, ask(at("n2", "b"), Question(text="2")))
    stage.tell(a, ask(old, Question(text="3")))
    assert stage.state(a).answers == ["re 1", "re 2", "its node has started anew"]


def test_a_node_that_was_not_asked_cannot_answer() -> None:
    stage = Stage()
    here, there, foreign = stage.node("n1"), stage.node("n2"), stage.node("n3")
    a = stage.puppet(here, "a")
    stage.puppet(there, "b")
    c = stage.puppet(foreign, "c")
    stage.tell(a, ask(at("n2", "b"), Question(text="1", later=True)))
    (question,) = [turn for turn in stage.turns if isinstance(turn.message, Question)]
    stage.tell(c, lambda actor: actor.send(at("n1", "a"), Note(text="hello")))
    stage.tell(c, lambda actor: actor.reply(Note(text="forged"), to=Request(a, question.span, question.trace)))
    assert stage.state(a).answers == []
    assert here.dead_letters == {"answer of another node": 1}
    stage.tell(PID("b", "n2"), answer_all)
    assert stage.state(a).answers == ["at last 0"]


def test_a_foreign_answer_does_not_get_past_a_full_mailbox() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    b = stage.puppet(here, "b", Small)
    a = stage.puppet(there, "a")
    stage.tell(a, lambda actor: actor.send(at("n1", "b"), Note(text="hello")))
    (session,) = here.peers.sessions
    flood = [Envelope("b", "a", 2, 2, 0, Note(text="x"), answers=4) for _ in range(5)]
    here.peers.received([(session, flood, 100)])
    assert len(here.cells["b"].queue) == 2
    assert here.dead_letters == {"busy": 3}
    assert here.refusals == {"flood": 3}
    stage.settle()
    assert stage.lives(b)


def test_a_restarted_actor_gets_no_answers_to_what_its_last_life_asked() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a", supervision=FOREVER), stage.puppet(node, "b")
    stage.tell(a, ask(b, Question(text="1", later=True)))
    stage.tell(b, lambda actor: actor.send(a, Fatal()))
    stage.tell(b, answer_all)
    stage.run(40.0)
    assert stage.state(a).answers == []
    assert stage.notes(a) == []


@pytest.mark.parametrize(
    "then", [lambda sender, answer, context: None, print, PuppetState], ids=["lambda", "print", "class"]
)
def test_an_ask_goes_on_with_a_method_of_the_actor_and_nothing_else(then: object) -> None:
    actor: Actor[PuppetState] = make(Puppet, PuppetState())
    with pytest.raises(ActorError, match="ask needs a method of Puppet"):
        actor.ask(PID("b", "n1"), Question(text="1"), then)  # type: ignore[arg-type]


def test_ask_failed_from_a_peer_ends_an_ask_only_once() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a, b = stage.puppet(here, "a"), stage.puppet(there, "b")
    stage.tell(a, ask(at("n2", "b"), Question(text="1", later=True)))
    stage.tell(b, lambda actor: [actor.reply(AskFailed(reason="no time"), to=actor.state.requests[0])])
    stage.tell(b, answer_all)
    assert stage.state(a).answers == ["no time"]
