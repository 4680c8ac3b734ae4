"""When faults have stopped for long enough, everybody agrees, and what is free is offered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from actors.master.state import contradictions, in_use, overcommitted
from actors.messages.records import FrameworkInfo, Offer
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import SchedulerState
from actors.simulation.watching import Checker
from allocator.constants import MINIMUM_ALLOCATABLE
from allocator.resources import EMPTY, total

SCHEDULER_NAME: Final = "scheduler"

OFFERED_WITHIN_SECONDS: Final = 15.0
"""From a framework's subscription until all that is free is offered: some allocation intervals, and a filter's time."""


class RestChecker(Checker):
    """Compares the views of master, allocator, agents and schedulers once a cluster has settled."""

    rule = "everybody agrees in the end"

    def settled(self) -> None:
        """See the class."""
        problem = self.problem()
        if problem:
            raise self.violated(problem)

    def problem(self) -> str:
        """What somebody does not agree about, if anything."""
        cluster = self.cluster
        if not cluster.leader or not cluster.master.recovered:
            return "nobody leads"
        for name in cluster.agent_names:
            if cluster.agent(name).leader is None:
                return f"{name} has no master"
        return next(self._problems(), "")

    def _problems(self) -> Iterator[str]:
        master = self.cluster.master
        yield from contradictions(master)
        yield from overcommitted(master)
        yield from self._tasks()
        yield from self._updates()
        yield from self._books()
        yield from self._containers()

    def _tasks(self) -> Iterator[str]:
        """Each agent runs what the master thinks, and each scheduler's tasks are among them."""
        cluster = self.cluster
        at_agents = {
            (framework_id, task_id, agent.agent_id): None
            for agent in map(cluster.agent, cluster.agent_names)
            for framework_id, framework in agent.frameworks.items()
            for task_id, run in framework.tasks.items()
            if not run.task.latest_state.is_terminal
        }
        at_master = {
            (*key, task.info.agent_id): None
            for key, task in cluster.master.tasks.items()
            if not task.latest_state.is_terminal
        }
        for framework_id, task_id, agent_id in sorted(at_agents.keys() ^ at_master.keys()):
            who = "its agent" if (framework_id, task_id, agent_id) in at_agents else "the master"
            yield f"task {task_id} of {framework_id} on {agent_id} is known to {who} only"
        for name in cluster.framework_names:
            if SCHEDULER_NAME in cluster.world.nodes[name].cells:
                connection = cluster.framework(name).connection
                theirs = {task_id for framework_id, task_id, _ in at_agents if framework_id == connection.framework_id}
                for task_id in sorted(theirs ^ connection.tasks.keys()):
                    yield f"{name} and the cluster do not agree about task {task_id}"

    def _updates(self) -> Iterator[str]:
        """Every update has been acknowledged."""
        for name in self.cluster.agent_names:
            for framework in self.cluster.agent(name).frameworks.values():
                for task_id, stream in framework.streams.items():
                    if stream.pending:
                        yield f"{name} waits for an acknowledgement of {task_id}, {stream.pending[0].state.value}"

    def _books(self) -> Iterator[str]:
        """The allocator has what is in use as used, what is offered as open, and the rest as free."""
        master, ledger = self.cluster.master, self.cluster.allocator.ledger
        offered = {each.allocation_id for each in master.offers.values()}
        if offered != set(ledger.open):
            yield f"offers hold allocations {sorted(offered)}, open are {sorted(ledger.open)}"
        for agent_id, agent in master.agents.items():
            used = total([resources for _, _, resources in in_use(master, agent)])
            used += total([master.offers[offer_id].offer.resources for offer_id in agent.offers])
            known = ledger.agents.get(agent_id)
            held = total(known.held.values()) if known is not None else EMPTY
            if held != used:
                yield f"agent {agent_id} uses {used}, the allocator holds {held}"

    def _containers(self) -> Iterator[str]:
        """No container runs that no agent knows."""
        for name in self.cluster.agent_names:
            known = self.cluster.agent(name).containers
            for container_id, container in self.cluster.containerizer(name).machine.items():
                if container_id not in known and container.ends_at > self.cluster.world.clock.now():
                    yield f"container {container_id} runs on the machine of {name}, which does not know it"


class Keeper(Scheduler[SchedulerState]):
    """Keeps every offer that it gets: what it holds in the end is all that is free."""

    def offers(self, offers: tuple[Offer, ...]) -> None:
        """Keep them."""


class OfferedChecker(Checker):
    """What tasks have given back is offered again, to whoever wants it."""

    rule = "freed resources are offered again"

    def settled(self) -> None:
        """Let a framework come that wants everything, and see whether it gets all that is free."""
        cluster = self.cluster
        cluster.add_scheduler(Keeper, SchedulerState(framework=FrameworkInfo(name="keeper")), "keeper")
        end = cluster.elapsed + OFFERED_WITHIN_SECONDS
        while left := self._left():
            if cluster.elapsed >= end:
                raise self.violated(left)
            cluster.run(0.5)
        cluster.remove_scheduler("keeper")

    def _left(self) -> str:
        """What of an agent is neither used nor offered, if it is enough to be offered; in words."""
        master = self.cluster.master
        for agent_id, agent in master.agents.items():
            offered = total([master.offers[offer_id].offer.resources for offer_id in agent.offers])
            used = total([resources for _, _, resources in in_use(master, agent)])
            left = agent.info.resources - used - offered
            if any(left.scalar(name) >= least for minimum in MINIMUM_ALLOCATABLE for name, least in minimum):
                return f"{left} of agent {agent_id} is neither used nor offered to anybody"
        return ""
