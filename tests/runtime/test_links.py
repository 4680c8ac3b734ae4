"""Links: Exited comes once, after everything that came from the actor, whatever ended it."""

from __future__ import annotations

import pytest

from runtime.message import Exited
from runtime.pid import PID
from runtime.transport.protocol import Envelope
from tests.runtime.puppets import FOREVER, Fatal, Keeper, Note, Puppet, Question, Small, Stage, at


def link(to: PID):  # type: ignore[no-untyped-def]
    return lambda actor: actor.link(to)


def say(to: PID, text: str):  # type: ignore[no-untyped-def]
    return lambda actor: actor.send(to, Note(text=text))


def stop(actor: Puppet) -> None:
    actor.stop()


def test_the_end_of_a_local_actor_is_told_after_its_last_words() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")
    stage.tell(a, link(b))
    stage.tell(b, lambda actor: [actor.send(a, Note(text="last words")), actor.stop(reason="done")])
    assert stage.notes(a) == ["last words", "b: done"]


def test_the_end_of_an_actor_elsewhere_is_told_after_its_last_words() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a, b = stage.puppet(here, "a"), stage.puppet(there, "b")
    stage.tell(a, link(at("n2", "b")))
    stage.tell(b, lambda actor: [*(actor.send(a, Note(text=str(n))) for n in range(300)), actor.stop(reason="done")])
    assert stage.notes(a) == [*map(str, range(300)), "b: done"]


@pytest.mark.parametrize("where", ["n1", "n2"])
def test_linking_twice_tells_once_and_linking_again_tells_again(where: str) -> None:
    stage = Stage()
    stage.node("n1")
    stage.node("n2")
    a = stage.puppet(stage.nodes["n1"], "a")
    b = stage.puppet(stage.nodes[where], "b")
    target = b if where == "n1" else at("n2", "b")
    stage.tell(a, link(target), link(target))
    stage.tell(b, stop)
    assert stage.notes(a) == ["b: stopped"]
    stage.tell(a, link(target))
    assert stage.notes(a) == ["b: stopped", "b: no such actor"]


def test_exited_names_the_pid_as_it_was_linked() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a, b = stage.puppet(here, "a"), stage.puppet(there, "b")
    stage.tell(a, link(at("n2", "b")))
    stage.tell(a, link(PID("b", "n2")))
    stage.tell(b, stop)
    told = [turn.message.pid for turn in stage.turns if isinstance(turn.message, Exited)]
    assert told == [at("n2", "b"), PID("b", "n2")]


def test_a_failure_is_told_with_its_reason() -> None:
    stage = Stage()
    node = stage.node()
    a, b, c = (stage.puppet(node, name) for name in "abc")
    stage.tell(a, link(b))
    stage.tell(c, lambda actor: actor.send(b, Fatal(text="worn out")))
    assert stage.notes(a) == ["b: failed: ValueError: worn out"]


def test_linking_to_nobody_tells_at_once() -> None:
    stage = Stage()
    node = stage.node("n1")
    stage.node("n2")
    a = stage.puppet(node, "a")
    stage.tell(a, link(node.pid("x")), link(at("n2", "y")), link(PID("z", "n9")), link(at("nowhere", "w")))
    assert sorted(stage.notes(a)) == [
        "w: unreachable: nobody listens at simulated://nowhere",
        "x: no such actor",
        "y: no such actor",
        "z: no session with its node",
    ]


def test_linking_to_a_past_life_of_a_node_tells_at_once() -> None:
    stage = Stage()
    here = stage.node("n1")
    a = stage.puppet(here, "a")
    old = stage.puppet(stage.node("n2"), "b")
    stage.crash("n2")
    stage.puppet(stage.node("n2"), "b")
    stage.tell(a, say(at("n2", "b"), "hello"))
    stage.tell(a, link(old), link(PID("a", "n1", 99)))
    assert stage.notes(a) == ["b: no session with its node", "a: no such actor"]


def test_a_killed_node_breaks_every_link_once_and_its_successor_gets_nothing() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a, c = stage.puppet(here, "a"), stage.puppet(here, "c")
    b = stage.puppet(there, "b")
    stage.puppet(there, "d")
    stage.tell(a, link(at("n2", "b")), link(at("n2", "d")))
    stage.tell(c, link(at("n2", "b")))
    stage.tell(b, say(a, "last words"))
    stage.crash("n2")
    stage.settle()
    successor = stage.puppet(stage.node("n2"), "b")
    stage.run(60.0)
    lost = "session lost: connection lost"
    assert stage.notes(a) == ["last words", f"b: {lost}", f"d: {lost}"]
    assert stage.notes(c) == [f"b: {lost}"]
    stage.tell(a, say(b, "to the dead"))
    assert stage.notes(successor) == []
    assert here.dead_letters["no session with its node"] == 1


def test_a_silent_host_breaks_links_too() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a = stage.puppet(here, "a")
    stage.puppet(there, "b")
    stage.tell(a, link(at("n2", "b")))
    stage.network.partition(["n1"], ["n2"])
    stage.run(10.0)
    assert stage.notes(a) == ["b: session lost: nothing heard for 3 seconds"]


