"""Mailboxes: what happens when one is full, and messages that crash whoever reads them."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from runtime.actor import receive
from runtime.mailbox import CRASHES_REMEMBERED, Cell, fingerprint, is_ask
from runtime.message import Busy, Exited, Message, Overflow, Terminate
from runtime.pid import PID
from runtime.supervision import Restart, Supervision
from tests.runtime.puppets import Do, Fatal, Note, Order, Ping, Puppet, PuppetState, Small, Stage, at

PATIENT = Supervision(restart=Restart.PERMANENT, intensity=1_000, backoff_seconds=0.1)


class Hearing(Puppet):
    """Notes refusals."""

    @receive(Busy)
    def busy(self, sender: PID, message: Busy) -> None:
        self.state.notes.append(f"{sender.name} is too busy for {message.message_type}")


def test_a_full_mailbox_refuses_and_says_so() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a", Hearing), stage.puppet(node, "b", Small)
    stage.tell(a, lambda actor: [actor.send(b, Note(text=str(number))) for number in range(4)])
    assert stage.notes(b) == ["0", "1"]
    assert stage.notes(a) == ["b is too busy for puppet.Note"] * 2
    assert node.dead_letters == {"busy": 2}


def test_a_full_mailbox_refuses_what_comes_from_another_node() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a, b = stage.puppet(here, "a", Hearing), stage.puppet(there, "b", Small)
    stage.tell(a, lambda actor: [actor.send(at("n2", "b"), Note(text=str(number))) for number in range(4)])
    assert stage.notes(b) == ["0", "1"]
    assert stage.notes(a) == ["b is too busy for puppet.Note"] * 2


def test_what_is_repeated_anyway_is_dropped_and_counted() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a", Hearing), stage.puppet(node, "b", Small)
    stage.tell(a, lambda actor: [actor.send(b, Ping(text=str(number))) for number in range(4)])
    assert stage.notes(b) == ["0", "1"]
    assert stage.notes(a) == []
    assert node.dead_letters == {"busy": 2}


def test_what_its_protocol_bounds_is_always_let_in() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b", Small)
    stage.tell(a, lambda actor: [actor.send(b, Order(text=str(number))) for number in range(9)])
    assert stage.notes(b) == list("012345678")


def test_a_parent_stops_a_child_whose_mailbox_is_full_at_once() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")
    stage.tell(a, lambda actor: actor.spawn(Small, "child", PuppetState()))
    child = node.pid("child")
    stage.tell(a, lambda actor: [*(actor.send(child, Note(text=str(n))) for n in range(2)), actor.stop("child")])
    assert not stage.lives(child)
    assert stage.heard("child") == []
    assert node.dead_letters == {"actor ended": 2}


class Leaving(Small):
    """Ends when it is asked to."""

    @receive(Terminate)
    def terminate(self, sender: PID, message: Terminate) -> None:
        self.state.notes.append("asked to end")
        self.stop()


def test_the_end_of_the_process_overtakes_a_full_mailbox(world_stop: Any) -> None:
    stage = Stage()
    node = stage.node()
    b = stage.puppet(node, "b", Leaving)
    for number in range(2):
        node.post(b, Note(text=str(number)))
    world_stop(stage, node)
    assert [type(turn.message) for turn in stage.turns[1:]] == [Terminate]


def test_a_stuck_sender_does_not_hold_up_others() -> None:
    stage = Stage()
    node = stage.node()
    a, b, c = stage.puppet(node, "a"), stage.puppet(node, "b"), stage.puppet(node, "c")
    order: list[str] = []
    node.observe = lambda turn: order.append(turn.actor.name)
    for _ in range(500):
        node.post(a, Note(text="flood"))
    node.post(b, Note(text="one"))
    node.post(c, Note(text="two"))
    stage.settle()
    assert max(order.index("b"), order.index("c")) < 200


# Poison -------------------------------------------------------------------------------------------------------------


def test_a_message_that_has_crashed_its_actor_twice_is_refused() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b", supervision=PATIENT)
    for _ in range(4):
        stage.tell(a, lambda actor: actor.send(b, Fatal(text="same")))
        stage.run(30.0)
    assert len([turn for turn in stage.turns if turn.error]) == 2
    assert node.refusals == {"poison": 2}
    stage.tell(a, lambda actor: [actor.send(b, Note(text="fine")), actor.send(b, Fatal(text="another"))])
    assert len([turn for turn in stage.turns if turn.error]) == 3
    assert "fine" in stage.heard("b")


def test_poison_is_refused_from_other_nodes_and_out_of_the_mailbox_of_a_restart() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a = stage.puppet(here, "a")
    stage.puppet(there, "b", supervision=PATIENT)
    stage.tell(a, lambda actor: [actor.send(at("n2", "b"), Fatal(text="same")) for _ in range(5)])
    stage.run(60.0)
    assert len([turn for turn in stage.turns if turn.error]) == 2
    assert there.refusals == {"poison": 3}


def test_an_asker_of_poison_is_told() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b", supervision=PATIENT)
    for _ in range(3):
        stage.tell(a, lambda actor: actor.ask(b, Fatal(text="same"), actor.answered))
        stage.run(30.0)
    assert stage.state(a).answers == ["failed: ValueError: same"] * 2 + ["poison"]


def test_what_an_actor_says_to_itself_is_never_poison() -> None:
    class Ticking(Puppet):
        def started(self) -> None:
            self.after(1.0, Fatal(text="tick"))

    stage = Stage()
    node = stage.node()
    node.spawn(Ticking, "b", PuppetState(), PATIENT)
    stage.run(10.0)
    assert len([turn for turn in stage.turns if turn.error]) > 3
    assert node.refusals == {}


class Local(Message, frozen=True, kw_only=True, tag="mailbox.Local"):
    local: ClassVar[bool] = True
    what: Any


def test_fingerprints_name_messages_by_content() -> None:
    assert fingerprint(Note(text="1")) == fingerprint(Note(text="1"))
    assert fingerprint(Note(text="1")) != fingerprint(Note(text="2"))
    assert fingerprint(Note(text="1")) != fingerprint(Ping(text="1"))
    assert fingerprint(Local(what=object())) == b""


def test_a_message_that_cannot_be_encoded_crashes_its_actor_and_not_the_node() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b", supervision=PATIENT)
    for _ in range(3):
        stage.tell(a, lambda actor: actor.send(b, Do(act=lambda other: 1 / 0)))
        stage.run(30.0)
    assert len([turn for turn in stage.turns if turn.error]) == 3
    assert node.failure == ""


def test_only_so_many_crashes_are_remembered() -> None:
    cell = Cell(PID("a", "n1", 1), Puppet, PuppetState(), PATIENT, None)
    for number in range(2 * CRASHES_REMEMBERED):
        cell.remember_crash(Fatal(text=str(number)))
        cell.remember_crash(Fatal(text=str(number)))
    assert len(cell.crashes) == CRASHES_REMEMBERED
    assert cell.is_poison(Fatal(text=str(2 * CRASHES_REMEMBERED - 1)))
    assert not cell.is_poison(Fatal(text="0"))
    assert not cell.is_poison(Note(text="0"))


@pytest.mark.parametrize(("span", "asks"), [(0, False), (2, False), (3, True)])
def test_asks_have_odd_spans(span: int, asks: bool) -> None:
    assert is_ask(span) is asks


def test_words_of_the_runtime_declare_what_they_do_when_there_is_no_room() -> None:
    assert Exited.overflow is Overflow.NEVER
    assert Busy.overflow is Overflow.DROP
