"""What follows the end of an actor: restarts, their limits, siblings, and who goes down with whom."""

from __future__ import annotations

import random
from typing import ClassVar

import pytest

from runtime.actor import Edge, State
from runtime.message import Started
from runtime.pid import PID
from runtime.supervision import FATAL, Decision, Restart, Strategy, Supervision, backoff, decide
from tests.runtime.puppets import FOREVER, Fatal, Keeper, Note, Puppet, PuppetState, Stage

TRANSIENT = Supervision(restart=Restart.TRANSIENT, backoff_seconds=1.0)


def fail(stage: Stage, pid: PID, text: str = "") -> None:
    def act(actor: Puppet) -> None:
        raise RuntimeError(text or "told to")

    stage.tell(pid, act)


def births(stage: Stage) -> list[str]:
    return [turn.actor.name for turn in stage.turns if isinstance(turn.message, Started)]


@pytest.mark.parametrize(
    ("restart", "failed", "decision"),
    [
        (Restart.PERMANENT, True, Decision.RESTART),
        (Restart.PERMANENT, False, Decision.RESTART),
        (Restart.TRANSIENT, True, Decision.RESTART),
        (Restart.TRANSIENT, False, Decision.FORGET),
        (Restart.TEMPORARY, True, Decision.FORGET),
        (Restart.TEMPORARY, False, Decision.FORGET),
    ],
)
def test_policy_decides(restart: Restart, failed: bool, decision: Decision) -> None:
    assert decide(Supervision(restart=restart), failed=failed, restarts=[], now=0.0)[0] is decision


def test_restarts_wait_twice_as_long_each_time_up_to_a_limit_and_old_ones_are_forgotten() -> None:
    policy = Supervision(
        restart=Restart.PERMANENT, intensity=9, period_seconds=60.0, backoff_seconds=1.0, backoff_max_seconds=5.0
    )
    delays = [decide(policy, failed=True, restarts=[0.0] * count, now=1.0)[1] for count in range(5)]
    assert delays == [1.0, 2.0, 4.0, 5.0, 5.0]
    restarts = [0.0, 30.0, 59.0]
    assert decide(policy, failed=True, restarts=restarts, now=70.0) == (Decision.RESTART, 4.0)
    assert restarts == [30.0, 59.0]


def test_one_more_than_the_intensity_goes_up() -> None:
    policy = Supervision(restart=Restart.PERMANENT, intensity=2)
    assert decide(policy, failed=True, restarts=[1.0, 2.0], now=3.0)[0] is Decision.ESCALATE
    assert decide(FATAL, failed=True, restarts=[], now=3.0)[0] is Decision.ESCALATE


def test_backoff_of_many_is_spread_over_the_whole_interval() -> None:
    chance = random.Random(1)
    waits = [backoff(3, factor=1.0, maximum=60.0, chance=chance) for _ in range(1000)]
    assert 0.0 <= min(waits) < 0.5
    assert 7.5 < max(waits) <= 8.0
    assert backoff(50, factor=1.0, maximum=60.0, chance=chance) <= 60.0


def test_a_permanent_actor_begins_again_with_its_first_state_after_its_backoff() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a", supervision=FOREVER)
    stage.tell(a, lambda actor: actor.state.notes.append("old"))
    fail(stage, a)
    stage.run(0.9)
    assert births(stage) == ["a"]
    stage.run(0.2)
    assert births(stage) == ["a", "a"]
    assert stage.notes(a) == []


@pytest.mark.parametrize(("supervision", "lives"), [(FOREVER, True), (TRANSIENT, False), (Supervision(), False)])
def test_an_actor_that_stops(supervision: Supervision, lives: bool) -> None:
    stage = Stage()
    a = stage.puppet(stage.node(), "a", supervision=supervision)
    stage.tell(a, lambda actor: actor.stop())
    stage.run(5.0)
    assert stage.lives(a) is lives


