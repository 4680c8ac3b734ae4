"""Ports of the host's network as a resource: a container may bind those that it was given (Mesos: `network/ports`).

Mesos looks every half minute who listens where and kills (`isolators/network/ports.cpp`); here the kernel refuses
`bind` at once, and the program that asks gets an error that it knows. Only for who shares the host's network: what a
container does in one of its own takes nobody's port. It is asked for by name, as in Mesos: programs that choose a port
without having been given one are many.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from containerizer.cgroups2 import bpf, ports
from containerizer.errors import KernelError
from containerizer.host import Host
from containerizer.isolator import Container
from containerizer.isolators.cgroups import CgroupIsolator, has_own_limits
from containerizer.messages import Missing
from containerizer.plan import LaunchPlan
from containerizer.spec import ContainerSpec, Limits, Namespace


class HostPorts(CgroupIsolator):
    """A program of the cgroup's own, which goes with it; containers in the container are bound by it too."""

    name = "network/ports"
    by_default = False

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """It needs cgroups, and a kernel that asks a program at each `bind`."""
        lack = super().probe(host)
        if lack is not None:
            return lack
        try:
            os.close(bpf.load(bpf.BIND_4, ports.program(ports.EVERY)))
        except OSError as error:
            return Missing(
                what=cls.name,
                reason=f"this kernel takes no program for bind: {error.strerror}",
                mend="use Linux 5.6 or newer with CONFIG_CGROUP_BPF, and run as root",
            )
        return None

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """Whether its ports are counted."""
        return spec.limits.port_ranges is not None

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """They hold before there is a process."""
        if container.limits.port_ranges is not None:
            self._bind_only(container, container.limits.port_ranges)

    async def update(self, container: Container, limits: Limits) -> None:
        """For what is bound from now on."""
        self._bind_only(container, limits.port_ranges)

    def _bind_only(self, container: Container, ranges: Sequence[ports.Range] | None) -> None:
        if not has_own_limits(container) or _has_own_network(container):
            return
        path = self.cgroup(container).path
        try:
            descriptor = os.open(path, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
            try:
                ports.bind_only(descriptor, ranges)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise KernelError(f"ports of {path}", error.errno or 0, error.strerror or str(error)) from None


def _has_own_network(container: Container) -> bool:
    """Whether it, or what it is nested in, has left the host's network."""
    outermost = container
    while outermost.parent is not None:
        outermost = outermost.parent
    spec = outermost.spec
    return bool(spec.network) or Namespace.NET in (spec.namespaces or ())
