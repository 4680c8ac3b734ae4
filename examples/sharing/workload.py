"""The work: four groups of users whose demands differ in kind and come at different times.

Whoever owns a partition of the cluster finds it idle between bursts and too small within them; that is what sharing is
about (Hindman et al.: Mesos, NSDI 2011, section 6). Everything is drawn from one seed.
"""

from __future__ import annotations

import random

import msgspec

from allocator.resources import Resources


class Group(msgspec.Struct, frozen=True):
    """Users of one framework in a role of their own.

    task           what one task needs
    seconds        how long one takes, on average
    burst_tasks    tasks in a burst
    period_seconds from one burst to the next
    phase_seconds  when the first one comes
    priority       under strict priority
    """

    name: str
    task: Resources
    seconds: float
    burst_tasks: int
    period_seconds: float
    phase_seconds: float
    priority: int = 0


GROUPS = (
    Group("analytics", Resources.scalar_only(cpus=2, mem=1024), 30, 200, 240, 0),
    Group("search", Resources.scalar_only(cpus=0.5, mem=2048), 60, 120, 240, 60, priority=2),
    Group("builds", Resources.scalar_only(cpus=1, mem=512), 20, 360, 240, 120),
    Group("reports", Resources.scalar_only(cpus=1, mem=2048), 40, 60, 240, 180, priority=1),
)


class Arrival(msgspec.Struct, frozen=True):
    """A task that is wanted from some second on."""

    at: float
    group: Group
    seconds: float


def arrivals(horizon_seconds: float, seed: int) -> list[Arrival]:
    """All tasks up to the horizon, in order of time. The sizes of bursts and the durations of tasks vary."""
    chance = random.Random(seed)
    found: list[Arrival] = []
    for group in GROUPS:
        begin = group.phase_seconds
        while begin < horizon_seconds:
            for _ in range(round(group.burst_tasks * chance.uniform(0.6, 1.4))):
                at = begin + chance.uniform(0, 20)
                found.append(Arrival(at, group, chance.expovariate(1 / group.seconds)))
            begin += group.period_seconds
    return sorted((arrival for arrival in found if arrival.at < horizon_seconds), key=lambda arrival: arrival.at)
