"""Speak only of what is durable: held words, recovery, compaction, and a disk that fails."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.clock import VirtualClock
from runtime.effects import Persist
from runtime.errors import ActorError, JournalError
from runtime.mailbox import COMPACT_AT_BYTES
from runtime.node import Node
from runtime.pid import PID
from runtime.testing import make
from runtime.transport.memory import MemoryTransport, Network
from tests.runtime.puppets import FOREVER, Do, Fatal, Keeper, Kept, Note, Puppet, PuppetState, Question, Stage, at


def a_stage(latency_seconds: float = 1.0) -> tuple[Stage, Node, PID, PID]:
    """A listener `a`, and `b`, which keeps things on a disk of that latency."""
    stage = Stage()
    node = stage.node()
    stage.disks["n1"].latency_seconds = latency_seconds
    return stage, node, stage.puppet(node, "a"), stage.puppet(node, "b", Keeper)


def keep_and_say(to: PID, text: str):  # type: ignore[no-untyped-def]
    return lambda actor: [actor.keep(text), actor.send(to, Note(text=text))]


def test_what_a_turn_says_waits_until_what_it_persisted_is_durable() -> None:
    stage, _, a, b = a_stage()
    stage.tell(b, keep_and_say(a, "1"))
    stage.run(0.9)
    assert stage.notes(a) == []
    stage.run(0.1)
    assert stage.notes(a) == ["1"]


def test_words_to_other_nodes_answers_asks_links_and_children_wait_too() -> None:
    stage, node, a, b = a_stage()
    other = stage.puppet(stage.node("n2"), "c")
    stage.tell(a, lambda actor: actor.ask(b, Question(text="q", later=True), actor.answered))

    def act(actor: Keeper) -> None:
        actor.keep("x")
        actor.send(at("n2", "c"), Note(text="over there"))
        actor.reply(Note(text="yes"), to=actor.state.requests[0])
        actor.ask(a, Question(text="r"), actor.answered)
        actor.link(node.pid("nobody"))
        actor.spawn(Puppet, "child", PuppetState())

    stage.tell(b, act)
    stage.run(0.9)
    assert (stage.notes(other), stage.state(a).answers, stage.state(b).answers, stage.notes(b)) == ([], [], [], [])
    assert "child" not in node.cells
    stage.run(0.2)
    assert stage.notes(other) == ["over there"]
    assert stage.state(a).answers == ["yes"]
    assert stage.state(b).answers == ["re r"]
    assert stage.notes(b) == ["nobody: no such actor"]
    assert "child" in node.cells


def test_later_turns_that_persist_nothing_wait_behind_those_that_do_in_order() -> None:
    stage, _, a, b = a_stage()
    stage.tell(b, keep_and_say(a, "1"), lambda actor: actor.send(a, Note(text="2")), keep_and_say(a, "3"))
    stage.tell(b, lambda actor: actor.send(a, Note(text="4")))
    assert stage.notes(a) == []
    stage.run(1.0)
    assert stage.notes(a)[:2] == ["1", "2"]
    stage.run(1.0)
    assert stage.notes(a) == ["1", "2", "3", "4"]


def test_other_actors_go_on_and_so_do_the_turns_of_the_one_that_waits() -> None:
    stage, node, a, b = a_stage()
    c = stage.puppet(node, "c", Keeper)
    stage.tell(b, keep_and_say(a, "held"))
    stage.tell(c, lambda actor: [actor.send(a, Note(text="free")), actor.send(b, Note(text="to the keeper"))])
    assert stage.notes(a) == ["free"]
    assert stage.notes(b) == ["to the keeper"]


def test_timers_are_no_words_and_run_from_their_turn() -> None:
    stage, _, _, b = a_stage(latency_seconds=5.0)
    stage.tell(b, lambda actor: [actor.keep("x"), actor.after(1.0, Note(text="tick"))])
    stage.run(1.0)
    assert stage.notes(b) == ["tick"]


def test_a_stop_waits_and_no_turn_comes_between() -> None:
    stage, _, a, b = a_stage()
    stage.tell(b, lambda actor: [actor.keep("x"), actor.stop(), actor.send(a, Note(text="bye"))])
    stage.tell(a, lambda actor: actor.send(b, Note(text="still there?")))
    assert stage.lives(b)
    assert stage.notes(b) == []
    stage.run(1.0)
    assert not stage.lives(b)
    assert stage.heard("b") == []


def test_a_failure_says_what_was_durable_before_and_nothing_of_its_own_turn() -> None:
    stage, _, a, b = a_stage()

    def keep_and_fail(actor: Keeper) -> None:
        actor.keep("2")
        actor.send(a, Note(text="2"))
        raise ValueError("no")

    stage.tell(a, lambda actor: actor.link(b))
    stage.tell(b, keep_and_say(a, "1"), keep_and_fail)
    assert stage.notes(a) == []
    stage.run(2.0)
    assert stage.notes(a) == ["1", "b: failed: ValueError: no"]
    again = stage.puppet(stage.nodes["n1"], "b", Keeper)
    assert stage.state(again).kept == ["1"]


def test_a_restart_reads_the_journal_again() -> None:
    stage, node, a, _ = a_stage()
    c = stage.puppet(node, "c", Keeper, FOREVER)
    stage.tell(c, keep_and_say(a, "1"), keep_and_say(a, "2"))
    stage.tell(a, lambda actor: actor.send(c, Fatal()))
    stage.run(5.0)
    assert stage.state(c).kept == ["1", "2"]
    stage.tell(c, keep_and_say(a, "3"))
    stage.run(5.0)
    assert stage.notes(a) == ["1", "2", "3"]


def test_a_crash_of_the_node_loses_what_nobody_was_told() -> None:
    stage, _, _, b = a_stage()
    other = stage.puppet(stage.node("n2"), "c")
    stage.tell(b, lambda actor: [actor.keep("1"), actor.send(at("n2", "c"), Note(text="1"))])
    stage.run(1.0)
    stage.tell(b, lambda actor: [actor.keep("2"), actor.send(at("n2", "c"), Note(text="2"))])
    stage.run(0.5)
    stage.crash("n1")
    stage.run(5.0)
    assert stage.notes(other) == ["1"]
    again = stage.puppet(stage.node("n1"), "b", Keeper)
    assert stage.state(again).kept == ["1"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["keep", "say", "both", "wait", "restart"]), st.floats(0.1, 2.0)), max_size=15),
    st.floats(0.0, 3.0),
    st.floats(0.0, 3.0),
)
def test_nobody_ever_heard_of_what_a_recovery_does_not_know(
    script: list[tuple[str, float]], latency_seconds: float, until_crash: float
) -> None:
    """Each word says how many records its sender had persisted; after a crash there are at least as many."""
    stage = Stage()
    node, listener = stage.node("n1"), stage.puppet(stage.node("n2"), "listener")
    stage.disks["n1"].latency_seconds = latency_seconds
    keeper = stage.puppet(node, "keeper", Keeper, FOREVER)
    for what, seconds in script:
        if what in ("keep", "both"):
            stage.tell(keeper, lambda actor: actor.keep(str(len(actor.state.kept))))
        if what in ("say", "both"):
            stage.tell(keeper, lambda actor: actor.send(at("n2", "listener"), Note(text=str(len(actor.state.kept)))))
        if what == "restart":
            stage.tell(keeper, lambda actor: 1 / 0)
        if what == "wait":
            stage.run(seconds)
    stage.run(until_crash)
    stage.crash("n1")
    stage.run(1.0)
    heard = [int(text) for text in stage.notes(listener)]
    again = stage.puppet(stage.node("n1"), "keeper", Keeper)
    kept = stage.state(again).kept
    assert kept == [str(number) for number in range(len(kept))]
    assert max(heard, default=0) <= len(kept)
    assert heard == sorted(heard)


def test_a_disk_that_fails_ends_the_node_and_nothing_more_is_said() -> None:
    stage, node, a, b = a_stage()
    stage.tell(b, keep_and_say(a, "1"))
    stage.disks["n1"].fail("no space left on device")
    stage.run(5.0)
    assert node.failure == "no space left on device"
    assert stage.notes(a) == []


def test_an_actor_ended_by_its_parent_leaves_no_children_of_held_spawns() -> None:
    stage, node, a, _ = a_stage()
    stage.tell(a, lambda actor: actor.spawn(Keeper, "parent", PuppetState()))
    parent = node.pid("parent")
    stage.tell(parent, lambda actor: [actor.keep("x"), actor.spawn(Puppet, "orphan", PuppetState()), actor.link(a)])
    stage.tell(a, lambda actor: actor.stop("parent"))
    stage.run(2.0)
    assert sorted(node.cells) == ["a", "b"]
    assert not node.cells["a"].watchers


def test_asks_held_while_their_actor_fails_are_nothing_for_its_next_life() -> None:
    stage, node, a, _ = a_stage()
    c = stage.puppet(node, "c", Keeper, FOREVER)
    stage.tell(
        c, lambda actor: [actor.keep("x"), actor.ask(a, Question(text="?"), actor.answered)], lambda actor: 1 / 0
    )
    stage.run(60.0)
    assert stage.state(c).answers == []
    assert not node.cells["c"].asks


def test_what_cannot_be_carried_out_when_it_is_durable_fails_the_actor() -> None:
    stage, node, a, b = a_stage()
    stage.tell(a, lambda actor: actor.link(b))
    stage.tell(b, lambda actor: [actor.keep("x"), actor.spawn(Puppet, "a", PuppetState())])
    stage.run(2.0)
    assert stage.notes(a) == ["b: failed: runtime.errors.NameTaken: node n1 already runs an actor called 'a'"]
    assert node.failure == ""


def test_the_end_of_a_node_lets_out_what_was_held(world_stop: object) -> None:
    stage, node, _, b = a_stage()
    other = stage.puppet(stage.node("n2"), "c")
    stage.tell(b, lambda actor: actor.send(at("n2", "c"), Note(text="hello")))
    stage.tell(b, lambda actor: [actor.keep("x"), actor.send(at("n2", "c"), Note(text="durable"))])
    world_stop(stage, node)  # type: ignore[operator]
    assert stage.notes(other) == ["hello", "durable"]


# What may be persisted ----------------------------------------------------------------------------------------------


class Foreign(msgspec.Struct, frozen=True, tag=True):
    text: str


def test_a_record_that_a_recovery_could_not_read_is_refused_at_once() -> None:
    actor = make(Keeper, PuppetState())
    with pytest.raises(ActorError, match="Keeper persists Foreign"):
        actor.persist(Foreign(text="x"))
    with pytest.raises(ActorError, match="Puppet persists Kept"):
        make(Puppet, PuppetState()).persist(Kept(text="x"))
    actor.persist(Kept(text="x"))
    assert actor._outbox == [Persist(Kept(text="x"))]


def test_a_record_that_cannot_be_written_fails_the_turn_before_anything_is() -> None:
    stage, _, a, b = a_stage()
    bad: Kept = Kept(text=object())  # type: ignore[arg-type]
    stage.tell(b, lambda actor: [actor.keep("good"), actor.persist(bad), actor.send(a, Note(text="never said"))])
    stage.run(2.0)
    assert stage.notes(a) == []
    assert not stage.lives(b)
    assert stage.disks["n1"].all_records("b") == []


def test_an_actor_that_persists_needs_a_store() -> None:
    clock = VirtualClock()
    node = Node("n1", MemoryTransport(Network(clock)), clock, seed="1", incarnation=1)
    with pytest.raises(JournalError, match="Keeper persists, but node n1 has no journal store"):
        node.spawn(Keeper, "a", PuppetState())
    assert not node.cells


def test_a_journal_of_another_version_is_refused_with_what_is_wrong_and_given_back() -> None:
    stage, node, a, _ = a_stage(latency_seconds=0.0)

    class Other(Puppet):
        records = Foreign

    c = stage.puppet(node, "c", Keeper)
    stage.tell(c, lambda actor: actor.keep("x"))
    stage.tell(c, lambda actor: actor.stop())
    for _ in range(2):
        with pytest.raises(JournalError, match="the journal of c holds a record that Other cannot read"):
            node.spawn(Other, "c", PuppetState())
    stage.tell(a, lambda actor: actor.spawn(Other, "c", PuppetState()))
    assert not stage.lives(c)
    assert stage.state(stage.puppet(node, "c", Keeper)).kept == ["x"]


def test_a_recovery_has_no_effects() -> None:
    class Talkative(Keeper):
        def recover(self, records: Sequence[msgspec.Struct]) -> None:
            self.send(self.pid, Note(text="I am back"))

    stage, node, _, b = a_stage(latency_seconds=0.0)
    stage.tell(b, lambda actor: actor.keep("x"), lambda actor: actor.stop())
    with pytest.raises(ActorError, match="a recovery only rebuilds the state"):
        node.spawn(Talkative, "b", PuppetState())


# Compaction ---------------------------------------------------------------------------------------------------------


class Compacting(Keeper):
    """Keeps only the last things."""

    def snapshot(self) -> Sequence[msgspec.Struct]:
        self.state.kept = self.state.kept[-2:]
        return [Kept(text=text) for text in self.state.kept]


def test_a_journal_that_has_grown_is_rewritten_from_a_snapshot() -> None:
    stage, node, a, _ = a_stage()
    c = stage.puppet(node, "c", Compacting)
    long = "x" * (COMPACT_AT_BYTES // 4)
    stage.tell(c, *(lambda actor, n=n: [actor.keep(f"{n}{long}"), actor.send(a, Note(text=str(n)))] for n in range(6)))
    stage.run(10.0)
    assert stage.notes(a) == list("012345")
    assert len(stage.disks["n1"].all_records("c")) < 5
    stage.crash("n1")
    again = stage.puppet(stage.node("n1"), "c", Compacting)
    assert [text[0] for text in stage.state(again).kept[-2:]] == ["4", "5"]


def test_an_actor_without_a_snapshot_keeps_its_journal_and_its_successor_is_asked_anew() -> None:
    stage, node, _, b = a_stage(latency_seconds=0.0)
    long = "x" * COMPACT_AT_BYTES
    stage.tell(b, lambda actor: actor.keep(long), lambda actor: actor.keep("2"), lambda actor: actor.stop())
    assert len(stage.disks["n1"].all_records("b")) == 2
    b = stage.puppet(node, "b", Compacting)
    stage.tell(b, lambda actor: actor.keep("3"), lambda actor: actor.keep("4"))
    assert stage.state(b).kept[-1] == "4"
    assert len(stage.disks["n1"].all_records("b")) == 3


def test_a_snapshot_that_fails_fails_the_actor_and_loses_nothing() -> None:
    class Broken(Keeper):
        def snapshot(self) -> Sequence[msgspec.Struct]:
            raise ValueError("no words for it")

    stage, node, a, _ = a_stage(latency_seconds=0.0)
    c = stage.puppet(node, "c", Broken)
    node.post(c, Do(act=keep_and_say(a, "x" * COMPACT_AT_BYTES)))
    stage.settle()
    assert not stage.lives(c)
    again = stage.puppet(node, "c", Keeper)
    assert len(stage.state(again).kept) == 1
