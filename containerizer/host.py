"""What the machine under a containerizer is and can do, found out once at its start."""

from __future__ import annotations

import functools
import grp
import os
import pwd
from pathlib import Path
from typing import Final

import msgspec

from containerizer import linux
from containerizer.cgroups2.tree import Tree
from containerizer.errors import InvalidSpec
from containerizer.gpus import Found
from containerizer.networks import Network
from containerizer.plan import User
from containerizer.projects import RANGE
from containerizer.unprivileged import why_no_namespaces

NOT_LOOKED_FOR: Final = Found(reason="not looked for")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that isolators decide by.

    boot_id  random, new at each start of the machine: process ids are comparable only where it is the same
    cgroups  where containers get theirs
    hidden   directories that no container may look into, but for its own sandbox
    images_directory  for unpacked root file systems
    gpus     that may be granted
    projects first and last number for project quotas
    no_namespaces  why containers have none of their own; for others than root, who may not be let
    network  for containers that ask for one of their own
    """

    kernel: str
    root: bool
    clone3: bool
    boot_id: str
    user_namespaces: bool = False
    cgroups: Tree = Tree()
    hidden: tuple[str, ...] = ()
    images_directory: str = ""
    gpus: Found = NOT_LOOKED_FOR
    projects: tuple[int, int] = RANGE
    no_namespaces: str = "the containerizer is not root"
    network: Network = Network()

    @property
    def has_namespaces(self) -> bool:
        """Whether containers can have some."""
        return self.root or not self.no_namespaces


def survey(
    *,
    hidden: tuple[str, ...] = (),
    cgroups: Tree | None = None,
    images_directory: str = "",
    gpus: Found = NOT_LOOKED_FOR,
    projects: tuple[int, int] = RANGE,
    network: Network | None = None,
) -> Host:
    """Look at this machine."""
    root = os.geteuid() == 0
    refused = "" if root else why_no_namespaces()
    return Host(
        kernel=os.uname().release,
        root=root,
        no_namespaces=f"the containerizer is not root, and others get none here ({refused})" if refused else "",
        clone3=linux.has_clone3(),
        boot_id=read_boot_id(),
        user_namespaces=Path("/proc/self/ns/user").exists(),
        hidden=hidden,
        images_directory=images_directory,
        gpus=gpus,
        projects=projects,
        network=network or Network(),
        cgroups=cgroups or Tree(reason="not looked for"),
    )


def read_boot_id() -> str:
    """`man 4 random`: /proc/sys/kernel/random/boot_id."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def find_user(name: str) -> User:
    """A user of this host by name or number; empty for the one that runs this process.

    Raises :class:`InvalidSpec` for a user that does not exist, or that this process may not become.
    """
    if not name:
        return _own_user()
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        if not name.isdecimal() or int(name) >= 2**32 - 1:
            raise InvalidSpec(f"user {name!r} does not exist on this host: name another, or leave it empty") from None
        user = User(int(name), int(name))
    else:
        groups = tuple(sorted({entry.pw_gid, *(g.gr_gid for g in grp.getgrall() if entry.pw_name in g.gr_mem)}))
        user = User(entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)
    if os.geteuid() != 0 and user.uid != os.geteuid():
        raise InvalidSpec(f"user {name!r}: a containerizer that is not root runs everything as its own user")
    return user


@functools.cache
def _own_user() -> User:
    """Who runs this process, which does not change."""
    return User(os.geteuid(), os.getegid(), tuple(os.getgroups()), _home_of(os.geteuid()))


def _home_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return "/"
