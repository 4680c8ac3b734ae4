"""A containerizer without a machine, for tests and the simulator: same turns, same answers, no I/O, virtual time.

What a container does is read off its command, as a shell would do it::

    sleep 5; exit 3          ends after 5 s with status 3
    sleep infinity           runs until it is killed
    kill -9 $$               is ended by a signal
    trap '' TERM; sleep 60   does not end at SIGTERM
    echo hello >&2           says so at its beginning, on standard error; without >&2 on standard output
    cat                      prints what it is told, until there is no more
    /nonexistent/program     cannot be executed
    anything else            takes no time and succeeds

`KAON_SIMULATED_MEMORY_BYTES` in its environment is the memory that it takes at once: more than its limit is the end.

The state is the machine: give a new actor the state of the old one, and it finds the containers that ran on meanwhile.
"""

from __future__ import annotations

import functools
import re
import signal
from collections.abc import Mapping
from typing import Final

import msgspec

from containerizer.events import CleanedUp, LaunchEnded, LimitReached, ProcessEnded, UpdateEnded, UsageGathered
from containerizer.gpus import Gpu
from containerizer.messages import (
    ContainerExited,
    ContainerUsage,
    HostCapabilities,
    LaunchFailure,
    Limit,
    Limitation,
)
from containerizer.processes import Process
from containerizer.simulated_streams import Script, SimulatedStreams, SimulatedStreamsState
from containerizer.spec import ContainerSpec, Limits
from containerizer.state import ContainerState, Phase
from runtime.actor import receive
from runtime.pid import PID

MEMORY_VARIABLE: Final = "KAON_SIMULATED_MEMORY_BYTES"

LAUNCH_SECONDS: Final = 0.005
"""From Launch to Launched, as measured on small machines."""

CLEAN_SECONDS: Final = 0.002
"""From a command's end to the exit's telling."""

_NEVER: Final = float("inf")


def read_script(spec: ContainerSpec, programs: Mapping[str, Script]) -> Script:
    """What a program does that is known, or the few words of shell that the module speaks of."""
    text = spec.shell or " ".join(spec.argv)
    return programs.get(text) or _read_shell(text, spec.interactive or spec.tty, bool(spec.argv))


@functools.lru_cache(maxsize=1024)
def _read_shell(text: str, attended: bool, is_program: bool) -> Script:
    """A launch asks twice."""
    seconds, status, ignores, copies = 0.0, 0, False, False
    printed = {1: b"", 2: b""}

    def script(status: int, number: int | None = None) -> Script:
        return Script(seconds, status, number, ignores, True, printed[1], printed[2], copies)

    for part in re.split(r";|&&|\n", text):
        words = part.split()
        match words:
            case ["sleep", amount]:
                seconds += _NEVER if amount == "infinity" else float(amount)
                status = 0
            case ["exit", code]:
                return script(int(code) & 0xFF)
            case ["kill", number, "$$"]:
                return script(0, int(number.lstrip("-")))
            case ["trap", "''", "TERM"]:
                ignores = True
            case ["echo", *said]:
                where = 2 if said[-1:] == [">&2"] else 1
                printed[where] += " ".join(said[: len(said) - where + 1]).encode() + b"\n"
                status = 0
            case ["cat"]:
                copies = attended
                seconds += _NEVER if copies else 0.0
                status = 0
            case ["false"]:
                status = 1
            case [program, *_] if program.startswith("/nonexistent") and is_program:
                return Script(executable=False)
            case _:
                status = 0
    return script(status)


class SimulatedContainer(msgspec.Struct):
    """A container that runs, or ran. ends_at: seconds since the epoch; how: what to tell of it then."""

    script: Script
    memory_bytes: int
    started_at: float
    ends_at: float
    how: ContainerExited


class SimulatedState(SimulatedStreamsState):
    """The turns' state and the machine's; the latter outlives the actor.

    unlaunchable  ids of containers whose launch fails, for tests of that
    programs      what commands do that are no shell's, by their whole text
    gpus          that it grants; who has which is not kept
    """

    machine: dict[str, SimulatedContainer] = msgspec.field(default_factory=dict)
    unlaunchable: set[str] = msgspec.field(default_factory=set)
    programs: dict[str, Script] = msgspec.field(default_factory=dict)
    gpus: int = 0
    next_process_id: int = 1000


