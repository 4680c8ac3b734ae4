"""Turns as records, made by hand: a launch that goes over three nodes, and pieces of such stories."""

from __future__ import annotations

from typing import Any

from runtime.pid import PID
from runtime.tracing.records import TurnRecord

MS = 0.001
USER = PID("scheduler", "framework", 1)
MASTER = PID("master", "m1", 2)
ALLOCATOR = PID("allocator", "m1", 2)
AGENT = PID("agent", "a1", 3)


def plain(pid: PID) -> tuple[str, str, int]:
    return (pid.name, pid.node, pid.incarnation)


def sends(to: PID, message_type: str, effect: str = "Send", **fields: Any) -> tuple[str, dict[str, Any]]:
    return effect, {"to": plain(to), "message": {"type": message_type, **fields}}


def replies(to: PID, message_type: str) -> tuple[str, dict[str, Any]]:
    return "Reply", {"request": {"sender": plain(to)}, "message": {"type": message_type}}


def turn(
    actor: PID,
    sender: PID,
    message_type: str,
    span: int,
    parent: int = 0,
    times: tuple[float, float, float] = (0.0, 0.0, 0.0),
    effects: list[tuple[str, dict[str, Any]]] | None = None,
    trace: int = 1,
    error: str = "",
    **fields: Any,
) -> TurnRecord:
    """times: received, started, ended, in milliseconds."""
    received, started, ended = (each * MS for each in times)
    return TurnRecord(
        actor=actor,
        sender=sender,
        message={"type": message_type, **fields},
        trace=trace,
        span=span,
        parent=parent,
        received=received,
        started=started,
        ended=ended,
        effects=effects or [],
        error=error,
    )


def launch(agent_clock: float = 0.0) -> list[TurnRecord]:
    """A scheduler accepts, the master passes on, the agent answers. agent_clock: how wrong the agent's is, in ms."""
    late = agent_clock
    return [
        turn(USER, USER, "Offers", 1, times=(0, 1, 2), effects=[sends(MASTER, "Accept", task_id="t1")]),
        turn(
            MASTER,
            USER,
            "Accept",
            2,
            1,
            (5, 6, 8),
            [sends(ALLOCATOR, "Settle"), sends(AGENT, "RunTask", "Ask", task_id="t1")],
            task_id="t1",
        ),
        turn(ALLOCATOR, MASTER, "Settle", 4, 2, (8, 8, 9)),
        turn(
            AGENT,
            MASTER,
            "RunTask",
            5,
            2,
            (10 + late, 13 + late, 14 + late),
            [("Persist", {}), replies(MASTER, "Running"), ("After", {"timer": 1, "message": {"type": "Reap"}})],
            task_id="t1",
        ),
        turn(MASTER, AGENT, "Running", 7, 5, (17, 17, 18), [sends(USER, "Update")]),
        turn(AGENT, AGENT, "Reap", 9, 5, (1014 + late, 1014 + late, 1020 + late)),
    ]
