"""Who leads, in a simulation of several masters: what ZooKeeper would decide, decided by the seed.

The leader's session ends some time after it died, or although it lives (`depose`); then one of the living others leads,
and each agent's detector hears of it a little later. A deposed leader goes on until it finds its writes refused, or
until it notices the loss of its session and ends.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from actors.agent.names import AGENT_NAME
from actors.master.base import MASTER_NAME
from actors.messages.detection import MasterDetected
from runtime.pid import PID

if TYPE_CHECKING:
    from actors.simulation.cluster import Cluster

SESSION_SECONDS: Final = 10.0
"""From a leader's death to the end of its session (Mesos: MASTER_CONTENDER_ZK_SESSION_TIMEOUT)."""

DETECTION_SECONDS: Final = 0.5
"""Until everybody has heard who leads; at random up to this."""


class Election:
    """One per cluster with more than one master.

    leader  its node; empty while nobody leads
    """

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance
        self.leader = ""
        self._round = 0

    def elect(self) -> None:
        """Let one that stands by lead; nobody if none does. One that was deposed stands by once it has ended."""
        living = [name for name in self._cluster.master_names if self._stands_by(name)]
        self._round += 1
        self.leader = self._chance.choice(living) if living else ""
        if self.leader:
            self._cluster.lead(self.leader)
        for name in self._cluster.agent_names:
            self.tell(name)

    def _stands_by(self, name: str) -> bool:
        return self._cluster.is_up(name) and MASTER_NAME not in self._cluster.world.nodes[name].cells

    def tell(self, agent: str) -> None:
        """Let an agent's detector hear who leads, a little later."""
        number = self._round

        def detect() -> None:
            node = self._cluster.world.nodes.get(agent)
            if node is not None and number == self._round and AGENT_NAME in node.cells:
                master = PID("master", f"simulated://{self.leader}") if self.leader else None
                node.post(node.pid(AGENT_NAME), MasterDetected(master=master))

        self._cluster.after(self._chance.uniform(0.0, DETECTION_SECONDS), detect)

    def down(self, name: str) -> None:
        """A master has died: if it led, another will, once its session is over."""
        if name == self.leader:
            number = self._round
            self._cluster.after(SESSION_SECONDS, lambda: self.elect() if number == self._round else None)

    def up(self) -> None:
        """A master is there: it leads if nobody does."""
        if not self.leader:
            self.elect()

    def depose(self, notices_seconds: float) -> None:
        """The leader's session ends though it lives; it ends itself once it has noticed."""
        deposed = self.leader
        self.elect()
        if deposed and deposed != self.leader:
            self._cluster.after(notices_seconds, lambda: self._end(deposed))

    def _end(self, deposed: str) -> None:
        if deposed != self.leader and self._cluster.is_up(deposed):
            self._cluster.crash(deposed)
            self._cluster.start(deposed)
