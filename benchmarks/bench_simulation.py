"""How fast a cluster is simulated: turns with all checkers, and virtual seconds of a thousand agents.

    python benchmarks/bench_simulation.py [--json] [--rounds N] [--only turns,faults,day]

CPU time of one thread, medians of interleaved rounds. All actors are the real ones.

turns_per_s        of 5 agents and 3 frameworks that are busy, every checker looking at every turn; beside it the same
                   without checkers
faults_turns_per_s of 5 agents and 3 frameworks under heavy faults, with checkers: few turns have to bear what only
                   time costs there (idle allocation cycles, pings between nodes, connections that break)
sim_seconds_per_s  of 1,000 agents x 20 frameworks at work, once all agents are there and have been offered
"""

from __future__ import annotations

import logging
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _harness import Figure, arguments, report

from actors.simulation.cluster import Cluster
from actors.simulation.day import Day, cluster_of, few_collections, workloads_of
from actors.simulation.faults import HEAVY, Injection, draw
from actors.simulation.run import DEFAULT_WORKLOADS
from actors.simulation.shape import ClusterShape
from actors.simulation.watching import Checker
from actors.simulation.workloads import Batch

SECONDS = 600.0
BUSY = ClusterShape(agents=5, resources=("cpus:32;mem:65536",), together=True)
BIG = Day(agents=1_000, frameworks=20, load=0.8)
WARM_SECONDS = 60.0
MEASURED_SECONDS = 60.0
LIMIT_SECONDS = 60.0
"""No further round begins after this."""


class Figures(NamedTuple):
    """Of one run, per second of CPU time."""

    turns: float
    seconds: float


def busy(checkers: Sequence[type[Checker]] | None) -> Figures:
    """Five big agents and three frameworks, a job every 0.4 s."""
    cluster = Cluster(1, shape=BUSY, checkers=checkers, recorded=False)
    for number in range(3):
        cluster.add_framework(
            Batch(
                name=f"batch{number}", jobs_per_hour=3_000.0, task_seconds=20.0, refuse_seconds=60.0, suppresses=False
            )
        )
    return run(cluster, 20.0, SECONDS / 4)


def big() -> Figures:
    """A thousand agents at work."""
    workloads = workloads_of(BIG)
    cluster = cluster_of(BIG, workloads)
    for workload in workloads:
        cluster.add_framework(workload)
    return run(cluster, WARM_SECONDS, MEASURED_SECONDS)


def under_faults() -> Figures:
    """Ten virtual minutes of a small cluster."""
    cluster = Cluster(1, agents=5, recorded=False)
    for workload in DEFAULT_WORKLOADS:
        cluster.add_framework(workload)
    Injection(cluster, draw(HEAVY, cluster, SECONDS, "bench"), "bench")
    return run(cluster, 0.0, SECONDS)


def run(cluster: Cluster, warm_seconds: float, seconds: float) -> Figures:
    """Let time pass, and measure the last `seconds` of it."""
    with few_collections():
        cluster.run(warm_seconds)
        turns, began = cluster.watch.turns, time.thread_time()
        cluster.run(seconds)
        took = time.thread_time() - began
        return Figures((cluster.watch.turns - turns) / took, seconds / took)


def main() -> int:
    """Print the figures beside their limits."""
    logging.disable(logging.CRITICAL)
    options = arguments(__doc__.splitlines()[0])
    only = options.only.split(",") if options.only else ["turns", "faults", "day"]
    deadline = time.monotonic() + LIMIT_SECONDS
    taken: dict[str, list[Figures]] = {"checked": [], "unchecked": [], "faults": [], "day": []}
    for number in range(options.rounds):
        if number and time.monotonic() > deadline:
            break
        if "turns" in only:
            taken["checked"].append(busy(None))
            taken["unchecked"].append(busy(()))
        if "faults" in only:
            taken["faults"].append(under_faults())
        if "day" in only:
            taken["day"].append(big())
    figures = []
    if "turns" in only:
        note = f"without checkers {median(taken['unchecked']).turns:,.0f}"
        figures.append(Figure("turns_per_s", median(taken["checked"]).turns, must=60_000, note=note))
    if "faults" in only:
        figures.append(Figure("faults_turns_per_s", median(taken["faults"]).turns))
    if "day" in only:
        seconds = median(taken["day"]).seconds
        figures.append(Figure("sim_seconds_per_s", seconds, must=20, goal=60, note="1,000 agents x 20 frameworks"))
    return report(figures, as_json=options.json)


def median(taken: Sequence[Figures]) -> Figures:
    """Each by itself."""
    return Figures(statistics.median(each.turns for each in taken), statistics.median(each.seconds for each in taken))


if __name__ == "__main__":
    sys.exit(main())
