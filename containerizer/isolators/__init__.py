"""The isolators there are, and which of them a containerizer uses."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Final

from containerizer.errors import Unsupported
from containerizer.host import Host
from containerizer.isolator import Isolator
from containerizer.isolators.bridge import BridgeNetwork
from containerizer.isolators.capabilities import Capabilities
from containerizer.isolators.cgroups import CGROUPS
from containerizer.isolators.disk import DiskUsage
from containerizer.isolators.disk_quota import DiskQuota
from containerizer.isolators.filesystem import Filesystem, MaskedPaths
from containerizer.isolators.gpu import NvidiaGpus
from containerizer.isolators.namespaces import (
    CgroupNamespace,
    IpcNamespace,
    MountNamespace,
    NetNamespace,
    PidNamespace,
    UserNamespace,
    UtsNamespace,
)
from containerizer.isolators.ports import HostPorts
from containerizer.isolators.posix import Rlimits
from containerizer.isolators.process_usage import ProcessUsage
from containerizer.isolators.seccomp import Seccomp
from containerizer.isolators.volumes import Volumes
from containerizer.messages import Missing
from containerizer.spec import ContainerSpec

KNOWN: Final[tuple[type[Isolator], ...]] = (
    ProcessUsage,
    DiskQuota,
    DiskUsage,
    NvidiaGpus,
    *CGROUPS,
    HostPorts,
    MountNamespace,
    UserNamespace,
    NetNamespace,
    BridgeNetwork,
    Filesystem,
    PidNamespace,
    IpcNamespace,
    UtsNamespace,
    CgroupNamespace,
    Volumes,
    MaskedPaths,
    Rlimits,
    Capabilities,
    Seccomp,
)
"""In the order of their `prepare`: mounts need the namespace they are made in, a root must stand before volumes, and
the list of devices must be complete before a program is made of it."""

_BY_NAME: Final = {cls.name: cls for cls in KNOWN}

ENTRY_POINTS: Final = "kaon.isolators"
"""Group of entry points that name further isolators; they come after ours, in the order in which they are listed."""

AUTO: Final = "auto"
"""Everything that this host can do, but for what has to be named because programs have to expect it."""
ISOLATED: Final = "isolated"
"""The same, and an error if containers cannot have namespaces of their own."""
PLAIN: Final = "plain"
"""Sessions and resource limits of processes: what every Unix has."""

_PLAIN: Final = (ProcessUsage, DiskUsage, Rlimits)
_NAMESPACES: Final = (MountNamespace, PidNamespace, IpcNamespace, UtsNamespace, Filesystem)


def choose(host: Host, isolation: Sequence[str]) -> tuple[list[Isolator], list[Missing]]:
    """Isolators for ``--isolation``: one of the words above, or names of isolators; all that are named are required.

    Returns them in the order of their `prepare`, and what could not be had. Raises :class:`Unsupported` for an unknown
    name and for what is required and cannot be had here.
    """
    words = set(isolation)
    classes = _named(words - {AUTO, ISOLATED, PLAIN})
    required = {cls.name for cls in classes}
    if ISOLATED in words:
        required |= {cls.name for cls in _NAMESPACES}
    if words & {AUTO, ISOLATED}:
        applicable = [cls for cls in KNOWN if (cls.by_default and cls.applies(host)) or cls in classes]
        classes = [*applicable, *(cls for cls in classes if cls not in KNOWN)]
    elif PLAIN in words:
        classes = [*_PLAIN, *(cls for cls in classes if cls not in _PLAIN)]
    chosen: list[Isolator] = []
    missing: list[Missing] = []
    for cls in classes:
        lack = cls.probe(host)
        if lack is None:
            chosen.append(cls(host))
        elif cls.name in required:
            raise Unsupported(f"isolation {cls.name} cannot be had here: {lack.reason}; {lack.mend or 'leave it out'}")
        else:
            missing.append(lack)
    return chosen, missing


def wanted(name: str, spec: ContainerSpec) -> bool:
    """Whether the isolator of that name would have something to do for this container."""
    cls = _BY_NAME.get(name)
    return cls is not None and cls.wants(spec)


def _named(names: set[str]) -> list[type[Isolator]]:
    found = [cls for cls in KNOWN if cls.name in names]
    for name in sorted(names - _BY_NAME.keys()):
        points = entry_points(group=ENTRY_POINTS, name=name)
        if not points:
            words = ", ".join([AUTO, ISOLATED, PLAIN, *_BY_NAME])
            raise Unsupported(
                f"isolation {name!r} is unknown: one or more of {words}, or an entry point {ENTRY_POINTS}"
            )
        found.extend(point.load() for point in points)
    return found
