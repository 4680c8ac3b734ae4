"""Simulate seed after seed, on all cores, until told to stop or so many have held.

    python tests/simulation/soak.py [--seeds N] [--first SEED] [--workers N]

Every other seed has three masters, the others one. A seed that fails is shrunk, shown, and ends with status 1.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import multiprocessing
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from actors.simulation.run import HASTY, Outcome, Scenario, begin, command, schedule, shrink, simulate_cluster
from actors.simulation.shape import ClusterShape
from actors.simulation.violation import Violation

BATCH: Final = 50
"""Seeds between two lines."""


def scenario_of(seed: int) -> Scenario:
    """Ten virtual minutes of five agents and three frameworks under heavy faults."""
    return Scenario(shape=ClusterShape(masters=3 if seed % 2 else 1, settings=HASTY))


def run(seed: int) -> tuple[int, Outcome | None, str]:
    """One seed: what came of it, or what to say about its failure."""
    logging.disable(logging.CRITICAL)
    scenario = scenario_of(seed)
    try:
        return seed, simulate_cluster(seed, scenario), ""
    except Violation as violation:
        smaller, violation = shrink(seed, scenario, violation)
        faults = schedule(seed, smaller, begin(seed, smaller))
        shown = "".join(f"\n    {fault}" for fault in faults)
        return seed, None, f"{violation}\nwith{shown}\nreplay: {command(seed, smaller)}"


def batches(first: int, count: int) -> Iterator[range]:
    """So many seeds from `first` on, without end for 0, in portions: a pool takes up all that it is given at once."""
    starts = itertools.count(first, BATCH)
    for start in starts:
        end = first + count if count else start + BATCH
        if start >= end:
            return
        yield range(start, min(start + BATCH, end))


def main() -> int:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=0, help="how many; 0 runs until it is stopped (0)")
    parser.add_argument("--first", type=int, default=None, help="the first seed (drawn)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    first = random.SystemRandom().randrange(1_000_000_000) if options.first is None else options.first
    print(f"seeds from {first} on", flush=True)
    held = faults = turns = 0
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        try:
            for batch in batches(first, options.seeds):
                for seed, outcome, failure in pool.imap_unordered(run, batch):
                    if outcome is None:
                        print(f"seed {seed} fails: {failure}", flush=True)
                        return 1
                    held, faults, turns = held + 1, faults + outcome.faults, turns + outcome.turns
                print(f"{held} seeds held: {faults:,} faults, {turns:,} turns", flush=True)
        except KeyboardInterrupt:
            print("stopped")
    print(f"{held} seeds held: {faults:,} faults, {turns:,} turns")
    return 0


if __name__ == "__main__":
    sys.exit(main())
