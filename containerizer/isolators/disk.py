"""How much a sandbox may hold, where no file system counts it: files are added up (Mesos: `disk/du`).

Adding up takes a walk through all files, so it is done when it can matter. A file system says at once how much of it is
free (`man 3 statvfs`); a sandbox that has room for so many bytes can be full only after the file system has lost so
many. It is asked every 50 ms. A sandbox is walked through when the file system has lost what it had left at its last
walk, and every 15 s; walks take a fifth of one processor's time at most, whatever happens.

What hides growth from the file system's figure, so that it is found by the next walk of every 15 s only:

- space that others free within the same 50 ms. What is lost is added up over looks, and what is freed is not taken off;
- file systems that give out space late without saying so (btrfs, network file systems); XFS and ext4 count space that
  is promised to data in memory as taken, in the free space as in a file's blocks.

What hides it from the walk: files that are open and have no name any more; for a containerizer that is not root,
directories that their owner has locked, with files in them that are open. Only quotas count those. Holes in files take
no space and are not counted; a file with several names is counted once; one whose blocks are shared (reflinks) in full.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from containerizer import linux
from containerizer.host import Host
from containerizer.isolator import Container, Isolator, Report
from containerizer.messages import Limit, Limitation
from containerizer.spec import ContainerSpec

_log = logging.getLogger(__name__)

CHECK_SECONDS: Final = 15.0
"""Between two walks through one sandbox at most (Mesos: `--container_disk_watch_interval`)."""

LOOK_SECONDS: Final = 0.05
"""Between two looks at the free space."""

AT_ONCE_SECONDS: Final = 0.01
"""For which sandboxes are walked through after a look; the last one may take longer."""

REST: Final = 4.0
"""After walks there are none for so many times as long as they took."""

Pool: TypeAlias = tuple[int, int]
"""Space that is given out together: a device, and the project on it that has a limit of its own, if any."""


class _Watched(msgspec.Struct):
    """One sandbox.

    used_bytes  at the last walk; None before the first
    lost_bytes  by its pool until then
    next_walk   by the monotonic clock, if nothing calls for one before
    """

    container: Container
    report: Report
    pool: Pool
    used_bytes: int | None = None
    lost_bytes: int = 0
    next_walk: float = 0.0
    told: bool = False


class DiskUsage(Isolator):
    """Adds up the blocks of a sandbox's files; a container that holds more than it may is ended.

    looking  the task that does, while there is a container to look at
    """

    name = "disk/du"

    def __init__(self, host: Host, check_seconds: float = CHECK_SECONDS) -> None:
        super().__init__(host)
        self._check_seconds = check_seconds
        self._watched: dict[str, _Watched] = {}
        self._free: dict[Pool, int] = {}
        self._lost: dict[Pool, int] = {}
        self.looking: asyncio.Task[None] | None = None

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """Whether there is a limit."""
        return spec.limits.disk_bytes is not None

    def watch(self, container: Container, report: Report) -> None:
        """Look from now on; also without a limit, which may come by an update."""
        self._watched[container.id] = _Watched(container, report, _pool_of(container))
        if self.looking is None:
            self.looking = asyncio.get_running_loop().create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        """Walk through one after another, for a while, then rest."""
        rest_until = 0.0
        while self._watched:
            now = time.monotonic()
            # Where the file system counts, nobody else need.
            here = [one for one in self._watched.values() if not (one.container.project or one.told)]
            self._look_at_space(here)
            due = [(at, one) for one in here if (at := self._due_at(one)) <= now] if now >= rest_until else []
            for _, one in sorted(due, key=lambda pair: pair[0]):
                await self.walk(one)
                end = time.monotonic()
                rest_until = end + REST * (end - now)
                if end - now >= AT_ONCE_SECONDS:
                    break
            await asyncio.sleep(LOOK_SECONDS)
        self.looking = None

    def _look_at_space(self, those: Iterable[_Watched]) -> None:
        """Once for each pool that a limit depends on."""
        seen: set[Pool] = set()
        for one in those:
            if one.pool in seen or one.container.limits.disk_bytes is None:
                continue
            with contextlib.suppress(OSError):  # this sandbox was removed; another may be there
                status = os.statvfs(one.container.spec.sandbox)
                free = status.f_bfree * status.f_frsize
                taken = self._free.get(one.pool, free) - free
                self._lost[one.pool] = self._lost.get(one.pool, 0) + max(taken, 0)
                self._free[one.pool] = free
                seen.add(one.pool)
        for pool in self._free.keys() - seen:
            # Nobody looked meanwhile: what comes next is no difference to what was.
            del self._free[pool]

    def _due_at(self, one: _Watched) -> float:
        """When to walk through it. Who can have grown over its limit comes first, and not for ever."""
        limit = one.container.limits.disk_bytes
        if limit is not None and one.used_bytes is not None:
            lost = self._lost.get(one.pool, 0) - one.lost_bytes
            if lost > max(limit - one.used_bytes, 0):
                return one.next_walk - 2 * self._check_seconds
        return one.next_walk

    async def walk(self, one: _Watched) -> None:
        """Add up one sandbox, and report it if it holds too much."""
        container = one.container
        lost = self._lost.get(one.pool, 0)
        hidden = False
        try:
            one.used_bytes = await asyncio.to_thread(used_bytes, Path(container.spec.sandbox))
        except OSError as error:
            hidden = error.errno == errno.ENAMETOOLONG
            if not hidden:
                _log.warning("the sandbox of container %s cannot be added up: %s", container.id, error)
        one.lost_bytes = lost
        one.next_walk = time.monotonic() + self._check_seconds
        limit = container.limits.disk_bytes
        if limit is None or container.project or self._watched.get(container.id) is not one:
            return
        used = one.used_bytes or 0
        if hidden or used > limit:
            one.told = True
            one.report(_limitation(container.id, used, limit, hidden=hidden))

    def usage(self, container: Container) -> dict[str, Any]:
        """As of the last walk."""
        one = self._watched.get(container.id)
        return {} if one is None or one.used_bytes is None or container.project else {"disk_bytes": one.used_bytes}

    async def cleanup(self, container: Container) -> None:
        """Look no more."""
        self._watched.pop(container.id, None)

    def close(self) -> None:
        """See the base."""
        self._watched.clear()
        if self.looking is not None:
            self.looking.cancel()
            self.looking = None


def _pool_of(container: Container) -> Pool:
    """That of the project that it is nested in, if any: the file system has more room than that."""
    try:
        device = Path(container.spec.sandbox).stat().st_dev
    except OSError:
        # Removed already.
        device = 0
    around = container.parent
    while around is not None and not around.project:
        around = around.parent
    return device, 0 if around is None else around.project


def _limitation(container_id: str, used: int, limit: int, *, hidden: bool) -> Limitation:
    deep = "the sandbox has directories so deep below one another that their files cannot be added up"
    return Limitation(
        container_id=container_id,
        limit=Limit.DISK,
        message=deep if hidden else f"the sandbox holds {used} bytes and may hold {limit}",
        limit_value=limit,
        used_value=used,
        fatal=True,
    )


def used_bytes(directory: Path) -> int:
    """Blocks of all files below a directory, in bytes; each file once, links not followed, other mounts left out.

    `OSError` with ENAMETOOLONG when there are files that no path is short enough to lead to.
    """
    try:
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        return _add_up(root, os.fstat(root).st_dev)
    finally:
        os.close(root)


def _add_up(root: int, device: int) -> int:
    seen: set[int] = set()
    total = 0
    waiting = ["."]
    while waiting:
        path = waiting.pop()
        try:
            below = linux.open_beneath(root, path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            # The container changes its files while they are counted; what it hides from us it hides from itself.
            if error.errno in {errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ELOOP}:
                continue
            raise
        try:
            with os.scandir(below) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        if status.st_dev != device or status.st_ino in seen:
                            continue
                        seen.add(status.st_ino)
                        total += status.st_blocks * 512
                        if stat.S_ISDIR(status.st_mode):
                            waiting.append(f"{path}/{entry.name}")
        finally:
            os.close(below)
    return total
