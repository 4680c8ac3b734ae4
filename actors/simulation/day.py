"""A day of a big cluster: frameworks of many kinds, whichever policy shares it out, or a fixed part for each."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from actors.simulation.cluster import Cluster
from actors.simulation.faults import NONE, FaultRates, Injection, draw
from actors.simulation.shape import ClusterShape
from actors.simulation.summary import Sample, Sampler, Summary
from actors.simulation.watching import Checker
from actors.simulation.workloads import Batch, Service

STATIC: Final = "static"
"""In the place of a policy: each framework has the same number of agents for itself, as before there was Mesos."""

CPUS: Final = 8
MEM: Final = 32_768
"""Of each agent: cores and MiB."""

SAMPLES: Final = 288
"""In the time of a simulation: one every five minutes of a day."""

OFFERS_PER_SECOND: Final = 100.0
"""That frameworks without work together refuse; bounds what a big cluster talks about nothing."""

FEW_AGENTS: Final = 20
"""Up to so many, each containerizer has a node of its own, and frameworks without work want no offers."""

TASK_SECONDS: Final = 1_200.0
SERVICE_PART: Final = 4
"""One framework of so many runs services, and gets that part of the load."""

Progress = Callable[[float], None]
"""Told how many virtual seconds have passed."""


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """What is simulated.

    load       of the cluster's CPUs that all work together would use if nothing waited; above 1 they compete
    workloads  in the place of those made up from `frameworks` and `load`
    """

    agents: int = 100
    frameworks: int = 10
    masters: int = 1
    hours: float = 1.0
    load: float = 0.8
    faults: FaultRates = NONE
    policy: str = "drf"
    seed: int = 0
    workloads: tuple[Batch | Service, ...] = ()


def workloads_of(day: Day) -> tuple[Batch | Service, ...]:
    """Frameworks of very different sizes: batch work that grows from one to the next, and a few services."""
    refuse = max(5.0, day.agents * day.frameworks / OFFERS_PER_SECOND)
    suppresses = day.agents <= FEW_AGENTS
    found = day.workloads or _made_up(day)
    return tuple(msgspec.structs.replace(each, refuse_seconds=refuse, suppresses=suppresses) for each in found)


def _made_up(day: Day) -> list[Batch | Service]:
    cpus = day.agents * CPUS * day.load
    services = day.frameworks // SERVICE_PART
    batches = day.frameworks - services
    weights = [1.0 + number for number in range(batches)]
    kinds = ((0.5, 1.0, 2.0), (1.0, 2.0, 4.0), (0.25, 0.5))
    found: list[Batch | Service] = []
    for number, weight in enumerate(weights):
        sizes = kinds[number % len(kinds)]
        part = cpus * (1.0 - services / day.frameworks) * weight / sum(weights)
        rate = part / (sum(sizes) / len(sizes)) / TASK_SECONDS * 3600.0
        mem = (512, 1024, 2048) if number % 2 else (2048, 4096, 8192)
        name = f"batch{number + 1}"
        found.append(Batch(name=name, role=name, jobs_per_hour=rate, task_seconds=TASK_SECONDS, cpus=sizes, mem=mem))
    for number in range(services):
        name = f"service{number + 1}"
        instances = max(1, round(cpus / day.frameworks))
        found.append(Service(name=name, role=name, instances=instances, cpus=1.0, replace_seconds=300.0))
    return found


def cluster_of(
    day: Day, workloads: Sequence[Batch | Service], checkers: Sequence[type[Checker]] | None = None
) -> Cluster:
    """The cluster, with nothing on it yet. checkers: None for all."""
    shared = f"cpus:{CPUS};mem:{MEM};disk:1048576;ports:[31000-32000]"
    kinds: tuple[str, ...] = (shared,)
    if day.policy == STATIC:
        kinds = tuple(f"cpus({each.role}):{CPUS};mem({each.role}):{MEM}" for each in workloads)
    shape = ClusterShape(
        masters=day.masters,
        agents=day.agents,
        resources=kinds,
        together=day.agents > FEW_AGENTS,
        policy="drf" if day.policy == STATIC else day.policy,
        priorities=tuple((each.role, len(workloads) - number) for number, each in enumerate(workloads)),
    )
    command = f"kaon simulate --seed {day.seed} --agents {day.agents} --frameworks {day.frameworks}"
    command += f" --hours {day.hours:g} --load {day.load:g} --masters {day.masters} --policy {day.policy}"
    return Cluster(day.seed, shape=shape, checkers=checkers, recorded=False, command=command)


def simulate_day(day: Day, progress: Progress = lambda seconds: None) -> tuple[Summary, list[Sample]]:
    """Run it. Raises :class:`actors.simulation.violation.Violation` when an invariant breaks."""
    workloads = workloads_of(day)
    seconds = day.hours * 3600.0
    began = time.perf_counter()
    with few_collections():
        cluster = cluster_of(day, workloads)
        for workload in workloads:
            cluster.add_framework(workload)
        injection = Injection(cluster, draw(day.faults, cluster, seconds, f"{day.seed}/faults"), f"{day.seed}/faults")
        sampler = Sampler(cluster)
        for _ in range(SAMPLES):
            cluster.run(seconds / SAMPLES)
            sampler.look()
            progress(cluster.elapsed)
    summary = sampler.summary(injection, time.perf_counter() - began)
    return msgspec.structs.replace(summary, policy=day.policy), sampler.samples


@contextmanager
def few_collections() -> Iterator[None]:
    """Let the garbage collector look seldom: a simulation makes little garbage in cycles, and has much to look at."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
