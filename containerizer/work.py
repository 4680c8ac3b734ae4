"""What the containerizer actor does outside its turns: everything that touches the machine or waits for it.

Each coroutine returns the event that tells the actor how it went. Held here are the things that are no data: pidfds,
the connection to the zygote, what isolators watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from containerizer.cgroups2.tree import find
from containerizer.errors import ContainerizerError, InvalidSpec, Unsupported
from containerizer.events import CleanedUp, LaunchEnded, LimitReached, ProcessEnded, UpdateEnded, UsageGathered
from containerizer.gpus import choose_gpus, find_gpus
from containerizer.host import find_user, survey
from containerizer.isolator import Container
from containerizer.isolators import PLAIN, choose
from containerizer.isolators.gpu import NvidiaGpus
from containerizer.launcher import SOCKET_NAME, CommandError, Launcher
from containerizer.lifecycle import Lifecycle
from containerizer.messages import (
    ContainerizerMessage,
    ContainerUsage,
    HostCapabilities,
    LaunchFailure,
    Limitation,
    Missing,
)
from containerizer.networks import read_network
from containerizer.processes import Process, descendants_of, is_ending, open_process, signal_all
from containerizer.projects import parse_range
from containerizer.records import Found, Line, Records, exit_of
from containerizer.spec import ContainerSpec, Limits
from containerizer.state import ContainerizerConfig, ContainerState, Phase
from containerizer.streams import Streams
from runtime.constants import IPC_PATH_BYTES
from runtime.effects import Request
from runtime.errors import ConfigurationError

_log = logging.getLogger(__name__)


class Work:
    """The machine's side of one containerizer.

    post  puts an event into the actor's mailbox
    Raises :class:`ConfigurationError` or :class:`Unsupported`, which say what to change.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, config: ContainerizerConfig, post: Callable[[ContainerizerMessage], None]
    ) -> None:
        directory = Path(config.runtime_directory)
        _check_runtime_directory(directory)
        self._loop = loop
        self._post = post
        cgroups = find(config.cgroup, str(directory)) if set(config.isolation) != {PLAIN} else None
        self._records = Records(directory)
        hidden = (*config.hidden, str(directory))
        images = str(self._records.images_directory)
        gpus = choose_gpus(find_gpus(), config.gpu_devices)
        projects = parse_range(config.project_range)
        network = read_network(config.network_bridge, config.network_subnet)
        self._host = survey(
            hidden=hidden, cgroups=cgroups, images_directory=images, gpus=gpus, projects=projects, network=network
        )
        self.isolators, missing = choose(self._host, config.isolation)
        self._launcher = Launcher(loop, directory)
        self._lifecycle = Lifecycle(self._host, self.isolators, missing, self._launcher, self._records)
        self._pidfds: dict[str, int] = {}
        self._containers: dict[str, Container] = {}
        self.streams = Streams(loop, post)
        names = tuple(isolator.name for isolator in self.isolators)
        self.capabilities = HostCapabilities(
            isolation="isolated" if "namespaces/pid" in names else "plain",
            isolators=names,
            missing=tuple(missing),
            kernel=self._host.kernel,
            root=self._host.root,
            cgroup_root=self._host.cgroups.path,
            gpus=gpus.gpus if NvidiaGpus.name in names else (),
        )
        _log_capabilities(self.capabilities)

    def close(self) -> None:
        """Leave containers running; without any, the zygote has nothing to live for."""
        self._let_go(stop_zygote=not self._pidfds)
        for isolator in self.isolators:
            isolator.close()
        self._records.close()

    def abandon(self) -> None:
        """Let go of everything, as the end of the process would."""
        self._let_go(stop_zygote=False)

    def _let_go(self, *, stop_zygote: bool) -> None:
        self._launcher.close(stop_zygote=stop_zygote)
        self.streams.close()
        for pidfd in self._pidfds.values():
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
        self._pidfds.clear()

    def find(self) -> dict[str, ContainerState]:
        """Read what an earlier life has left, as the state that each container must be in."""
        states = {found.container_id: self._recognise(found) for found in self._records.read_all()}
        for isolator in self.isolators:
            isolator.destroy_strangers(self._records.directory, set(states))
        return states

    def _recognise(self, found: Found) -> ContainerState:
        spec = found.launch.spec
        limits = found.limits or spec.limits
        state = ContainerState(
            spec=spec,
            phase=Phase.ENDING if found.exit is None else Phase.ENDED,
            limits=limits,
            process=found.process,
            not_isolated=found.launch.not_isolated,
            exited=found.exit,
        )
        container = Container(
            id=spec.id,
            spec=spec,
            directory=self._records.work_directory(spec.id),
            user=find_user(spec.user),
            limits=limits,
            parent=self._containers.get(spec.parent),
            isolators=found.launch.isolators,
            process_id=found.process.pid if found.process else 0,
            start_time=found.process.start_time if found.process else 0,
            whole=found.process is not None and found.process.whole,
        )
        self._containers[spec.id] = container
        if found.exit is None and found.process is not None and found.launch.boot_id == self._host.boot_id:
            pidfd = open_process(found.process)
            if pidfd is not None:
                state.phase = Phase.RUNNING
                self._pidfds[spec.id] = pidfd
                self._lifecycle.recover(container)
                self.streams.recover(spec, found.process.ends, pidfd)
        if state.phase is not Phase.RUNNING:
            self.streams.recover_ended(spec)
        return state

    async def launch(self, spec: ContainerSpec) -> LaunchEnded:
        """Make a container, or say why not; then nothing of it is left."""
        try:
            running = await self._lifecycle.launch(spec, self._containers.get(spec.parent))
        except InvalidSpec as error:
            failure, text = LaunchFailure.INVALID, str(error)
        except Unsupported as error:
            failure, text = LaunchFailure.UNSUPPORTED, str(error)
        except CommandError as error:
            failure, text = LaunchFailure.NO_COMMAND, str(error)
        except (ContainerizerError, OSError) as error:
            failure, text = LaunchFailure.FAILED, str(error)
        else:
            self._pidfds[spec.id] = running.pidfd
            self._containers[spec.id] = running.container
            self.streams.adopt(spec, running.ends, running.pidfd)
            return LaunchEnded(container_id=spec.id, process=running.process, not_isolated=running.not_isolated)
        return LaunchEnded(container_id=spec.id, failure=failure, message=text)

    def watch(self, container_id: str) -> None:
        """Post :class:`ProcessEnded` when its init is gone, :class:`LimitReached` when a limit is hit."""
        self._loop.add_reader(self._pidfds[container_id], self._process_ended, container_id)
        self._lifecycle.watch(self._containers[container_id], self._report)

    def _process_ended(self, container_id: str) -> None:
        pidfd = self._pidfds.pop(container_id)
        self.streams.forget_process(container_id)
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        self._post(ProcessEnded(container_id=container_id))

    def _report(self, limitation: Limitation) -> None:
        self._post(LimitReached(limitation=limitation))

    def find_process(self, container_id: str) -> Process:
        """Who its processes are, by its records."""
        found = self._records.read(container_id)
        assert found is not None
        assert found.process is not None
        return found.process

    def send_signal(self, container_id: str, process: Process, number: int, *, everyone: bool) -> None:
        """The init passes signals on to the command; what it cannot catch goes to the command itself."""
        if everyone:
            signal_all(descendants_of(process.pid), number)
        elif number in {signal.SIGKILL, signal.SIGSTOP}:
            # Only as long as it is a descendant of the init is the number the command's own.
            signal_all([pid for pid in descendants_of(process.pid) if pid == process.command], number)
        elif container_id in self._pidfds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfds[container_id], number)

    async def kill(self, container_id: str, process: Process) -> None:
        """Kill everything in it; its end is told by :class:`ProcessEnded`."""
        pidfd = self._pidfds.get(container_id)
        if pidfd is None:
            return
        # The descriptor is closed as soon as the process is seen to be gone, maybe before the last round.
        own = os.dup(pidfd)
        try:
            await self._lifecycle.kill(self._containers[container_id], process, own)
        finally:
            os.close(own)

    async def clean(self, container_id: str, *, destroyed: bool, limitation: Limitation | None) -> CleanedUp:
        """Take away what is left of a container whose init is gone, and make its exit durable."""
        container = self._containers[container_id]
        found = self._records.read(container_id)
        status = found.status if found is not None else None
        limitation = limitation or self._lifecycle.limitation(container)
        parent = container.parent
        if status is None and parent is not None and is_ending(parent.process_id, parent.start_time):
            # It died with the PID namespace that it was in.
            destroyed = True
        launched = container.process_id != 0
        exited = None
        try:
            await self._lifecycle.clean(container, sweep=launched and status is None)
            if launched:
                exited = exit_of(container_id, status, destroyed=destroyed, limitation=limitation)
                self._records.append(container_id, Line(exit=exited))
        except OSError as error:
            return CleanedUp(container_id=container_id, error=str(error))
        finally:
            self.streams.finish(container_id)
        return CleanedUp(container_id=container_id, exited=exited)

    def forget(self, container_id: str) -> None:
        """Its exit is collected, or nobody wants it."""
        self._containers.pop(container_id, None)
        self.streams.forget(container_id)
        self._records.remove(container_id)

    async def update(self, container_id: str, request: Request, limits: Limits) -> UpdateEnded:
        """Make new limits hold, and remember them over a restart."""
        error = ""
        try:
            container = self._containers[container_id]
            await self._lifecycle.update(container, limits)
            self._records.append(container_id, Line(limits=limits))
            container.limits = limits
        except (ContainerizerError, OSError) as failure:
            error = str(failure)
        return UpdateEnded(container_id=container_id, request=request, limits=limits, error=error)

    async def usage(self, container_ids: list[str], request: Request, now: float) -> UsageGathered:
        """Answer a question about them."""
        return UsageGathered(request=request, usages=tuple(await self.gather(container_ids, now)))

    async def gather(self, container_ids: Iterable[str], now: float) -> list[ContainerUsage]:
        """Read the figures, other work in between: there may be thousands of files."""
        usages: list[ContainerUsage] = []
        for container_id in container_ids:
            container = self._containers.get(container_id)
            if container is not None and container_id in self._pidfds:
                usages.append(self._lifecycle.usage(container, now))
                await asyncio.sleep(0)
        return usages


