"""What schedulers do when masters and agents die at the wrong moment; each was found by a simulation."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.messages.records import Reason, Source, TaskState
from actors.messages.scheduling import (
    Acknowledge,
    AgentFailure,
    KillTask,
    Offers,
    Reconcile,
    Revive,
    Subscribe,
    Suppress,
    Update,
)
from actors.scheduler.reconciliation import RECONCILE_INTERVAL_SECONDS
from actors.scheduler.state import ReconcileAgain
from runtime.effects import After
from runtime.testing import make, sent, start, turn
from tests.actors.scheduler.noting import MASTER, Noting, called, connected, offer, state, status, task, welcome


def with_task() -> Any:
    scheduler = connected()
    called(scheduler, "launch", offer("o1"), task())
    return scheduler


def answer(task_state: TaskState) -> Update:
    """What a master says to a reconciliation: no uuid."""
    told = status(task_state, uuid="").status
    return Update(status=msgspec.structs.replace(told, source=Source.MASTER, reason=Reason.RECONCILIATION))


@pytest.mark.parametrize("task_state", [TaskState.UNKNOWN, TaskState.UNREACHABLE])
def test_a_forgotten_task_that_is_out_of_reach_is_not_killed_again_and_again(task_state: TaskState) -> None:
    """The master would answer the kill with the same, and so on."""
    scheduler = with_task()
    assert len(sent(called(scheduler, "forget", "t1"), KillTask)) == 1
    assert sent(turn(scheduler, answer(task_state), sender=MASTER), KillTask) == []
    assert len(sent(turn(scheduler, answer(TaskState.RUNNING), sender=MASTER), KillTask)) == 1


def test_an_agents_update_that_a_task_never_came_is_told_though_it_speaks_of_reconciliation() -> None:
    scheduler = with_task()
    told = msgspec.structs.replace(status(TaskState.DROPPED).status, reason=Reason.RECONCILIATION)
    effects = turn(scheduler, Update(status=told), sender=MASTER)
    assert scheduler.state.told == [("update", "t1", TaskState.DROPPED)]
    assert [each.uuid for each in sent(effects, Acknowledge)] == ["u1"]


def test_the_tasks_of_a_lost_agent_are_asked_about() -> None:
    """Its last updates may be lost with its disk."""
    scheduler = with_task()
    effects = turn(scheduler, AgentFailure(agent_id="a1"), sender=MASTER)
    assert [each.tasks for each in sent(effects, Reconcile)] == [(("t1", "a1"),)]
    assert sent(turn(scheduler, AgentFailure(agent_id="a2"), sender=MASTER), Reconcile) != []
    turn(scheduler, answer(TaskState.STAGING), sender=MASTER)
    assert sent(turn(scheduler, AgentFailure(agent_id="a2"), sender=MASTER), Reconcile) == []


def test_a_round_that_is_answered_is_followed_by_the_next_after_a_long_time() -> None:
    scheduler = with_task()
    turn(scheduler, AgentFailure(agent_id="a1"), sender=MASTER)
    effects = turn(scheduler, answer(TaskState.STAGING), sender=MASTER)
    again = [each for each in effects if isinstance(each, After) and isinstance(each.message, ReconcileAgain)]
    assert [each.delay_seconds for each in again] == [RECONCILE_INTERVAL_SECONDS]


def test_a_revival_while_the_subscription_is_on_its_way_is_said_after_it() -> None:
    scheduler = make(Noting, state())
    called(scheduler, "suppress")
    assert [each.suppressed_roles for each in sent(start(scheduler), Subscribe)] == [("*",)]
    called(scheduler, "revive")
    assert [each.roles for each in sent(turn(scheduler, welcome(), sender=MASTER), Revive)] == [("*",)]


def test_a_suppression_while_the_subscription_is_on_its_way_is_said_after_it() -> None:
    scheduler = make(Noting, state())
    start(scheduler)
    called(scheduler, "suppress")
    effects = turn(scheduler, welcome(), sender=MASTER)
    assert [each.roles for each in sent(effects, Suppress)] == [("*",)]
    assert sent(effects, Revive) == []


def test_nothing_is_said_when_nothing_has_changed_meanwhile() -> None:
    scheduler = make(Noting, state())
    start(scheduler)
    effects = turn(scheduler, welcome(), sender=MASTER)
    assert sent(effects, Suppress) == []
    assert sent(effects, Revive) == []
    assert turn(scheduler, Offers(offers=(offer("o1"),)), sender=MASTER) == []
