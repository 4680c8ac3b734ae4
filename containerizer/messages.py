"""What an agent and its containerizer say to one another.

The story of a container, as the agent sees it::

    agent                                containerizer
      Attach  ───────────────────────────────►   who hears of exits and limitations from now on
            ◄───────────────────────────  Attached(host=...)
      Recover(known) ────────────────────────►   after Attach, before anything else
            ◄───────────────────────────  Recovered(alive, exited, destroyed)
      Launch(spec) ──────────────────────────►
            ◄───────────────────────────  Launched | LaunchFailed
      Update(limits), Usage, Kill ───────────►
            ◄───────────────────────────  Updated, UsageReport, Killed | Refused
            ◄───────────────────────────  Limitation        (the kernel stopped something)
            ◄───────────────────────────  ContainerExited   (again until Collected)
      Collected ─────────────────────────────►   forgotten

Rules that both sides keep:

* Every question is an ask and gets one answer. All of them may be repeated: a Launch of a container that runs is
  answered Launched again, a Destroy of one that is gone Destroyed.
* ContainerExited comes once nothing of the container is left: no process, mount, cgroup. It is repeated, after restarts
  of either side as well, until Collected. Each Launched is followed by exactly one exit; a LaunchFailed by none.
* Destroy kills whatever runs. ContainerExited is sent first, Destroyed after it.
* A container with others nested in it takes them with it: their exits come before its own.
* Files in the sandbox are the agent's; the containerizer never removes them.
* The link decides about presence: an agent that links the containerizer learns of its death, attaches to its successor
  and recovers. Containers go on in between. The latest Attach wins.
"""

from __future__ import annotations

import enum
from typing import ClassVar

from containerizer.gpus import Gpu
from containerizer.spec import ContainerSpec, Limits, Record
from runtime.message import Message, Overflow


class ContainerizerMessage(Message, frozen=True, kw_only=True, tag="containerizer.{}".format):
    """Base of all of them."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


# Attaching -----------------------------------------------------------------------------------------------------------


class Missing(Record, frozen=True, kw_only=True):
    """Something that this host cannot isolate. what: an isolator's name; reason: why; mend: how to get it."""

    what: str
    reason: str
    mend: str = ""


class HostCapabilities(ContainerizerMessage, frozen=True, kw_only=True):
    """What this host can isolate; answer to :class:`Describe`.

    isolation    ``isolated`` (namespaces of their own) or ``plain`` (own session only)
    isolators    names of those in use, in the order of their `prepare`
    missing      what was wanted or could be had and is not, each with its reason
    kernel       release, as `uname -r`
    root         whether the containerizer is root
    cgroup_root  directory below which containers get their cgroups; empty where there is no usable cgroup v2
    gpus         that can be granted
    """

    isolation: str
    isolators: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()
    kernel: str = ""
    root: bool = False
    cgroup_root: str = ""
    gpus: tuple[Gpu, ...] = ()


class Describe(ContainerizerMessage, frozen=True, kw_only=True):
    """Ask what this host can isolate. Anybody may: answered by :class:`HostCapabilities`."""


class Attach(ContainerizerMessage, frozen=True, kw_only=True):
    """An agent says hello: exits and limitations go to the sender from now on. Answered by :class:`Attached`."""

    agent_id: str = ""


class Attached(ContainerizerMessage, frozen=True, kw_only=True):
    """Answer to :class:`Attach`. host: what it can isolate; containers: ids of all that are known here."""

    host: HostCapabilities
    containers: tuple[str, ...] = ()


class Recover(ContainerizerMessage, frozen=True, kw_only=True):
    """After Attach: the ids of all containers that the agent knows and has not collected.

    Others are orphans and are destroyed before the answer, :class:`Recovered`; those of sessions that go on are not.
    """

    containers: tuple[str, ...] = ()


class Recovered(ContainerizerMessage, frozen=True, kw_only=True):
    """Answer to :class:`Recover`: every known id is in exactly one of the first three.

    alive      run on
    exited     ended; a :class:`ContainerExited` follows for each, until collected
    lost       nothing is known of them here: never launched, or the machine has rebooted
    destroyed  orphans: they were here, the agent did not know them, they are gone now
    """

    alive: tuple[str, ...] = ()
    exited: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    destroyed: tuple[str, ...] = ()


# A container's life --------------------------------------------------------------------------------------------------


class LaunchFailure(enum.Enum):
    """Why a container was not launched."""

    INVALID = "invalid"
    """The spec is wrong: trying again is of no use."""
    EXISTS = "exists"
    """Another container has this id."""
    UNSUPPORTED = "unsupported"
    """This host cannot isolate what the spec demands."""
    NO_COMMAND = "no_command"
    """The program does not exist or cannot be executed."""
    DESTROYED = "destroyed"
    """Destroy came while it was being launched."""
    FAILED = "failed"
    """Something on this host went wrong: the message says what; another host may do."""


class Launch(ContainerizerMessage, frozen=True, kw_only=True):
    """Start a container. Answered by :class:`Launched` once its command runs, or :class:`LaunchFailed`.

    session  it is the sender's own and no agent's: the sender hears of its exit and collects it, and it is destroyed
             when the sender is gone (Mesos: LAUNCH_NESTED_CONTAINER_SESSION)
    """

    spec: ContainerSpec
    session: bool = False