def _log_capabilities(host: HostCapabilities) -> None:
    _log.info("containers are %s here, by %s", host.isolation, ", ".join(host.isolators) or "nothing")
    by_reason: dict[str, list[str]] = {}
    for lack in host.missing:
        by_reason.setdefault(lack.reason + _mend(lack), []).append(lack.what)
    for reason, names in by_reason.items():
        _log.warning("isolation %s cannot be had here: %s", ", ".join(names), reason)


def _mend(lack: Missing) -> str:
    return f" ({lack.mend})" if lack.mend else ""


def _check_runtime_directory(directory: Path) -> None:
    """Make it if it is missing; refuse one that others can enter."""
    if not directory.is_absolute():
        raise ConfigurationError(f"the runtime directory {directory} is a relative path: give an absolute one")
    length = len(os.fsencode(directory / SOCKET_NAME))
    if length > IPC_PATH_BYTES:
        raise ConfigurationError(
            f"the runtime directory {directory} is too long: its socket's path would have {length} bytes, and the "
            f"kernel allows {IPC_PATH_BYTES}; choose a shorter one"
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
        if status.st_uid != os.geteuid():
            raise ConfigurationError(
                f"the runtime directory {directory} belongs to uid {status.st_uid}: choose another"
            )
        if status.st_mode & 0o077:
            directory.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(f"the runtime directory {directory} cannot be used: {error.strerror}") from None
