"""Turns of a scheduler: an event in, callbacks and calls out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.messages.records import Reason, TaskState
from actors.messages.scheduling import (
    Accept,
    Acknowledge,
    AgentFailure,
    Decline,
    FromExecutor,
    KillTask,
    Launch,
    Offers,
    RescindOffer,
    Revive,
    SchedulerError,
    SendToExecutor,
    ShutdownExecutorCall,
    Subscribe,
    Suppress,
    Teardown,
    Update,
)
from actors.scheduler.journal import ENDED_REMEMBERED
from actors.scheduler.scheduler import FINISH_TIMEOUT_SECONDS
from actors.scheduler.state import FinishTimedOut, FrameworkEnded, Interrupt, NotLaunched, SubscribeAgain, TaskEnded
from runtime.effects import After, Persist, Send, Stop
from runtime.message import Exited, Terminate
from runtime.testing import sent, turn
from tests.actors.scheduler.noting import (
    MASTER,
    STRANGER,
    Durable,
    Explicit,
    called,
    connected,
    offer,
    status,
    task,
    welcome,
)

FINISHED, RUNNING, STAGING = TaskState.FINISHED, TaskState.RUNNING, TaskState.STAGING


@pytest.fixture
def scheduler() -> Any:
    return connected()


def launched(scheduler: Any) -> Any:
    called(scheduler, "launch", offer("o1"), task())
    return scheduler


# Offers ---------------------------------------------------------------------------------------------------------------


def test_offers_are_told_and_held_until_used(scheduler: Any) -> None:
    turn(scheduler, Offers(offers=(offer("o3"),)), sender=MASTER)
    assert scheduler.state.told == [("offers", ("o3",))]
    called(scheduler, "decline", [offer("o1"), offer("o3")])
    assert list(scheduler.state.connection.offers) == ["o2"]


def test_launch_accepts_offers_with_the_tasks(scheduler: Any) -> None:
    effects = called(scheduler, "launch", [offer("o1"), offer("o2")], task("t1"), task("t2"), refuse_seconds=0.0)
    assert effects == [
        Send(
            MASTER,
            Accept(
                framework_id="f1",
                offer_ids=("o1", "o2"),
                operations=(Launch(tasks=(task("t1"), task("t2"))),),
                refuse_seconds=0.0,
            ),
        )
    ]
    assert scheduler.state.connection.tasks["t2"].info == task("t2")


def test_decline_says_for_how_long(scheduler: Any) -> None:
    effects = called(scheduler, "decline", offer("o1"), 3600.0)
    assert sent(effects, Decline) == [Decline(framework_id="f1", offer_ids=("o1",), refuse_seconds=3600.0)]


def test_tasks_on_a_void_offer_are_dropped_and_what_was_held_goes_back(scheduler: Any) -> None:
    turn(scheduler, RescindOffer(offer_id="o1"), sender=MASTER)
    effects = called(scheduler, "launch", [offer("o1"), offer("o2")], task())
    (dropped,) = sent(effects, NotLaunched)
    assert (dropped.status.state, dropped.status.reason) == (TaskState.DROPPED, Reason.INVALID_OFFERS)
    assert [(accept.offer_ids, accept.operations) for accept in sent(effects, Accept)] == [(("o2",), ())]
    turn(scheduler, dropped, sender=scheduler.pid)
    assert scheduler.state.told == [("rescinded", "o1"), ("update", "t1", TaskState.DROPPED)]
    assert scheduler.state.connection.tasks == {}


def test_tasks_on_an_offer_of_a_lost_master_are_dropped(scheduler: Any) -> None:
    turn(scheduler, Exited(pid=MASTER, reason="killed"))
    (dropped,) = sent(called(scheduler, "launch", offer("o1"), task()), NotLaunched)
    assert dropped.status.reason is Reason.MASTER_DISCONNECTED


def test_nobody_else_says_that_a_task_was_dropped(scheduler: Any) -> None:
    turn(scheduler, NotLaunched(status=status(TaskState.DROPPED).status), sender=STRANGER)
    assert scheduler.state.told == []


def test_a_living_task_is_not_launched_twice(scheduler: Any) -> None:
    launched(scheduler)
    with pytest.raises(ValueError, match="'t1' is still alive"):
        scheduler.launch(offer("o2"), task())
    assert "o2" in scheduler.state.connection.offers


def test_by_default_offers_are_declined() -> None:
    from actors.scheduler.scheduler import Scheduler
    from runtime.testing import make, start
    from tests.actors.scheduler.noting import state

    class Idle(Scheduler[Any]):
        pass

    idle = make(Idle, state())
    start(idle)
    turn(idle, welcome(), sender=MASTER)
    effects = turn(idle, Offers(offers=(offer("o1"),)), sender=MASTER)
    assert [decline.offer_ids for decline in sent(effects, Decline)] == [("o1",)]


def test_suppressed_roles_are_remembered_for_the_next_subscription(scheduler: Any) -> None:
    assert sent(called(scheduler, "suppress"), Suppress) == [Suppress(framework_id="f1")]
    turn(scheduler, Exited(pid=MASTER, reason="killed"))
    (subscribe,) = sent(turn(scheduler, SubscribeAgain(), sender=scheduler.pid), Subscribe)
    assert subscribe.suppressed_roles == ("*",)
    turn(scheduler, welcome(), sender=MASTER)
    assert sent(called(scheduler, "revive"), Revive) == [Revive(framework_id="f1")]
    assert scheduler.state.connection.suppressed == ()


# Updates --------------------------------------------------------------------------------------------------------------


def test_an_update_is_told_once_and_acknowledged_each_time(scheduler: Any) -> None:
    launched(scheduler)
    acknowledge = [Send(MASTER, Acknowledge(framework_id="f1", agent_id="a1", task_id="t1", uuid="u1"))]
    assert turn(scheduler, status(RUNNING), sender=MASTER) == acknowledge
    assert turn(scheduler, status(RUNNING), sender=MASTER) == acknowledge
    assert scheduler.state.told == [("update", "t1", RUNNING)]


def test_nothing_is_told_after_a_terminal_update(scheduler: Any) -> None:
    launched(scheduler)
    for _ in range(2):
        effects = turn(scheduler, status(FINISHED), sender=MASTER)
        assert [acknowledge.uuid for acknowledge in sent(effects, Acknowledge)] == ["u1"]
    assert scheduler.state.told == [("update", "t1", FINISHED)]
    assert scheduler.state.connection.tasks == {}


def test_an_ended_task_that_still_runs_is_killed(scheduler: Any) -> None:
    launched(scheduler)
    called(scheduler, "forget", "t1")
    effects = turn(scheduler, status(RUNNING, "u2"), sender=MASTER)
    assert [kill.task_id for kill in sent(effects, KillTask)] == ["t1"]
    assert scheduler.state.told == []


def test_an_id_can_be_used_again_after_its_task_ended(scheduler: Any) -> None:
    launched(scheduler)
    turn(scheduler, status(FINISHED, "u1"), sender=MASTER)
    called(scheduler, "launch", offer("o2"), task())
    turn(scheduler, status(RUNNING, "u2"), sender=MASTER)
    assert scheduler.state.told[-1] == ("update", "t1", RUNNING)


def test_answers_that_say_nothing_new_are_not_told(scheduler: Any) -> None:
    launched(scheduler)
    assert turn(scheduler, status(STAGING, ""), sender=MASTER) == []
    turn(scheduler, status(RUNNING, "u1"), sender=MASTER)
    assert turn(scheduler, status(RUNNING, ""), sender=MASTER) == []
    turn(scheduler, status(TaskState.UNREACHABLE, ""), sender=MASTER)
    assert [told[2] for told in scheduler.state.told] == [RUNNING, TaskState.UNREACHABLE]


def test_the_answer_that_a_task_finished_waits_for_the_update_that_has_its_data(scheduler: Any) -> None:
    launched(scheduler)
    answer = status(FINISHED, "").status
    answer = msgspec.structs.replace(answer, reason=Reason.RECONCILIATION)
    assert turn(scheduler, Update(status=answer), sender=MASTER) == []
    turn(scheduler, status(FINISHED), sender=MASTER)
    assert scheduler.state.told == [("update", "t1", FINISHED)]


def test_explicit_acknowledgement_waits_for_the_author() -> None:
    scheduler = connected(Explicit)
    launched(scheduler)
    update = status(RUNNING)
    assert turn(scheduler, update, sender=MASTER) == []
    assert turn(scheduler, update, sender=MASTER) == [], "told, and not acknowledged yet"
    assert [said.uuid for said in sent(called(scheduler, "acknowledge", update.status), Acknowledge)] == ["u1"]
    assert called(scheduler, "acknowledge", update.status) == [], "twice is once"
    assert len(scheduler.state.told) == 1


def test_only_so_many_ended_tasks_are_remembered(scheduler: Any) -> None:
    for number in range(ENDED_REMEMBERED + 1):
        turn(scheduler, status(FINISHED, f"u{number}", f"t{number}"), sender=MASTER)
    ended = scheduler.state.connection.ended
    assert (len(ended), "t0" in ended, f"t{ENDED_REMEMBERED}" in ended) == (ENDED_REMEMBERED, False, True)


def test_only_the_leading_master_is_heard(scheduler: Any) -> None:
    for message in (
        Offers(offers=(offer("o9"),)),
        status(RUNNING),
        RescindOffer(offer_id="o1"),
        AgentFailure(agent_id="a1"),
        FromExecutor(agent_id="a1", executor_id="e", data=b"x"),
        SchedulerError(message="go away"),
    ):
        assert turn(scheduler, message, sender=STRANGER) == []
    assert scheduler.state.told == []
    assert scheduler.state.connection.ignored == 6


# Other events and actions ---------------------------------------------------------------------------------------------


def test_messages_and_losses_are_told(scheduler: Any) -> None:
    turn(scheduler, FromExecutor(agent_id="a1", executor_id="e", data=b"x"), sender=MASTER)
    turn(scheduler, AgentFailure(agent_id="a1"), sender=MASTER)
    turn(scheduler, AgentFailure(agent_id="a1", executor_id="e", exit_status=9), sender=MASTER)
    assert scheduler.state.told == [
        ("message", "a1", "e", b"x"),
        ("agent_lost", "a1"),
        ("executor_lost", "a1", "e", 9),
    ]


def test_executors_are_spoken_to_and_ended(scheduler: Any) -> None:
    assert sent(called(scheduler, "send_to_executor", "a1", "e", b"x"), SendToExecutor) == [
        SendToExecutor(framework_id="f1", agent_id="a1", executor_id="e", data=b"x")
    ]
    assert sent(called(scheduler, "shutdown_executor", "a1", "e"), ShutdownExecutorCall) == [
        ShutdownExecutorCall(framework_id="f1", agent_id="a1", executor_id="e")
    ]


def test_a_kill_is_repeated_until_the_task_has_ended(scheduler: Any) -> None:
    launched(scheduler)
    kill = KillTask(framework_id="f1", task_id="t1", agent_id="a1", grace_seconds=1.5)
    assert sent(called(scheduler, "kill", "t1", 1.5), KillTask) == [kill]
    turn(scheduler, Exited(pid=MASTER, reason="killed"))
    assert sent(turn(scheduler, welcome(), sender=MASTER), KillTask) == [kill]
    turn(scheduler, status(TaskState.KILLED), sender=MASTER)
    turn(scheduler, Exited(pid=MASTER, reason="killed"))
    assert sent(turn(scheduler, welcome(), sender=MASTER), KillTask) == []


def test_an_error_ends_the_scheduler(scheduler: Any) -> None:
    effects = turn(scheduler, SchedulerError(message="it was torn down"), sender=MASTER)
    assert scheduler.state.told == [("error", "it was torn down")]
    assert effects == [Stop(reason="failed: it was torn down")]


# The end --------------------------------------------------------------------------------------------------------------


def test_finish_tears_down_and_stops(scheduler: Any) -> None:
    assert called(scheduler, "finish") == [Send(MASTER, Teardown(framework_id="f1")), Stop()]


def test_an_interrupt_finishes(scheduler: Any) -> None:
    assert Stop() in turn(scheduler, Interrupt(), sender=scheduler.pid)
    assert turn(connected(), Interrupt(), sender=STRANGER) == []


def test_finish_without_a_master_waits_for_it(scheduler: Any) -> None:
    turn(scheduler, Exited(pid=MASTER, reason="killed"))
    effects = called(scheduler, "finish")
    assert [(type(effect), effect.message) for effect in effects if isinstance(effect, After)] == [
        (After, FinishTimedOut())
    ]
    assert called(scheduler, "finish") == [], "twice is once"
    effects = turn(scheduler, welcome(), sender=MASTER)
    assert sent(effects, Teardown)
    assert Stop() in effects


def test_finish_without_a_master_for_too_long_says_what_is_left_behind(scheduler: Any) -> None:
    turn(scheduler, Exited(pid=MASTER, reason="killed"))
    called(scheduler, "finish")
    (stop,) = turn(scheduler, FinishTimedOut(), sender=scheduler.pid, now=FINISH_TIMEOUT_SECONDS)
    assert isinstance(stop, Stop)
    assert "framework f1 was not torn down" in stop.reason


def test_sigterm_leaves_a_durable_framework_to_its_next_life() -> None:
    effects = turn(connected(Durable), Terminate(deadline_seconds=5.0))
    assert effects == [Stop()]


def test_sigterm_tears_down_a_framework_that_nobody_could_take_over(scheduler: Any) -> None:
    assert sent(turn(scheduler, Terminate(deadline_seconds=5.0)), Teardown)


def test_a_durable_end_is_written_down() -> None:
    scheduler = connected(Durable)
    launched(scheduler)
    effects = turn(scheduler, status(FINISHED), sender=MASTER)
    assert effects[0] == Persist(TaskEnded(task_id="t1", uuid="u1")), "before the acknowledgement"
    assert Persist(FrameworkEnded()) in called(scheduler, "finish")
