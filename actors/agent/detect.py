"""What a machine has to offer, found out as Mesos's agent does (`src/slave/containerizer/containerizer.cpp`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import psutil

from actors.agent.constants import DEFAULT_PORTS
from allocator.resources import Resources

_MIB: Final = 1024 * 1024
_GIB_IN_MIB: Final = 1024

_MEMORY_LEFT_MIB: Final = _GIB_IN_MIB
_DISK_LEFT_MIB: Final = 5 * _GIB_IN_MIB
"""For the system and the agent itself; of less than twice that, half is left (Mesos: 1 GB of memory, 5 GB of disk)."""


def detect_resources(given: str, work_directory: str) -> Resources:
    """Resources as `given` in Mesos's text form, and what this machine has of cpus, mem, disk and ports for the rest.

    work_directory  on the disk that is offered
    Raises :class:`allocator.resources.InvalidResources`.
    """
    wanted = Resources.parse(given)
    named = set(wanted.names())
    found = Resources.parse(
        ";".join(
            f"{name}:{amount}"
            for name, amount in (
                ("cpus", str(_cpus())),
                ("mem", str(_left(psutil.virtual_memory().total // _MIB, _MEMORY_LEFT_MIB))),
                ("disk", str(_left(psutil.disk_usage(_existing(work_directory)).total // _MIB, _DISK_LEFT_MIB))),
                ("ports", DEFAULT_PORTS),
            )
            if name not in named
        )
    )
    return wanted + found


def _cpus() -> int:
    """Cores that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return psutil.cpu_count() or 1


def _left(total: int, reserved: int) -> int:
    return total - reserved if total > 2 * reserved else total // 2


def _existing(path: str) -> str:
    """The directory, or the nearest one above it that is there."""
    directory = Path(path).absolute()
    while not directory.exists():
        directory = directory.parent
    return str(directory)
