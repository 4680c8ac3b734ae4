"""Isolators that are controllers of cgroup v2; the files that they write are in :mod:`containerizer.cgroups2`.

`cgroups/core` makes and removes the cgroup and comes first; the others write to it. Names are those of Mesos, of which
``cgroups/blkio`` is ``io`` to the kernel and ``cgroups/mem`` ``memory``.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
from pathlib import Path
from typing import Any, ClassVar

from containerizer import held
from containerizer.cgroups2 import Cgroup, File, cpu, cpuset, devices, hugetlb, io, memory, pids, pressure
from containerizer.cgroups2.event_files import EventFiles
from containerizer.errors import KernelError
from containerizer.host import Host
from containerizer.isolator import Container, Isolator, Report
from containerizer.messages import Limitation, Missing
from containerizer.plan import LaunchPlan
from containerizer.spec import ContainerSpec, Limits

_log = logging.getLogger(__name__)


class CgroupIsolator(Isolator):
    """Base: finds a container's cgroup."""

    controller: ClassVar[str] = ""

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """Its controller must be enabled where containers have their cgroups."""
        tree = host.cgroups
        if not tree.path:
            return Missing(what=cls.name, reason=tree.reason, mend=tree.mend)
        if cls.controller and cls.controller not in tree.controllers:
            return Missing(what=cls.name, reason=f"the controller {cls.controller} is not available in {tree.path}")
        return None

    def cgroup(self, container: Container) -> Cgroup:
        """Its own, or the one that it shares with its parent."""
        return _cgroup_of(self.host.cgroups.path, container.id)


class Core(CgroupIsolator):
    """The cgroup itself: made before there is a process, killed as one, removed when all are gone."""

    name = "cgroups/core"

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """The init is born in the leaf."""
        cgroup = self.cgroup(container)
        cgroup.make()
        if container.parent is not None and not container.spec.shares_limits:
            self.cgroup(container.parent).enable(self.host.cgroups.controllers)
        cgroup.leaf.make()
        plan.cgroup = str(cgroup.leaf.path)

    def kill(self, container: Container) -> bool:
        """`cgroup.kill`, where the kernel has it."""
        cgroup = self.cgroup(container)
        if not cgroup.has("cgroup.kill"):
            return False
        cgroup.kill()
        return True

    async def cleanup(self, container: Container) -> None:
        """Remove it. EBUSY while the kernel still empties it; whoever is left in it is killed."""
        cgroup = self.cgroup(container)
        try:
            cgroup.remove()
        except OSError as error:
            if error.errno == errno.EBUSY:
                cgroup.kill()
            raise

    def usage(self, container: Container) -> dict[str, Any]:
        """How many processes."""
        text = self.cgroup(container).leaf.read("cgroup.procs")
        return {"processes": max(len(text.split()) - pids.INIT_PROCESSES, 0)}

    def destroy_strangers(self, directory: Path, known: set[str]) -> None:
        """End what runs in our tree of cgroups without a record, which somebody must have removed by hand.

        A cgroup that the kernel is still emptying is removed at the next start.
        """
        outermost = {container_id.partition(".")[0] for container_id in known}
        for path in sorted(Path(self.host.cgroups.path).iterdir()):
            if path.is_dir() and path.name not in outermost:
                _log.warning("nobody has a record of the container in %s: it is killed", path)
                Cgroup(path).kill()
                with contextlib.suppress(OSError):
                    Cgroup(path).remove()

    def close(self) -> None:
        """The tree goes with the last container; EBUSY says that there are more."""
        tree = Path(self.host.cgroups.path)
        if tree.is_dir() and not any(path.is_dir() for path in tree.iterdir()):
            tree.rmdir()


class _Controller(CgroupIsolator):
    """One that writes limits."""

    def files(self, container: Container, limits: Limits) -> list[File]:
        """What to write."""
        raise NotImplementedError

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """Limits hold from the first instruction on."""
        if self.wants(container.spec) and has_own_limits(container):
            self.cgroup(container).write_all(self.files(container, container.limits))

    async def update(self, container: Container, limits: Limits) -> None:
        """New limits; also those that were not there before."""
        if has_own_limits(container):
            self.cgroup(container).write_all(self.files(container, limits))


class Cpu(_Controller):
    """`cpu.weight`, `cpu.max`, `cpu.max.burst`; `cpu.stat` and pressure."""

    name = "cgroups/cpu"
    controller = cpu.CONTROLLER

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """See the controller."""
        return cpu.wants(spec.limits)

    def files(self, container: Container, limits: Limits) -> list[File]:
        """See the controller."""
        return cpu.files(limits)

    def usage(self, container: Container) -> dict[str, Any]:
        """See the controller."""
        cgroup = self.cgroup(container)
        return {**cpu.usage(cgroup), **pressure.usage(cgroup, "cpu")}


