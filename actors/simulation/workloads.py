"""Workloads as data: batch jobs that come by chance or as they were recorded, and services that run for ever."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

REFUSE_SECONDS: Final = 5.0
"""For which an offer that is of no use is refused, unless a workload says otherwise (Mesos's default)."""


class Batch(msgspec.Struct, frozen=True, kw_only=True, tag="batch", forbid_unknown_fields=True):
    """Jobs that come one by one, each a task that ends by itself; a job whose task fails is tried again.

    jobs_per_hour    on average: a Poisson process
    until_seconds    after its start no more jobs come; None: they always do
    task_seconds     of the tasks, on average: exponentially distributed, 1 s at least
    cpus, mem        of the tasks: drawn evenly from these; memory in MiB
    fail_chance      part of the tasks that exit with status 1
    recorded         (seconds after the start, task seconds, cpus, MiB) of each job, in the place of random ones
    refuse_seconds   for which offers are refused that are of no use
    suppresses       whether it wants no offers while nothing waits. In a big cluster a framework that comes back for
                     every job is offered thousands of agents each time: it does better to refuse for long
    """

    name: str = "batch"
    role: str = "*"
    jobs_per_hour: float = 600.0
    until_seconds: float | None = None
    task_seconds: float = 30.0
    cpus: tuple[float, ...] = (0.5, 1.0, 2.0)
    mem: tuple[int, ...] = (128, 512, 1024)
    fail_chance: float = 0.0
    recorded: tuple[tuple[float, float, float, int], ...] = ()
    refuse_seconds: float = REFUSE_SECONDS
    suppresses: bool = True


class Service(msgspec.Struct, frozen=True, kw_only=True, tag="service", forbid_unknown_fields=True):
    """Instances that run for ever; now and then the oldest is killed and replaced, as an upgrade does.

    replace_seconds  between two replacements; None for never
    refuse_seconds, suppresses  as of :class:`Batch`
    """

    name: str = "service"
    role: str = "*"
    instances: int = 5
    cpus: float = 0.5
    mem: int = 256
    replace_seconds: float | None = None
    refuse_seconds: float = REFUSE_SECONDS
    suppresses: bool = True


Workload: TypeAlias = Batch | Service
"""What a framework has to do."""
