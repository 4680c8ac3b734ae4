"""The memory controller: what is protected, what is reclaimed, what kills (cgroup-v2.rst, "Memory")."""

from __future__ import annotations

from typing import Any, Final

from containerizer.cgroups2 import Cgroup, File
from containerizer.errors import ContainerizerError
from containerizer.messages import Limit, Limitation
from containerizer.spec import MIN_MEMORY_BYTES, Limits

CONTROLLER: Final = "memory"
EVENTS: Final = "memory.events"
EVENTS_OF_ITS_OWN: Final = "memory.events.local"


def wants(limits: Limits) -> bool:
    """Whether anything is asked of this controller."""
    return limits.memory_bytes is not None or limits.memory_hard_bytes is not None or limits.swap_bytes is not None


def hard_limit(limits: Limits) -> int | None:
    """`memory.max` in bytes; never less than what a process needs to begin at all."""
    hard = limits.memory_hard_bytes
    return None if hard is None else max(hard, MIN_MEMORY_BYTES)


def files(limits: Limits) -> list[File]:
    """Control files to write: the request first, so that a container is protected before it is pressed.

    `memory.oom.group`: all of a container is killed or nothing; half a container is of no use to anybody.
    """
    hard = hard_limit(limits)
    written: list[File] = [("memory.oom.group", "1")]
    if limits.memory_bytes is not None:
        written.append(("memory.low", str(max(limits.memory_bytes, MIN_MEMORY_BYTES))))
    if limits.swap_bytes is not None:
        written.append(("memory.swap.max", str(limits.swap_bytes)))
    written.append(("memory.high", "max" if limits.memory_high_bytes is None else str(limits.memory_high_bytes)))
    written.append(("memory.max", "max" if hard is None else str(hard)))
    return written


def check_room(cgroup: Cgroup, limits: Limits) -> None:
    """Refuse a hard limit below what is used at present and cannot be reclaimed: the kernel would kill at once.

    Mesos never lowers the limit at all (`cgroups2/controllers/memory.cpp`).
    """
    hard = hard_limit(limits)
    used = cgroup.read_number("memory.current")
    if hard is None or used is None or used <= hard:
        return
    if cgroup.has("memory.reclaim"):
        try:
            cgroup.write("memory.reclaim", str(used - hard))
        except ContainerizerError:
            # It could not reclaim that much: what it could shows in the next line.
            used = cgroup.read_number("memory.current") or used
        used = cgroup.read_number("memory.current") or used
    if used > hard:
        raise ContainerizerError(
            f"the memory limit cannot be lowered to {hard} bytes: {used} are in use, and the container would be killed"
        )


def limitation(cgroup: Cgroup, container_id: str) -> Limitation | None:
    """What to report once the kernel has killed for memory; None if it has not.

    The event file changes for other reasons first (`max`: the limit was hit and reclaim helped), so its counter counts.
    It also counts what befell a nested container by a limit of its own; the local one does not.
    """
    events = cgroup.read_table(EVENTS)
    own = cgroup.read_table(EVENTS_OF_ITS_OWN) or events
    if not events.get("oom_kill") or not (own.get("oom_group_kill") or own.get("oom")):
        return None
    limit = cgroup.read_number("memory.max")
    used = cgroup.read_number("memory.current")
    peak = cgroup.read_number("memory.peak")
    return Limitation(
        container_id=container_id,
        limit=Limit.MEMORY,
        message=f"out of memory: limit {_text(limit)}, peak {_text(peak)}; all its processes were killed",
        limit_value=limit,
        used_value=used,
        peak_value=peak,
        fatal=True,
    )


def usage(cgroup: Cgroup) -> dict[str, Any]:
    """Fields of `ContainerUsage`."""
    stat = cgroup.read_table("memory.stat")
    return {
        "memory_bytes": cgroup.read_number("memory.current"),
        "memory_peak_bytes": cgroup.read_number("memory.peak"),
        "memory_anonymous_bytes": stat.get("anon"),
        "memory_file_bytes": stat.get("file"),
        "swap_bytes": cgroup.read_number("memory.swap.current"),
        "out_of_memory_kills": cgroup.read_table(EVENTS).get("oom_kill"),
    }


def _text(amount: int | None) -> str:
    return "unknown" if amount is None else f"{amount / (1 << 20):.1f} MiB"
