"""The cpu controller: a weight against others when cores are short, a ceiling in any case (cgroup-v2.rst, "CPU")."""

from __future__ import annotations

from typing import Any, Final

from containerizer.cgroups2 import Cgroup, File
from containerizer.spec import UNLIMITED, Limits

CONTROLLER: Final = "cpu"

WEIGHT_PER_CPU: Final = 100
"""`cpu.weight` of one requested core; also the kernel's default (Mesos: `cgroups2/controllers/cpu.cpp`)."""

MIN_WEIGHT: Final = 1
MAX_WEIGHT: Final = 10_000

PERIOD_MICROSECONDS: Final = 100_000
"""Over which the ceiling holds; the kernel's default and Mesos's."""

MIN_QUOTA_MICROSECONDS: Final = 1_000
"""Smallest that the kernel takes."""


def wants(limits: Limits) -> bool:
    """Whether anything is asked of this controller."""
    return limits.cpus is not None or limits.cpus_limit is not None


def files(limits: Limits) -> list[File]:
    """Control files to write."""
    written: list[File] = []
    if limits.cpus is not None:
        weight = min(max(round(limits.cpus * WEIGHT_PER_CPU), MIN_WEIGHT), MAX_WEIGHT)
        written.append(("cpu.weight", str(weight)))
    quota = "max"
    if limits.cpus_limit is not None and limits.cpus_limit != UNLIMITED:
        quota = str(max(round(limits.cpus_limit * PERIOD_MICROSECONDS), MIN_QUOTA_MICROSECONDS))
    # A burst larger than its quota is refused, also for the moment between two writes.
    if limits.cpu_burst_seconds is not None:
        written.append(("cpu.max.burst", "0"))
    written.append(("cpu.max", f"{quota} {PERIOD_MICROSECONDS}"))
    if limits.cpu_burst_seconds is not None:
        written.append(("cpu.max.burst", str(round(limits.cpu_burst_seconds * 1e6))))
    return written


def usage(cgroup: Cgroup) -> dict[str, Any]:
    """Fields of `ContainerUsage`, from `cpu.stat`."""
    table = cgroup.read_table("cpu.stat")
    if "usage_usec" not in table:
        return {}
    found: dict[str, Any] = {
        "cpu_user_seconds": table["user_usec"] / 1e6,
        "cpu_system_seconds": table["system_usec"] / 1e6,
    }
    if "nr_periods" in table:
        found["cpu_periods"] = table["nr_periods"]
        found["cpu_throttled_periods"] = table["nr_throttled"]
        found["cpu_throttled_seconds"] = table["throttled_usec"] / 1e6
    return found
