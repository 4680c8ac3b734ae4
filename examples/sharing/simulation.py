"""One cluster, one policy, one workload: second by second, with the allocator's own books and policies.

Schedulers are simple and well-behaved: each launches as many waiting tasks as an offer holds, declines the rest for two
seconds, suppresses offers when nothing waits, and revives when something does.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Sequence

import msgspec

from allocator.allocate import Policy
from allocator.ledger import Ledger
from allocator.plugin import decide, order
from allocator.records import RoleTerms
from allocator.resource import Reservation
from allocator.resources import EMPTY, Resources
from allocator.snapshot import MODULUS, Agent, Framework
from examples.sharing.workload import GROUPS, Arrival

AGENTS = 16
AGENT = Resources.scalar_only(cpus=8, mem=16_384)
REFUSE_SECONDS = 2.0
STEPS = 10**9


class Outcome(msgspec.Struct, frozen=True):
    """What came of it.

    waits        seconds from wanted to finished of each task that finished, by group
    utilisation  fraction of the CPUs in use, for each second
    """

    name: str
    waits: dict[str, list[float]]
    utilisation: list[float]

    @property
    def throughput(self) -> int:
        """Tasks that finished."""
        return sum(map(len, self.waits.values()))

    def wait(self, *groups: str) -> float:
        """Seconds from wanted to finished, on average over the tasks of these groups, or of all."""
        waits = [wait for group in groups or self.waits for wait in self.waits[group]]
        return sum(waits) / len(waits) if waits else 0.0

    @property
    def mean_utilisation(self) -> float:
        """Over the whole time."""
        return sum(self.utilisation) / len(self.utilisation)


class Cluster:
    """The simulated cluster."""

    def __init__(self, policy: Policy, seed: int, *, partitioned: bool) -> None:
        self.policy = policy
        self.chance = random.Random(seed)
        self.ledger = Ledger()
        for group in GROUPS:
            terms = {group.name: RoleTerms(role=group.name, priority=group.priority)}
            self.ledger.set_framework(Framework(framework_id=group.name, roles=(group.name,), terms=terms))
        for n in range(AGENTS):
            owner = GROUPS[n * len(GROUPS) // AGENTS].name
            total = AGENT.push_reservation(Reservation(owner)) if partitioned else AGENT
            number = self.chance.randrange(1, MODULUS)
            self.ledger.add_agent(Agent(agent_id=f"agent-{n:02}", hostname="h", number=number, total=total), ())
        self.waiting: dict[str, deque[Arrival]] = {group.name: deque() for group in GROUPS}
        self.running: list[tuple[float, int, Arrival, str, Resources]] = []
        self.started = 0

    def cycle(self, now: float) -> None:
        """One batch: all agents with something free, in the policy's order."""
        self._suppress_or_revive()
        self.ledger.filters.expire(now)
        for stage in self.policy.stages:
            free = [agent_id for agent_id, agent in self.ledger.agents.items() if agent.free]
            rest = order(self.policy, self.ledger.snapshot(now), free, self.chance)
            while rest:
                plan = decide(self.policy, self.ledger.snapshot(now), rest, stage, self.chance, STEPS)
                del rest[: plan.visited]
                self.ledger.grant_all(plan.grants)
        for allocation in tuple(self.ledger.open.values()):
            used = self._launch(now, allocation.framework_id, allocation.agent_id, allocation.resources)
            returned = self.ledger.close(allocation, used, allocation.resources - used)
            if returned:
                client = (allocation.role, allocation.framework_id)
                self.ledger.filters.refuse(client, allocation.agent_id, returned, now + REFUSE_SECONDS, now)

    def _suppress_or_revive(self) -> None:
        """Who has nothing to run wants no offers."""
        for name, queue in self.waiting.items():
            framework = self.ledger.frameworks[name]
            suppressed = () if queue else (name,)
            if framework.suppressed != suppressed:
                self.ledger.set_framework(msgspec.structs.replace(framework, suppressed=suppressed))

    def _launch(self, now: float, name: str, agent_id: str, offer: Resources) -> Resources:
        """Launch what fits of what waits; what it uses."""
        left, used = offer, EMPTY
        queue = self.waiting[name]
        while queue:
            task = queue[0].group.task
            if all(resource.reservations for resource in offer):
                task = task.push_reservation(Reservation(name))
            if task not in left:
                break
            arrival = queue.popleft()
            left, used = left - task, used + task
            self.started += 1
            heapq.heappush(self.running, (now + arrival.seconds, self.started, arrival, agent_id, task))
        return used

    def finish(self, now: float) -> list[tuple[float, Arrival]]:
        """Tasks that have ended by now give back what they used."""
        ended = []
        while self.running and self.running[0][0] <= now:
            at, _, arrival, agent_id, task = heapq.heappop(self.running)
            name = arrival.group.name
            self.ledger.release((name, name), self.ledger.agents[agent_id], task)
            ended.append((at, arrival))
        return ended

    def want(self, arrival: Arrival) -> None:
        """A task more to be run; its framework revives, which forgets what it refused."""
        name = arrival.group.name
        self.waiting[name].append(arrival)
        self.ledger.filters.clear_client((name, name))

    def cpus_in_use(self) -> float:
        """Fraction of all CPUs."""
        total = self.ledger.total[self.ledger.names.index("cpus")]
        return sum(task.scalar("cpus") for *_, task in self.running) / total


def simulate(
    name: str, policy: Policy, work: Sequence[Arrival], seconds: int, seed: int, *, partitioned: bool
) -> Outcome:
    """Run the work for so long; tasks that are not through by then do not count."""
    cluster = Cluster(policy, seed, partitioned=partitioned)
    coming = deque(work)
    waits: dict[str, list[float]] = {group.name: [] for group in GROUPS}
    utilisation: list[float] = []
    for second in range(seconds):
        now = float(second)
        for at, arrival in cluster.finish(now):
            waits[arrival.group.name].append(at - arrival.at)
        while coming and coming[0].at <= now:
            cluster.want(coming.popleft())
        cluster.cycle(now)
        utilisation.append(cluster.cpus_in_use())
    return Outcome(name, waits, utilisation)
