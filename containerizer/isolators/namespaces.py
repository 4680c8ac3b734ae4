"""Namespaces of the kernel: what a container has of its own, and the mounts that go with them (`man 7 namespaces`)."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from containerizer import linux
from containerizer.errors import InvalidSpec, Unsupported
from containerizer.host import Host
from containerizer.isolator import Container, Isolator
from containerizer.messages import Missing
from containerizer.plan import LaunchPlan
from containerizer.spec import ContainerSpec, Namespace, RootKind
from containerizer.unprivileged import map_itself

ASKED_FOR = frozenset({Namespace.NET, Namespace.USER})
"""A network of its own is none until something connects it; another user's numbers make files another's."""

SHARED = frozenset({Namespace.NET, Namespace.UTS, Namespace.IPC, Namespace.USER})
"""What a nested container has in common with its parent (Mesos: network and host name). A debug one shares all."""

_SHARED_MEMORY = "/dev/shm"  # noqa: S108  the one place where libraries look for it

_HARMLESS = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC


class _NamespaceIsolator(Isolator):
    """One that needs `clone3` and root."""

    namespace: Namespace

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """Making namespaces takes CAP_SYS_ADMIN, which a user has in a user namespace of his own where he gets one."""
        if not host.has_namespaces:
            return Missing(what=cls.name, reason=host.no_namespaces, mend="start it as root")
        if not host.clone3:
            return Missing(what=cls.name, reason="this kernel has no clone3", mend="use Linux 5.3 or newer")
        return None

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """Whether it is to have one by default, or asks for it."""
        return cls.namespace not in ASKED_FOR or cls.namespace in (spec.namespaces or ())

    def wanted(self, container: Container) -> bool:
        """Whether the container has a namespace of its own of this kind; those that change most must be asked for."""
        spec = container.spec
        if spec.debug or (spec.parent and self.namespace in SHARED):
            return False
        if self.namespace is Namespace.NET and spec.network:
            return True
        return self.namespace not in ASKED_FOR if spec.namespaces is None else self.namespace in spec.namespaces

    def join(self, container: Container, plan: LaunchPlan) -> bool:
        """Have a nested container be born in its parent's namespace of this kind, if it is to be; True if it is."""
        spec = container.spec
        if container.parent is None or not (spec.debug or self.namespace in SHARED):
            return False
        if not self._has(container.parent) and (self.namespace is Namespace.USER or not self.host.root):
            # Joining the one that a process is in already is an error, for this kind alone; of the host's for a user.
            return True
        plan.joined.add(self.namespace)
        plan.joined_process = container.parent.process_id
        return True

    def _has(self, container: Container) -> bool:
        """Whether its namespace of this kind is another than the host's."""
        return self.wanted(container) or (container.parent is not None and self._has(container.parent))


class MountNamespace(_NamespaceIsolator):
    """Mounts inside stay inside; the host's later mounts come in, as in Mesos (`filesystem/linux`)."""

    name = "namespaces/mount"
    namespace = Namespace.MOUNT

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """First of all mounts: nothing that follows may travel out."""
        if self.join(container, plan):
            plan.sandbox = shown_sandbox(container)
        elif self.wanted(container):
            plan.namespaces.add(Namespace.MOUNT)
            plan.mounts.insert(0, ("mount", None, "/", None, linux.MS_REC | linux.MS_SLAVE, None))


class PidNamespace(_NamespaceIsolator):
    """Own process ids: the rest of the machine is not seen, and everything dies with the first process."""

    name = "namespaces/pid"
    namespace = Namespace.PID

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """A fresh /proc shows the container's own processes. A nested one's are its parent's, too: they die with it."""
        if container.parent is not None and container.parent.whole:
            plan.joined.add(Namespace.PID)
            plan.joined_process = container.parent.process_id
        if not self.wanted(container):
            return
        plan.namespaces.add(Namespace.PID)
        if Namespace.MOUNT in plan.namespaces:
            host_processes = ("bind", "", "/proc", plan.root, "/proc", False)
            if host_processes in plan.mounts:
                # Not even below its own, where who may unmount would come upon it.
                plan.mounts.remove(host_processes)
            plan.mounts.append(("mount", "proc", plan.inside("/proc"), "proc", _HARMLESS, None))


