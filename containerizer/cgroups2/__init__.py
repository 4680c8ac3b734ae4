"""Control groups, version 2: directories whose files limit and count what processes use.

Kernel: `Documentation/admin-guide/cgroup-v2.rst`, named in short "cgroup-v2.rst" from here on. A module for each
controller says which files to write for which limits and what the counters mean; none of them touches the machine but
through :class:`Cgroup`.

A container's cgroup is ``<root>/<id>``; a nested one's lies in its parent's. Processes are in the ``.leaf`` below it,
because a cgroup that has children with controllers may have no processes of its own ("No Internal Process Constraint").
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

from containerizer import held
from containerizer.errors import KernelError

LEAF: Final = ".leaf"
"""No container id begins with a dot."""

File: TypeAlias = tuple[str, str]
"""Name of a control file and what to write to it."""


class Cgroup:
    """One directory of the hierarchy."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._directory = os.fspath(path)

    def __repr__(self) -> str:
        return f"Cgroup({str(self.path)!r})"

    @property
    def leaf(self) -> Cgroup:
        """Where the processes are."""
        return Cgroup(self.path / LEAF)

    def child(self, container_id: str) -> Cgroup:
        """The cgroup of a container: one directory for each level of nesting."""
        return Cgroup(self.path.joinpath(*container_id.split(".")))

    def exists(self) -> bool:
        """Whether it has been made."""
        return self.path.is_dir()

    def has(self, name: str) -> bool:
        """Whether this kernel has the control file `name`, with its controller enabled here."""
        return held.exists(f"{self._directory}/{name}")

    def make(self) -> None:
        """Make it; no error if it is there."""
        try:
            held.make_directory(self._directory, may_exist=True)
        except OSError as error:
            raise KernelError(f"mkdir {self.path}", error.errno or 0, error.strerror or str(error)) from None

    def enable(self, controllers: Sequence[str]) -> None:
        """Let the children have these controllers.

        All or none: those of threads alone (cpu, pids) a cgroup with processes takes, and is spoilt for the others.
        """
        self.write("cgroup.subtree_control", " ".join(f"+{controller}" for controller in controllers))

    def write(self, name: str, value: str) -> None:
        """Write one control file. Raises :class:`KernelError` that names file and value."""
        path = f"{self._directory}/{name}"
        try:
            held.write_file(path, value)
        except OSError as error:
            raise KernelError(f"{path} <- {value!r}", error.errno or 0, _explain(error, name)) from None

    def write_all(self, files: Sequence[File]) -> None:
        """In this order."""
        for name, value in files:
            self.write(name, value)

    def read(self, name: str) -> str:
        """A control file's text; empty where there is none (not enabled, not in this kernel, or gone)."""
        try:
            return (self.path / name).read_text().strip()
        except (FileNotFoundError, OSError) as error:
            if getattr(error, "errno", 0) in {errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP}:
                return ""
            raise

    def read_number(self, name: str) -> int | None:
        """A control file with one number; None for ``max`` and where there is no such file."""
        text = self.read(name)
        return int(text) if text.lstrip("-").isdecimal() else None

    def read_table(self, name: str) -> dict[str, int]:
        """A control file with a name and a number on each line ("Flat keyed")."""
        table = {}
        for line in self.read(name).splitlines():
            key, _, value = line.partition(" ")
            with contextlib.suppress(ValueError):
                table[key] = int(value)
        return table

    def kill(self) -> None:
        """SIGKILL to everything in it and below, at once and whatever they fork meanwhile (Linux 5.14)."""
        if self.exists():
            self.write("cgroup.kill", "1")

    def is_populated(self) -> bool:
        """Whether any process lives in it or below."""
        return self.read_table("cgroup.events").get("populated", 0) == 1

    def remove(self) -> None:
        """Remove it and all below; no error if it is not there. Raises `OSError` (EBUSY) while processes live in it."""
        if not self.exists():
            return
        for child in self.path.iterdir():
            if child.is_dir():
                Cgroup(child).remove()
        self.path.rmdir()


def _explain(error: OSError, name: str) -> str:
    if error.errno == errno.ENOENT:
        return f"this kernel has no {name}, or its controller is not enabled in the parent's cgroup.subtree_control"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{error.strerror}: the cgroup is not delegated to this user (systemd: Delegate=yes)"
    if error.errno in {errno.EINVAL, errno.ERANGE}:
        return f"{error.strerror}: the kernel does not take this value"
    return error.strerror or str(error)
