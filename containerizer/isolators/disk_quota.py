"""How much a sandbox may hold, where its file system counts and limits it: project quotas (Mesos: `disk/xfs`).

The kernel refuses what is too much, so the container goes on, and is told of once. Which project a container has is
written down before any file has its number. A finished container's files keep the number: a number is free again when
the kernel counts no file of it any more, that is when the sandbox has been collected, and needs no record till then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import prctl

from containerizer import projects
from containerizer.errors import ContainerizerError
from containerizer.host import Host
from containerizer.isolator import Container, Isolator, Report
from containerizer.messages import Limit, Limitation, Missing
from containerizer.plan import LaunchPlan
from containerizer.quota_events import QuotaEvents
from containerizer.seccomp import compile_profile
from containerizer.seccomp.tables import TABLES
from containerizer.spec import ContainerSpec, Limits

_log = logging.getLogger(__name__)

GRANTS: Final = ".projects"
"""Directory beside those of the containers, with a file for each that has a project: its number."""

CHECK_SECONDS: Final = 15.0
"""Between two looks whether quotas are still switched on."""
LOOK_SECONDS: Final = 0.05
"""Between two looks at what is used, where the kernel does not tell."""
NEAR_BYTES: Final = 64 * 1024
"""So little is left where a limit counts as reached by looking: file systems refuse some blocks at once."""

_UNBOUND: Final = "SYS_RESOURCE"
"""Capability that no quota of ext4 binds."""


class DiskQuota(Isolator):
    """A project of its own for each container with a limit."""

    name = "disk/quota"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._granted: dict[str, int] = {}
        self._loaded = False
        self._next = host.projects[0]
        self._watched: dict[str, tuple[Container, Report]] = {}
        self._told: set[str] = set()
        self._early: set[tuple[int, int]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._filter = compile_profile(projects.FILTER, os.uname().machine, frozenset()).hex()
        self._events: QuotaEvents | None = None
        try:
            self._events = QuotaEvents(self._refused, self._look)
        except OSError as error:
            _log.info("the kernel does not tell when a disk quota is used up (%s): looking every 50 ms", error)
        # Or what this process writes for a container, the log of a terminal, would have no limit on ext4.
        prctl.cap_effective.sys_resource = False

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """Root, a kernel that can be asked by open files, and a file system that has them."""
        if not host.root:
            return Missing(what=cls.name, reason="the containerizer is not root", mend="start it as root")
        if not projects.has_call():
            return Missing(what=cls.name, reason="this kernel has no quotactl_fd", mend="use Linux 5.14 or newer")
        if os.uname().machine not in TABLES:
            return Missing(what=cls.name, reason=f"system calls of {os.uname().machine} are not known here")
        if not projects.find_enforced():
            return Missing(
                what=cls.name,
                reason="no file system here has project quotas",
                mend="mount the agents' work directories from XFS or ext4 with -o prjquota",
            )
        return None

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """Whether there is a limit."""
        return spec.limits.disk_bytes is not None

    def reaches(self, container: Container) -> bool:
        """Whether it can be limited: not a sandbox within a project of another's, nor whom quotas do not bind."""
        if self.name not in container.isolators:
            # Launched by an earlier life, without the filter.
            return False
        names = {name.upper().removeprefix("CAP_") for name in container.spec.capabilities or ()}
        if _UNBOUND in names:
            return False
        self._load(container)
        try:
            with _open_sandbox(container) as sandbox:
                if not projects.is_enforced(sandbox):
                    return False
                project = projects.project_of(sandbox)
        except FileNotFoundError:
            return False
        first, last = self.host.projects
        # One that nobody has any more is of an earlier container in this sandbox.
        others = {number for name, number in self._granted.items() if name != container.id}
        return project == 0 or (first <= project <= last and project not in others)

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """Its files get a number; nobody may give his files another, whatever his own seccomp profile allows."""
        plan.privileges.append(("filter_calls", self._filter))
        if self.wants(container.spec) and self.reaches(container):
            await self._take(container, container.limits.disk_bytes)

    async def _take(self, container: Container, limit_bytes: int | None) -> None:
        with _open_sandbox(container) as sandbox:
            project = self._granted.get(container.id) or self._choose(sandbox)
            self._write(container, project)
            try:
                await asyncio.to_thread(projects.assign, sandbox, project)
                container.project = project
                used = projects.read_quota(sandbox, project).used_bytes
                if limit_bytes is not None and used > limit_bytes:
                    raise _too_low(container, limit_bytes, used)
                projects.set_limit(sandbox, project, limit_bytes)
            except OSError as error:
                raise _failed(container, error) from None

    def _choose(self, sandbox: int) -> int:
        """A number that no container has, and no file on this file system."""
        first, last = self.host.projects
        count = last - first + 1
        taken = set(self._granted.values())
        for step in range(count):
            project = first + (self._next - first + step) % count
            if project not in taken and not projects.read_quota(sandbox, project).files:
                self._next = project + 1
                return project
        raise ContainerizerError(
            f"all {count} project ids of --project-range {first}-{last} are in use, {len(taken)} by containers and "
            f"{count - len(taken)} by files of earlier ones: widen the range, or have sandboxes collected earlier"
        )

    # What is written down --------------------------------------------------------------------------------------------

    def _load(self, container: Container) -> None:
        """What an earlier life has granted, of containers that are yet to be cleaned up too."""
        if self._loaded:
            return
        self._loaded = True
        directory = _file(container).parent
        for file in directory.iterdir() if directory.is_dir() else ():
            text = file.read_text()
            # One that is empty was cut off before anything had the number.
            if text:
                self._granted[file.name] = int(text)

    def _write(self, container: Container, project: int) -> None:
        """Before any file has it: after a crash it is taken."""
        self._granted[container.id] = project
        file = _file(container)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.write_text(str(project))

    def recover(self, container: Container) -> None:
        """It has what was written down."""
        self._load(container)
        container.project = self._granted.get(container.id, 0)

    async def cleanup(self, container: Container) -> None:
        """No limit any more; the files keep their number till they are removed."""
        self._load(container)
        self._watched.pop(container.id, None)
        self._told.discard(container.id)
        project = self._granted.get(container.id)
        self._early.discard((_device_of(container), container.project))
        if project is not None:
            # OSError: the sandbox is gone, or quotas are switched off.
            with contextlib.suppress(OSError), _open_sandbox(container) as sandbox:
                projects.set_limit(sandbox, project, None)
            del self._granted[container.id]
        container.project = 0
        file = _file(container)
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others have some, or nobody ever had
            file.parent.rmdir()

    # While it runs ---------------------------------------------------------------------------------------------------

    def watch(self, container: Container, report: Report) -> None:
        """Hear what the kernel refuses, and has refused since the container was launched."""
        self._watched[container.id] = (container, report)
        if self._events is not None:
            self._events.listen()
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._keep_looking())
        if (_device_of(container), container.project) in self._early:
            self._tell(container)

    def _refused(self, device: int, project: int) -> None:
        found = [one for one, _ in self._watched.values() if one.project == project and _device_of(one) == device]
        for container in found:
            self._tell(container)
        if not found and project in self._granted.values():
            # The command was quicker than the word that it runs.
            self._early.add((device, project))

    async def _keep_looking(self) -> None:
        while True:
            if self._events is None:
                await asyncio.sleep(LOOK_SECONDS)
                self._look()
            else:
                await asyncio.sleep(CHECK_SECONDS)
                self.check()

    def _look(self) -> None:
        """At what is used, where the kernel has not told, or was not heard."""
        for container, _ in tuple(self._watched.values()):
            quota = self._check(container) if container.id not in self._told else None
            if quota is not None and quota.limit_bytes is not None:
                left = quota.limit_bytes - quota.used_bytes
                if left < min(NEAR_BYTES, quota.limit_bytes):
                    self._tell(container)

    def check(self) -> None:
        """Whether all limits hold."""
        for container, _ in tuple(self._watched.values()):
            self._check(container)

    def _check(self, container: Container) -> projects.Quota | None:
        """What is used; None, and no quota any more, where they were switched off."""
        if not container.project:
            return None
        try:
            with _open_sandbox(container) as sandbox:
                enforced = projects.is_enforced(sandbox)
                quota = projects.read_quota(sandbox, container.project) if enforced else None
        except FileNotFoundError:
            # Its sandbox was removed; so were its files.
            return None
        except OSError:
            quota = None
        if quota is None:
            _log.error(
                "project quotas of the file system of %s were switched off: the limit of container %s is looked at by "
                "disk/du, if that is in use; switch them on again (quotaon -P, or mount it anew with -o prjquota)",
                container.spec.sandbox,
                container.id,
            )
            container.project = 0
        return quota

    def _tell(self, container: Container) -> None:
        if container.id in self._told:
            return
        self._told.add(container.id)
        # OSError: the sandbox was removed, or quotas were switched off, which `_check` says.
        with contextlib.suppress(OSError), _open_sandbox(container) as sandbox:
            quota = projects.read_quota(sandbox, container.project)
            _, report = self._watched[container.id]
            report(
                Limitation(
                    container_id=container.id,
                    limit=Limit.DISK,
                    message=f"more was refused: the sandbox may hold {quota.limit_bytes} bytes",
                    limit_value=quota.limit_bytes,
                    used_value=quota.used_bytes,
                )
            )

    async def update(self, container: Container, limits: Limits) -> None:
        """A lower limit only if there is room below it; a first one gives the files a number."""
        wanted = limits.disk_bytes
        quota = self._check(container)
        if quota is None:
            if wanted is not None and self.reaches(container):
                await self._take(container, wanted)
            return
        is_new = wanted != container.limits.disk_bytes
        if is_new and wanted is not None and wanted < quota.used_bytes:
            raise _too_low(container, wanted, quota.used_bytes)
        try:
            with _open_sandbox(container) as sandbox:
                projects.set_limit(sandbox, container.project, wanted)
        except OSError as error:
            raise _failed(container, error) from None
        if is_new:
            self._told.discard(container.id)

    def usage(self, container: Container) -> dict[str, Any]:
        """The kernel's count."""
        quota = self._check(container)
        return {} if quota is None else {"disk_bytes": quota.used_bytes}

    def close(self) -> None:
        """See the base."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._events is not None:
            self._events.close()


def _file(container: Container) -> Path:
    return container.directory.parent / GRANTS / container.id


@contextlib.contextmanager
def _open_sandbox(container: Container) -> Iterator[int]:
    descriptor = os.open(container.spec.sandbox, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _device_of(container: Container) -> int:
    try:
        return Path(container.spec.sandbox).stat().st_dev
    except OSError:
        # Removed under it.
        return 0


def _too_low(container: Container, limit_bytes: int, used_bytes: int) -> ContainerizerError:
    return ContainerizerError(
        f"disk_bytes is {limit_bytes}, and the sandbox {container.spec.sandbox} holds {used_bytes} bytes already: "
        "allow more, or remove some"
    )


def _failed(container: Container, error: OSError) -> ContainerizerError:
    return ContainerizerError(
        f"the project quota of {container.spec.sandbox} cannot be set ({error.filename or 'ioctl'}: {error.strerror}): "
        "is its file system full, or were its quotas switched off (mount it with -o prjquota, or leave out disk_bytes)?"
    )


__all__ = ["GRANTS", "DiskQuota"]
