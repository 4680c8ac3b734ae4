"""Books of what the allocator has handed out, kept beside its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actors.simulation.watching import Checker, heard, said
from allocator import messages as m
from allocator.quota import Quota
from allocator.resources import EMPTY, Resources, total
from allocator.roles import top_level
from runtime.effects import Turn
from runtime.pid import PID

if TYPE_CHECKING:
    from actors.simulation.cluster import Cluster


class _Agent(msgspec.Struct):
    """What one agent has, and who has how much of it. `free` is what nobody has: usually all that is offered next."""

    total: Resources
    free: Resources
    held: dict[tuple[str, str], Resources]
    open: dict[int, None]


class _Books(msgspec.Struct):
    """Of one life of an allocator."""

    agents: dict[str, _Agent]
    open: dict[int, m.Allocation]


class AllocationsChecker(Checker):
    """Of no agent more is allocated and offered than it has, and nothing comes back that was not given."""

    rule = "resources are never handed out twice"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.lives: dict[PID, _Books] = {}

    def books(self, turn: Turn) -> _Books:
        """Those of the allocator whose turn it is."""
        books = self.lives.get(turn.actor)
        if books is None:
            self.lives = {pid: kept for pid, kept in self.lives.items() if pid.node != turn.actor.node}
            books = self.lives[turn.actor] = _Books({}, {})
        return books

    @heard(m.AddAgent)
    def add_agent(self, turn: Turn, message: m.AddAgent) -> None:
        """It begins with what is in use on it."""
        books = self.books(turn)
        self._drop(books, message.agent_id)
        held: dict[tuple[str, str], Resources] = {}
        for use in message.used:
            client = (use.role, use.framework_id)
            held[client] = held.get(client, EMPTY) + use.resources
        taken = total(held.values())
        if taken not in message.total:
            raise self.violated(
                f"agent {message.agent_id} has {message.total}, of which {taken} is taken when it comes"
            )
        books.agents[message.agent_id] = _Agent(message.total, message.total - taken, held, {})

    @heard(m.RemoveAgent)
    def remove_agent(self, turn: Turn, message: m.RemoveAgent) -> None:
        """All that was on it is void."""
        self._drop(self.books(turn), message.agent_id)

    def _drop(self, books: _Books, agent_id: str) -> None:
        agent = books.agents.pop(agent_id, None)
        for allocation_id in agent.open if agent is not None else ():
            del books.open[allocation_id]

    @heard(m.UpdateAgent)
    def update_agent(self, turn: Turn, message: m.UpdateAgent) -> None:
        """It has more or less; what is taken may be too much for a while."""
        agent = self.books(turn).agents.get(message.agent_id)
        if agent is not None and message.total is not None:
            agent.free = message.total - (agent.total - agent.free)
            agent.total = message.total

    @said(m.Allocated)
    def allocated(self, turn: Turn, message: m.Allocated) -> None:
        """Handed out: it must have been there."""
        books = self.books(turn)
        for allocation in message.allocations:
            agent = books.agents.get(allocation.agent_id)
            if agent is None:
                raise self.violated(
                    f"allocation {allocation.allocation_id} is on agent {allocation.agent_id}, which is away"
                )
            if allocation.allocation_id in books.open:
                raise self.violated(f"allocation {allocation.allocation_id} was made twice")
            if allocation.resources not in agent.free:
                raise self.violated(
                    f"allocation {allocation.allocation_id} is {allocation.resources} of agent {allocation.agent_id}, "
                    f"which has {agent.total}, of which {agent.free} is free"
                )
            books.open[allocation.allocation_id] = allocation
            agent.open[allocation.allocation_id] = None
            agent.free -= allocation.resources

    @heard(m.Settle)
    def settle(self, turn: Turn, message: m.Settle) -> None:
        """What is used stays taken."""
        books = self.books(turn)
        allocation = books.open.get(message.allocation_id)
        if allocation is None:
            return
        if message.used + message.returned != allocation.resources:
            raise self.violated(
                f"allocation {allocation.allocation_id} of {allocation.resources} was settled with {message.used} used "
                f"and {message.returned} returned"
            )
        self._close(books, allocation, message.used)

    @heard(m.Rescind)
    def rescind(self, turn: Turn, message: m.Rescind) -> None:
        """All of it comes back."""
        books = self.books(turn)
        allocation = books.open.get(message.allocation_id)
        if allocation is not None:
            self._close(books, allocation, EMPTY)

    @heard(m.RemoveFramework)
    def remove_framework(self, turn: Turn, message: m.RemoveFramework) -> None:
        """So does what it was offered."""
        books = self.books(turn)
        for allocation in [each for each in books.open.values() if each.framework_id == message.framework_id]:
            self._close(books, allocation, EMPTY)

    def _close(self, books: _Books, allocation: m.Allocation, used: Resources) -> None:
        del books.open[allocation.allocation_id]
        agent = books.agents[allocation.agent_id]
        del agent.open[allocation.allocation_id]
        agent.free += allocation.resources - used
        if used:
            client = (allocation.role, allocation.framework_id)
            agent.held[client] = agent.held.get(client, EMPTY) + used

    @heard(m.Recover)
    def recover(self, turn: Turn, message: m.Recover) -> None:
        """A task or an executor has ended: it must have had what it gives back."""
        agent = self.books(turn).agents.get(message.agent_id)
        if agent is None:
            return
        client = (message.role, message.framework_id)
        held = agent.held.get(client, EMPTY)
        if message.resources not in held:
            raise self.violated(
                f"framework {message.framework_id} gave {message.resources} of agent {message.agent_id} back, "
                f"of which it had {held}"
            )
        agent.held[client] = held - message.resources
        agent.free += message.resources


class QuotaChecker(Checker):
    """What a role has, offered and used, is within its limits."""

    rule = "quota limits hold"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.limits: dict[str, Quota] = {}

    @heard(m.UpdateQuota)
    def update_quota(self, turn: Turn, message: m.UpdateQuota) -> None:
        """From now on these."""
        self.limits.update(message.quotas)

    @said(m.Allocated)
    def allocated(self, turn: Turn, message: m.Allocated) -> None:
        """Recounts, but only roles that have limits."""
        touched = {top_level(each.role): None for each in message.allocations}
        for role in touched:
            quota = self.limits.get(role)
            if quota is None or not quota.limits:
                continue
            books = self.cluster.checker(AllocationsChecker).books(turn)
            taken = [each.resources for each in books.open.values() if top_level(each.role) == role]
            taken += [
                resources
                for agent in books.agents.values()
                for (holder, _), resources in agent.held.items()
                if top_level(holder) == role
            ]
            consumed = total(taken).scalars()
            for name, limit in quota.limits:
                if consumed.get(name, 0) > limit:
                    raise self.violated(
                        f"role {role!r} has {consumed[name] / 1000:g} {name}, its limit is {limit / 1000:g}"
                    )
