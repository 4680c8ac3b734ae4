"""The test kit itself: one turn, worlds, and messages caught on their way."""

from __future__ import annotations

import pytest

from runtime.actor import UnhandledMessage
from runtime.effects import Ask, Effect, Reply, Request, Send
from runtime.message import AskFailed
from runtime.pid import PID
from runtime.testing import SENDER, World, answer, make, sent, start, turn
from tests.runtime.puppets import Context, Keeper, Kept, Note, Ping, Puppet, PuppetState, Question, Stage, Unknown, at

B = PID("b", "n1")


def test_one_turn_returns_its_effects_and_nothing_of_the_last_one() -> None:
    actor = make(Puppet, PuppetState())
    assert turn(actor, Question(text="1"), span=5) == [Reply(Request(SENDER, 5, 5), Note(text="re 1"))]
    assert turn(actor, Note(text="2")) == []
    assert actor.state.notes == ["2"]


def test_a_turn_has_the_time_that_it_is_given() -> None:
    class Timed(Puppet):
        def unhandled(self, sender: PID, message: object) -> None:
            self.send(sender, Note(text=f"{self.now:g}"))

    assert turn(make(Timed, PuppetState()), Unknown(), now=75.0, sender=B) == [Send(B, Note(text="75"))]


def test_what_a_handler_raises_comes_through() -> None:
    with pytest.raises(UnhandledMessage, match="Puppet does not handle Unknown"):
        turn(make(Puppet, PuppetState()), Unknown())


def test_the_first_turn_and_what_follows_an_ask_can_be_run() -> None:
    class Beginning(Puppet):
        def started(self) -> None:
            self.ask(B, Question(text="?"), self.answered, Context(text="first"))

    actor = make(Beginning, PuppetState())
    (asked,) = start(actor)
    assert isinstance(asked, Ask)
    assert asked.message == Question(text="?")
    assert answer(actor, asked.then, Note(text="yes"), asked.context) == []
    assert answer(actor, asked.then, AskFailed(reason="timeout"), asked.context) == []
    assert actor.state.answers == ["first: yes", "first: timeout"]


def test_sent_messages_can_be_picked_by_type() -> None:
    effects: list[Effect] = [
        Send(B, Note(text="1")),
        Send(B, Ping(text="2")),
        Reply(Request(B), Note(text="3")),
        Send(B, Note(text="4")),
    ]
    assert sent(effects, Note) == [Note(text="1"), Note(text="4")]


def test_a_probe_keeps_what_it_gets() -> None:
    world = World()
    node = world.node("n1")
    probe = world.probe(node)
    node.post(probe.pid, Note(text="1"))
    world.settle()
    assert probe.received == [(probe.pid, Note(text="1"))]


def test_messages_can_be_lost_on_their_way_by_type_receiver_sender_and_count() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a, b, c = stage.puppet(here, "a"), stage.puppet(there, "b"), stage.puppet(there, "c")

    def speak(actor: Puppet) -> None:
        for name in "bc":
            for text in "12":
                actor.send(at("n2", name), Note(text=text))
            actor.send(at("n2", name), Ping(text="ping"))

    with stage.drop(Note, to="b", sender="a", count=1) as lost:
        stage.tell(a, speak)
    assert lost == [Note(text="1")]
    assert stage.notes(b) == ["2", "ping"]
    assert stage.notes(c) == ["1", "2", "ping"]
    with stage.drop(Note, sender="somebody else"), stage.drop(Ping) as pings:
        stage.tell(a, speak)
    assert len(pings) == 2
    assert stage.notes(b) == ["2", "ping", "1", "2"]
    stage.tell(a, speak)
    assert stage.notes(b)[4:] == ["1", "2", "ping"]


def test_a_node_started_again_has_its_old_disk_and_a_new_incarnation() -> None:
    stage = Stage()
    first = stage.puppet(stage.node("n1"), "a", Keeper)
    stage.tell(first, lambda actor: actor.keep("x"))
    stage.crash("n1")
    second = stage.puppet(stage.node("n1"), "a", Keeper)
    assert stage.state(second).kept == ["x"]
    assert second.incarnation != first.incarnation
    assert stage.disks["n1"].names() == ["a"]
    assert Kept.__struct_config__.frozen
