"""How a scheduler finds the master, loses it, comes back, and asks what became of its tasks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.messages.records import FrameworkInfo, TaskState
from actors.messages.scheduling import Reconcile, Revive, SchedulerError, Subscribe
from actors.scheduler.reconciliation import RECONCILE_BACKOFF_MAX_SECONDS, RECONCILE_INTERVAL_SECONDS
from actors.scheduler.state import (
    FrameworkEnded,
    FrameworkIdentified,
    ReconcileAgain,
    SubscribeAgain,
    TaskEnded,
    TaskLaunched,
)
from actors.scheduler.subscription import SUBSCRIBE_BACKOFF_MAX_SECONDS
from runtime.effects import After, Cancel, Effect, Link, Persist, Stop
from runtime.errors import ActorError
from runtime.message import Busy, Exited
from runtime.pid import PID
from runtime.testing import make, sent, start, turn
from tests.actors.scheduler.noting import (
    ADDRESS,
    MASTER,
    STRANGER,
    Durable,
    NotedState,
    Noting,
    called,
    connected,
    offer,
    state,
    status,
    task,
    welcome,
)


def delays(effects: list[Effect], message: type[Any]) -> list[float]:
    return [
        effect.delay_seconds for effect in effects if isinstance(effect, After) and isinstance(effect.message, message)
    ]


def lose(scheduler: Any) -> list[Effect]:
    return turn(scheduler, Exited(pid=MASTER, reason="session lost: killed"))


def test_the_first_subscription_is_at_once_and_linked() -> None:
    effects = start(make(Noting, state()))
    assert Link(ADDRESS) in effects
    assert sent(effects, Subscribe) == [Subscribe(framework=FrameworkInfo(name="test"))]


def test_retries_wait_longer_each_time_up_to_a_minute() -> None:
    scheduler = make(Noting, state())
    bounds = delays(start(scheduler), SubscribeAgain)
    for _ in range(10):
        bounds += delays(turn(scheduler, SubscribeAgain(), sender=scheduler.pid), SubscribeAgain)
    limits = [min(2.0 * 2.0**attempt, SUBSCRIBE_BACKOFF_MAX_SECONDS) for attempt in range(11)]
    assert all(0 <= delay <= limit for delay, limit in zip(bounds, limits, strict=True))
    assert max(bounds) > 8.0


def test_masters_are_tried_in_turn_each_linked_once() -> None:
    other = PID("master", "simulated://m2")
    scheduler = make(Noting, NotedState(framework=FrameworkInfo(name="test"), masters=(ADDRESS, other)))
    linked = [effect.pid for effect in start(scheduler) if isinstance(effect, Link)]
    for _ in range(3):
        effects = turn(scheduler, SubscribeAgain(), sender=scheduler.pid)
        linked += [effect.pid for effect in effects if isinstance(effect, Link)]
    assert linked == [ADDRESS, other]
    turn(scheduler, Exited(pid=ADDRESS, reason="unreachable: nobody there"))
    assert scheduler.state.connection.trouble == "unreachable: nobody there"
    assert Link(ADDRESS) in turn(scheduler, SubscribeAgain(), sender=scheduler.pid)


def test_a_scheduler_without_masters_says_what_is_missing() -> None:
    with pytest.raises(ActorError, match="set `masters`"):
        start(make(Noting, NotedState(framework=FrameworkInfo(name="test"))))


def test_the_answer_ends_the_search() -> None:
    scheduler = make(Noting, state())
    start(scheduler)
    effects = turn(scheduler, welcome(), sender=MASTER)
    assert Cancel(1) in effects
    assert Link(MASTER) in effects
    assert scheduler.state.told == [("subscribed", "f1")]
    assert turn(scheduler, SubscribeAgain(), sender=scheduler.pid) == []
    assert turn(scheduler, welcome(), sender=MASTER) == [], "the answer to a second try"


def test_a_master_of_a_later_epoch_takes_over_and_one_of_an_earlier_does_not() -> None:
    scheduler = connected()
    assert turn(scheduler, welcome(), sender=STRANGER) == []
    turn(scheduler, welcome(epoch=1), sender=STRANGER)
    assert scheduler.state.connection.master == STRANGER
    assert scheduler.state.told == [("disconnected",), ("subscribed", "f1")]
    assert scheduler.state.connection.offers == {}


def test_the_master_that_answers_hears_what_was_asked_for_since_its_own_subscription_left() -> None:
    """One master is told that no offers are wanted, then another that they are, and the first leads after all."""
    other = PID("master", "simulated://m2")
    scheduler = make(Noting, NotedState(framework=FrameworkInfo(name="test"), masters=(ADDRESS, other)))
    scheduler.suppress()
    scheduler._outbox.clear()
    assert sent(start(scheduler), Subscribe)[0].suppressed_roles == ("*",)
    scheduler.revive()
    scheduler._outbox.clear()
    (again,) = sent(turn(scheduler, SubscribeAgain(), sender=scheduler.pid), Subscribe)
    assert again.suppressed_roles == ()
    assert sent(turn(scheduler, welcome(), sender=MASTER), Revive) == [Revive(framework_id="f1", roles=("*",))]


def test_the_loss_of_the_master_voids_offers_and_keeps_tasks_and_id() -> None:
    scheduler = connected()
    called(scheduler, "launch", offer("o1"), task())
    effects = lose(scheduler)
    assert scheduler.state.told == [("disconnected",)]
    assert (scheduler.state.connection.offers, list(scheduler.state.connection.tasks)) == ({}, ["t1"])
    assert all(delay <= 2.0 for delay in delays(effects, SubscribeAgain))
    (subscribe,) = sent(turn(scheduler, SubscribeAgain(), sender=scheduler.pid), Subscribe)
    assert subscribe.framework.framework_id == "f1"


def test_calls_without_a_master_go_nowhere() -> None:
    scheduler = connected()
    lose(scheduler)
    for action in ("revive", "suppress", "reconcile"):
        assert called(scheduler, action) == []


def test_an_error_before_the_first_answer_is_one() -> None:
    scheduler = make(Noting, state())
    start(scheduler)
    effects = turn(scheduler, SchedulerError(message="no such role"), sender=MASTER)
    assert effects == [Stop(reason="failed: no such role")]


# Reconciliation -------------------------------------------------------------------------------------------------------


def test_after_a_subscription_tasks_are_asked_for_until_each_is_answered() -> None:
    scheduler = connected()
    called(scheduler, "launch", [offer("o1")], task("t1"), task("t2"))
    lose(scheduler)
    effects = turn(scheduler, welcome(), sender=MASTER)
    assert sent(effects, Reconcile) == [Reconcile(framework_id="f1", tasks=(("t1", "a1"), ("t2", "a1")))]
    turn(scheduler, status(TaskState.RUNNING, "", "t1"), sender=MASTER)
    waits = []
    for _ in range(7):
        effects = turn(scheduler, ReconcileAgain(), sender=scheduler.pid)
        assert [asked.tasks for asked in sent(effects, Reconcile)] == [(("t2", "a1"),)]
        waits += delays(effects, ReconcileAgain)
    assert waits == [4.0, 8.0, 16.0, 32.0, 60.0, 60.0, RECONCILE_BACKOFF_MAX_SECONDS]
    turn(scheduler, status(TaskState.GONE, "", "t2"), sender=MASTER)
    effects = turn(scheduler, ReconcileAgain(), sender=scheduler.pid)
    assert [asked.tasks for asked in sent(effects, Reconcile)] == [(("t1", "a1"),)], "the next round begins"


def test_without_tasks_the_next_round_is_far() -> None:
    scheduler = connected()
    effects = turn(scheduler, ReconcileAgain(), sender=scheduler.pid)
    assert (sent(effects, Reconcile), delays(effects, ReconcileAgain)) == ([], [RECONCILE_INTERVAL_SECONDS])


def test_a_busy_master_is_asked_what_it_knows_once_it_has_caught_up() -> None:
    scheduler = connected()
    effects = turn(scheduler, Busy(message_type="Accept"), sender=MASTER)
    assert delays(effects, ReconcileAgain) == [2.0]
    assert turn(scheduler, Busy(message_type="Accept"), sender=STRANGER) == []


def test_whoever_takes_over_a_framework_asks_for_all_that_the_master_knows() -> None:
    scheduler = make(Noting, NotedState(framework=FrameworkInfo(name="test", framework_id="f1"), masters=(ADDRESS,)))
    start(scheduler)
    effects = turn(scheduler, welcome(), sender=MASTER)
    assert sent(effects, Reconcile) == [Reconcile(framework_id="f1")]
    turn(scheduler, status(TaskState.RUNNING, "", "t9"), sender=MASTER)
    assert list(scheduler.state.connection.tasks) == ["t9"]
    lose(scheduler)
    assert [asked.tasks for asked in sent(turn(scheduler, welcome(), sender=MASTER), Reconcile)] == [(("t9", "a1"),)]


# The journal ----------------------------------------------------------------------------------------------------------


def records_of(effects: list[Effect]) -> list[msgspec.Struct]:
    return [effect.record for effect in effects if isinstance(effect, Persist)]


def test_a_durable_scheduler_goes_on_with_its_id_and_tasks() -> None:
    first = make(Durable, state())
    start(first)
    records = records_of(turn(first, welcome(), sender=MASTER))
    first.state.connection.offers["o1"] = offer("o1")
    records += records_of(called(first, "launch", offer("o1"), task("t1"), task("t2")))
    records += records_of(turn(first, status(TaskState.FINISHED, "u1", "t1"), sender=MASTER))
    assert records == [
        FrameworkIdentified(framework_id="f1"),
        TaskLaunched(task_id="t1", agent_id="a1"),
        TaskLaunched(task_id="t2", agent_id="a1"),
        TaskEnded(task_id="t1", uuid="u1"),
    ]
    for remembered in (records, list(first.snapshot())):
        second = make(Durable, state())
        second.recover(remembered)
        (subscribe,) = sent(start(second), Subscribe)
        assert subscribe.framework.framework_id == "f1"
        effects = turn(second, welcome(), sender=MASTER)
        assert [asked.tasks for asked in sent(effects, Reconcile)] == [(), (("t2", "a1"),)]
        turn(second, status(TaskState.FINISHED, "u1", "t1"), sender=MASTER)
        assert second.state.told == [("subscribed", "f1")], "the end of t1 was told in the first life"


def test_a_framework_that_was_torn_down_is_not_taken_up_again() -> None:
    scheduler = make(Durable, state())
    scheduler.recover([FrameworkIdentified(framework_id="f1"), FrameworkEnded()])
    (subscribe,) = sent(start(scheduler), Subscribe)
    assert subscribe.framework.framework_id == ""


def test_the_journal_of_an_author_who_keeps_no_checkpoint_is_kept_whole() -> None:
    class Mine(msgspec.Struct, frozen=True, tag=True):
        count: int

    class Author(Noting):
        records = FrameworkIdentified | Mine

        def restore(self, record: msgspec.Struct) -> None:
            self.state.told.append(record)

    scheduler = make(Author, state())
    scheduler.recover([FrameworkIdentified(framework_id="f1"), Mine(count=3)])
    assert scheduler.state.told == [Mine(count=3)]
    assert scheduler.snapshot() is None
