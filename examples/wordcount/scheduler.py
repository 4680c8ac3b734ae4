"""The scheduler of wordcount: sends work to where the data is, runs again what was lost, counts each result once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from actors.scheduler import (
    PID,
    CommandInfo,
    ExecutorInfo,
    FrameworkInfo,
    JournalRecord,
    Offer,
    Resources,
    Scheduler,
    SchedulerRecords,
    SchedulerState,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from examples.wordcount.plan import MAX_TASK_BYTES, Item, Plan, outstanding
from runtime.actor import receive
from runtime.message import Message, Overflow

TASK: Final = Resources.scalar_only(cpus=0.1, mem=128)
EXECUTOR: Final = Resources.scalar_only(cpus=0.1, mem=128)

ATTRIBUTE: Final = "data"
"""Agents say with it what data lies there."""

REFUSE_SECONDS: Final = 120.0
"""For offers that are of no use; `revive` takes it back when something is to be run again."""

REFUSE_BUSY_SECONDS: Final = 1.0
"""For what is left of an offer while there is more to do there."""

MAX_ERRORS: Final = 3
"""How often the same work may fail by itself."""

OUT_OF_SIGHT: Final = frozenset({TaskState.UNREACHABLE, TaskState.UNKNOWN})


class Safe(Message, frozen=True, kw_only=True, tag="wordcount.{}".format):
    """From the scheduler to itself: that result is on disk."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    key: str


class Planned(JournalRecord, frozen=True, kw_only=True):
    """The job, so that the next life does the same one."""

    plan: Plan


class Counted(JournalRecord, frozen=True, kw_only=True):
    """A result."""

    key: str
    data: bytes


class WordCountState(SchedulerState, kw_only=True):
    """Of one job.

    results  by the key of their work
    safe     keys of those that this life has added and that are on disk, so that they may be spoken of
    errors   how often work failed by itself, by key
    lost     what was said of tasks that were lost with their worker and run again
    resumed  the plan comes from an earlier life, and so many results with it
    problem  why the job was given up
    """

    plan: Plan
    executor: ExecutorInfo
    results: dict[str, bytes] = msgspec.field(default_factory=dict)
    safe: list[str] = msgspec.field(default_factory=list)
    errors: dict[str, int] = msgspec.field(default_factory=dict)
    lost: list[str] = msgspec.field(default_factory=list)
    resumed: bool = False
    restored: int = 0
    problem: str = ""


def initial_state(plan: Plan) -> WordCountState:
    """A job that has not begun; its executor runs this checkout's code with this interpreter."""
    root = str(Path(__file__).resolve().parents[2])
    command = CommandInfo(
        argv=(sys.executable, "-m", "examples.wordcount.executor"), environment=(("PYTHONPATH", root),)
    )
    return WordCountState(
        framework=FrameworkInfo(name="wordcount", failover_timeout_seconds=600.0),
        plan=plan,
        executor=ExecutorInfo(executor_id="wordcount", name="wordcount", command=command, resources=EXECUTOR),
    )


def key_of(task_id: str) -> str:
    """Of the work that a task does: its id without what tells attempts apart."""
    return task_id.rpartition(".")[0]