def test_a_peer_whose_loop_is_stuck_is_given_up_after_unanswered_pings() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a = stage.puppet(here, "a")
    stage.puppet(there, "b")
    stage.tell(a, link(at("n2", "b")))
    stage.run(60.0)
    assert stage.notes(a) == []
    there.kill()
    there.peers.received = lambda *arguments: None  # type: ignore[method-assign]
    there.peers.stop()
    stage.run(30.0)
    assert stage.notes(a) == ["b: session lost: no answer for 20 s"]


def test_exited_enters_a_full_mailbox() -> None:
    stage = Stage()
    node = stage.node()
    a, b, c = stage.puppet(node, "a", Small), stage.puppet(node, "b"), stage.puppet(node, "c")
    stage.tell(a, link(b))

    node.choose = lambda queue: 0
    stage.tell(c, lambda actor: [*(actor.send(a, Note(text=str(n))) for n in range(4)), actor.send(b, Fatal())])
    assert stage.notes(a) == ["0", "1", "b: failed: ValueError: fatal"]


def test_a_restart_is_an_end_to_those_who_watch() -> None:
    stage = Stage()
    node = stage.node()
    a, b, c = stage.puppet(node, "a"), stage.puppet(node, "b", supervision=FOREVER), stage.puppet(node, "c")
    stage.tell(a, link(b))
    stage.tell(c, lambda actor: actor.send(b, Fatal()))
    stage.run(5.0)
    assert stage.lives(b)
    assert stage.notes(a) == ["b: failed: ValueError: fatal"]


@pytest.mark.parametrize("where", ["n1", "n2"])
def test_a_restarted_watcher_knows_nothing_of_the_links_of_its_last_life(where: str) -> None:
    stage = Stage()
    stage.node("n1")
    stage.node("n2")
    a = stage.puppet(stage.nodes["n1"], "a", supervision=FOREVER)
    b = stage.puppet(stage.nodes[where], "b")
    c = stage.puppet(stage.nodes["n1"], "c")
    stage.tell(a, link(b if where == "n1" else at("n2", "b")))
    stage.tell(c, lambda actor: actor.send(a, Fatal()))
    stage.run(5.0)
    stage.tell(b, stop)
    assert stage.lives(a)
    assert stage.notes(a) == []


def test_children_that_end_with_a_restarting_parent_are_not_told_to_its_next_life() -> None:
    stage = Stage()
    node = stage.node()
    a, c = stage.puppet(node, "a", supervision=FOREVER), stage.puppet(node, "c")

    def bear(actor: Puppet) -> None:
        actor.link(actor.spawn(Puppet, "child", actor.state))

    stage.tell(a, bear)
    stage.tell(c, lambda actor: actor.send(a, Fatal()))
    stage.run(5.0)
    assert stage.notes(a) == []


def test_the_end_of_an_actor_that_persists_is_told_after_its_held_words() -> None:
    stage = Stage()
    node = stage.node()
    stage.disks["n1"].latency_seconds = 1.0
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b", Keeper)
    stage.tell(a, link(b))
    stage.tell(b, lambda actor: [actor.keep("x"), actor.send(a, Note(text="last words")), actor.stop()])
    assert stage.notes(a) == []
    stage.run(1.0)
    assert stage.notes(a) == ["last words", "b: stopped"]


def test_a_parent_that_ends_a_persisting_child_lets_its_words_out_before_its_end_is_told() -> None:
    stage = Stage()
    node = stage.node()
    stage.disks["n1"].latency_seconds = 1.0
    a, parent = stage.puppet(node, "a"), stage.puppet(node, "parent")
    stage.tell(parent, lambda actor: actor.spawn(Keeper, "child", actor.state))
    child = node.pid("child")
    stage.tell(a, link(child))
    stage.tell(child, lambda actor: [actor.keep("x"), actor.send(a, Note(text="last words"))])
    stage.tell(parent, lambda actor: actor.stop("child", "enough"))
    assert not stage.lives(child)
    assert stage.notes(a) == []
    stage.run(1.0)
    assert stage.notes(a) == ["last words", "child: enough"]


def test_a_word_between_nodes_that_cannot_be_sent_ends_the_session() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a = stage.puppet(here, "a")
    stage.puppet(there, "b")
    stage.tell(a, link(at("n2", "b")))
    (session,) = here.peers.sessions
    here.peers.undeliverable(session, Envelope("", "", 2, 2, 0, Note(text="x")), "too large")
    stage.settle()
    assert stage.notes(a) == ["b: session lost: a message between nodes could not be sent: too large"]


def test_other_asks_and_links_of_a_restarted_peer_work_again() -> None:
    stage = Stage()
    here = stage.node("n1")
    a = stage.puppet(here, "a")
    for life in range(3):
        b = stage.puppet(stage.node("n2"), "b")
        stage.run(10.0)
        stage.tell(a, link(at("n2", "b")))
        stage.tell(a, lambda actor: actor.ask(at("n2", "b"), Question(text="?"), actor.answered))
        assert stage.state(a).answers[-1] == "re ?", life
        assert b.incarnation == stage.nodes["n2"].identity.incarnation
        stage.crash("n2")
        stage.settle()
    assert stage.notes(a) == ["b: session lost: connection lost"] * 3
