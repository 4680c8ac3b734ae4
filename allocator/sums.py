"""The sums of the books, kept so that every figure a decision needs is there without counting again."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from allocator.plan import charged_part
from allocator.resources import EMPTY, Resources, total
from allocator.roles import lineage, top_level
from allocator.snapshot import Agent, Client, ClientTotals, RoleTotals, Vector, add, scalars_of, subtract


class Sums(msgspec.Struct, kw_only=True):
    """Agents with what is held there, and what that makes by client, by role and in all.

    Fields as in :class:`allocator.snapshot.Snapshot`.
    """

    names: tuple[str, ...] = ()
    total: Vector = ()
    surplus: Vector = ()
    agents: dict[str, Agent] = {}
    roles: dict[str, RoleTotals] = {}
    clients: dict[Client, ClientTotals] = {}

    def zero(self) -> Vector:
        """Nothing of anything."""
        return (0,) * len(self.names)

    def role(self, path: str) -> RoleTotals:
        """The totals of a role, begun if there are none."""
        totals = self.roles.get(path)
        if totals is None:
            zero = self.zero()
            totals = self.roles[path] = RoleTotals(zero, zero, zero, zero)
        return totals

    def client(self, client: Client) -> ClientTotals:
        """The totals of a client, begun if there are none."""
        totals = self.clients.get(client)
        if totals is None:
            totals = self.clients[client] = ClientTotals(self.zero())
        return totals

    def hold(self, agent: Agent, client: Client, resources: Resources, allocations: int = 0) -> None:
        """Set what a client has on an agent, and every sum that follows from it; `refresh` must come after.

        allocations  how many more it is: breaks ties between equal shares
        """
        before = agent.held.get(client, EMPTY)
        if resources:
            agent.held[client] = resources
        else:
            agent.held.pop(client, None)
        if before.has_shared() or resources.has_shared():
            self._count_shared(agent, client, before, resources)
            self.count_held(client, self.zero(), self.zero(), allocations)
            return
        delta = subtract(self.scalars(resources), self.scalars(before))
        kept, was = charged_part(resources), charged_part(before)
        if kept is resources and was is before:
            charged = delta
        else:
            charged = subtract(self.scalars(kept), self.scalars(was))
        self.count_held(client, delta, charged, allocations)

    def count_held(self, client: Client, delta: Vector, charged: Vector, allocations: int) -> None:
        """A client has more (or less): all its scalars, and those that count against quota."""
        role, _ = client
        mine = self.client(client)
        mine.allocated = add(mine.allocated, delta)
        mine.count += allocations
        own = self.role(role)
        own.own = add(own.own, delta)
        own.own_count += allocations
        for path in lineage(role):
            totals = self.role(path)
            totals.subtree = add(totals.subtree, delta)
            totals.subtree_count += allocations
        top = self.role(top_level(role))
        top.charged = add(top.charged, charged)

    def _count_shared(self, agent: Agent, client: Client, before: Resources, after: Resources) -> None:
        """As `hold` counts, but a shared volume counts once per agent for each client, role and subtree."""
        role, _ = client
        others = {other: held for other, held in agent.held.items() if other != client}

        def growth(members: Iterable[Resources]) -> Vector:
            rest = total(members)
            return subtract(self.scalars(rest + after), self.scalars(rest + before))

        mine = self.client(client)
        mine.allocated = add(mine.allocated, growth(()))
        own = self.role(role)
        own.own = add(own.own, growth(held for other, held in others.items() if other[0] == role))
        charged = subtract(self.scalars(charged_part(after)), self.scalars(charged_part(before)))
        for path in lineage(role):
            within = [held for other, held in others.items() if path in lineage(other[0])]
            totals = self.role(path)
            totals.subtree = add(totals.subtree, growth(within))
        top = self.role(top_level(role))
        top.charged = add(top.charged, charged)

    def count_total(self, resources: Resources, sign: int) -> None:
        """An agent's total joins or leaves the sums."""
        change = add if sign > 0 else subtract
        self.total = change(self.total, self.scalars(resources))
        for path in sorted({resource.role for resource in resources.items if resource.role is not None}):
            part = self.scalars(resources.reserved(path))
            for ancestor in lineage(path):
                totals = self.role(ancestor)
                totals.reserved = change(totals.reserved, part)

    def refresh(self, agent: Agent) -> None:
        """Work out what is free on an agent after its total, or what is held there, changed."""
        if not agent.held:
            self._set_free(agent, agent.total)
        elif agent.total.has_shared():
            self._set_free(agent, (agent.total - total(agent.held.values())).non_shared() + agent.total.shared())
        else:
            self._set_free(agent, agent.total - total(agent.held.values()))

    def _set_free(self, agent: Agent, free: Resources) -> None:
        """Set what is free on an agent, and what follows from it."""
        agent.free = free
        agent.plain = True
        for resource in free.items:
            if resource.reservations or resource.revocable or resource.shared or resource.disk is not None:
                agent.plain = False
        agent.vector = self.scalars(free)
        surplus = agent.vector if agent.plain else self.scalars(charged_part(free))
        self.surplus = add(self.surplus, subtract(surplus, agent.surplus))
        agent.surplus = surplus

    def scalars(self, resources: Resources) -> Vector:
        """All scalars as a vector."""
        return scalars_of(self.names, resources)

    def learn_names(self, resources: Resources) -> None:
        """Make room in all vectors for scalars that were never seen before."""
        new = sorted({resource.name for resource in resources.items if resource.scalar}.difference(self.names))
        if not new:
            return
        self.names = (*self.names, *new)
        pad = (0,) * len(new)
        self.total, self.surplus = (*self.total, *pad), (*self.surplus, *pad)
        for agent in self.agents.values():
            agent.vector, agent.surplus = (*agent.vector, *pad), (*agent.surplus, *pad)
        for client in self.clients.values():
            client.allocated = (*client.allocated, *pad)
        for role in self.roles.values():
            role.own, role.subtree = (*role.own, *pad), (*role.subtree, *pad)
            role.charged, role.reserved = (*role.charged, *pad), (*role.reserved, *pad)
