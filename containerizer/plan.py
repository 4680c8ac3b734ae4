"""How a container comes to life, as data: what isolators fill in and an init carries out.

A step is the name of a method of :class:`containerizer.kernel.Kernel` and its arguments. Steps are collected in stages,
so that isolators need not know of one another: mounts happen before the root is changed, the settling in after it, and
what takes privileges away at the very end.
"""

from __future__ import annotations

import marshal
from typing import Any, Final, TypeAlias

import msgspec

from containerizer import linux
from containerizer.kernel import STEPS
from containerizer.spec import Namespace

Step: TypeAlias = tuple[Any, ...]
"""Name and arguments: text, numbers, None, and lists of these."""

CLONE_FLAGS: Final = {
    Namespace.MOUNT: linux.CLONE_NEWNS,
    Namespace.PID: linux.CLONE_NEWPID,
    Namespace.IPC: linux.CLONE_NEWIPC,
    Namespace.UTS: linux.CLONE_NEWUTS,
    Namespace.NET: linux.CLONE_NEWNET,
    Namespace.CGROUP: linux.CLONE_NEWCGROUP,
    Namespace.USER: linux.CLONE_NEWUSER,
}


class User(msgspec.Struct, frozen=True):
    """Whom a container runs as; `groups` are the supplementary ones."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = ""


class LaunchPlan(msgspec.Struct, kw_only=True):
    """What an init does, in the order of the fields from `mounts` on.

    namespaces   to be made
    joined       those of another container's init, `joined_process`, to be born in
    cgroup       directory of the cgroup to be born in; empty for none
    uid_map, gid_map  lines for a user namespace; first_id: the host's number of its root
    single_user  the maps are of one user who is not root: that takes that groups cannot be changed
    root         directory that becomes ``/``; empty to keep the one there is
    sandbox      where the sandbox is inside, if it is not where it is outside
    mounts       before the root is changed; paths below `root`
    settling     after it; paths as the container sees them
    privileges   given up, in order: the last one takes the right to do the others
    last_steps   by the command's process alone: limits that must not bind the init
    devices      beyond those that all have: name below /dev, major and minor number
    shown        files of the host that are put in the place of its own, read-only: path on the host and inside
    waits        the init carries it out when the containerizer says so; else as soon as it has written down who it is
    inspectable  the init's descriptors may be copied by its own user: there is no root to do it
    capabilities that the container's user has; None for what the kernel gives it
    """

    argv: tuple[str, ...]
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    namespaces: set[Namespace] = msgspec.field(default_factory=set)
    joined: set[Namespace] = msgspec.field(default_factory=set)
    joined_process: int = 0
    cgroup: str = ""
    uid_map: str = ""
    gid_map: str = ""
    first_id: int = 0
    single_user: bool = False
    root: str = ""
    sandbox: str = ""
    mounts: list[Step] = msgspec.field(default_factory=list)
    settling: list[Step] = msgspec.field(default_factory=list)
    privileges: list[Step] = msgspec.field(default_factory=list)
    last_steps: list[Step] = msgspec.field(default_factory=list)
    devices: list[tuple[str, int, int]] = msgspec.field(default_factory=list)
    shown: list[tuple[str, str]] = msgspec.field(default_factory=list)
    waits: bool = False
    inspectable: bool = False
    capabilities: int | None = None

    def inside(self, path: str) -> str:
        """Where `path` of the container is before the root is changed."""
        return self.root + path

    @property
    def flags(self) -> int:
        """For `clone3`."""
        return sum(CLONE_FLAGS[namespace] for namespace in self.namespaces)

    @property
    def join_flags(self) -> int:
        """For `setns`."""
        return sum(CLONE_FLAGS[namespace] for namespace in self.joined)

    @property
    def whole(self) -> bool:
        """Whether everything in the container dies with its init."""
        return Namespace.PID in self.namespaces

    @property
    def steps(self) -> list[Step]:
        """All that the init does before it starts the command."""
        pivot: list[Step] = [("pivot_root", self.root)] if self.root else []
        return [*self.mounts, *pivot, *self.settling, *self.privileges]

    def encode(self) -> bytes:
        """For the init, which runs under the same version of Python, and with next to nothing imported."""
        steps = self.steps
        unknown = {step[0] for step in (*steps, *self.last_steps)} - STEPS
        assert not unknown, f"no kernel calls are named {unknown}"
        return marshal.dumps(
            {
                "steps": steps,
                "last_steps": self.last_steps,
                "argv": self.argv,
                "environment": self.environment,
                "whole": self.whole,
                "inspectable": self.inspectable,
            }
        )
