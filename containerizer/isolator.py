"""Isolators: plug-ins that keep a container apart from the rest of the machine, one concern each.

Their one lifecycle, for each container::

    prepare   before there is a process: make what it needs outside, add steps to the plan
    isolate   the process exists and waits: what needs its id
    watch     report limits that are hit, until cleanup
    update    the limits change
    usage     fill in what it uses
    cleanup   the processes are gone: take everything away. Also after a failure anywhere above, and after a crash
              between any two of them: it must not mind what was never made
    recover   a containerizer was started and found this container alive

`prepare` and `isolate` run in the order in which isolators are listed, `cleanup` in reverse
(Mesos: `include/mesos/slave/isolator.hpp`). They may await, and must not block for long. An exception from `prepare` or
`isolate` fails the launch with its text; from `cleanup`, the cleanup is tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import msgspec

from containerizer.host import Host
from containerizer.messages import Limitation, Missing
from containerizer.plan import LaunchPlan, User
from containerizer.spec import ContainerSpec, Limits

Report: TypeAlias = Callable[[Limitation], None]


class Container(msgspec.Struct, kw_only=True):
    """What an isolator is told of a container.

    directory  of the containerizer's own files about it; gone after cleanup
    limits     in force; those of the spec until an update
    parent     of a nested container
    isolators  names of those that it was launched with
    project    number by which the file system counts the sandbox's files (`disk/quota`); 0 where `disk/du` adds them up
    process_id, start_time  of its init, once there is one; whole: it has a PID namespace of its own
    """

    id: str
    spec: ContainerSpec
    directory: Path
    user: User
    limits: Limits
    parent: Container | None = None
    isolators: tuple[str, ...] = ()
    project: int = 0
    process_id: int = 0
    start_time: int = 0
    whole: bool = False


class Isolator:
    """Base of isolators: does nothing, demands nothing.

    name        as ``--isolation`` has it; Mesos's names where Mesos has the isolator
    by_default  whether ``auto`` includes it where it can be had; else it is there only when it is named
    """

    name: ClassVar[str]
    by_default: ClassVar[bool] = True

    def __init__(self, host: Host) -> None:
        self.host = host

    @classmethod
    def applies(cls, host: Host) -> bool:
        """Whether this host has what it is about: a host without GPUs lacks no isolator for them."""
        return True

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """What this host lacks for it; None when it can work here."""
        return None

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """Whether it has anything to do for this container; if it has, and cannot work here, the agent is told."""
        return True

    @classmethod
    def demanded(cls, spec: ContainerSpec) -> str:
        """What this spec cannot do without and only this isolator provides, as the first half of a sentence that says
        that this agent has none; empty for nothing. Without the isolator such a container is refused."""
        return ""

    def reaches(self, container: Container) -> bool:
        """Whether it can do its part for this container, whose sandbox exists; if not, the agent is told."""
        return True

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """Before there is a process."""

    async def isolate(self, container: Container) -> None:
        """`container.process_id` waits for its plan to be carried out. Those that have nothing to do here leave it out:
        where nobody has, an init waits for nobody.
        """

    def watch(self, container: Container, report: Report) -> None:
        """Report limits that are hit from now until `cleanup`."""

    async def update(self, container: Container, limits: Limits) -> None:
        """Make `limits` hold; raises, with nothing changed, if they cannot."""

    def usage(self, container: Container) -> dict[str, Any]:
        """Fields of :class:`containerizer.messages.ContainerUsage` that this isolator knows."""
        return {}

    def limitation(self, container: Container) -> Limitation | None:
        """The limit that has ended a container, looked up once its processes are gone."""
        return None

    def kill(self, container: Container) -> bool:
        """Kill all of its processes at once; False if this isolator has no means to."""
        return False

    async def cleanup(self, container: Container) -> None:
        """Take away whatever there is."""

    def recover(self, container: Container) -> None:
        """The container runs, and this isolator's process is a new one."""

    def destroy_strangers(self, directory: Path, known: set[str]) -> None:
        """A containerizer was started: end and take away what belongs to no container that there is a record of.

        directory  that those of containers are in; known: ids that there are records of
        """

    def close(self) -> None:
        """The containerizer ends; containers may go on."""
