"""One container from its spec to its end: prepared by the isolators, launched, killed, cleaned up.

No state is kept here between calls but what the isolators keep; the actor has that. Everything here is safe to try
again after a crash in its middle.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from containerizer import held
from containerizer.errors import ContainerizerError, Unsupported
from containerizer.host import Host, find_user
from containerizer.isolator import Container, Isolator, Report
from containerizer.isolators import KNOWN, wanted
from containerizer.launcher import Launcher
from containerizer.messages import ContainerUsage, Limitation, Missing
from containerizer.plan import LaunchPlan
from containerizer.processes import Process, descendants_of, kill_marked, signal_all, start_time_of
from containerizer.records import LaunchRecord, Line, Records, append
from containerizer.spec import ContainerSpec, Limits, Namespace
from containerizer.standard import StandardFiles, open_standard, steps_for

_log = logging.getLogger(__name__)

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

DEFAULT_TERMINAL: Final = "xterm"
"""TERM of a command with a terminal, unless its spec has it (as Docker does)."""

MARK: Final = "KAON_CONTAINER"
"""Environment variable by which processes are found that left their session and lost their init."""

KILL_ROUNDS: Final = 100
KILL_ROUND_SECONDS: Final = 0.05
"""How often and how far apart a container without a PID namespace is looked through for processes to kill."""

CLEANUP_SECONDS: Final = 60.0
"""For which a cleanup is tried again (Mesos: `cgroups_destroy_timeout`)."""


class Running(msgspec.Struct):
    """What a launch has made. pidfd: of the init; ends: of its standard files, by name, `log` among them. The caller
    closes them."""

    container: Container
    process: Process
    pidfd: int
    not_isolated: tuple[str, ...]
    ends: dict[str, int]


class Lifecycle:
    """Drives the isolators and the launcher of one containerizer."""

    def __init__(
        self,
        host: Host,
        isolators: Sequence[Isolator],
        missing: Sequence[Missing],
        launcher: Launcher,
        records: Records,
    ) -> None:
        self._host = host
        self._isolators = isolators
        self._missing = missing
        self._launcher = launcher
        self._records = records

    async def launch(self, spec: ContainerSpec, parent: Container | None) -> Running:
        """Make a container; what was made is taken away again if it fails, the sandbox excepted.

        Raises `InvalidSpec`, `Unsupported`, `CommandError`, or another :class:`ContainerizerError`.
        """
        user = find_user(spec.user)
        self._check_supported(spec)
        sandbox = _make_sandbox(spec, user.uid, user.gid)
        container = Container(
            id=spec.id,
            spec=spec,
            directory=self._records.work_directory(spec.id),
            user=user,
            limits=spec.limits,
            parent=parent,
            isolators=tuple(isolator.name for isolator in self._isolators),
        )
        not_isolated = self._not_isolated(container)
        record = LaunchRecord(
            spec=spec,
            boot_id=self._host.boot_id,
            isolators=container.isolators,
            not_isolated=not_isolated,
        )
        try:
            journal = self._records.create(record)
        except FileExistsError:
            os.close(sandbox)
            raise ContainerizerError(f"container {spec.id} has records already") from None
        standard = StandardFiles([])
        try:
            plan = await self._plan(container)
            standard = open_standard(spec, sandbox, user.uid + plan.first_id, user.gid + plan.first_id)

            async def created(process: Process) -> None:
                container.process_id = process.pid
                container.start_time = process.start_time
                container.whole = process.whole
                if plan.waits:
                    append(journal, Line(process=process))
                    for isolator in self._isolators:
                        await isolator.isolate(container)

            process, pidfd, ends = await self._launcher.launch(plan, [journal, *standard.files], created)
            append(journal, Line(process=process))
        except BaseException:
            # An init that was killed may have started the command, and not have lived to say so.
            await self.clean(container, sweep=container.process_id != 0 and not container.whole)
            self._records.remove(spec.id)
            raise
        else:
            if standard.log >= 0:
                ends["log"], standard.log = standard.log, -1
        finally:
            standard.close()
            os.close(sandbox)
            os.close(journal)
        return Running(container, process, pidfd, not_isolated, ends)

    def _not_isolated(self, container: Container) -> tuple[str, ...]:
        """What this host lacks, or has elsewhere than this container's files are."""
        lacking = [lack.what for lack in self._missing if wanted(lack.what, container.spec)]
        here = [one.name for one in self._isolators if one.wants(container.spec) and not one.reaches(container)]
        return (*lacking, *here)

    def _check_supported(self, spec: ContainerSpec) -> None:
        names = {isolator.name for isolator in self._isolators}
        for cls in KNOWN:
            demand = cls.demanded(spec)
            if demand and cls.name not in names:
                lack = cls.probe(self._host) or Missing(what=cls.name, reason=f"start it with --isolation={cls.name}")
                raise Unsupported(f"{demand}: {lack.reason}{f'; {lack.mend}' if lack.mend else ''}")
        for namespace in spec.namespaces or ():
            if f"namespaces/{namespace.value}" not in names:
                raise Unsupported(
                    f"a {namespace.value} namespace is demanded, and this agent has no isolator for it: "
                    f"start it with --isolation=namespaces/{namespace.value}"
                )

    async def _plan(self, container: Container) -> LaunchPlan:
        spec = container.spec
        plan = LaunchPlan(argv=spec.command)
        for isolator in self._isolators:
            await isolator.prepare(container, plan)
        # An init that joins others' namespaces does not see what the host calls it.
        plan.waits = bool(plan.joined) or any(_isolates(isolator, spec) for isolator in self._isolators)
        sandbox = plan.sandbox or spec.sandbox
        plan.environment = {
            "PATH": DEFAULT_PATH,
            "HOME": sandbox,
            "MESOS_SANDBOX": sandbox,
            **({"TERM": DEFAULT_TERMINAL} if spec.tty else {}),
            **dict(spec.environment),
            **plan.environment,
            **dict(spec.secrets),
            MARK: str(container.directory),
        }
        plan.settling.extend(steps_for(container, plan))
        # Whoever is to be born in its namespaces has to look into it, too.
        needed = spec.tty or spec.interactive or plan.single_user or Namespace.USER in plan.joined
        plan.inspectable = not self._host.root and needed
        plan.settling.append(("change_directory", spec.working_directory or sandbox))
        if spec.no_new_privileges:
            plan.privileges.insert(0, ("forbid_new_privileges",))
        user = container.user
        if self._host.root and (spec.user or plan.capabilities is not None):
            plan.privileges.append(("set_user", user.uid, user.gid, list(user.groups), plan.capabilities))
        return plan

    def watch(self, container: Container, report: Report) -> None:
        """Let the isolators report limits that are hit."""
        for isolator in self._isolators:
            isolator.watch(container, report)

    def recover(self, container: Container) -> None:
        """A container that ran before this containerizer did."""
        for isolator in self._isolators:
            isolator.recover(container)

    async def update(self, container: Container, limits: Limits) -> None:
        """Make new limits hold; on an error the old ones are put back."""
        done: list[Isolator] = []
        try:
            for isolator in self._isolators:
                done.append(isolator)
                await isolator.update(container, limits)
        except (ContainerizerError, OSError):
            for isolator in reversed(done):
                await isolator.update(container, container.limits)
            raise

    def limitation(self, container: Container) -> Limitation | None:
        """The limit that has ended a container, if one has."""
        for isolator in self._isolators:
            found = isolator.limitation(container)
            if found is not None and found.fatal:
                return found
        return None

    def usage(self, container: Container, timestamp: float) -> ContainerUsage:
        """What the isolators know of a container's use."""
        fields: dict[str, Any] = {}
        for isolator in self._isolators:
            fields.update(isolator.usage(container))
        return ContainerUsage(container_id=container.id, timestamp=timestamp, limits=container.limits, **fields)

    async def kill(self, container: Container, process: Process, pidfd: int) -> None:
        """Kill all of a container. Returns once that is sure to happen, or has been tried for five seconds."""
        if any(isolator.kill(container) for isolator in self._isolators):
            return
        if process.whole:
            _signal_init(pidfd)
            return
        # The init stays: it is who finds orphans, and it ends by itself when the command has.
        for _ in range(KILL_ROUNDS):
            if start_time_of(process.pid) != process.start_time:
                return
            signal_all(descendants_of(process.pid), signal.SIGKILL)
            await asyncio.sleep(KILL_ROUND_SECONDS)
        _signal_init(pidfd)

    async def clean(self, container: Container, *, sweep: bool = False) -> None:
        """Take away everything but the sandbox and the records. The container's init must be gone.

        sweep  look for processes that survived their init: it was killed, and had no PID namespace

        What cannot be taken away yet (a cgroup that the kernel is still emptying) is tried again for a minute; then the
        last error is raised.
        """
        if sweep:
            while kill_marked(f"{MARK}={container.directory}"):
                await asyncio.sleep(KILL_ROUND_SECONDS)
        for isolator in reversed(self._isolators):
            delay = 0.001
            waited = 0.0
            while True:
                try:
                    await isolator.cleanup(container)
                    break
                except OSError as error:
                    if waited > CLEANUP_SECONDS:
                        raise
                    _log.debug("cleanup of %s by %s: %s; trying again", container.id, isolator.name, error)
                await asyncio.sleep(delay)
                waited += delay
                delay = min(delay * 2, 1.0)


def _signal_init(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        # Ended meanwhile, and its pidfd says so to whoever watches it.
        return


def _isolates(isolator: Isolator, spec: ContainerSpec) -> bool:
    """Whether it has something to do between the birth of an init and the first step of its plan."""
    return type(isolator).isolate is not Isolator.isolate and isolator.wants(spec)


def _make_sandbox(spec: ContainerSpec, uid: int, gid: int) -> int:
    """A descriptor of the sandbox, made if missing; what was there keeps its owner."""
    path = Path(spec.sandbox)
    try:
        if not held.exists(path):
            if not held.exists(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
            held.make_directory(path, 0o750)
            held.change_owner(path, uid, gid)
        return held.open_file(path, os.O_DIRECTORY | os.O_RDONLY)
    except OSError as error:
        raise ContainerizerError(f"the sandbox {spec.sandbox} cannot be used: {error.strerror}") from None