class Memory(_Controller):
    """`memory.low`, `.high`, `.max`, `.swap.max`, `.oom.group`; kills for memory are reported with numbers."""

    name = "cgroups/mem"
    controller = memory.CONTROLLER

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._events = EventFiles()

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """See the controller."""
        return memory.wants(spec.limits)

    def files(self, container: Container, limits: Limits) -> list[File]:
        """See the controller; where swap is not accounted there is nothing to forbid."""
        cgroup = self.cgroup(container)
        return [(name, value) for name, value in memory.files(limits) if name != "memory.swap.max" or cgroup.has(name)]

    def watch(self, container: Container, report: Report) -> None:
        """The kernel's kills."""
        cgroup = self.cgroup(container)
        self._events.watch(container.id, cgroup.path / memory.EVENTS, lambda: self.limitation(container), report)

    async def update(self, container: Container, limits: Limits) -> None:
        """A lower hard limit only if there is room below it."""
        if has_own_limits(container):
            memory.check_room(self.cgroup(container), limits)
        await super().update(container, limits)

    def usage(self, container: Container) -> dict[str, Any]:
        """See the controller."""
        cgroup = self.cgroup(container)
        return {**memory.usage(cgroup), **pressure.usage(cgroup, "memory")}

    def limitation(self, container: Container) -> Limitation | None:
        """See the controller."""
        return memory.limitation(self.cgroup(container), container.id)

    async def cleanup(self, container: Container) -> None:
        """Watch no more."""
        self._events.forget(container.id)

    def close(self) -> None:
        """See the base."""
        self._events.close()


class Pids(_Controller):
    """`pids.max`; a refused fork is reported once."""

    name = "cgroups/pids"
    controller = pids.CONTROLLER

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._events = EventFiles()

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """See the controller."""
        return pids.wants(spec.limits)

    def files(self, container: Container, limits: Limits) -> list[File]:
        """See the controller."""
        return pids.files(limits)

    def watch(self, container: Container, report: Report) -> None:
        """Refused forks."""
        cgroup = self.cgroup(container)
        self._events.watch(container.id, cgroup.path / pids.EVENTS, lambda: self.limitation(container), report)

    def usage(self, container: Container) -> dict[str, Any]:
        """See the controller."""
        return pids.usage(self.cgroup(container))

    def limitation(self, container: Container) -> Limitation | None:
        """See the controller."""
        return pids.limitation(self.cgroup(container), container.id)

    async def cleanup(self, container: Container) -> None:
        """Watch no more."""
        self._events.forget(container.id)

    def close(self) -> None:
        """See the base."""
        self._events.close()


class Io(_Controller):
    """`io.max` of the sandbox's disk, `io.weight`; `io.stat` and pressure."""

    name = "cgroups/blkio"
    controller = io.CONTROLLER

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """See the controller."""
        return io.wants(spec.limits)

    def files(self, container: Container, limits: Limits) -> list[File]:
        """See the controller."""
        if not io.wants(limits):
            return []
        limited = limits.io_read_bytes_per_second or limits.io_write_bytes_per_second
        return io.files(limits, io.disk_of(container.spec.sandbox) if limited else "")

    def usage(self, container: Container) -> dict[str, Any]:
        """See the controller."""
        cgroup = self.cgroup(container)
        return {**io.usage(cgroup), **pressure.usage(cgroup, "io")}


class Cpuset(_Controller):
    """`cpuset.cpus`, `cpuset.mems`."""

    name = "cgroups/cpuset"
    controller = cpuset.CONTROLLER

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """See the controller."""
        return cpuset.wants(spec.limits)

    def files(self, container: Container, limits: Limits) -> list[File]:
        """See the controller."""
        return cpuset.files(limits)


class Hugetlb(_Controller):
    """`hugetlb.<size>.max`."""

    name = "cgroups/hugetlb"
    controller = hugetlb.CONTROLLER

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """See the controller."""
        return hugetlb.wants(spec.limits)

    def files(self, container: Container, limits: Limits) -> list[File]:
        """See the controller."""
        return hugetlb.files(limits)


class Devices(CgroupIsolator):
    """A list of devices that may be opened."""

    name = "cgroups/devices"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._loaded = -1

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """Loading such a program takes CAP_BPF and CAP_NET_ADMIN, which a delegated cgroup does not bring."""
        if not host.root:
            return Missing(what=cls.name, reason="the containerizer is not root", mend="start it as root")
        return super().probe(host)

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """The program is the cgroup's own: nothing is left of it when that is removed."""
        path = self.cgroup(container).path
        descriptor = held.open_file(path, os.O_DIRECTORY | os.O_RDONLY)
        own = -1
        try:
            if self._loaded < 0:
                self._loaded = devices.load(devices.DEFAULT)
            if plan.devices:
                more = [devices.Device(major=major, minor=minor) for _, major, minor in plan.devices]
                own = devices.load([*devices.DEFAULT, *more])
            devices.attach(descriptor, self._loaded if own < 0 else own)
        except OSError as error:
            raise KernelError(f"device program of {path}", error.errno or 0, error.strerror or str(error)) from None
        finally:
            held.close(descriptor)
            if own >= 0:
                held.close(own)

    def close(self) -> None:
        """Programs that are attached stay without this descriptor."""
        if self._loaded >= 0:
            os.close(self._loaded)
            self._loaded = -1


@functools.lru_cache(maxsize=1024)
def _cgroup_of(tree: str, container_id: str) -> Cgroup:
    """Each isolator asks for it, at each step of a container's life."""
    return Cgroup(Path(tree)).child(container_id)


def has_own_limits(container: Container) -> bool:
    """Whether what binds it is its own, not only its parent's."""
    return container.parent is None or not container.spec.shares_limits


CGROUPS: tuple[type[Isolator], ...] = (Core, Cpu, Memory, Pids, Io, Cpuset, Hugetlb, Devices)
"""In the order of their `prepare`."""
