"""Files of the kernel that say that something has happened (cgroup-v2.rst, "a file modified event is generated")."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from pathlib import Path

from containerizer.isolator import Report
from containerizer.messages import Limitation


class EventFiles:
    """Watches event files of all containers through one descriptor of the loop's.

    The kernel tells of a change as urgent data, which asyncio's readers do not look for; an epoll of our own does.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[str, Report, Callable[[], Limitation | None]]] = {}
        self._by_id: dict[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, container_id: str, path: Path, look: Callable[[], Limitation | None], report: Report) -> None:
        """Call `look` at each change of the file; report what it returns, once, and then watch no more."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._epoll, self._changed)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # The container ended meanwhile; what its cgroup said is looked up when it is cleaned up.
            return
        self._watched[descriptor] = (container_id, report, look)
        self._by_id[container_id] = descriptor
        self._epoll.register(descriptor, select.EPOLLPRI)
        # It may have changed before it was watched.
        self._look(descriptor)

    def _changed(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            self._look(descriptor)

    def _look(self, descriptor: int) -> None:
        container_id, report, look = self._watched[descriptor]
        try:
            os.pread(descriptor, 4096, 0)
        except OSError:
            # ENODEV: the cgroup is gone.
            self.forget(container_id)
            return
        found = look()
        if found is not None:
            self.forget(container_id)
            report(found)

    def forget(self, container_id: str) -> None:
        """No error if it is not watched."""
        descriptor = self._by_id.pop(container_id, None)
        if descriptor is not None:
            del self._watched[descriptor]
            self._epoll.unregister(descriptor)
            os.close(descriptor)

    def close(self) -> None:
        """Watch nothing any more. Twice is once."""
        if self._epoll.closed:
            return
        for container_id in tuple(self._by_id):
            self.forget(container_id)
        if self._loop is not None:
            self._loop.remove_reader(self._epoll)
        self._epoll.close()
