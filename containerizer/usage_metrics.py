"""What containers use and may use, as families of Prometheus metrics with a label for the container.

Only what is known has a sample: a host without cgroups tells less, and so does a container without limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from containerizer.messages import ContainerUsage

_Figure = Callable[[ContainerUsage], float | int | None]

COUNTERS: Final[tuple[tuple[str, str, _Figure], ...]] = (
    ("cpu_user_seconds", "Processor time in programs.", lambda usage: usage.cpu_user_seconds),
    ("cpu_system_seconds", "Processor time in the kernel.", lambda usage: usage.cpu_system_seconds),
    ("cpu_periods", "Periods of the hard limit of cpus.", lambda usage: usage.cpu_periods),
    ("cpu_throttled_periods", "Those in which it was hit.", lambda usage: usage.cpu_throttled_periods),
    ("cpu_throttled_seconds", "Time for which it kept processes waiting.", lambda usage: usage.cpu_throttled_seconds),
    ("out_of_memory_kills", "Processes killed for memory.", lambda usage: usage.out_of_memory_kills),
    ("io_read_bytes", "Read from disks.", lambda usage: usage.io_read_bytes),
    ("io_write_bytes", "Written to disks.", lambda usage: usage.io_write_bytes),
)
"""Name, meaning and figure; ``kaon_container_<name>_total``, labelled ``container``."""

GAUGES: Final[tuple[tuple[str, str, _Figure], ...]] = (
    ("memory_bytes", "Memory in use, page cache included.", lambda usage: usage.memory_bytes),
    ("memory_peak_bytes", "The most it was.", lambda usage: usage.memory_peak_bytes),
    ("memory_anonymous_bytes", "Memory that is no file's.", lambda usage: usage.memory_anonymous_bytes),
    ("memory_file_bytes", "Page cache.", lambda usage: usage.memory_file_bytes),
    ("swap_bytes", "Swap in use.", lambda usage: usage.swap_bytes),
    ("processes", "Processes.", lambda usage: usage.processes),
    ("threads", "Threads.", lambda usage: usage.threads),
    ("disk_bytes", "Files in the sandbox.", lambda usage: usage.disk_bytes),
    ("requested_cpus", "Requested, in cores.", lambda usage: usage.limits.cpus),
    ("limit_cpus", "Hard limit, in cores.", lambda usage: usage.limits.cpus_limit),
    ("limit_memory_bytes", "Hard limit.", lambda usage: usage.limits.memory_hard_bytes),
    ("limit_pids", "Most processes and threads.", lambda usage: usage.limits.pids),
    ("limit_disk_bytes", "Most bytes in the sandbox.", lambda usage: usage.limits.disk_bytes),
)
"""The same, without ``_total``."""


def families(usages: Sequence[ContainerUsage]) -> Iterator[Metric]:
    """All families, whatever runs: who reads them finds each of them each time."""
    for name, meaning, figure in COUNTERS:
        counter = CounterMetricFamily(f"kaon_container_{name}", meaning, labels=["container"])
        _fill(counter, usages, figure)
        yield counter
    for name, meaning, figure in GAUGES:
        gauge = GaugeMetricFamily(f"kaon_container_{name}", meaning, labels=["container"])
        _fill(gauge, usages, figure)
        yield gauge
    yield _pressure(usages)


def _fill(family: CounterMetricFamily | GaugeMetricFamily, usages: Sequence[ContainerUsage], figure: _Figure) -> None:
    for usage in usages:
        value = figure(usage)
        if value is not None:
            family.add_metric([usage.container_id], value)


def _pressure(usages: Sequence[ContainerUsage]) -> CounterMetricFamily:
    """Where the kernel keeps it (`accounting/psi.rst`)."""
    family = CounterMetricFamily(
        "kaon_container_pressure_seconds",
        "Time for which processes waited for a resource: some of them, or all.",
        labels=["container", "resource", "who"],
    )
    for usage in usages:
        by_resource = {"cpu": usage.cpu_pressure, "memory": usage.memory_pressure, "io": usage.io_pressure}
        for resource, pressure in by_resource.items():
            if pressure is not None:
                family.add_metric([usage.container_id, resource, "some"], pressure.some_seconds)
                family.add_metric([usage.container_id, resource, "all"], pressure.full_seconds)
    return family
