"""Offer filters: what a client refused on an agent, and until when.

A filter stops an offer that is contained in what was refused; a bigger one gets through. It holds up to and including
its last moment, so that a refusal for exactly one allocation interval survives the batch at its end, as in Mesos
(MESOS-4302). It ends early when the client revives, is deactivated or removed, or when the agent changes or goes.
"""

from __future__ import annotations

import heapq
from typing import Final

import msgspec

from allocator.constants import DEFAULT_REFUSE_SECONDS, MAX_REFUSE_SECONDS
from allocator.resources import Resources
from allocator.snapshot import Client, Refusal

_LONGEST_SPAN_SECONDS: Final = 64**3


def filter_seconds(refuse_seconds: float | None, interval_seconds: float) -> float:
    """How long a filter lasts for what a framework asked: 0 for none at all.

    At least one allocation interval, at most a year; negative values count as the default (`hierarchical.cpp`).
    """
    if not refuse_seconds:
        return 0.0
    if not -MAX_REFUSE_SECONDS <= refuse_seconds <= MAX_REFUSE_SECONDS:
        refuse_seconds = MAX_REFUSE_SECONDS if refuse_seconds > 0 else DEFAULT_REFUSE_SECONDS
    if refuse_seconds < 0:
        refuse_seconds = DEFAULT_REFUSE_SECONDS
    return max(refuse_seconds, interval_seconds)


class Filters(msgspec.Struct, gc=False):
    """All filters in force.

    by_agent   agent, then client: what the allocation reads
    by_client  the agents that each client has filters on: what a revive clears
    due        by second, the agents whose filters are to be looked at then
    seconds    heap of the keys of `due`
    """

    by_agent: dict[str, dict[Client, tuple[Refusal, ...]]] = {}
    by_client: dict[Client, set[str]] = {}
    due: dict[int, set[str]] = {}
    seconds: list[int] = []

    def refuse(self, client: Client, agent_id: str, resources: Resources, until: float, now: float) -> None:
        """Set a filter. Those that have ended, and those that the new one covers, make room."""
        refusal = Refusal(resources, until)
        refusals = self.by_agent.setdefault(agent_id, {})
        present = refusals.get(client)
        if present is None:
            refusals[client] = (refusal,)
            self.by_client.setdefault(client, set()).add(agent_id)
        else:
            kept = [
                other
                for other in present
                if now <= other.until and not (other.until <= until and other.resources in resources)
            ]
            refusals[client] = (*kept, refusal)
        self._look_again(agent_id, until, now)

    def expire(self, now: float) -> set[str]:
        """Forget what has ended; the agents that it was about."""
        looked_at: set[str] = set()
        while self.seconds and self.seconds[0] < now:
            looked_at |= self.due.pop(heapq.heappop(self.seconds))
        freed: set[str] = set()
        for agent_id in looked_at:
            for client, refusals in tuple(self.by_agent.get(agent_id, {}).items()):
                kept = tuple(refusal for refusal in refusals if now <= refusal.until)
                if len(kept) == len(refusals):
                    continue
                freed.add(agent_id)
                if kept:
                    self.by_agent[agent_id][client] = kept
                else:
                    self._drop(client, agent_id)
            left = self.by_agent.get(agent_id)
            if left:
                self._look_again(agent_id, min(r.until for refusals in left.values() for r in refusals), now)
        return freed

    def _look_again(self, agent_id: str, until: float, now: float) -> None:
        """See to it that an agent is looked at when a filter ends: in that second, or earlier if that is far off.

        What ends within 64 s has a second of its own, what ends later shares one of 64, 4,096 or 262,144 s. So an agent
        is noted a few hundred times at most, however often somebody refuses it for a year.
        """
        span = 1
        while until - now > 64 * span and span < _LONGEST_SPAN_SECONDS:
            span *= 64
        second = int(until // span) * span
        agents = self.due.get(second)
        if agents is None:
            agents = self.due[second] = set()
            heapq.heappush(self.seconds, second)
        agents.add(agent_id)

    def clear_client(self, client: Client) -> None:
        """Forget all that a client refused."""
        for agent_id in tuple(self.by_client.get(client, ())):
            self._drop(client, agent_id)

    def clear_agent(self, agent_id: str) -> None:
        """Forget all that was refused on an agent."""
        for client in tuple(self.by_agent.get(agent_id, ())):
            self._drop(client, agent_id)

    def _drop(self, client: Client, agent_id: str) -> None:
        refusals = self.by_agent[agent_id]
        del refusals[client]
        if not refusals:
            del self.by_agent[agent_id]
        agents = self.by_client[client]
        agents.discard(agent_id)
        if not agents:
            del self.by_client[client]

    def active(self, role: str) -> int:
        """How many filters clients of a role have (metric ``offer_filters/roles/<role>/active``)."""
        return sum(
            len(self.by_agent[agent_id][client])
            for client, agents in self.by_client.items()
            if client[0] == role
            for agent_id in agents
        )