class SimulatedContainerizer(SimulatedStreams):
    """See the module."""

    state: SimulatedState

    def started(self) -> None:
        """Nobody is attached yet, and what was under way in an earlier life has come to nothing."""
        state = self.state
        gpus = tuple(Gpu(uuid=f"GPU-{minor}", minor=minor) for minor in range(state.gpus))
        state.host = HostCapabilities(isolation="simulated", kernel="simulated", gpus=gpus)
        state.agent = None
        state.recoveries = []
        state.repeating = False
        for container_id, container in [*state.containers.items()]:
            container.launching = []
            container.destroying = []
            if container.phase is Phase.LAUNCHING:
                del state.containers[container_id]
            elif container.phase in {Phase.ENDING, Phase.CLEANING}:
                container.phase = Phase.ENDING
        super().started()

    def begin_launch(self, spec: ContainerSpec) -> None:
        """See the base."""
        script = read_script(spec, self.state.programs)
        self.state.next_process_id += 1
        process = Process(pid=self.state.next_process_id, start_time=1, command=self.state.next_process_id, whole=True)
        if spec.id in self.state.unlaunchable:
            text = "this launch was told to fail"
            ended = LaunchEnded(container_id=spec.id, failure=LaunchFailure.FAILED, message=text)
        elif not script.executable:
            text = f"the command cannot be executed: no such file: {spec.command[0]}"
            ended = LaunchEnded(container_id=spec.id, failure=LaunchFailure.NO_COMMAND, message=text)
        else:
            ended = LaunchEnded(container_id=spec.id, process=process)
        self.after(LAUNCH_SECONDS, ended)

    def begin_watch(self, container_id: str) -> None:
        """See the base. A container that is new begins here; an old one goes on towards its end."""
        simulated = self.state.machine.get(container_id)
        if simulated is None:
            simulated = self._begin_life(self.state.containers[container_id].spec)
            self.state.machine[container_id] = simulated
        limit = self.state.containers[container_id].limits.memory_hard_bytes
        if limit is not None and simulated.memory_bytes > limit:
            self.after(0.0, LimitReached(limitation=_out_of_memory(container_id, simulated.memory_bytes, limit)))
        elif simulated.ends_at != _NEVER:
            self.after(max(0.0, simulated.ends_at - self.now), ProcessEnded(container_id=container_id))

    def _begin_life(self, spec: ContainerSpec) -> SimulatedContainer:
        script = read_script(spec, self.state.programs)
        ends_at = self.now + script.seconds
        how = ContainerExited(
            container_id=spec.id,
            exit_code=None if script.number else script.status,
            signal=script.number,
            ended_at=0.0 if ends_at == _NEVER else ends_at,
        )
        self.print_first(spec, script)
        memory_bytes = int(dict(spec.environment).get(MEMORY_VARIABLE, "1048576"))
        return SimulatedContainer(script, memory_bytes, self.now, ends_at, how)

    def begin_kill(self, container_id: str, process: Process) -> None:
        """See the base."""
        self._end(container_id, int(signal.SIGKILL))

    def send_signal(self, container_id: str, process: Process, number: int, *, everyone: bool) -> None:
        """See the base. Of signals only those that end a program by default do anything."""
        ignored = number == signal.SIGTERM and self.state.machine[container_id].script.ignores_term
        if number in {signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT} and not ignored:
            self._end(container_id, number)

    def script_of(self, container_id: str) -> Script:
        """See the base."""
        return self.state.machine[container_id].script

    def end_command(self, container_id: str) -> None:
        """See the base."""
        self._end(container_id, None)

    def _end(self, container_id: str, number: int | None) -> None:
        simulated = self.state.machine[container_id]
        if simulated.ends_at > self.now:
            simulated.ends_at = self.now
            code = simulated.script.status if number is None else None
            simulated.how = ContainerExited(container_id=container_id, exit_code=code, signal=number, ended_at=self.now)
            self.after(0.0, ProcessEnded(container_id=container_id))

    @receive(ProcessEnded)
    def simulated_process_ended(self, sender: PID, message: ProcessEnded) -> None:
        """A timer of a command that was killed earlier means nothing any more."""
        container = self.state.containers.get(message.container_id)
        if container is not None and container.phase is Phase.RUNNING:
            self.process_ended(sender, message)

    def begin_clean(self, container_id: str, container: ContainerState) -> None:
        """See the base."""
        simulated = self.state.machine.get(container_id)
        exited = None
        if simulated is not None:
            exited = msgspec.structs.replace(
                simulated.how, destroyed=container.destroyed, limitation=container.limitation
            )
        self.finish_output(container_id)
        self.after(CLEAN_SECONDS, CleanedUp(container_id=container_id, exited=exited))

    def begin_update(self, container_id: str, limits: Limits) -> None:
        """See the base."""
        self.after(0.0, UpdateEnded(container_id=container_id, request=self.request, limits=limits))
        simulated = self.state.machine[container_id]
        hard = limits.memory_hard_bytes
        if hard is not None and simulated.memory_bytes > hard:
            self.after(0.0, LimitReached(limitation=_out_of_memory(container_id, simulated.memory_bytes, hard)))

    def begin_usage(self, container_ids: list[str]) -> None:
        """See the base. A container uses all of the cores that it asked for."""
        usages = []
        for container_id in container_ids:
            container = self.state.containers.get(container_id)
            if container is None or container.phase is not Phase.RUNNING:
                continue
            simulated = self.state.machine[container_id]
            seconds = self.now - simulated.started_at
            usage = ContainerUsage(
                container_id=container_id,
                timestamp=self.now,
                cpu_user_seconds=seconds * (container.limits.cpus or 0.0),
                cpu_system_seconds=0.0,
                memory_bytes=simulated.memory_bytes,
                processes=1,
                limits=container.limits,
            )
            usages.append(usage)
        self.after(0.0, UsageGathered(request=self.request, usages=tuple(usages)))

    def forget(self, container_id: str) -> None:
        """See the base."""
        self.state.machine.pop(container_id, None)
        if all(reader.container_id != container_id for reader in self.state.readers.values()):
            self.state.outputs.pop(container_id, None)


def _out_of_memory(container_id: str, used: int, limit: int) -> Limitation:
    text = f"out of memory: it took {used} bytes and may have {limit}"
    return Limitation(
        container_id=container_id,
        limit=Limit.MEMORY,
        message=text,
        limit_value=limit,
        used_value=used,
        peak_value=used,
        fatal=True,
    )
