"""What a scheduler with a journal remembers of its earlier lives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from actors.scheduler.state import (
    Connection,
    FrameworkEnded,
    FrameworkIdentified,
    KnownTask,
    SchedulerRecords,
    TaskEnded,
    TaskLaunched,
)

ENDED_REMEMBERED: Final = 10_000
"""Ended tasks whose late updates are still recognised; the oldest is forgotten first."""


def remember_end(connection: Connection, task_id: str, uuid: str) -> None:
    """A task has ended by the update of that uuid."""
    connection.tasks.pop(task_id, None)
    connection.reconciling.pop(task_id, None)
    connection.ended.pop(task_id, None)
    connection.ended[task_id] = uuid
    while len(connection.ended) > ENDED_REMEMBERED:
        del connection.ended[next(iter(connection.ended))]


def replay(connection: Connection, record: msgspec.Struct) -> bool:
    """Do again what a record says; False when it is not one of the scheduler's own."""
    if isinstance(record, FrameworkIdentified):
        connection.framework_id = record.framework_id
    elif isinstance(record, TaskLaunched):
        connection.ended.pop(record.task_id, None)
        connection.tasks[record.task_id] = KnownTask(agent_id=record.agent_id)
    elif isinstance(record, TaskEnded):
        remember_end(connection, record.task_id, record.uuid)
    else:
        return isinstance(record, FrameworkEnded)
    return True


def since_last_end(records: Iterable[msgspec.Struct]) -> list[msgspec.Struct]:
    """The records of the framework that has not been torn down."""
    kept: list[msgspec.Struct] = []
    for record in records:
        if isinstance(record, FrameworkEnded):
            kept.clear()
        else:
            kept.append(record)
    return kept


def records_of(connection: Connection) -> list[SchedulerRecords]:
    """As few records as say what `replay` needs."""
    records: list[SchedulerRecords] = []
    if connection.framework_id:
        records.append(FrameworkIdentified(framework_id=connection.framework_id))
    records += [TaskEnded(task_id=task_id, uuid=uuid) for task_id, uuid in connection.ended.items()]
    records += [TaskLaunched(task_id=task_id, agent_id=task.agent_id) for task_id, task in connection.tasks.items()]
    return records
