"""Pressure stall information: how much work waited for a resource (kernel: `Documentation/accounting/psi.rst`)."""

from __future__ import annotations

from typing import Any

from containerizer.cgroups2 import Cgroup
from containerizer.messages import Pressure


def parse(text: str) -> Pressure:
    """Read ``some avg10=0.00 avg60=0.00 avg300=0.00 total=0`` and the line ``full`` after it."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=") for pair in pairs)
        found[f"{kind}_percent"] = float(values["avg10"])
        found[f"{kind}_seconds"] = int(values["total"]) / 1e6
    return Pressure(**found)


def usage(cgroup: Cgroup, resource: str) -> dict[str, Any]:
    """The field of `ContainerUsage` for ``cpu``, ``memory`` or ``io``; none where the kernel has no such file."""
    text = cgroup.read(f"{resource}.pressure")
    return {f"{resource}_pressure": parse(text)} if text else {}