class Launched(ContainerizerMessage, frozen=True, kw_only=True):
    """The command runs.

    process_id   of the container's first process, as the host sees it
    isolation    ``isolated`` or ``plain``
    not_isolated names of what the spec would have by default and this host cannot give
    """

    container_id: str
    process_id: int
    isolation: str = "plain"
    not_isolated: tuple[str, ...] = ()


class LaunchFailed(ContainerizerMessage, frozen=True, kw_only=True):
    """It does not run, and nothing of it is left but the sandbox. message: a sentence for the user."""

    container_id: str
    reason: LaunchFailure
    message: str


class Refused(ContainerizerMessage, frozen=True, kw_only=True):
    """The question cannot be answered: unknown container, wrong values. message: a sentence for the user."""

    container_id: str
    message: str


class Kill(ContainerizerMessage, frozen=True, kw_only=True):
    """Send a signal to a container's command (to all its processes with `everyone`).

    Answered by :class:`Killed`, or :class:`Refused` when there is no such container.
    """

    container_id: str
    signal: int = 15
    everyone: bool = False


class Killed(ContainerizerMessage, frozen=True, kw_only=True):
    """The signal was sent; what becomes of it is another matter."""

    container_id: str


class Destroy(ContainerizerMessage, frozen=True, kw_only=True):
    """End a container, and whatever is nested in it. Answered by :class:`Destroyed`.

    grace_seconds  SIGTERM first, SIGKILL to everything after so long; 0 kills at once; None for the spec's
                   `kill_grace_seconds`. A second Destroy can only shorten the grace of the first.
    """

    container_id: str
    grace_seconds: float | None = None


class Destroyed(ContainerizerMessage, frozen=True, kw_only=True):
    """Nothing of it is left but the sandbox, or there was none."""

    container_id: str


class ContainerExited(ContainerizerMessage, frozen=True, kw_only=True):
    """A container ended. Repeated until :class:`Collected`.

    exit_code    of its command; None if a signal ended it, or if it is not known
    signal       that ended it; None otherwise
    destroyed    it was asked to end (:class:`Destroy`), so its status says little
    limitation   the limit that ended it, if one did
    message      a sentence for the user, where code and signal do not say all
    ended_at     seconds since the epoch; 0 if not known
    """

    container_id: str
    exit_code: int | None = None
    signal: int | None = None
    destroyed: bool = False
    limitation: Limitation | None = None
    message: str = ""
    ended_at: float = 0.0


class Collected(ContainerizerMessage, frozen=True, kw_only=True):
    """The agent has made the exit durable: the containerizer may forget the container. Not answered."""

    container_id: str


# Limits and usage ----------------------------------------------------------------------------------------------------


class Limit(enum.Enum):
    """Which limit was hit."""

    MEMORY = "memory"
    PIDS = "pids"
    DISK = "disk"
    PORTS = "ports"


class Limitation(ContainerizerMessage, frozen=True, kw_only=True):
    """A limit was hit. Sent once per container and limit; when it ends the container, the exit repeats it.

    limit_value, used_value, peak_value  in the limit's unit (bytes, processes); None where the kernel does not say
    fatal      the container ends by it (out of memory); otherwise it was refused something and goes on
    """

    container_id: str
    limit: Limit
    message: str
    limit_value: int | None = None
    used_value: int | None = None
    peak_value: int | None = None
    fatal: bool = False


class Update(ContainerizerMessage, frozen=True, kw_only=True):
    """Change the limits of a live container. Answered by :class:`Updated`, or :class:`Refused` with nothing changed."""

    container_id: str
    limits: Limits


class Updated(ContainerizerMessage, frozen=True, kw_only=True):
    """The new limits hold."""

    container_id: str


class Pressure(Record, frozen=True, kw_only=True):
    """Stall time of the last ten seconds, in per cent, and in all (kernel: `accounting/psi.rst`).

    some: at least one process waited; full: all of them did.
    """

    some_percent: float = 0.0
    full_percent: float = 0.0
    some_seconds: float = 0.0
    full_seconds: float = 0.0


class ContainerUsage(Record, frozen=True, kw_only=True):
    """What one container uses. None where this host cannot tell.

    timestamp   seconds since the epoch
    cpu_user_seconds, cpu_system_seconds  since it started
    cpu_periods, cpu_throttled_periods, cpu_throttled_seconds  of the hard cpu limit
    memory_bytes, memory_peak_bytes, memory_anonymous_bytes, memory_file_bytes, swap_bytes
    out_of_memory_kills  processes that the kernel killed for memory
    processes, threads
    io_read_bytes, io_write_bytes  since it started
    disk_bytes  files in the sandbox
    cpu_pressure, memory_pressure, io_pressure
    limits      in force
    """

    container_id: str
    timestamp: float
    cpu_user_seconds: float | None = None
    cpu_system_seconds: float | None = None
    cpu_periods: int | None = None
    cpu_throttled_periods: int | None = None
    cpu_throttled_seconds: float | None = None
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    memory_anonymous_bytes: int | None = None
    memory_file_bytes: int | None = None
    swap_bytes: int | None = None
    out_of_memory_kills: int | None = None
    processes: int | None = None
    threads: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    disk_bytes: int | None = None
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None
    limits: Limits = Limits()


class Usage(ContainerizerMessage, frozen=True, kw_only=True):
    """Ask what containers use; no id asks for all. Answered by :class:`UsageReport`."""

    containers: tuple[str, ...] = ()


class UsageReport(ContainerizerMessage, frozen=True, kw_only=True):
    """Answer to :class:`Usage`; containers that ended meanwhile are missing from it."""

    usages: tuple[ContainerUsage, ...] = ()
