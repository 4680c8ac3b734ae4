"""The books: who has what. One :class:`Ledger` is the allocator actor's state of the cluster.

Its methods are the only code that changes it; each leaves the sums (`allocator.sums`) equal to what a recount would
give, which is a property in the tests. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from allocator.constants import MINIMUM_ALLOCATABLE
from allocator.filters import Filters
from allocator.plan import Grant
from allocator.quota import Quota
from allocator.records import Allocation, Conversion, Used
from allocator.resources import EMPTY, Amounts, Resources, total
from allocator.roles import lineage
from allocator.snapshot import (
    Agent,
    Client,
    Framework,
    Snapshot,
    Vector,
    subtract,
)
from allocator.sums import Sums


class Ledger(Sums, kw_only=True):
    """All that the allocator knows. Fields as in :class:`allocator.snapshot.Snapshot`.

    open          allocations that wait for a settlement
    last_id       of an allocation; ids are never used again
    """

    frameworks: dict[str, Framework] = msgspec.field(default_factory=dict)
    wanting: dict[str, set[str]] = msgspec.field(default_factory=dict)
    filters: Filters = msgspec.field(default_factory=Filters)
    quotas: dict[str, Quota] = msgspec.field(default_factory=dict)
    weights: dict[str, float] = msgspec.field(default_factory=dict)
    priorities: dict[str, int] = msgspec.field(default_factory=dict)
    minimum: tuple[Amounts, ...] = MINIMUM_ALLOCATABLE
    whitelist: set[str] | None = None
    excluded: frozenset[str] = frozenset()
    filter_gpus: bool = True
    region: str = ""
    shared: dict[str, Resources] = msgspec.field(default_factory=dict)
    open: dict[int, Allocation] = msgspec.field(default_factory=dict)
    last_id: int = 0

    def snapshot(self, now: float) -> Snapshot:
        """A view for one decision."""
        return Snapshot(
            now=now,
            names=self.names,
            total=self.total,
            surplus=self.surplus,
            agents=self.agents,
            frameworks=self.frameworks,
            roles=self.roles,
            clients=self.clients,
            wanting=self.wanting,
            refusals=self.filters.by_agent,
            quotas=self.quotas,
            weights=self.weights,
            priorities=self.priorities,
            minimum=self.minimum,
            whitelist=self.whitelist,
            excluded=self.excluded,
            filter_gpus=self.filter_gpus,
            region=self.region,
            shared=self.shared,
        )

    # Agents ----------------------------------------------------------------------------------------------------------

    def add_agent(self, agent: Agent, used: Sequence[Used]) -> None:
        """A new agent, with what runs on it already; its id is not known at present."""
        self.learn_names(total([agent.total, *(use.resources for use in used)]))
        agent.has_gpus = agent.total.scalar("gpus") > 0
        self.agents[agent.agent_id] = agent
        agent.free, agent.vector, agent.surplus, agent.plain = EMPTY, self.zero(), self.zero(), True
        self.count_total(agent.total, 1)
        for use in used:
            client = (use.role, use.framework_id)
            self.hold(agent, client, agent.held.get(client, EMPTY) + use.resources, allocations=1)
        self.refresh(agent)

    def set_total(self, agent: Agent, resources: Resources) -> None:
        """An agent has other resources now; what is allocated stays allocated, even beyond the total."""
        self.learn_names(resources)
        self.count_total(agent.total, -1)
        agent.total = resources
        agent.has_gpus = resources.scalar("gpus") > 0
        self.count_total(resources, 1)
        self.refresh(agent)

    def remove_agent(self, agent_id: str) -> tuple[Allocation, ...]:
        """Forget an agent and all on it; the allocations that were open there."""
        agent = self.agents[agent_id]
        closed = tuple(self.open.pop(allocation_id) for allocation_id in agent.open)
        for client in tuple(agent.held):
            self.hold(agent, client, EMPTY)
        self.count_total(agent.total, -1)
        self.surplus = subtract(self.surplus, agent.surplus)
        self.filters.clear_agent(agent_id)
        self.shared.pop(agent_id, None)
        del self.agents[agent_id]
        return closed

    # Frameworks ------------------------------------------------------------------------------------------------------

    def set_framework(self, framework: Framework) -> None:
        """A framework is there, or changed; what it has stays."""
        before = self.frameworks.get(framework.framework_id)
        for role in before.roles if before is not None else ():
            self._set_wanting(role, framework.framework_id, wants=False)
            if role not in framework.roles:
                self.filters.clear_client((role, framework.framework_id))
        self.frameworks[framework.framework_id] = framework
        for role in framework.roles:
            self._set_wanting(role, framework.framework_id, wants=framework.wants(role))

    def remove_framework(self, framework_id: str) -> set[str]:
        """Close its open allocations and forget its wishes; the agents where something came free."""
        framework = self.frameworks[framework_id]
        self.set_framework(msgspec.structs.replace(framework, removed=True, active=False))
        closed = [allocation for allocation in self.open.values() if allocation.framework_id == framework_id]
        for allocation in closed:
            self.close(allocation, EMPTY, allocation.resources)
        for role in framework.roles:
            self.filters.clear_client((role, framework_id))
        self._forget_if_gone(framework_id)
        return {allocation.agent_id for allocation in closed}

    def _forget_if_gone(self, framework_id: str) -> None:
        """Drop a removed framework once nothing is held for it."""
        framework = self.frameworks.get(framework_id)
        if framework is None or not framework.removed:
            return
        clients = [client for client in self.clients if client[1] == framework_id]
        if any(any(self.clients[client].allocated) for client in clients):
            return
        del self.frameworks[framework_id]
        for client in clients:
            del self.clients[client]
        self._forget_roles({role for role, _ in clients})

    def _forget_roles(self, roles: set[str]) -> None:
        """Drop the totals of roles that nobody is in and that have nothing."""
        inhabited = {
            path for framework in self.frameworks.values() for role in framework.roles for path in lineage(role)
        }
        for path in {path for role in roles for path in lineage(role)} - inhabited:
            totals = self.roles.get(path)
            if totals is not None and not any(totals.subtree) and not any(totals.reserved):
                del self.roles[path]

    def _set_wanting(self, role: str, framework_id: str, *, wants: bool) -> None:
        members = self.wanting.get(role)
        if wants:
            if members is None:
                members = self.wanting[role] = set()
            members.add(framework_id)
        elif members is not None:
            members.discard(framework_id)
            if not members:
                del self.wanting[role]

    # Allocations -----------------------------------------------------------------------------------------------------

    def grant_all(self, grants: Sequence[Grant]) -> tuple[Allocation, ...]:
        """Carry out a checked plan.

        Usually a grant is all that is free on a plain agent. Those need no algebra, and their sums are made once for
        each client, not once for each grant: this is half the cost of a cycle.
        """
        zero = self.zero()
        agents, open_now, number = self.agents, self.open, self.last_id
        gains: dict[Client, tuple[Client, list[Vector]]] = {}
        allocations: list[Allocation] = []
        for grant in grants:
            agent = agents[grant.agent_id]
            client = (grant.role, grant.framework_id)
            number += 1
            allocation = Allocation(number, grant.framework_id, grant.role, grant.agent_id, grant.resources)
            open_now[number] = allocation
            allocations.append(allocation)
            agent.open = (*agent.open, number)
            free = agent.free
            if grant.resources is not free or not agent.plain:
                self._grant_part(agent, client, grant.resources)
                continue
            gain = gains.get(client)
            if gain is None:
                gain = gains[client] = (client, [])
            client, vectors = gain  # the same object for all its agents: there may be very many
            vectors.append(agent.vector)
            held = agent.held.get(client)
            agent.held[client] = free if held is None else held + free
            agent.free = EMPTY
            agent.vector = agent.surplus = zero
        self.last_id = number
        for client, vectors in gains.values():
            gained = tuple(map(sum, zip(*vectors, strict=True)))
            self.count_held(client, gained, gained, len(vectors))
            self.surplus = subtract(self.surplus, gained)
        return tuple(allocations)

    def _grant_part(self, agent: Agent, client: Client, resources: Resources) -> None:
        """Hand out some of what is free on an agent."""
        shared = resources.shared()
        if shared:
            self.shared[agent.agent_id] = self.shared.get(agent.agent_id, EMPTY) + shared
        self.hold(agent, client, agent.held.get(client, EMPTY) + resources, allocations=1)
        self.refresh(agent)

    def close(self, allocation: Allocation, used: Resources, returned: Resources) -> Resources:
        """End an open allocation: `used` stays with the client, `returned` is free again, the rest stays as it is.

        Returns what was in fact returned: no more than the allocation holds beside `used`.
        """
        del self.open[allocation.allocation_id]
        agent = self.agents[allocation.agent_id]
        agent.open = tuple([other for other in agent.open if other != allocation.allocation_id])
        client = (allocation.role, allocation.framework_id)
        held = agent.held.get(client, EMPTY)
        if allocation.resources.has_shared():
            # Shared volumes are counted by task: an accept may use one several times or not at all.
            kept = (allocation.resources - used).non_shared()
            returned = returned if returned.non_shared() in kept else _common(returned, kept)
            held = held - returned.non_shared() - allocation.resources.shared() + used.shared()
        else:
            kept = allocation.resources - used
            returned = returned if returned in kept else _common(returned, kept)
            held = held - returned
        self.hold(agent, client, held)
        self.refresh(agent)
        self._forget_if_gone(allocation.framework_id)
        return returned

    def release(self, client: Client, agent: Agent, resources: Resources) -> Resources:
        """What a client used is free again; returns what of it was in fact held."""
        held = agent.held.get(client, EMPTY)
        freed = resources if resources in held else _common(resources, held)
        if freed:
            self.hold(agent, client, held - freed)
            self.refresh(agent)
            self._forget_if_gone(client[1])
        return freed

    def convert_open(self, allocation_id: int, conversion: Conversion) -> str:
        """Change the form of resources within an open allocation; why not, if they are not in it."""
        allocation = self.open[allocation_id]
        if conversion.consumed not in allocation.resources:
            return f"{conversion.consumed} is not in it: {allocation.resources} is"
        client = (allocation.role, allocation.framework_id)
        refused = self.convert(self.agents[allocation.agent_id], client, conversion)
        if not refused:
            resources = allocation.resources - conversion.consumed + conversion.converted
            self.open[allocation_id] = msgspec.structs.replace(allocation, resources=resources)
        return refused

    def convert(self, agent: Agent, client: Client | None, conversion: Conversion) -> str:
        """Change the form of resources of an agent, held by `client` or free; why not, if they are not there."""
        source = agent.free if client is None else agent.held.get(client, EMPTY)
        if conversion.consumed not in source or conversion.consumed not in agent.total:
            owner = "free" if client is None else f"held by framework {client[1]} in role {client[0]!r}"
            return f"{conversion.consumed} is not {owner} on agent {agent.agent_id}: {source} is"
        if client is not None:
            self.hold(agent, client, source - conversion.consumed + conversion.converted)
        self.set_total(agent, agent.total - conversion.consumed + conversion.converted)
        return ""


def _common(wanted: Resources, present: Resources) -> Resources:
    """What of `wanted` is in `present`."""
    return wanted - (wanted - present)
