"""One simulation from beginning to end: faults while it works, then none until everything is settled; and shrinking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from actors.master.settings import MasterSettings
from actors.simulation.cluster import Cluster
from actors.simulation.faults import HEAVY, LEVELS, Fault, FaultRates, Injection, Kind, draw
from actors.simulation.shape import ClusterShape
from actors.simulation.violation import Violation
from actors.simulation.workloads import Batch, Service
from runtime.errors import KaonError

DEFAULT_WORKLOADS: Final[tuple[Batch | Service, ...]] = (
    Batch(name="batch", jobs_per_hour=900.0, task_seconds=20.0, fail_chance=0.05),
    Batch(name="big", jobs_per_hour=120.0, task_seconds=60.0, cpus=(2.0, 4.0), mem=(2048, 4096)),
    Service(name="service", instances=6, replace_seconds=45.0),
)
"""Three frameworks: many small jobs, few big ones, and instances that are replaced one by one."""


HASTY: Final = MasterSettings(agent_reregister_seconds=150.0)
"""A master that gives agents up sooner than it should: more happens in ten minutes."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What is simulated: cluster, work, faults, time.

    seconds    of faults; then they stop, and everything must settle
    only       numbers of the faults that are injected; None for all of the schedule
    """

    shape: ClusterShape = ClusterShape(settings=HASTY)
    workloads: tuple[Batch | Service, ...] = DEFAULT_WORKLOADS
    faults: FaultRates = HEAVY
    seconds: float = 600.0
    only: tuple[int, ...] | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a simulation that held.

    turns    of all actors
    digest   of its history; empty if it kept none
    """

    seed: int
    turns: int
    seconds: float
    jobs_done: int
    faults: int
    restarts: int
    digest: str = ""


Prepare = Callable[[Cluster], object]
"""Does something to a cluster before it runs: planted bugs, further checkers."""


def begin(seed: int, scenario: Scenario, *, digested: bool = False, recorded: bool = False) -> Cluster:
    """The cluster and its frameworks; nothing has happened yet."""
    cluster = Cluster(seed, shape=scenario.shape, digested=digested, recorded=recorded, command=command(seed, scenario))
    for workload in scenario.workloads:
        if isinstance(workload, Batch) and workload.until_seconds is None:
            workload = msgspec.structs.replace(workload, until_seconds=scenario.seconds)
        cluster.add_framework(workload)
    return cluster


def schedule(seed: int, scenario: Scenario, cluster: Cluster) -> list[Fault]:
    """The faults of that seed, without those that are left out."""
    faults = draw(scenario.faults, cluster, scenario.seconds, f"{seed}/faults")
    return faults if scenario.only is None else [faults[number] for number in scenario.only if number < len(faults)]


def simulate_cluster(
    seed: int, scenario: Scenario | None = None, *, digested: bool = False, prepare: Prepare | None = None
) -> Outcome:
    """Run one seed. Raises :class:`Violation`, whose context says how to replay it."""
    scenario = scenario or Scenario()
    cluster = begin(seed, scenario, digested=digested)
    if prepare is not None:
        prepare(cluster)
    injection = Injection(cluster, schedule(seed, scenario, cluster), f"{seed}/faults")
    cluster.run(scenario.seconds)
    injection.stop()
    cluster.settle()
    done = sum(cluster.framework(name).done for name in cluster.framework_names)
    return Outcome(
        seed=seed,
        turns=cluster.watch.turns,
        seconds=cluster.elapsed,
        jobs_done=done,
        faults=len(injection.done),
        restarts=sum(cluster.failures.values()),
        digest=cluster.digest() if digested else "",
    )


def violation_of(seed: int, scenario: Scenario, prepare: Prepare | None = None) -> Violation | None:
    """What a seed violates; None if it holds."""
    try:
        simulate_cluster(seed, scenario, prepare=prepare)
    except Violation as violation:
        return violation
    return None


def shrink(
    seed: int,
    scenario: Scenario,
    violation: Violation,
    *,
    prepare: Prepare | None = None,
    limit_runs: int = 60,
    tell: Callable[[str], None] | None = None,
) -> tuple[Scenario, Violation]:
    """Leave out faults for as long as the same rule is still violated: halves first, then smaller parts.

    After Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002 (ddmin), but bounded in runs.
    """
    count = len(schedule(seed, scenario, begin(seed, scenario)))
    kept: Sequence[int] = scenario.only if scenario.only is not None else range(count)
    kept = [number for number in kept if _begins_before(seed, scenario, number, violation.at)]
    size = max(1, len(kept) // 2)
    runs = 0
    while size >= 1 and runs < limit_runs:
        position = 0
        while position < len(kept) and runs < limit_runs:
            fewer = [*kept[:position], *kept[position + size :]]
            tried = msgspec.structs.replace(scenario, only=tuple(fewer))
            found = violation_of(seed, tried, prepare)
            runs += 1
            if found is not None and found.rule == violation.rule:
                kept, violation = fewer, found
                if tell is not None:
                    tell(f"{len(kept)} faults are enough")
            else:
                position += size
        size //= 2
    smallest = msgspec.structs.replace(scenario, only=tuple(kept))
    return smallest, violation_of(seed, smallest, prepare) or violation


def _begins_before(seed: int, scenario: Scenario, number: int, at: float) -> bool:
    everything = msgspec.structs.replace(scenario, only=None)
    return schedule(seed, everything, begin(seed, everything))[number].at <= at


def command(seed: int, scenario: Scenario) -> str:
    """What replays a seed of the default workloads from a shell."""
    parts = [f"kaon simulate --check --seed {seed} --hours {scenario.seconds / 3600:.6g}"]
    parts.append(f"--masters {scenario.shape.masters} --agents {scenario.shape.agents}")
    parts.append(f"--policy {scenario.shape.policy} --faults {level_of(scenario.faults)}")
    if scenario.only is not None:
        parts.append(f"--only-faults {','.join(map(str, scenario.only)) or '-'}")
    return " ".join(parts)


def level_of(rates: FaultRates) -> str:
    """Name of a level of faults, or its rates, as `parse_level` reads them."""
    name = next((name for name, each in LEVELS.items() if each == rates), "")
    return name or ",".join(f"{kind.value}={rates.of(kind):g}" for kind in Kind if rates.of(kind))


def parse_level(text: str) -> FaultRates:
    """``none``, ``light``, ``heavy``, or rates per hour as ``agent_crash=2,partition=0.5``. Raises `KaonError`."""
    if text in LEVELS:
        return LEVELS[text]
    rates: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = part.partition("=")
        try:
            rates[name.strip()] = float(number)
        except ValueError:
            equals = ""
        if not equals:
            raise KaonError(f"{part!r} is no rate: write kind=number, or one of {', '.join(LEVELS)}")
    try:
        return msgspec.convert(rates, FaultRates)
    except msgspec.ValidationError as error:
        raise KaonError(f"--faults {text}: {error}") from None