class WordCount(Scheduler[WordCountState]):
    """Counts words."""

    records: ClassVar[Any] = SchedulerRecords | Planned | Counted

    def started(self) -> None:
        """Write the job down before anything is done of it."""
        super().started()
        if not self.state.resumed:
            self.persist(Planned(plan=self.state.plan))

    def restore(self, record: msgspec.Struct) -> None:
        """Take up the job of an earlier life."""
        if isinstance(record, Planned):
            self.state.plan = record.plan
            self.state.resumed = True
        elif isinstance(record, Counted):
            self.state.results[record.key] = record.data
            self.state.restored += 1

    def checkpoint(self) -> Sequence[msgspec.Struct]:
        """The job and its results."""
        results = [Counted(key=key, data=data) for key, data in self.state.results.items()]
        return [Planned(plan=self.state.plan), *results]

    def subscribed(self, framework_id: str) -> None:
        """A life that takes up a job which was all but done has nothing to wait for."""
        self._finish_if_done()

    # Where the data is ----------------------------------------------------------------------------------------------

    def offers(self, offers: tuple[Offer, ...]) -> None:
        """Launch on each offer as much as fits of what may run there."""
        for offer in offers:
            here = [item for item in self._waiting() if _may_run(item, offer)]
            tasks = self._fill(offer, here)
            busy = len(tasks) < len(here)
            refuse_seconds = REFUSE_BUSY_SECONDS if busy else REFUSE_SECONDS
            if self.state.problem:
                return
            if tasks:
                self.launch(offer, *tasks, refuse_seconds=refuse_seconds)
            else:
                self.decline(offer, refuse_seconds=refuse_seconds)

    def _waiting(self) -> list[Item]:
        """What is to be done and no task does."""
        tasks = self.state.connection.tasks
        in_hand = {key_of(task_id) for task_id, task in tasks.items() if task.state not in OUT_OF_SIGHT}
        return [item for item in outstanding(self.state.plan, self.state.results) if item.key not in in_hand]

    def _fill(self, offer: Offer, items: Sequence[Item]) -> list[TaskInfo]:
        executor = self.state.executor
        rest = offer.resources.unreserved()
        if executor.executor_id not in offer.executor_ids:
            if executor.resources not in rest:
                return []
            rest -= executor.resources
        tasks = []
        for item in items:
            if TASK not in rest:
                break
            rest -= TASK
            tasks.append(self._task(item, offer))
        return tasks

    def _task(self, item: Item, offer: Offer) -> TaskInfo:
        data = msgspec.msgpack.encode(item.work)
        if len(data) > MAX_TASK_BYTES:
            self._give_up(f"the counts of a partition are too large for one task ({len(data)} bytes): use more reduces")
        return TaskInfo(
            task_id=f"{item.key}.{self.random.getrandbits(40):010x}",
            name=item.key,
            agent_id=offer.agent_id,
            resources=TASK,
            executor=self.state.executor,
            data=data,
        )

    # What becomes of it ---------------------------------------------------------------------------------------------

    def update(self, status: TaskStatus) -> None:
        """Take a result, the first of its work; run again what was lost."""
        key = key_of(status.task_id)
        if status.state is TaskState.FINISHED:
            self._take_result(key, status.data)
        elif key in self.state.results:
            return
        elif status.state is TaskState.FAILED and status.reason is None:
            self.state.errors[key] = self.state.errors.get(key, 0) + 1
            if self.state.errors[key] >= MAX_ERRORS:
                self._give_up(f"{key} failed {MAX_ERRORS} times: {status.message}")
            else:
                self.revive()
        elif status.state.is_terminal or status.state in OUT_OF_SIGHT:
            self.state.lost.append(f"{key} is {status.state.value}: {status.message}")
            self.revive()

    def _take_result(self, key: str, data: bytes) -> None:
        if key not in self.state.results:
            self.state.results[key] = data
            self.persist(Counted(key=key, data=data))
            self.send(self.pid, Safe(key=key))
            for task_id in tuple(self.state.connection.tasks):
                if key_of(task_id) == key:
                    self.kill(task_id)
            if self._waiting():
                self.revive()

    @receive(Safe)
    def on_safe(self, sender: PID, message: Safe) -> None:
        """Messages, those to oneself too, are held until what was persisted before them is on disk."""
        if sender == self.pid:
            self.state.safe.append(message.key)
            self._finish_if_done()

    def _finish_if_done(self) -> None:
        """The job is done when there is nothing left to do and every result is on disk."""
        state = self.state
        if len(state.results) == state.restored + len(state.safe) and not outstanding(state.plan, state.results):
            self.finish()

    def _give_up(self, problem: str) -> None:
        self.state.problem = problem
        self.finish()


def _may_run(item: Item, offer: Offer) -> bool:
    """Whether the data of some work lies where an offer is."""
    return not item.place or (ATTRIBUTE, item.place) in offer.attributes
