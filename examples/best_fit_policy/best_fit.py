"""A policy of one's own: bin packing by best fit.

DRF decides who is next; this policy decides where: agents with the least left are offered first, so that tasks gather
on few agents and others stay empty, for big tasks or to be switched off. Start a master with it::

    PYTHONPATH=examples/best_fit_policy kaon master --allocator best_fit:BestFit
"""

from __future__ import annotations

import random
from collections.abc import Collection

from allocator.drf import DRF, Shares
from allocator.snapshot import Snapshot


class BestFit(DRF):
    """Fullest agents first; everything else as the default policy."""

    name = "best_fit"

    def order(self, snapshot: Snapshot, agent_ids: Collection[str], chance: random.Random) -> list[str]:
        """By the largest fraction of the cluster that is free on the agent, least first, then by id."""
        shares = Shares(snapshot)
        agents = snapshot.agents
        return sorted(agent_ids, key=lambda agent_id: (shares.dominant(agents[agent_id].vector), agent_id))