def test_each_life_has_its_own_chance() -> None:
    stage = Stage()
    a = stage.puppet(stage.node(), "a", supervision=FOREVER)
    drawn: list[float] = []
    stage.tell(a, lambda actor: drawn.append(actor.random.random()))
    fail(stage, a)
    stage.run(2.0)
    stage.tell(a, lambda actor: drawn.append(actor.random.random()))
    assert len(set(drawn)) == 2


def test_timers_of_the_last_life_are_off_even_those_that_have_fired() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a", supervision=FOREVER), stage.puppet(node, "b")
    stage.tell(a, lambda actor: [actor.after(0.0, Note(text="fired")), actor.after(3.0, Note(text="armed"))])
    stage.tell(a, lambda actor: [actor.send(actor.pid, Note(text="to myself")), actor.send(b, Note(text="x"))])
    node.choose = lambda queue: 0
    stage.tell(a, lambda actor: actor.after(0.0, Note(text="at once")))
    heard = stage.heard("a")
    stage.tell(b, lambda actor: actor.send(a, Fatal()))
    node.post(a, Note(text="from myself"))
    stage.run(5.0)
    assert stage.heard("a") == heard


def test_too_many_failures_of_a_root_end_the_node() -> None:
    stage = Stage()
    node = stage.node()
    told: list[str] = []
    node.on_failure = told.append
    a = stage.puppet(node, "a", supervision=Supervision(restart=Restart.PERMANENT, intensity=1, backoff_seconds=1.0))
    b = stage.puppet(node, "b")
    fail(stage, a)
    stage.run(2.0)
    assert node.failure == ""
    fail(stage, a, "again")
    assert told == ["actor a ended and may not be restarted again: failed: RuntimeError: again"]
    stage.tell(b, lambda actor: actor.state.notes.append("a turn"))
    assert stage.notes(b) == []


def test_a_fatal_actor_ends_the_node_at_once() -> None:
    stage = Stage()
    node = stage.node()
    fail(stage, stage.puppet(node, "a", supervision=FATAL))
    assert node.failure.startswith("actor a ended")


def test_too_many_failures_of_a_child_are_its_parents_failure() -> None:
    stage = Stage()
    node = stage.node()
    parent = stage.puppet(node, "parent", supervision=FOREVER)
    watcher = stage.puppet(node, "watcher")
    stage.tell(watcher, lambda actor: actor.link(parent))
    stage.tell(parent, lambda actor: actor.spawn(Puppet, "child", actor.state, FATAL))
    fail(stage, node.pid("child"))
    assert stage.notes(watcher) == ["parent: failed: child child failed: RuntimeError: told to"]
    stage.run(2.0)
    assert list(node.cells) == ["parent", "watcher"]


class Noisy(Edge[State]):
    """Says when it ends."""

    ends: ClassVar[list[str]] = []

    def close(self) -> None:
        self.ends.append(self.pid.name)


def test_children_end_before_their_parents_the_youngest_first() -> None:
    stage = Stage()
    node = stage.node()

    class Family(Noisy):
        ends: ClassVar[list[str]] = []

        def started(self) -> None:
            for name in "12" if len(self.pid.name) < 3 else "":
                self.spawn(Family, f"{self.pid.name}{name}", State())

    a = node.spawn(Family, "a", State())
    stage.settle()
    assert list(node.cells) == ["a", "a1", "a2", "a11", "a12", "a21", "a22"]
    node.lifecycle.remove(node.cells[a.name], "enough")
    assert Family.ends == ["a22", "a21", "a2", "a12", "a11", "a1", "a"]
    assert not node.cells


