"""What came of a simulation, in figures: shares and use over time, waiting, faults; and how policies compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from actors.simulation.cluster import Cluster
from actors.simulation.faults import Injection


class Sample(msgspec.Struct, frozen=True):
    """One look at a cluster.

    at        virtual seconds since the start
    used      parts of all CPUs and of all memory that tasks use
    shares    dominant share of each framework, 0 to 1, in the order of the frameworks
    waiting   jobs of each that no task runs for
    fairness  Jain's index of the shares of those that wait: 1 when they are equal
    """

    at: float
    used: tuple[float, float]
    shares: tuple[float, ...]
    waiting: tuple[int, ...]
    fairness: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All of a simulation.

    wait_seconds   that a job waited for its launch, on average
    utilisation    mean over time of the larger of the parts of CPUs and memory in use
    fairness       mean and least over time, while at least two frameworks wait
    restarts       processes that ended by themselves and were started again
    wall_seconds   that the simulation took
    """

    seed: int
    policy: str
    agents: int
    frameworks: int
    seconds: float
    turns: int
    came: int
    done: int
    launched: int
    wait_seconds: float
    utilisation: float
    utilisation_most: float
    fairness: float
    fairness_least: float
    faults: dict[str, int]
    restarts: int
    wall_seconds: float
    by_framework: tuple[FrameworkFigures, ...]


class FrameworkFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Of one framework: jobs that came, were done, and waited for a launch; its mean dominant share."""

    name: str
    came: int
    done: int
    waiting: int
    wait_seconds: float
    share: float


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index: 1 for equal values, 1/n when one of n has all (Jain, Chiu, Hawe: DEC-TR-301, 1984)."""
    squares = sum(value * value for value in values)
    return 1.0 if not squares else sum(values) ** 2 / (len(values) * squares)


class Sampler:
    """Looks at a cluster now and then."""

    def __init__(self, cluster: Cluster) -> None:
        """All agents and frameworks are there already."""
        self._cluster = cluster
        self._names = tuple(cluster.framework_names)
        capacity: Counter[str] = Counter()
        for settings in cluster.agent_settings.values():
            capacity.update(settings.resources.scalars())
        self._cpus, self._mem = max(1, capacity["cpus"]), max(1, capacity["mem"])
        self.samples: list[Sample] = []

    def look(self) -> Sample:
        """Take a sample. A scheduler that is down counts as it was last seen, or as nothing."""
        shares, waiting = [], []
        cpus = mem = 0
        last = self.samples[-1] if self.samples else None
        for position, name in enumerate(self._names):
            if not self._cluster.is_up(name):
                shares.append(last.shares[position] if last else 0.0)
                waiting.append(last.waiting[position] if last else 0)
                continue
            state = self._cluster.framework(name)
            cpus, mem = cpus + state.used["cpus"], mem + state.used["mem"]
            shares.append(max(state.used["cpus"] / self._cpus, state.used["mem"] / self._mem))
            waiting.append(len(state.waiting))
        wanting = [share for share, jobs in zip(shares, waiting, strict=True) if jobs]
        sample = Sample(
            self._cluster.elapsed,
            (cpus / self._cpus, mem / self._mem),
            tuple(shares),
            tuple(waiting),
            jain(wanting) if len(wanting) > 1 else 1.0,
        )
        self.samples.append(sample)
        return sample

    def summary(self, injection: Injection, wall_seconds: float) -> Summary:
        """The whole, from the samples taken and the frameworks as they are."""
        cluster, samples = self._cluster, self.samples
        figures = tuple(self._figures(position, name) for position, name in enumerate(self._names))
        states = [cluster.framework(name) for name in self._names if cluster.is_up(name)]
        launched = sum(state.launched for state in states)
        use = [max(sample.used) for sample in samples] or [0.0]
        contended = [sample.fairness for sample in samples if sum(jobs > 0 for jobs in sample.waiting) > 1] or [1.0]
        return Summary(
            seed=cluster.seed,
            policy=cluster.shape.policy,
            agents=len(cluster.agent_names),
            frameworks=len(self._names),
            seconds=cluster.elapsed,
            turns=cluster.watch.turns,
            came=sum(state.came for state in states),
            done=sum(state.done for state in states),
            launched=launched,
            wait_seconds=sum(state.waited_seconds for state in states) / max(1, launched),
            utilisation=sum(use) / len(use),
            utilisation_most=max(use),
            fairness=sum(contended) / len(contended),
            fairness_least=min(contended),
            faults=dict(sorted(Counter(fault.kind.value for fault in injection.done).items())),
            restarts=sum(cluster.failures.values()),
            wall_seconds=wall_seconds,
            by_framework=figures,
        )

    def _figures(self, position: int, name: str) -> FrameworkFigures:
        if not self._cluster.is_up(name):
            return FrameworkFigures(name=name, came=0, done=0, waiting=0, wait_seconds=0.0, share=0.0)
        state = self._cluster.framework(name)
        shares = [sample.shares[position] for sample in self.samples] or [0.0]
        return FrameworkFigures(
            name=state.framework.name,
            came=state.came,
            done=state.done,
            waiting=len(state.waiting),
            wait_seconds=state.waited_seconds / max(1, state.launched),
            share=sum(shares) / len(shares),
        )
