"""What a containerizer knows of its containers, on disk: enough to go on after it, its zygote, or both were killed.

One file for each, ``containers/<id>`` below the runtime directory, to which everybody who knows something appends a
line of JSON::

    {"launch": ...}   before anything else is made for it
    {"process": ...}  who its init is, before the command may run, from the init itself unless it has to wait for
                      isolators; again once the command runs
    {"limits": ...}   others than the spec's hold
    {"status": ...}   from the init, synced: how the command ended, or why it never began
    {"exit": ...}     all of it is cleaned away; the agent has yet to collect how it ended

So each crash leaves a readable case: a launch without a process is half of one; a process lives or is to be cleaned up
after; an exit is to be told. A last line that does not end was cut off by the crash and is ignored. A machine that
crashed has no containers left, so only `status` is worth a sync: the rest follows from it.

One file and not several, because making a file is what costs: half a millisecond each on a busy disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from containerizer import held
from containerizer.errors import ContainerizerError
from containerizer.messages import ContainerExited, Limitation
from containerizer.processes import Process
from containerizer.spec import ContainerSpec, Limits, Record

STAGE = ".dev"
ROOT = ".root"
"""Below the work directory: where every container puts its /dev together, and its root, on mounts of its own. One place
for all, because making a directory is what costs (see above), and removing it."""


class LaunchRecord(Record, frozen=True, kw_only=True):
    """A container begins. The spec has lost its secrets; boot_id: of the machine when it was launched."""

    spec: ContainerSpec
    boot_id: str
    isolators: tuple[str, ...]
    not_isolated: tuple[str, ...] = ()


class Status(Record, frozen=True, kw_only=True):
    """What an init wrote. Either `exit` or `signal`, or `error` with errno and the step that failed."""

    at: float = 0.0
    exit: int | None = None
    signal: int | None = None
    error: str = ""
    errno: int = 0
    step: str = ""


class Line(Record, frozen=True, kw_only=True):
    """One line: exactly one of these."""

    launch: LaunchRecord | None = None
    process: Process | None = None
    limits: Limits | None = None
    status: Status | None = None
    exit: ContainerExited | None = None


class Found(msgspec.Struct):
    """All that a file says: the last line of each kind counts."""

    container_id: str
    launch: LaunchRecord
    process: Process | None = None
    limits: Limits | None = None
    status: Status | None = None
    exit: ContainerExited | None = None


class Records:
    """The directory ``containers``, and one beside the runtime directory for what isolators keep.

    That one can be passed through by everybody: the root of a user namespace is one of them, and finds its tree there.
    """

    def __init__(self, runtime_directory: Path) -> None:
        self._containers = runtime_directory / "containers"
        self._work = runtime_directory.with_name(f"{runtime_directory.name}-work")
        self._containers.mkdir(mode=0o700, exist_ok=True)
        self._work.mkdir(mode=0o711, exist_ok=True)

    @property
    def directory(self) -> Path:
        """That those for the files of isolators are in."""
        return self._work

    def work_directory(self, container_id: str) -> Path:
        """For the files of isolators; made by those that need it, removed with the container."""
        return self._work / container_id

    def create(self, record: LaunchRecord) -> int:
        """A container begins. Returns a descriptor that everything about it is appended to, the init's status too.

        Raises `FileExistsError` when there is one of that id.
        """
        volumes = tuple(msgspec.structs.replace(volume, content="") for volume in record.spec.volumes)
        spec = msgspec.structs.replace(record.spec, secrets=(), volumes=volumes)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
        descriptor = held.open_file(self._containers / spec.id, flags, 0o600)
        append(descriptor, Line(launch=msgspec.structs.replace(record, spec=spec)))
        return descriptor

    def append(self, container_id: str, line: Line) -> None:
        """Add what has become known."""
        descriptor = os.open(self._containers / container_id, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            append(descriptor, line)
        finally:
            os.close(descriptor)

    def read(self, container_id: str) -> Found | None:
        """All that is known of one container; None when nothing is.

        Raises :class:`ContainerizerError` for a file that cannot be read.
        """
        path = self._containers / container_id
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return None
        known: dict[str, Any] = {}
        for number, text in enumerate(lines, start=1):
            try:
                line = msgspec.json.decode(text, type=Line)
            except msgspec.MsgspecError as error:
                raise ContainerizerError(
                    f"{path}, line {number}: {error}. It was damaged, or written by another version: remove the file "
                    f"once nothing of that container runs"
                ) from None
            said = {kind: getattr(line, kind) for kind in Line.__struct_fields__}
            known.update({kind: value for kind, value in said.items() if value is not None})
        return Found(container_id, **known) if "launch" in known else None

    def read_all(self) -> list[Found]:
        """Every container that was not collected, by id. A file whose first line was cut off is removed."""
        found = []
        for path in sorted(self._containers.iterdir()):
            one = self.read(path.name)
            if one is None:
                path.unlink()
            else:
                found.append(one)
        return found

    @property
    def images_directory(self) -> Path:
        """For unpacked root file systems."""
        return self._work / ".images"

    def close(self) -> None:
        """Leave no empty directory behind."""
        # OSError: containers are left, or root file systems that were unpacked, or there was nothing.
        for directory in (self._work / STAGE, self._work / ROOT, self._work):
            with contextlib.suppress(OSError):
                directory.rmdir()

    def remove(self, container_id: str) -> None:
        """Forget it; no error if it is not known."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.work_directory(container_id))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._containers / container_id)  # noqa: PTH108


def append(descriptor: int, line: Line) -> None:
    """Write one line in one call, so that it is there whole or is the last."""
    held.write(descriptor, msgspec.json.encode(line) + b"\n")


def exit_of(
    container_id: str, status: Status | None, *, destroyed: bool, limitation: Limitation | None
) -> ContainerExited:
    """What to tell the agent, from what the init wrote."""
    if status is None:
        # Nothing else ends an init without a word: it has no other way out than a status or an error.
        killed = "" if destroyed or limitation else "the container's first process was killed"
        return ContainerExited(
            container_id=container_id, signal=9, destroyed=destroyed, limitation=limitation, message=killed
        )
    return ContainerExited(
        container_id=container_id,
        exit_code=status.exit,
        signal=status.signal,
        destroyed=destroyed,
        limitation=limitation,
        message=status.error,
        ended_at=status.at,
    )
