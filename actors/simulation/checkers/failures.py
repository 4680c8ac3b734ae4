"""No actor fails but for a reason that is meant to end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors.simulation.watching import STORM_TURNS, STORM_TURNS_PER_NODE, Checker
from runtime.effects import Turn

if TYPE_CHECKING:
    from actors.simulation.cluster import Cluster

MEANT: Final = ("StoreError", "StoreFenced", "StoreConflict", "RegistryLost")
"""Errors by which a master's actors end their process: the store refuses, or another master has taken over."""


class FailuresChecker(Checker):
    """An exception in a handler is a bug, whatever the supervision makes of it."""

    rule = "no actor fails"

    def failed(self, turn: Turn) -> None:
        """A turn raised."""
        summary = turn.error.strip().rpartition("\n")[2]
        name = summary.partition(":")[0].rpartition(".")[2]
        if name not in MEANT:
            raise self.violated(f"{turn.actor} failed on {type(turn.message).__name__}: {turn.error}")


class StormChecker(Checker):
    """Two actors that answer each other for ever stop a cluster as a deadlock does."""

    rule = "messages come to rest"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._since = 0.0
        self._turns = 0

    def passed(self, turns: int) -> None:
        """So many turns in no time at all are a storm."""
        now = self.cluster.elapsed
        if now - self._since >= 1.0:
            self._since, self._turns = now, turns
        elif turns - self._turns > STORM_TURNS + STORM_TURNS_PER_NODE * len(self.cluster.world.nodes):
            raise self.violated(f"{turns - self._turns} turns in {now - self._since:.3f} s")
