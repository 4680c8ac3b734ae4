"""The cpuset controller: which cores and memory nodes (cgroup-v2.rst, "Cpuset")."""

from __future__ import annotations

from typing import Final

from containerizer.cgroups2 import File
from containerizer.spec import Limits

CONTROLLER: Final = "cpuset"


def wants(limits: Limits) -> bool:
    """Whether anything is asked of this controller."""
    return bool(limits.cpuset_cpus or limits.cpuset_memory_nodes)


def files(limits: Limits) -> list[File]:
    """Control files to write; an empty one takes what the parent has."""
    return [("cpuset.cpus", limits.cpuset_cpus or "\n"), ("cpuset.mems", limits.cpuset_memory_nodes or "\n")]
