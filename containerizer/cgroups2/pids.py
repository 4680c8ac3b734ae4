"""The pids controller: how many processes and threads (cgroup-v2.rst, "PID")."""

from __future__ import annotations

from typing import Any, Final

from containerizer.cgroups2 import Cgroup, File
from containerizer.messages import Limit, Limitation
from containerizer.spec import Limits

CONTROLLER: Final = "pids"
EVENTS: Final = "pids.events"

INIT_PROCESSES: Final = 1
"""A container's own init is in its cgroup; it is not counted against what was asked for."""


def wants(limits: Limits) -> bool:
    """Whether anything is asked of this controller."""
    return limits.pids is not None


def files(limits: Limits) -> list[File]:
    """Control files to write."""
    return [("pids.max", "max" if limits.pids is None else str(limits.pids + INIT_PROCESSES))]


def limitation(cgroup: Cgroup, container_id: str) -> Limitation | None:
    """What to report once a fork was refused; None if none was. The container goes on."""
    if not cgroup.read_table(EVENTS).get("max"):
        return None
    limit = cgroup.read_number("pids.max")
    used = cgroup.read_number("pids.current")
    allowed = None if limit is None else limit - INIT_PROCESSES
    return Limitation(
        container_id=container_id,
        limit=Limit.PIDS,
        message=f"a process or thread was refused: {allowed} are allowed",
        limit_value=allowed,
        used_value=None if used is None else max(used - INIT_PROCESSES, 0),
        peak_value=cgroup.read_number("pids.peak"),
    )


def usage(cgroup: Cgroup) -> dict[str, Any]:
    """Fields of `ContainerUsage`; the controller counts threads."""
    current = cgroup.read_number("pids.current")
    return {} if current is None else {"threads": max(current - INIT_PROCESSES, 0)}
