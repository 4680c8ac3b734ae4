"""What a container uses where no cgroup counts it: sums over its processes (Mesos: `posix/cpu`, `posix/mem`).

Processor time of processes that have ended is known only if the init has buried them, and memory that several share is
counted for each: figures for people, not for limits.
"""

from __future__ import annotations

import os
from typing import Any, Final

from containerizer.isolator import Container, Isolator
from containerizer.processes import descendants_of, read_stat

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

# Fields of /proc/PID/stat, counted from the third (`man 5 proc_pid_stat`).
_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM, _THREADS, _RESIDENT = 11, 12, 13, 14, 17, 21


class ProcessUsage(Isolator):
    """Measures; isolates nothing. First in line, so that cgroups overrule it."""

    name = "posix/usage"

    def usage(self, container: Container) -> dict[str, Any]:
        """Walks the processes below the init."""
        user = system = resident = processes = threads = 0
        init = read_stat(container.process_id)
        if init is not None:
            user, system = int(init[_CHILDREN_USER]), int(init[_CHILDREN_SYSTEM])
        for pid in descendants_of(container.process_id):
            fields = read_stat(pid)
            if fields is None:
                continue
            processes += 1
            threads += int(fields[_THREADS])
            user += int(fields[_USER]) + int(fields[_CHILDREN_USER])
            system += int(fields[_SYSTEM]) + int(fields[_CHILDREN_SYSTEM])
            resident += int(fields[_RESIDENT])
        return {
            "cpu_user_seconds": user / _TICKS,
            "cpu_system_seconds": system / _TICKS,
            "memory_bytes": resident * _PAGE_BYTES,
            "processes": processes,
            "threads": threads,
        }
