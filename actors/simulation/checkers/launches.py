"""A task runs once for each time that its framework launched it, or not at all."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from actors.agent.records import ExecutorPlanned, TaskPlanned
from actors.messages.scheduling import Accept
from actors.simulation.watching import Checker, Recent, heard, said, wrote
from containerizer.events import LaunchEnded
from runtime.effects import Turn

if TYPE_CHECKING:
    from actors.simulation.cluster import Cluster


class LaunchesChecker(Checker):
    """Counts launches, plans and containers of each task."""

    rule = "a task runs at most once per launch"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.launched: Counter[tuple[str, str]] = Counter()
        self.planned: Counter[tuple[str, str]] = Counter()
        self.containers: dict[str, tuple[str, str]] = {}
        self.ran: set[str] = set()
        self.runs: Counter[tuple[str, str]] = Counter()
        self._launches = Recent(self._forget_task)
        self._begun = Recent(self._forget_container)

    def _forget_task(self, key: tuple[str, str]) -> None:
        for count in (self.launched, self.planned, self.runs):
            count.pop(key, None)

    def _forget_container(self, container_id: str) -> None:
        self.ran.discard(container_id)
        self.containers.pop(container_id, None)

    @said(Accept)
    def accept(self, turn: Turn, message: Accept) -> None:
        """A framework launches."""
        for operation in message.operations:
            for task in operation.tasks:
                key = (message.framework_id, task.task_id)
                self.launched[key] += 1
                if self.launched[key] == 1:
                    self._launches.add(key)

    @wrote(TaskPlanned)
    def task_planned(self, turn: Turn, record: TaskPlanned) -> None:
        """An agent is about to run it."""
        key = (record.task.framework_id, record.task.task_id)
        self.planned[key] += 1
        self._compare(key, self.planned, "taken up by agents")

    @wrote(ExecutorPlanned)
    def executor_planned(self, turn: Turn, record: ExecutorPlanned) -> None:
        """In that container."""
        if record.info is None:
            self.containers[record.container_id] = (record.framework_id, record.executor_id)

    @heard(LaunchEnded)
    def launch_ended(self, turn: Turn, message: LaunchEnded) -> None:
        """A container's command has begun."""
        if message.process is None:
            return
        if message.container_id in self.ran:
            raise self.violated(f"container {message.container_id} was begun a second time")
        self.ran.add(message.container_id)
        self._begun.add(message.container_id)
        key = self.containers.get(message.container_id)
        if key is not None:
            self.runs[key] += 1
            self._compare(key, self.runs, "begun")

    def _compare(self, key: tuple[str, str], count: Counter[tuple[str, str]], how: str) -> None:
        if count[key] > self.launched[key]:
            raise self.violated(
                f"task {key[1]} of framework {key[0]} was {how} {count[key]} times, "
                f"and launched {self.launched[key]} times"
            )
