"""What a master has said outlives it; and of two masters, one leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.messages.records import Source
from actors.messages.registration import AgentRegistered, AgentReregistered
from actors.messages.registry import RegistryRecovered
from actors.messages.scheduling import AgentFailure, Subscribed, Update
from actors.messages.tasks import RunTask
from actors.scheduler.state import FrameworkIdentified
from actors.simulation.watching import Checker, heard, said, wrote
from runtime.effects import Turn

if TYPE_CHECKING:
    from actors.simulation.cluster import Cluster


class PromisesChecker(Checker):
    """What agents and frameworks were told is in the registry, or with agents whose word is durable."""

    rule = "what was told by a master survives it"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.frameworks: dict[str, str] = {}
        """Framework id of each scheduler's node."""
        self._disk = cluster.world.disk
        self._tickets: dict[str, int] = {}
        """Of the record by which each of them remembers it."""

    @said(AgentRegistered, AgentReregistered)
    def registered(self, turn: Turn, message: AgentRegistered | AgentReregistered) -> None:
        """An agent is told that it is admitted: the registry must know."""
        if self.cluster.store.agents().get(message.agent_id) != (False, False):
            raise self.violated(
                f"agent {message.agent_id} was told that it is admitted, and the registry does not say so"
            )

    @said(AgentFailure)
    def agent_failed(self, turn: Turn, message: AgentFailure) -> None:
        """A framework is told that an agent is away: a master that comes must not think otherwise."""
        if not message.executor_id and self.cluster.store.agents().get(message.agent_id) == (False, False):
            raise self.violated(
                f"a framework was told that agent {message.agent_id} is away, and the registry says it is there"
            )

    @said(RegistryRecovered)
    def recovered(self, turn: Turn, message: RegistryRecovered) -> None:
        """A master begins with all that the store holds."""
        told = {each.info.agent_id: None for each in message.registry.agents}
        missing = self.cluster.store.agents().keys() - told.keys()
        if missing:
            raise self.violated(f"a new master does not know {', '.join(sorted(missing))}, which the registry holds")

    @heard(Subscribed)
    def subscribed(self, turn: Turn, message: Subscribed) -> None:
        """A framework has one id for all its life."""
        known = self.frameworks.setdefault(turn.actor.node, message.framework_id)
        if known != message.framework_id:
            raise self.violated(
                f"{turn.actor.node} was framework {known} and is told that it is {message.framework_id}"
            )

    @wrote(FrameworkIdentified)
    def identified(self, turn: Turn, record: FrameworkIdentified) -> None:
        """It is on its way to the scheduler's disk."""
        self._tickets[turn.actor.node] = self._disk(turn.actor.node).queued

    def crashed(self, node_id: str, *, wiped: bool) -> None:
        """Without its disk, or before the id was on it, a scheduler begins anew: it has done nothing in that name."""
        if self._disk(node_id).durable < self._tickets.pop(node_id, 0) or wiped:
            self.frameworks.pop(node_id, None)

    @said(Update)
    def called_dead(self, turn: Turn, message: Update) -> None:
        """A master that says by itself that a task has ended must not be wrong about it."""
        status = message.status
        if status.source is not Source.MASTER or not status.state.is_terminal or status.uuid:
            return
        if self.cluster.store.agents().get(status.agent_id) != (False, False):
            return
        for name in self.cluster.agent_names:
            if self.cluster.is_up(name) and "agent" in self.cluster.world.nodes[name].cells:
                self._check_dead(name, status.agent_id, status.task_id, status.state.value)

    def _check_dead(self, name: str, agent_id: str, task_id: str, state: str) -> None:
        agent = self.cluster.agent(name)
        if agent.agent_id != agent_id:
            return
        for framework in agent.frameworks.values():
            run = framework.tasks.get(task_id)
            if (
                run is not None
                and not run.task.latest_state.is_terminal
                and not run.kill_asked
                and not framework.ending
            ):
                raise self.violated(f"a master calls task {task_id} {state}, which lives on {name}")


class EpochsChecker(Checker):
    """An epoch belongs to one master, and a later one has a higher; agents run what one of them says."""

    rule = "one leader acts per epoch"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.epochs: dict[int, tuple[str, int]] = {}

    @said(RegistryRecovered)
    def recovered(self, turn: Turn, message: RegistryRecovered) -> None:
        """A registrar has taken over."""
        here = (turn.actor.node, turn.actor.incarnation)
        if self.epochs and message.epoch <= max(self.epochs):
            raise self.violated(
                f"{here[0]} leads in epoch {message.epoch}, which {self.epochs.get(message.epoch)} did before"
            )
        self.epochs[message.epoch] = here

    @heard(RunTask)
    def run_task(self, turn: Turn, message: RunTask) -> None:
        """An agent that writes a task down heard of it from the master that it has."""
        agent = self.cluster.agent(turn.actor.node)
        if turn.effects and agent.leader is not None and turn.sender != agent.leader:
            raise self.violated(f"{turn.actor.node} runs a task for {turn.sender}, and its master is {agent.leader}")
