"""Schedulers: the public API for authors of frameworks. `docs/frameworks.md` writes one from nothing.

::

    from actors.scheduler import CommandInfo, FrameworkInfo, Offer, Resources, Scheduler, SchedulerState, TaskInfo

A scheduler that is killed and has a journal goes on where it was; one without is replaced by starting anew, and its
tasks end with its failover timeout. A scheduler whose master is lost keeps its tasks and subscribes again.
"""

from actors.messages.records import (
    CommandInfo,
    ExecutorInfo,
    FrameworkInfo,
    Offer,
    Reason,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from actors.scheduler.run import SchedulerFailed, run_scheduler, serve_scheduler
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import JournalRecord, SchedulerRecords, SchedulerState
from allocator.resources import Resources
from runtime.pid import PID

__all__ = [
    "PID",
    "CommandInfo",
    "ExecutorInfo",
    "FrameworkInfo",
    "JournalRecord",
    "Offer",
    "Reason",
    "Resources",
    "Scheduler",
    "SchedulerFailed",
    "SchedulerRecords",
    "SchedulerState",
    "TaskInfo",
    "TaskState",
    "TaskStatus",
    "run_scheduler",
    "serve_scheduler",
]
