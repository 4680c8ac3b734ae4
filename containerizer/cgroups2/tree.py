"""Where on this machine containers may have cgroups, and what of that is whose."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import msgspec

from containerizer.cgroups2 import Cgroup
from containerizer.errors import KernelError


class Tree(msgspec.Struct, frozen=True):
    """A cgroup below which containers get theirs, or why there is none.

    path         of the cgroup; empty for none
    controllers  enabled for containers
    reason, mend for people
    """

    path: str = ""
    controllers: tuple[str, ...] = ()
    reason: str = ""
    mend: str = ""


_ASIDE = "kaon-daemons"
"""Where processes of a delegated cgroup go, because one that has controllers for its children may have none itself."""

_MEND = "boot with systemd.unified_cgroup_hierarchy=1, or run below a delegated cgroup v2 (systemd: Delegate=yes)"


def find(wanted: str, runtime_directory: str) -> Tree:
    """Find or make the tree. `wanted` is a cgroup's directory, empty for the one that this process is in.

    Its name has the runtime directory in it, so that several agents on a machine keep out of one another's way and a
    containerizer finds its own again.
    """
    found = look(wanted)
    if not found.path:
        return found
    own = Cgroup(Path(found.path))
    digest = hashlib.sha256(os.fsencode(runtime_directory)).hexdigest()[:8]
    tree = Cgroup(own.path / f"kaon-{digest}")
    try:
        _enable(own, found.controllers)
        tree.make()
        tree.enable(found.controllers)
    except KernelError as error:
        return Tree(reason=str(error), mend=_MEND)
    return Tree(path=str(tree.path), controllers=found.controllers)


def look(wanted: str = "") -> Tree:
    """The cgroup below which `find` would make the tree, or why it could not. Changes nothing."""
    base = Path(wanted) if wanted else _own()
    if base is None or not (base / "cgroup.controllers").exists():
        return Tree(reason=f"no cgroup v2 is mounted{f' at {wanted}' if wanted else ''}", mend=_MEND)
    controllers = tuple(Cgroup(base).read("cgroup.controllers").split())
    if not {"cpu", "memory", "pids"} <= set(controllers):
        names = ", ".join(controllers) or "none"
        return Tree(reason=f"{base} has not the controllers cpu, memory and pids (has {names})", mend=_MEND)
    if not os.access(base, os.W_OK):
        return Tree(reason=f"{base} belongs to another user", mend=_MEND)
    return Tree(path=str(base), controllers=controllers)


def _enable(base: Cgroup, controllers: tuple[str, ...]) -> None:
    """Enable controllers below `base`; in a delegated one, processes move out of the way first."""
    try:
        base.enable(controllers)
    except KernelError as error:
        if error.number != errno.EBUSY or not _is_delegated(base.path):
            raise
        aside = base.child(_ASIDE)
        aside.make()
        for pid in base.read("cgroup.procs").split():
            try:
                aside.write("cgroup.procs", pid)
            except KernelError as problem:
                # It has ended meanwhile.
                if problem.number != errno.ESRCH:
                    raise
        base.enable(controllers)


def _is_delegated(path: Path) -> bool:
    """Whether all that is below has been left to us.

    To a user who is not root by making the directory his (cgroup-v2.rst, "Model of Delegation"); to root, who may write
    everywhere, by an attribute that systemd sets (`man 5 systemd.resource-control`, Delegate=).
    """
    try:
        if os.geteuid() != 0 and path.stat().st_uid == os.geteuid():
            return True
        return os.getxattr(path, "user.delegate") == b"1"
    except OSError:
        return False


def _own() -> Path | None:
    """The directory of this process's cgroup v2 (`man 7 cgroups`)."""
    mount = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            mount = (before.split()[3], before.split()[4])
            break
    if mount is None:
        return None
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            inside = line[3:].removesuffix(" (deleted)")
            root, point = mount
            relative = inside.removeprefix(root.rstrip("/")).lstrip("/")
            path = Path(point) / relative
            return path.parent if path.name == _ASIDE else path
    return None
