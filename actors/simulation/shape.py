"""What a simulated cluster is made of, as data."""

from __future__ import annotations

import msgspec

from actors.master.settings import MasterSettings
from allocator.quota import Quota


class ClusterShape(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster is made of.

    masters    nodes m1, m2, ...: one leads, the others stand by
    agents     nodes a1, a2, ..., each with its containerizer's, c1, c2, ...
    resources  of the agents, in turn: several kinds make a cluster of several kinds of machines
    together   whether an agent and its containerizer share a node: half the nodes, for big clusters; a containerizer
               cannot fail alone then
    policy     as ``--allocator`` names it
    quotas     by role, told to the allocator of each leading master
    priorities  by role, for the policy ``priority``
    """

    masters: int = 1
    agents: int = 5
    resources: tuple[str, ...] = ("cpus:8;mem:16384;disk:65536;ports:[31000-32000]",)
    together: bool = False
    policy: str = "drf"
    quotas: tuple[tuple[str, Quota], ...] = ()
    priorities: tuple[tuple[str, int], ...] = ()
    settings: MasterSettings = MasterSettings()
