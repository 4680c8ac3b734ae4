"""What a container sees of files (Mesos: `filesystem/linux`).

Three ways: the host's own tree, with what is none of its business covered; the same, read-only; or a root file system
of its own, over which its changes lie in an overlay that goes with it. In each it sees its sandbox, a /dev with a few
harmless devices, and a /proc and /sys in which nothing of the host can be changed.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from containerizer import held, linux
from containerizer.errors import InvalidSpec
from containerizer.host import Host
from containerizer.images import unpack
from containerizer.isolator import Container, Isolator
from containerizer.isolators.namespaces import MountNamespace
from containerizer.messages import Missing
from containerizer.plan import LaunchPlan, Step
from containerizer.records import ROOT, STAGE
from containerizer.spec import Namespace, RootKind

_NO_SET_UID: Final = linux.MS_NOSUID

SCRATCH: Final = ("/tmp", "/var/tmp")  # noqa: S108  private ones are what this is about
"""Directories that everybody may write: on a read-only host each container has its own."""

DEVICES: Final = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
"""Name, major and minor number (`Documentation/admin-guide/devices.txt`)."""

DEVICE_LINKS: Final = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
)

MASKED: Final = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"),
    *("/sys/devices/virtual/powercap", "/sys/firmware"),
)
LOCKED: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""What Docker and Podman mask and lock (`moby/oci/defaults.go`)."""

SERVICES: Final = ("/run/containerd", "/run/crio", "/run/docker.sock", "/run/podman")
"""Ways to start containers that are not bound by anything here; covered where the host's tree is seen."""

CGROUPS: Final = "/sys/fs/cgroup"

NETWORK_FILES: Final = ("/etc/hosts", "/etc/resolv.conf")
"""Of the host, where its network is shared."""


class Filesystem(Isolator):
    """Builds the tree; the mounts of other namespaces come into it after this."""

    name = "filesystem/linux"

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """It needs mounts that stay inside."""
        lack = MountNamespace.probe(host)
        return None if lack is None else Missing(what=cls.name, reason=lack.reason, mend=lack.mend)

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """The tree, by the kind of root that is wanted."""
        kind = container.spec.root.kind
        if Namespace.MOUNT not in plan.namespaces:
            if kind is not RootKind.HOST:
                raise InvalidSpec(f"a {kind.value} root needs a mount namespace: do not leave it out of namespaces")
            return
        stage = _stage(container)
        held.make_directory(stage, 0o711, may_exist=True)
        own_root = kind in {RootKind.DIRECTORY, RootKind.ARCHIVE}
        if container.spec.volumes or _has_own_sys(plan) or (own_root and not container.spec.root.read_only):
            held.make_directory(container.directory, 0o711, may_exist=True)
        if own_root:
            await self._own_root(container, plan)
        else:
            self._host_root(container, plan)
        plan.mounts.extend(_devices(container, plan))

    def _host_root(self, container: Container, plan: LaunchPlan) -> None:
        read_only = container.spec.root.kind is RootKind.HOST_READ_ONLY
        sandbox = container.spec.sandbox
        own = [str(path) for path in (_stage(container), container.directory) if path.exists()]
        for directory in self.host.hidden:
            plan.mounts.append(_cover(directory, "mode=755,size=64k", (sandbox,), locked=True))
        plan.mounts.append(_cover(str(container.directory.parent), "mode=711,size=64k", (sandbox, *own)))
        if read_only:
            plan.mounts.append(("lock_all", "/"))
            for directory in SCRATCH:
                if Path(directory).is_dir() and not Path(directory).is_symlink():
                    keep = (sandbox, *own)
                    plan.mounts.append(_cover(directory, "mode=1777", keep))
            plan.mounts.append(("bind", "", sandbox, "", sandbox, False))
            plan.mounts.append(("unlock", sandbox))
        plan.mounts.extend(("mask", path) for path in SERVICES)
        if _has_own_sys(plan):
            plan.mounts.extend(_own_sys(container, plan))
        plan.mounts.extend(_show(source, "", target) for source, target in plan.shown if source != target)

    async def _own_root(self, container: Container, plan: LaunchPlan) -> None:
        spec = container.spec
        source = spec.root.path
        if spec.root.kind is RootKind.ARCHIVE:
            source = str(await unpack(Path(source), Path(self.host.images_directory)))
        elif not Path(source).is_dir():
            raise InvalidSpec(f"root.path {source} is no directory of this host")
        plan.root = str(container.directory.parent / ROOT)
        held.make_directory(plan.root, 0o711, may_exist=True)
        if spec.root.read_only:
            plan.mounts.append(("bind", "", source, "", plan.root, True))
        else:
            plan.mounts.append(_overlay(source, container.directory, plan))
        if Namespace.PID not in plan.namespaces:
            plan.mounts.append(("bind", "", "/proc", plan.root, "/proc", False))
        if _has_own_sys(plan):
            plan.mounts.extend(_own_sys(container, plan))
        else:
            plan.mounts.append(("bind", "", "/sys", plan.root, "/sys", True))
        shown = [*plan.shown]
        if Namespace.NET not in plan.namespaces:
            shown.extend((str(Path(path).resolve()), path) for path in NETWORK_FILES if Path(path).exists())
        plan.sandbox = spec.sandbox_inside
        plan.mounts.append(("bind", "", spec.sandbox, plan.root, spec.sandbox_inside, False))
        # A root that is read-only has a place for it, or none can be made.
        fitting = [(file, place) for file, place in shown if not spec.root.read_only or Path(source + place).exists()]
        plan.mounts.extend(_show(file, plan.root, place) for file, place in fitting)

    async def cleanup(self, container: Container) -> None:
        """Mounts were the container's own and are gone with it; files are not."""
        if container.directory.exists():
            shutil.rmtree(container.directory)


