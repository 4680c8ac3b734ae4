"""The io controller: bytes per second of one disk, and a weight where the kernel has it (cgroup-v2.rst, "IO")."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from containerizer.cgroups2 import Cgroup, File
from containerizer.errors import Unsupported
from containerizer.spec import Limits

CONTROLLER: Final = "io"


def wants(limits: Limits) -> bool:
    """Whether anything is asked of this controller."""
    return any((limits.io_read_bytes_per_second, limits.io_write_bytes_per_second, limits.io_weight))


def disk_of(path: str) -> str:
    """``major:minor`` of the disk that a file is on: limits are for whole disks, not partitions.

    Raises :class:`Unsupported` for files that are on none (memory, network, overlays).
    """
    number = Path(path).stat().st_dev
    entry = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not entry.exists():
        raise Unsupported(f"io limits: {path} is on no disk of this machine (device {os.major(number)})")
    entry = entry.resolve()
    if (entry / "partition").exists():
        entry = entry.parent
    return (entry / "dev").read_text().strip()


def files(limits: Limits, disk: str) -> list[File]:
    """Control files to write for a disk named ``major:minor``."""
    read = limits.io_read_bytes_per_second
    write = limits.io_write_bytes_per_second
    written: list[File] = []
    if disk:
        written.append(("io.max", f"{disk} rbps={read or 'max'} wbps={write or 'max'}"))
    if limits.io_weight is not None:
        written.append(("io.weight", f"default {limits.io_weight}"))
    return written


def usage(cgroup: Cgroup) -> dict[str, Any]:
    """Fields of `ContainerUsage`: sums over all disks, from lines like ``8:0 rbytes=1 wbytes=2 rios=3``."""
    totals = {"rbytes": 0, "wbytes": 0}
    text = cgroup.read("io.stat")
    for line in text.splitlines():
        for pair in line.split()[1:]:
            key, _, value = pair.partition("=")
            if key in totals:
                totals[key] += int(value)
    return {"io_read_bytes": totals["rbytes"], "io_write_bytes": totals["wbytes"]}
