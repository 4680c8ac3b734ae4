"""What comes back to the containerizer actor from outside its turns."""

from __future__ import annotations

from typing import Annotated

from containerizer.messages import ContainerExited, ContainerizerMessage, ContainerUsage, LaunchFailure, Limitation
from containerizer.processes import Process
from containerizer.spec import Limits
from containerizer.streaming import OutputSource
from runtime.effects import Request
from runtime.message import SECRET


class Event(ContainerizerMessage, frozen=True, kw_only=True):
    """Base of what comes back from outside turns."""


class LaunchEnded(Event, frozen=True, kw_only=True):
    """The container runs, or `failure` says why it does not."""

    container_id: str
    process: Process | None = None
    not_isolated: tuple[str, ...] = ()
    failure: LaunchFailure | None = None
    message: str = ""


class ProcessEnded(Event, frozen=True, kw_only=True):
    """A container's init is gone."""

    container_id: str


class CleanedUp(Event, frozen=True, kw_only=True):
    """Nothing of a container is left; or `error` says what could not be removed. exited is None for one undone."""

    container_id: str
    exited: ContainerExited | None = None
    error: str = ""


class LimitReached(Event, frozen=True, kw_only=True):
    """An isolator saw it."""

    limitation: Limitation


class UpdateEnded(Event, frozen=True, kw_only=True):
    """New limits hold, or `error` says why the old ones do."""

    container_id: str
    request: Request
    limits: Limits
    error: str = ""


class UsageGathered(Event, frozen=True, kw_only=True):
    """The figures for `request`."""

    request: Request
    usages: tuple[ContainerUsage, ...]


class GraceEnded(Event, frozen=True, kw_only=True):
    """Time to kill."""

    container_id: str


class Repeat(Event, frozen=True, kw_only=True):
    """Time to tell exits again."""


class OutputArrived(Event, frozen=True, kw_only=True):
    """For a reader, within its credit; fields as in :class:`containerizer.streaming.Output`."""

    stream: int
    source: OutputSource
    data: Annotated[bytes, SECRET]
    offset: int = 0
    skipped_bytes: int = 0


class InputWritten(Event, frozen=True, kw_only=True):
    """The command's pipe or terminal has taken so many bytes of a writer."""

    stream: int
    size_bytes: int


class StreamOver(Event, frozen=True, kw_only=True):
    """All has been read, or nobody can read what is written. reason: empty when all is well."""

    stream: int
    reason: str = ""