class MaskedPaths(Isolator):
    """Covers and locks what in /proc and /sys would let out, after both have been mounted."""

    name = "linux/masked_paths"

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """It needs mounts that stay inside."""
        lack = MountNamespace.probe(host)
        return None if lack is None else Missing(what=cls.name, reason=lack.reason, mend=lack.mend)

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """A container that was given CAP_SYS_ADMIN could undo it, and was given it."""
        if Namespace.MOUNT in plan.namespaces:
            if not plan.root:
                # In a root of its own it was bound read-only.
                plan.mounts.append(("lock", "/sys"))
            plan.mounts.extend(("lock", plan.inside(path)) for path in LOCKED)
            plan.mounts.extend(("mask", plan.inside(path)) for path in MASKED)


def _has_own_sys(plan: LaunchPlan) -> bool:
    """Whether it sees interfaces of its own in /sys: one shows those of the network that it was mounted in. In a user
    namespace the kernel allows none beside the host's, of which parts are covered (`mount_too_revealing`)."""
    return Namespace.NET in plan.namespaces and Namespace.USER not in plan.namespaces


def _own_sys(container: Container, plan: LaunchPlan) -> Iterable[Step]:
    """Steps that put it in place, with the host's cgroups, by which programs find out what they may use."""
    built = container.directory / "sys"
    built.mkdir(exist_ok=True)
    flags = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    yield ("mount", "sys", str(built), "sysfs", flags, None)
    if Path(CGROUPS).is_dir():
        yield ("bind", "", CGROUPS, str(built), CGROUPS.removeprefix("/sys"), True)
    yield ("bind", "", str(built), plan.root, "/sys", True)
    yield ("unmount", str(built), linux.MNT_DETACH)


def _show(file: str, root: str, place: str) -> Step:
    """The step that puts a file of the host in the place of one of the container's."""
    return ("bind", "", file, root, place, True)


def _cover(directory: str, options: str, keep: Iterable[str], *, locked: bool = False) -> Step:
    """The step that puts an empty file system over `directory`; those of `keep` that are below it stay in sight."""
    below = [path for path in keep if PurePosixPath(path).is_relative_to(directory)]
    return ("cover", directory, options, below, locked)


def _devices(container: Container, plan: LaunchPlan) -> Iterable[Step]:
    """Steps that build a /dev beside the old one, whose nodes a user namespace must borrow, and put it in place."""
    if PurePosixPath(container.spec.sandbox).is_relative_to("/dev"):
        return
    built = str(_stage(container))
    yield ("mount", "dev", built, "tmpfs", _NO_SET_UID | linux.MS_NOEXEC, "mode=755,size=64k")
    for name, major, minor in (*DEVICES, *plan.devices):
        if Namespace.USER in plan.namespaces | plan.joined:
            yield ("bind", "", f"/dev/{name}", built, f"/{name}", False)
        else:
            yield ("make_device", f"{built}/{name}", stat.S_IFCHR | 0o666, major, minor)
    for target, name in DEVICE_LINKS:
        yield ("make_link", target, f"{built}/{name}")
    for name in ("pts", "shm", "mqueue"):
        yield ("make_directory", f"{built}/{name}", 0o755)
    yield ("mount", "devpts", f"{built}/pts", "devpts", _NO_SET_UID | linux.MS_NOEXEC, "newinstance,ptmxmode=0666")
    yield ("bind", "", built, plan.root, "/dev", False)


def _stage(container: Container) -> Path:
    """Where a /dev is put together: one place for all, for each container mounts on it what only that one sees."""
    return container.directory.parent / STAGE


def _overlay(lower: str, directory: Path, plan: LaunchPlan) -> Step:
    """The step that mounts it; its upper layer is in the container's own directory."""
    upper, work = directory / "upper", directory / "work"
    for text in (lower, str(directory)):
        if set(text) & set(",:\\"):
            raise InvalidSpec(f"root.path {lower}: the kernel's overlay options allow no ',', ':' or '\\' in {text}")
    upper.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    for path in (upper, work):
        if os.geteuid() == 0:
            os.chown(path, plan.first_id, plan.first_id)
    upper.chmod(Path(lower).stat().st_mode & 0o7777)
    return ("mount", "overlay", plan.root, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")