def test_rest_for_one_restarts_what_came_after_and_nothing_else() -> None:
    stage = Stage()
    node = stage.node()
    rest = Supervision(restart=Restart.PERMANENT, strategy=Strategy.REST_FOR_ONE, backoff_seconds=1.0)
    watcher = stage.puppet(node, "watcher")
    one = stage.puppet(node, "one", supervision=FOREVER)
    two = stage.puppet(node, "two", supervision=rest)
    three = stage.puppet(node, "three", supervision=FOREVER)
    four = stage.puppet(node, "four")
    five = stage.puppet(node, "five", supervision=TRANSIENT)
    stage.tell(watcher, *(lambda actor, pid=pid: actor.link(pid) for pid in (one, two, three, four, five)))
    del stage.turns[:]
    fail(stage, two)
    assert sorted(note.partition(":")[0] for note in stage.notes(watcher)) == ["five", "four", "three", "two"]
    stage.run(1.0)
    assert births(stage) == ["two", "three", "five"]
    assert not stage.lives(four), "a temporary actor is not restarted, whoever failed"


def test_a_name_that_is_taken_fails_the_actor_that_asked_for_it_and_nobody_else() -> None:
    stage = Stage()
    node = stage.node()
    a, b = stage.puppet(node, "a"), stage.puppet(node, "b")
    c = stage.puppet(node, "c")
    stage.tell(c, lambda actor: actor.link(a))
    stage.tell(a, lambda actor: actor.spawn(Puppet, "b", actor.state))
    assert stage.notes(c) == ["a: failed: runtime.errors.NameTaken: node n1 already runs an actor called 'b'"]
    stage.tell(b, lambda actor: actor.state.notes.append("unharmed"))
    assert stage.notes(b) == ["unharmed"]


def test_a_name_that_is_none_fails_the_actor_that_asked_for_it() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")
    stage.tell(a, lambda actor: actor.spawn(Puppet, "no name", actor.state))
    assert not stage.lives(a)
    assert node.failure == ""


def test_a_name_is_free_again_when_its_actor_has_ended() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")
    stage.tell(a, lambda actor: actor.spawn(Keeper, "child", actor.state))
    stage.tell(a, lambda actor: [actor.stop("child"), actor.spawn(Keeper, "child", actor.state)])
    assert births(stage) == ["a", "child", "child"]


class Unable(Edge[State]):
    """Cannot open for some time."""

    left: ClassVar[int] = 0

    def open(self) -> None:
        type(self).left -= 1
        if self.left >= 0:
            raise OSError("no such device")


def test_a_child_that_cannot_begin_is_tried_again_as_its_supervision_says() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")

    class Late(Unable):
        left = 2

    stage.tell(a, lambda actor: actor.spawn(Late, "late", State(), FOREVER))
    assert "late" in node.cells
    stage.run(0.9)
    assert births(stage) == ["a"]
    stage.run(5.0)
    assert births(stage) == ["a", "late"]


def test_a_child_that_can_never_begin_ends_its_parent_when_its_restarts_are_used_up() -> None:
    stage = Stage()
    node = stage.node()
    a = stage.puppet(node, "a")

    class Never(Unable):
        left = 99

    stage.tell(a, lambda actor: actor.spawn(Never, "never", State(), FOREVER))
    stage.run(20.0)
    assert not node.cells


def test_a_root_that_cannot_begin_is_told_to_whoever_spawned_it_and_leaves_nothing() -> None:
    stage = Stage()
    node = stage.node()

    class Never(Unable):
        left = 99

    with pytest.raises(OSError, match="no such device"):
        node.spawn(Never, "never", State())
    assert not node.cells
    assert not node.roots


def test_an_edge_that_cannot_close_ends_all_the_same() -> None:
    stage = Stage()
    node = stage.node()

    class Stuck(Edge[State]):
        def close(self) -> None:
            raise OSError("will not")

    stuck = node.spawn(Stuck, "stuck", State())
    stage.settle()
    node.lifecycle.remove(node.cells[stuck.name], "enough")
    assert not node.cells


def test_a_state_that_restarts_begin_with_is_not_the_one_that_turns_change() -> None:
    stage = Stage()
    node = stage.node()
    first = PuppetState(notes=["given"])
    a = node.spawn(Puppet, "a", first, FOREVER)
    stage.tell(a, lambda actor: actor.state.notes.append("mine"))
    assert first.notes == ["given"]
    fail(stage, a)
    stage.run(2.0)
    assert stage.notes(a) == ["given"]
