"""One seed, one history: whatever the hash seed, and whatever ran before in the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.simulation.run import Scenario, simulate_cluster

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import logging, sys
logging.disable(logging.CRITICAL)
from actors.simulation.shape import ClusterShape
from actors.simulation.run import HASTY, Scenario, simulate_cluster
scenario = Scenario(shape=ClusterShape(masters=3, settings=HASTY), seconds=200.0)
print(simulate_cluster(7, scenario, digested=True).digest)
"""


def digest_with(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_hash_seeds_do_not_change_the_history() -> None:
    digests = {digest_with(hash_seed) for hash_seed in ("0", "1", "2")}
    assert len(digests) == 1
    assert len(digests.pop()) == 32


def test_a_seed_replays_to_the_letter_and_another_does_not() -> None:
    scenario = Scenario(seconds=100.0)
    first, second, other = (simulate_cluster(seed, scenario, digested=True) for seed in (3, 3, 4))
    assert first == second
    assert first.digest != other.digest


@pytest.mark.parametrize("recorded", [True, False])
def test_looking_does_not_change_what_happens(recorded: bool) -> None:
    from actors.simulation.cluster import Cluster
    from actors.simulation.workloads import Batch

    cluster = Cluster(1, agents=2, digested=True, recorded=recorded, checkers=() if recorded else None)
    cluster.add_framework(Batch(until_seconds=30.0))
    cluster.run(60.0)
    plain = Cluster(1, agents=2, digested=True)
    plain.add_framework(Batch(until_seconds=30.0))
    plain.run(60.0)
    assert cluster.digest() == plain.digest()
