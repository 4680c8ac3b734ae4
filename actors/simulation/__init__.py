"""The simulation: a whole cluster of real actors in one thread, on virtual time, from one seed (`docs/simulation.md`).

::

    cluster = Cluster(seed=7, agents=5)
    cluster.add_framework(Batch(name="batch", jobs_per_hour=600))
    cluster.run(600, faults=HEAVY)   # checkers raise a Violation that names the seed
    cluster.heal()
    cluster.run_until_settled()
"""

from actors.simulation.cluster import Cluster
from actors.simulation.faults import HEAVY, LIGHT, NONE, FaultRates
from actors.simulation.shape import ClusterShape
from actors.simulation.violation import Violation
from actors.simulation.workloads import Batch, Service

__all__ = ["HEAVY", "LIGHT", "NONE", "Batch", "Cluster", "ClusterShape", "FaultRates", "Service", "Violation"]
