"""How much a sandbox may hold, where no file system counts it: looked at every so often (Mesos: `disk/du`)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Final

from containerizer.host import Host
from containerizer.isolator import Container, Isolator, Report
from containerizer.messages import Limit, Limitation
from containerizer.spec import ContainerSpec

CHECK_SECONDS: Final = 15.0
"""Between two looks at one sandbox (Mesos: `--container_disk_watch_interval`)."""


class DiskUsage(Isolator):
    """Adds up the blocks of a sandbox's files; a container that holds more than it may is ended."""

    name = "disk/du"

    def __init__(self, host: Host, check_seconds: float = CHECK_SECONDS) -> None:
        super().__init__(host)
        self._check_seconds = check_seconds
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._used: dict[str, int] = {}

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """Whether there is a limit."""
        return spec.limits.disk_bytes is not None

    def watch(self, container: Container, report: Report) -> None:
        """Look from now on; also without a limit, which may come by an update."""
        self._watching[container.id] = asyncio.get_running_loop().create_task(self._watch(container, report))

    async def _watch(self, container: Container, report: Report) -> None:
        while True:
            used = await asyncio.to_thread(used_bytes, Path(container.spec.sandbox))
            self._used[container.id] = used
            limit = container.limits.disk_bytes
            if limit is not None and used > limit:
                report(_limitation(container.id, used, limit))
                return
            await asyncio.sleep(self._check_seconds)

    def usage(self, container: Container) -> dict[str, Any]:
        """As of the last look."""
        used = self._used.get(container.id)
        return {} if used is None else {"disk_bytes": used}

    async def cleanup(self, container: Container) -> None:
        """Look no more."""
        self._used.pop(container.id, None)
        task = self._watching.pop(container.id, None)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """See the base."""
        for task in self._watching.values():
            task.cancel()
        self._watching.clear()


def _limitation(container_id: str, used: int, limit: int) -> Limitation:
    return Limitation(
        container_id=container_id,
        limit=Limit.DISK,
        message=f"the sandbox holds {used} bytes and may hold {limit}",
        limit_value=limit,
        used_value=used,
        fatal=True,
    )


def used_bytes(directory: Path) -> int:
    """Blocks of all files below a directory, in bytes; each file once, links not followed, other mounts left out."""
    seen: set[int] = set()
    total = 0
    try:
        device = directory.lstat().st_dev
    except FileNotFoundError:
        return 0
    waiting = [os.fspath(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_dev != device or status.st_ino in seen:
                        continue
                    seen.add(status.st_ino)
                    total += status.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            # The container changes its files while they are counted; what it hides from us it hides from itself.
            continue
    return total
