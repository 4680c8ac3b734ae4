"""The simulation: a whole cluster of real actors in one thread, on virtual time, from one seed (`docs/simulation.md`).

::

    cluster = Cluster(seed=7, agents=5)
    cluster.add_framework(Batch(jobs_per_hour=600.0, until_seconds=600.0))
    injection = Injection(cluster, draw(HEAVY, cluster, 600.0, "7"), "7")
    cluster.run(600.0)   # checkers raise a Violation that names the seed
    injection.stop()
    cluster.settle()

Names are imported when they are used: every run of pytest loads the plugin that lies in this package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from actors.simulation.cluster import Cluster
    from actors.simulation.faults import HEAVY, LIGHT, NONE, FaultRates, Injection, draw
    from actors.simulation.shape import ClusterShape
    from actors.simulation.violation import Violation
    from actors.simulation.workloads import Batch, Service

_MODULES: Final = {
    "Batch": "workloads",
    "Cluster": "cluster",
    "ClusterShape": "shape",
    "FaultRates": "faults",
    "HEAVY": "faults",
    "Injection": "faults",
    "LIGHT": "faults",
    "NONE": "faults",
    "Service": "workloads",
    "Violation": "violation",
    "draw": "faults",
}

__all__ = [
    "HEAVY",
    "LIGHT",
    "NONE",
    "Batch",
    "Cluster",
    "ClusterShape",
    "FaultRates",
    "Injection",
    "Service",
    "Violation",
    "draw",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
