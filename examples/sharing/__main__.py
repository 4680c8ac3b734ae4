"""Compare static partitions with policies that share::

    python -m examples.sharing [--seconds 1200] [--seed 7] [--plot sharing.svg]

Prints, for each, the tasks that finished, how much of the cluster was in use, and how long a task took from the second
it was wanted, in all and by group; and by how much sharing is better than partitions.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from allocator.allocate import Policy
from allocator.drf import DRF
from allocator.priority import StrictPriority
from allocator.random_order import RandomOrder
from examples.best_fit_policy.best_fit import BestFit
from examples.sharing.plot import lines
from examples.sharing.simulation import Outcome, simulate
from examples.sharing.workload import GROUPS, arrivals

POLICIES: tuple[tuple[str, type[Policy], bool], ...] = (
    ("static partitions", DRF, True),
    ("drf", DRF, False),
    ("priority", StrictPriority, False),
    ("random", RandomOrder, False),
    ("best fit", BestFit, False),
)


def compared(seconds: int, seed: int) -> list[Outcome]:
    """The same work under each policy."""
    work = arrivals(seconds, seed)
    return [
        simulate(name, policy(), work, seconds, seed, partitioned=partitioned) for name, policy, partitioned in POLICIES
    ]


def table(outcomes: list[Outcome]) -> str:
    """Rows of figures, and the gain of sharing."""
    groups = "".join(f"{group.name:>11}" for group in GROUPS)
    rows = [f"{'':<18}{'tasks':>7}{'in use':>8}{'wait':>8}{groups}"]
    for outcome in outcomes:
        each = "".join(f"{outcome.wait(group.name):>9.0f} s" for group in GROUPS)
        in_use = f"{outcome.mean_utilisation:.0%}"
        rows.append(f"{outcome.name:<18}{outcome.throughput:>7}{in_use:>8}{outcome.wait():>6.0f} s{each}")
    static, shared = outcomes[0], outcomes[1]
    tasks = shared.throughput / static.throughput - 1
    use = shared.mean_utilisation / static.mean_utilisation - 1
    rows.append(
        f"Sharing by drf finishes {tasks:.0%} more tasks than static partitions, with {use:.0%} more of the cluster in "
        f"use; a task takes {shared.wait():.0f} s instead of {static.wait():.0f} s."
    )
    return "\n".join(rows)


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.sharing", description="Static partitions against sharing."
    )
    parser.add_argument("--seconds", type=int, default=1200, help="simulated seconds (1200)")
    parser.add_argument("--seed", type=int, default=7, help="draws the workload (7)")
    parser.add_argument("--plot", type=Path, help="write the use of the cluster over time to this SVG file")
    options = parser.parse_args()
    if options.seconds < 60:
        parser.error("--seconds must be 60 at least: a task takes about half a minute")
    outcomes = compared(options.seconds, options.seed)
    print(table(outcomes))
    if options.plot is not None:
        series = {outcome.name: outcome.utilisation for outcome in outcomes}
        options.plot.write_text(lines(series, "CPUs in use, mean over 30 s"))
        print(f"plot: {options.plot}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
