"""All that a containerizer keeps in memory: lost at any time, and read again from :mod:`containerizer.records`."""

from __future__ import annotations

import enum

import msgspec

from containerizer.isolators import AUTO
from containerizer.messages import ContainerExited, HostCapabilities, Launched, Limitation, Recovered
from containerizer.networks import DEFAULT_BRIDGE, DEFAULT_SUBNET
from containerizer.processes import Process
from containerizer.spec import ContainerSpec, Limits, Record
from runtime.actor import State
from runtime.effects import Request, TimerId
from runtime.pid import PID


class ContainerizerConfig(Record, frozen=True, kw_only=True):
    """How a containerizer is set up.

    runtime_directory  for its own files and the zygote's socket; short, on a local disk, ours alone. Better one that is
                       empty after a restart of the machine (below /run)
    isolation          see :func:`containerizer.isolators.choose`
    hidden             directories that containers must not see, but for their own sandbox: agents' work directories
    cgroup             cgroup v2 directory to put containers below; empty to use the one this process is in
    gpu_devices        which may be granted: see :func:`containerizer.gpus.choose_gpus`
    project_range      numbers for project quotas: see :func:`containerizer.projects.parse_range`
    network_bridge, network_subnet  for containers with a network of their own: see :mod:`containerizer.networks`
    """

    runtime_directory: str
    isolation: tuple[str, ...] = (AUTO,)
    hidden: tuple[str, ...] = ()
    cgroup: str = ""
    gpu_devices: tuple[str, ...] = ()
    project_range: str = "5000-10000"
    network_bridge: str = DEFAULT_BRIDGE
    network_subnet: str = DEFAULT_SUBNET


class Phase(enum.Enum):
    """Where a container is in its life."""

    LAUNCHING = "launching"
    RUNNING = "running"
    ENDING = "ending"
    """Its first process is gone; containers nested in it are being ended."""
    CLEANING = "cleaning"
    ENDED = "ended"
    """Nothing is left of it; its exit waits to be collected."""


class ContainerState(State):
    """One container.

    launching, destroying  who waits for the answer
    kill_at    when grace ends, in seconds since the epoch; None while nobody destroys it
    orphan     no agent knows it: its exit need not be collected
    owner      who has launched it for a session, hears of its end in the agent's place, and takes it along when gone
    """

    spec: ContainerSpec
    phase: Phase
    limits: Limits
    process: Process | None = None
    not_isolated: tuple[str, ...] = ()
    launching: list[Request] = msgspec.field(default_factory=list)
    destroying: list[Request] = msgspec.field(default_factory=list)
    destroyed: bool = False
    kill_at: float | None = None
    kill_timer: TimerId = 0
    orphan: bool = False
    owner: PID | None = None
    limitation: Limitation | None = None
    exited: ContainerExited | None = None


class Recovery(State):
    """A Recover that waits for orphans to be gone."""

    request: Request
    answer: Recovered
    orphans: set[str]


class AttachedStream(State):
    """Somebody who reads what a container prints, or writes what it reads."""

    container_id: str
    pid: PID
    writes: bool


class ContainerizerState(State):
    """All of a containerizer."""

    config: ContainerizerConfig
    host: HostCapabilities | None = None
    containers: dict[str, ContainerState] = msgspec.field(default_factory=dict)
    agent: PID | None = None
    recoveries: list[Recovery] = msgspec.field(default_factory=list)
    repeating: bool = False
    streams: dict[int, AttachedStream] = msgspec.field(default_factory=dict)
    last_stream: int = 0


def launched_answer(container: ContainerState) -> Launched:
    """What to tell of a container that runs."""
    process = container.process
    assert process is not None
    return Launched(
        container_id=container.spec.id,
        process_id=process.command or process.pid,
        isolation="isolated" if process.whole else "plain",
        not_isolated=container.not_isolated,
    )
