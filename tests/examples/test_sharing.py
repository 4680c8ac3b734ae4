"""Static partitions against sharing: the example runs, repeats itself, and shows what it is there to show."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from allocator.drf import DRF
from allocator.priority import StrictPriority
from examples.sharing.__main__ import table
from examples.sharing.plot import smoothed
from examples.sharing.simulation import Outcome, simulate
from examples.sharing.workload import GROUPS, arrivals

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300


def outcome(policy: type[DRF | StrictPriority], *, partitioned: bool, seed: int = 7) -> Outcome:
    work = arrivals(SECONDS, seed)
    return simulate(policy.name, policy(), work, SECONDS, seed, partitioned=partitioned)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sharing_finishes_more_and_uses_more_than_partitions(seed: int) -> None:
    static, shared = (outcome(DRF, partitioned=partitioned, seed=seed) for partitioned in (True, False))
    assert shared.throughput > static.throughput
    assert shared.mean_utilisation > static.mean_utilisation
    assert max(shared.utilisation) <= 1.0


def test_strict_priority_serves_the_highest_first() -> None:
    fair, strict = outcome(DRF, partitioned=False), outcome(StrictPriority, partitioned=False)
    highest = max(GROUPS, key=lambda group: group.priority).name
    assert strict.wait(highest) <= fair.wait(highest)


def test_the_same_seed_gives_the_same_history() -> None:
    assert outcome(DRF, partitioned=False) == outcome(DRF, partitioned=False)


def test_the_table_says_by_how_much() -> None:
    static = Outcome("static partitions", {group.name: [50.0] * 10 for group in GROUPS}, [0.4, 0.6])
    shared = Outcome("drf", {group.name: [20.0] * 15 for group in GROUPS}, [0.6, 0.9])
    last = table([static, shared]).splitlines()[-1]
    assert "finishes 50% more tasks" in last
    assert "with 50% more of the cluster in use" in last
    assert "takes 20 s instead of 50 s" in last


def test_a_moving_mean() -> None:
    assert smoothed([1.0, 0.0, 1.0, 1.0], 2) == [1.0, 0.5, 0.5, 1.0]


def test_it_runs_from_the_command_line_and_draws(tmp_path: Path) -> None:
    picture = tmp_path / "sharing.svg"
    command = [sys.executable, "-m", "examples.sharing", "--seconds", "90", "--plot", str(picture)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "Sharing by drf finishes" in done.stdout
    lines = ET.parse(picture).getroot().findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 5


def test_too_short_a_time_is_refused() -> None:
    command = [sys.executable, "-m", "examples.sharing", "--seconds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert "--seconds must be 60 at least" in done.stderr
