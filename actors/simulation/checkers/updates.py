"""Status updates: durable before they are spoken of, acknowledged by those who have them, and final when terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.agent.records import UpdateAcknowledged, UpdateQueued
from actors.messages.records import Source, TaskState, TaskStatus
from actors.messages.scheduling import Accept, Acknowledge, Update
from actors.messages.tasks import StatusUpdate
from actors.scheduler.scheduler import Scheduler
from actors.simulation.frameworks import JobsState
from actors.simulation.watching import Checker, Recent, heard, said, wrote
from runtime.effects import Send, Turn

if TYPE_CHECKING:
    from actors.simulation.cluster import Cluster


class DurableChecker(Checker):
    """An update is on the agent's disk before anybody hears of it, and stays until its framework acknowledged it."""

    rule = "an acknowledged update is never lost and never delivered before it is durable"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._disk = cluster.world.disk
        self.tickets: dict[str, tuple[str, int]] = {}
        """Of updates whose write may not have ended: uuid, and its node and ticket there."""
        self.durable: set[str] = set()
        self.delivered: set[str] = set()
        self.acknowledged: set[str] = set()
        self._over = Recent(self._forget)

    @wrote(UpdateQueued)
    def queued(self, turn: Turn, record: UpdateQueued) -> None:
        """On its way to the disk."""
        if record.status.uuid:
            node = turn.actor.node
            self.tickets[record.status.uuid] = (node, self._disk(node).queued)

    def crashed(self, node_id: str, *, wiped: bool) -> None:
        """What was on its way is on the disk or is not; nobody can have heard of what is not."""
        for uuid in [uuid for uuid, (node, _) in self.tickets.items() if node == node_id]:
            self._is_durable(uuid)
            self.tickets.pop(uuid, None)

    def _is_durable(self, uuid: str) -> bool:
        if uuid in self.durable:
            return True
        node, ticket = self.tickets.get(uuid, ("", 0))
        if not node or self._disk(node).durable < ticket:
            return False
        self.durable.add(uuid)
        del self.tickets[uuid]
        return True

    @heard(StatusUpdate)
    def update_sent(self, turn: Turn, message: StatusUpdate) -> None:
        """A master hears of it."""
        self._check(message.status, "the master")

    @heard(Update)
    def update_delivered(self, turn: Turn, message: Update) -> None:
        """A scheduler does."""
        if message.status.uuid:
            self._check(message.status, "its scheduler")
            self.delivered.add(message.status.uuid)
            self._check_taken(turn, message.status)

    def _check_taken(self, turn: Turn, status: TaskStatus) -> None:
        """A scheduler that acknowledges the end of a task no longer counts it among the living."""
        if not status.state.is_terminal:
            return
        cell = self.cluster.world.nodes[turn.actor.node].cells.get(turn.actor.name)
        if cell is None or not isinstance(cell.actor, Scheduler):
            return
        if status.task_id in cell.actor.state.connection.tasks and any(
            type(effect) is Send and type(effect.message) is Acknowledge for effect in turn.effects
        ):
            raise self.violated(
                f"{turn.actor.node} has acknowledged that {status.task_id} is {status.state.value}, "
                f"and thinks that it lives"
            )

    def _check(self, status: TaskStatus, whom: str) -> None:
        if not self._is_durable(status.uuid):
            raise self.violated(
                f"update {status.uuid} ({status.task_id} is {status.state.value}) has come to {whom} "
                f"and is not on the disk of its agent"
            )

    @said(Acknowledge)
    def acknowledge(self, turn: Turn, message: Acknowledge) -> None:
        """A scheduler says that it has it."""
        if message.uuid not in self.delivered:
            raise self.violated(
                f"update {message.uuid} of task {message.task_id} was acknowledged by one who never got it"
            )
        self.acknowledged.add(message.uuid)

    @wrote(UpdateAcknowledged)
    def forgotten(self, turn: Turn, record: UpdateAcknowledged) -> None:
        """The agent forgets it."""
        if record.uuid not in self.acknowledged:
            raise self.violated(
                f"update {record.uuid} of task {record.task_id} was forgotten before it was acknowledged"
            )
        self._over.add(record.uuid)

    def _forget(self, uuid: str) -> None:
        """It was acknowledged so long ago that no repetition of it is under way any more."""
        for known in (self.durable, self.delivered, self.acknowledged):
            known.discard(uuid)


class TerminalChecker(Checker):
    """After a terminal state nothing else is said of a task, until it is launched again."""

    rule = "a terminal task stays terminal"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._disk = cluster.world.disk
        self.ended: dict[tuple[str, str], tuple[TaskState, str, int]] = {}
        """At the agents: container and task; the state, and node and ticket of its write."""
        self.told: dict[tuple[str, str], tuple[TaskState, str]] = {}
        """To schedulers: node and task; the state, and the uuid that said so."""
        self.counts: dict[str, int] = {}
        """How many updates each author's code was told."""
        self._ended_over: Recent[tuple[str, str]] = Recent(lambda key: self.ended.pop(key, None))
        self._told_over: Recent[tuple[str, str]] = Recent(lambda key: self.told.pop(key, None))

    @wrote(UpdateQueued)
    def queued(self, turn: Turn, record: UpdateQueued) -> None:
        """What an agent writes."""
        status = record.status
        if status.source is Source.AGENT and not status.container_id:
            return  # about a task that never came there, or another of its id
        key = (status.container_id or turn.actor.node, status.task_id)
        before = self.ended.get(key)
        if before is not None:
            raise self.violated(
                f"task {status.task_id} was {before[0].value} on {turn.actor.node}, and is {status.state.value} now"
            )
        if status.state.is_terminal:
            self._ended_over.add(key)
            self.ended[key] = (status.state, turn.actor.node, self._disk(turn.actor.node).queued)

    @said(Accept)
    def launched(self, turn: Turn, message: Accept) -> None:
        """A new life of that name."""
        for operation in message.operations:
            for task in operation.tasks:
                self.told.pop((turn.actor.node, task.task_id), None)

    @heard(Update)
    def told_to_author(self, turn: Turn, message: Update) -> None:
        """What the scheduler's author was told in this turn, if the simulation knows."""
        node = turn.actor.node
        cell = self.cluster.world.nodes[node].cells.get(turn.actor.name)
        state = cell.actor.state if cell is not None else None
        if not isinstance(state, JobsState) or state.last is None or state.told == self.counts.get(node, 0):
            return
        self.counts[node] = state.told
        last = state.last
        key = (node, last.task_id)
        before = self.told.get(key)
        if before is not None:
            raise self.violated(
                f"{turn.actor.node} was told that {last.task_id} is {before[0].value}, and now {last.state.value}"
            )
        if last.state.is_terminal:
            self._told_over.add(key)
            self.told[key] = (last.state, last.uuid)

    def crashed(self, node_id: str, *, wiped: bool) -> None:
        """A new life counts from nothing; what is said again because the journal lacked it is no surprise."""
        durable = self._disk(node_id).durable
        self.ended = {
            key: (state, node, ticket)
            for key, (state, node, ticket) in self.ended.items()
            if node != node_id or ticket <= durable
        }
        self.counts.pop(node_id, None)
        for key in [key for key in self.told if key[0] == node_id]:
            del self.told[key]