class IpcNamespace(_NamespaceIsolator):
    """Own System V objects, POSIX queues and /dev/shm, whose size counts against nobody else."""

    name = "namespaces/ipc"
    namespace = Namespace.IPC

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """The shared memory of POSIX is a mount, and belongs to this namespace by custom only."""
        if self.join(container, plan) or not self.wanted(container):
            return
        plan.namespaces.add(Namespace.IPC)
        below = PurePosixPath(container.spec.sandbox).is_relative_to("/dev")
        if Namespace.MOUNT in plan.namespaces and not below:
            flags = linux.MS_NOSUID | linux.MS_NODEV
            options = f"mode=1777,size={container.spec.shm_bytes}"
            plan.mounts.append(("mount", "shm", plan.inside(_SHARED_MEMORY), "tmpfs", flags, options))
            plan.mounts.append(("mount", "mqueue", plan.inside("/dev/mqueue"), "mqueue", _HARMLESS, None))


class CgroupNamespace(_NamespaceIsolator):
    """Its own cgroup looks like the root of all."""

    name = "namespaces/cgroup"
    namespace = Namespace.CGROUP

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """Nothing is mounted: what a container may not change it need not see."""
        if not self.join(container, plan) and self.wanted(container):
            plan.namespaces.add(Namespace.CGROUP)


class NetNamespace(_NamespaceIsolator):
    """A network of its own, with nothing in it but a loopback interface."""

    name = "namespaces/net"
    namespace = Namespace.NET

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """Only when the spec asks for it: on the host's network, ports are resources."""
        if not self.join(container, plan) and self.wanted(container):
            plan.namespaces.add(Namespace.NET)
            plan.settling.append(("raise_loopback",))


class UserNamespace(_NamespaceIsolator):
    """Root inside is nobody outside: users 0 to 65535 of the container are numbers that nobody has."""

    name = "namespaces/user"
    namespace = Namespace.USER

    FIRST_ID = 1_000_000
    IDS = 65_536

    def wanted(self, container: Container) -> bool:
        """For others than root, with any namespace."""
        spec = container.spec
        if self.host.root or spec.parent:
            return super().wanted(container)
        return spec.namespaces is None or bool(spec.namespaces)

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """The sandbox becomes its root's; the init does its mounts as that root."""
        if not self.host.root:
            self._be_oneself(container, plan)
            return
        if self.join(container, plan) or not self.wanted(container):
            return
        if Namespace.MOUNT not in (container.spec.namespaces or ()):
            raise Unsupported("a user namespace needs a mount namespace with it: list both in namespaces")
        user = container.user
        if user.uid >= self.IDS or user.gid >= self.IDS:
            raise InvalidSpec(f"user {container.spec.user}: in a user namespace ids are below {self.IDS}")
        plan.namespaces.add(Namespace.USER)
        plan.uid_map = plan.gid_map = f"0 {self.FIRST_ID} {self.IDS}"
        plan.first_id = self.FIRST_ID
        plan.mounts.insert(0, ("set_user", 0, 0, [], None))
        os.chown(container.spec.sandbox, self.FIRST_ID + user.uid, self.FIRST_ID + user.gid)

    def _be_oneself(self, container: Container, plan: LaunchPlan) -> None:
        """Who is not root has no other namespace without this one. There is one user in it: himself, and no root."""
        spec = container.spec
        if Namespace.USER in (spec.namespaces or ()) and not spec.parent:
            raise Unsupported("a user namespace with a root of its own is made by a containerizer that is root")
        if not self.join(container, plan) and self.wanted(container):
            plan.namespaces.add(Namespace.USER)
            files = map_itself(container.user.uid, container.user.gid)
            plan.uid_map, plan.gid_map = files["uid_map"], files["gid_map"]
            plan.single_user = True


class UtsNamespace(_NamespaceIsolator):
    """Own host name."""

    name = "namespaces/uts"
    namespace = Namespace.UTS

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """The host's name stays unless the spec has one: on the host's network programs look themselves up by it."""
        if self.join(container, plan) or not self.wanted(container):
            return
        plan.namespaces.add(Namespace.UTS)
        if container.spec.hostname:
            plan.settling.append(("set_hostname", container.spec.hostname))


def shown_sandbox(container: Container) -> str:
    """Where a debug container is at home: in the sandbox of its parent, as the parent sees it."""
    parent = container.parent
    assert parent is not None
    own_root = parent.spec.root.kind in {RootKind.DIRECTORY, RootKind.ARCHIVE}
    return parent.spec.sandbox_inside if own_root else parent.spec.sandbox
