"""What agents run never exceeds what they have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actors.agent.agent import Agent
from actors.agent.names import AGENT_NAME
from actors.agent.records import ExecutorGone, ExecutorPlanned, TaskPlanned, UpdateQueued
from actors.simulation.watching import Checker, heard, wrote
from allocator.resources import EMPTY, Resources, total
from runtime.effects import Turn
from runtime.message import Started

if TYPE_CHECKING:
    from actors.simulation.cluster import Cluster


class _Host(msgspec.Struct):
    """What is planned on one agent."""

    total: Resources
    uses: dict[tuple[str, str, str], Resources]
    taken: Resources


class CapacityChecker(Checker):
    """Tasks that have not ended, and executors, use no more of an agent than it has."""

    rule = "an agent runs no more than fits"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.hosts: dict[str, _Host] = {}

    @heard(Started)
    def started(self, turn: Turn, message: Started) -> None:
        """A life of an agent begins: with what its journal says."""
        if turn.actor.name != AGENT_NAME:
            return
        cell = self.cluster.world.nodes[turn.actor.node].cells[AGENT_NAME]
        if not isinstance(cell.actor, Agent):
            return
        state = cell.actor.state
        uses: dict[tuple[str, str, str], Resources] = {}
        for framework_id, framework in state.frameworks.items():
            for task_id, run in framework.tasks.items():
                if not run.task.latest_state.is_terminal:
                    uses["task", framework_id, task_id] = run.task.info.resources
            for executor_id, executor in framework.executors.items():
                if executor.info is not None:
                    uses["executor", framework_id, executor_id] = executor.info.resources
        self.hosts[turn.actor.node] = _Host(state.settings.resources, uses, total(uses.values()))

    @wrote(TaskPlanned)
    def task_planned(self, turn: Turn, record: TaskPlanned) -> None:
        """One more."""
        self._take(turn, ("task", record.task.framework_id, record.task.task_id), record.task.info.resources)

    @wrote(ExecutorPlanned)
    def executor_planned(self, turn: Turn, record: ExecutorPlanned) -> None:
        """An executor that is no command's."""
        if record.info is not None:
            self._take(turn, ("executor", record.framework_id, record.executor_id), record.info.resources)

    def _take(self, turn: Turn, key: tuple[str, str, str], resources: Resources) -> None:
        host = self.hosts[turn.actor.node]
        host.taken = host.taken - host.uses.get(key, EMPTY) + resources
        host.uses[key] = resources
        if host.taken not in host.total:
            raise self.violated(f"{turn.actor.node} has {host.total} and is to run {host.taken} with {key[0]} {key[2]}")

    @wrote(UpdateQueued)
    def update_queued(self, turn: Turn, record: UpdateQueued) -> None:
        """One less, if it says that a task has ended."""
        if record.status.state.is_terminal:
            self._free(turn, ("task", record.framework_id, record.status.task_id))

    @wrote(ExecutorGone)
    def executor_gone(self, turn: Turn, record: ExecutorGone) -> None:
        """An executor has ended, and with it what it ran."""
        self._free(turn, ("executor", record.framework_id, record.executor_id))

    def _free(self, turn: Turn, key: tuple[str, str, str]) -> None:
        host = self.hosts[turn.actor.node]
        resources = host.uses.pop(key, None)
        if resources is not None:
            host.taken -= resources
