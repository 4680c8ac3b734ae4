"""A node from outside: its hooks, its end, its determinism, and what other nodes may and may not do to it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.actor import receive
from runtime.constants import REFUSALS
from runtime.effects import Turn
from runtime.errors import KaonError
from runtime.mailbox import Cell
from runtime.message import Terminate
from runtime.node import Node
from runtime.pid import PID
from runtime.supervision import FATAL
from runtime.transport.memory import MemoryTransport
from runtime.transport.protocol import Envelope
from tests.runtime.puppets import FOREVER, Note, Puppet, PuppetState, Question, Stage, at

ROOT = Path(__file__).resolve().parents[2]


def test_a_node_id_is_checked() -> None:
    stage = Stage()
    with pytest.raises(KaonError, match="'no id' is no node id"):
        Node("no id", MemoryTransport(stage.network), stage.clock)


def test_each_start_draws_another_incarnation_and_a_seed_draws_the_same() -> None:
    stage = Stage()

    def incarnation(seed: str | None) -> int:
        return Node("n1", MemoryTransport(stage.network), stage.clock, seed=seed).identity.incarnation

    assert len({incarnation(None) for _ in range(10)}) == 10
    assert incarnation("7") == incarnation("7") > 0


# Hooks --------------------------------------------------------------------------------------------------------------


def test_observe_sees_every_turn_with_its_effects_carried_out() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")
    seen: list[tuple[str, int, int]] = []

    def observe(turn: Turn) -> None:
        seen.append((turn.actor.name, len(turn.effects), len(node.cells["b"].queue)))

    node.observe = observe
    stage.tell(a, lambda actor: [actor.send(b, Note(text="1")), actor.send(b, Note(text="2"))])
    assert seen == [("a", 2, 2), ("b", 0, 1), ("b", 0, 0)]


def test_choose_picks_whose_turn_it_is_one_turn_at_a_time() -> None:
    stage = Stage()
    node = stage.node()
    for name in "abc":
        stage.puppet(node, name)
    order: list[str] = []
    node.observe = lambda turn: order.append(turn.actor.name)

    def last_name(queue: deque[Cell]) -> int:
        return max(range(len(queue)), key=lambda index: queue[index].name)

    node.choose = last_name
    for name in "abc":
        node.post(node.pid(name), Note(text="1"))
        node.post(node.pid(name), Note(text="2"))
    stage.settle()
    assert order == list("ccbbaa")


# The end ------------------------------------------------------------------------------------------------------------


class Finishing(Puppet):
    """Takes two seconds to finish."""

    @receive(Terminate)
    def terminate(self, sender: PID, message: Terminate) -> None:
        self.state.notes.append(f"{message.deadline_seconds:g} s")
        self.after(2.0, Note(text="finished"))

    @receive(Note)
    def note(self, sender: PID, message: Note) -> None:
        self.send(at("n2", "b"), message)
        self.stop()


class Stubborn(Puppet):
    """Never finishes."""

    @receive(Terminate)
    def terminate(self, sender: PID, message: Terminate) -> None:
        self.state.notes.append("no")


def test_a_node_ends_when_those_who_have_something_to_finish_have(world_stop: Any) -> None:
    stage = Stage()
    node = stage.node()
    b = stage.puppet(stage.node("n2"), "b")
    stage.puppet(node, "plain")
    stage.puppet(node, "finishing", Finishing, FOREVER)
    before = stage.clock.now()
    world_stop(stage, node, 10.0)
    assert 2.0 <= stage.clock.now() - before < 3.0
    assert not node.cells
    assert stage.notes(b) == ["finished"]


def test_the_deadline_ends_those_who_do_not_finish(world_stop: Any) -> None:
    stage = Stage()
    node = stage.node()
    stage.puppet(node, "stubborn", Stubborn, FOREVER)
    before = stage.clock.now()
    world_stop(stage, node, 5.0)
    assert 5.0 <= stage.clock.now() - before < 6.0
    assert not node.cells


def test_a_node_that_has_failed_ends_without_asking_anybody(world_stop: Any) -> None:
    stage = Stage()
    node = stage.node()
    stage.puppet(node, "stubborn", Stubborn)
    fatal = stage.puppet(node, "fatal", supervision=FATAL)
    stage.tell(fatal, lambda actor: 1 / 0)
    before = stage.clock.now()
    world_stop(stage, node)
    assert stage.clock.now() == before
    assert not node.cells


def test_peers_hear_of_the_end_of_actors_when_a_node_ends(world_stop: Any) -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a = stage.puppet(there, "a")
    stage.puppet(here, "b")
    stage.tell(a, lambda actor: actor.link(at("n1", "b")))
    world_stop(stage, here)
    assert stage.notes(a) == ["b: node stopped"]


def test_a_failure_is_told_once_and_ends_all_turns() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")
    told: list[str] = []
    node.on_failure = told.append
    node.fail("the disk")
    node.fail("something else")
    stage.tell(a, lambda actor: actor.state.notes.append("a turn"))
    assert told == ["the disk"]
    assert stage.notes(a) == []


def test_a_killed_node_says_nothing_more() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a, b = stage.puppet(here, "a"), stage.puppet(there, "b")
    stage.tell(
        a, lambda actor: actor.after(1.0, Note(text="x")), lambda actor: actor.send(at("n2", "b"), Note(text="1"))
    )
    here.kill()
    stage.run(5.0)
    assert stage.notes(b) == ["1"]
    assert stage.notes(a) == []


# Determinism --------------------------------------------------------------------------------------------------------

HISTORY = """
from tests.runtime.test_node import history
print(history(7))
"""


class Gossip(Puppet):
    """Tells what it hears to somebody else, now or later, and fails now and then."""

    @receive(Note)
    def note(self, sender: PID, message: Note) -> None:
        if self.random.random() < 0.05:
            raise ValueError(message.text)
        if len(message.text) < 12:
            somebody = PID(self.random.choice("abc"), f"simulated://{self.random.choice(['n1', 'n2'])}")
            note = Note(text=message.text + self.random.choice("xyz"))
            if somebody.node == f"simulated://{self.pid.node}":
                somebody = PID(somebody.name, self.pid.node)
            self.send(somebody, note)
            self.after(self.random.random(), Question(text=note.text))
            self.ask(somebody, Question(text="?"), self.answered)


def history(seed: int) -> str:
    """Everything that happens in two nodes of gossips, in ten seconds, as a digest."""
    stage = Stage(seed)
    for node_id in ("n1", "n2"):
        node = stage.node(node_id)
        for name in "abc":
            stage.puppet(node, name, Gossip, FOREVER)
    for node in stage.nodes.values():
        for name in "abc":
            node.post(node.pid(name), Note(text=name))
    stage.run(10.0)
    lines = [
        f"{turn.actor} {turn.sender} {turn.message} {turn.trace} {turn.span} {turn.started}" for turn in stage.turns
    ]
    assert len(lines) > 100
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_the_same_seed_gives_the_same_history_and_another_one_another() -> None:
    assert history(7) == history(7) != history(8)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_history_does_not_depend_on_how_the_interpreter_hashes(hash_seed: str) -> None:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(
        [sys.executable, "-c", HISTORY], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout.strip() == history(7)


# Other nodes --------------------------------------------------------------------------------------------------------


def test_the_sender_of_what_comes_from_another_node_is_that_node_whatever_it_says() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    stage.puppet(here, "a")
    b = stage.puppet(there, "b")
    stage.tell(b, lambda actor: actor.send(at("n1", "a"), Note(text="hello")))
    (session,) = here.peers.sessions
    here.peers.received([(session, [Envelope("a", "master", 2, 2, 0, Note(text="x"))], 50)])
    stage.settle()
    assert stage.turns[-1].sender == PID("master", "n2", there.identity.incarnation)


def test_a_message_for_the_node_itself_that_is_none_is_refused() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    stage.puppet(here, "a")
    b = stage.puppet(there, "b")
    stage.tell(b, lambda actor: actor.send(at("n1", "a"), Note(text="hello")))
    (session,) = here.peers.sessions
    here.peers.received([(session, [Envelope("", "", 2, 2, 0, Note(text="x"))], 50)])
    assert here.refusals == {"unknown_type": 1}
    assert set(here.refusals) <= set(REFUSALS)


def test_nodes_that_dial_one_another_keep_their_order() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a, b = stage.puppet(here, "a"), stage.puppet(there, "b")
    stage.tell(a, lambda actor: actor.send(at("n2", "b"), Note(text="0")))
    stage.tell(b, lambda actor: actor.send(at("n1", "a"), Note(text="0")))
    assert len(here.peers.sessions) == 2
    for number in range(1, 20):
        stage.nodes["n1"].post(a, Note(text=""))
        stage.tell(a, say(b, str(number)))
    assert stage.notes(b) == [str(number) for number in range(20)]
    assert here.peers.envelopes_out == 20


def test_a_newer_incarnation_is_preferred_to_an_older_one_that_does_not_know_that_it_is_over() -> None:
    stage = Stage()
    here = stage.node("n1")
    old = stage.node("n2")
    a = stage.puppet(here, "a")
    stage.puppet(old, "b")
    stage.tell(a, lambda actor: actor.send(at("n2", "b"), Note(text="to the old")))
    old.kill()
    old.transport.network.unbind(old.transport)  # type: ignore[attr-defined]
    stage.disks["n2"].crash()
    new = stage.node("n2")
    b = stage.puppet(new, "b")
    stage.tell(b, lambda actor: actor.send(at("n1", "a"), Note(text="here I am")))
    stage.tell(a, lambda actor: actor.send(PID("b", "n2"), Note(text="to the new")))
    assert stage.notes(b) == ["to the new"]


def test_what_is_sent_while_dialling_goes_out_in_order_when_the_session_is_there() -> None:
    stage = Stage()
    here, there = stage.node("n1"), stage.node("n2")
    a, b = stage.puppet(here, "a"), stage.puppet(there, "b")
    stage.tell(a, lambda actor: [actor.send(at("n2", "b"), Note(text=str(number))) for number in range(5)])
    assert stage.notes(b) == list("01234")


def test_dials_are_repeated_with_growing_pauses_while_somebody_wants_to_talk() -> None:
    stage = Stage()
    here = stage.node("n1")
    a = stage.puppet(here, "a")
    for _ in range(30):
        stage.tell(a, lambda actor: actor.send(at("n2", "b"), Note(text="x")))
        stage.run(1.0)
    assert 5 < here.dead_letters["unreachable"] <= 30
    b = stage.puppet(stage.node("n2"), "b")
    stage.tell(a, lambda actor: actor.send(at("n2", "b"), Note(text="at last")))
    stage.run(10.0)
    assert stage.notes(b)[-1] == "at last"


def test_dead_letters_have_few_kinds_however_many_actors_there_are() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")

    def bear(name: str) -> Callable[[Puppet], object]:
        return lambda actor: actor.spawn(Puppet, name, PuppetState())

    for number in range(5):
        child = node.pid(f"p{number}")
        stage.tell(a, bear(child.name))
        stage.tell(a, both(say(child, "x"), stop(child.name, f"why {child}")))
    assert node.dead_letters == {"actor ended": 5}


def say(to: PID, text: str) -> Callable[[Puppet], object]:
    return lambda actor: actor.send(to, Note(text=text))


def stop(name: str, reason: str) -> Callable[[Puppet], object]:
    return lambda actor: actor.stop(name, reason)


def both(*acts: Callable[[Puppet], object]) -> Callable[[Puppet], object]:
    return lambda actor: [act(actor) for act in acts]
