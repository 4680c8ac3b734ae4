"""Standard input, output and error of a command: files of the sandbox, pipes, or a terminal.

Files are opened here, before there is a process. Pipes and terminals are made by the init, from within: a terminal has
to come from the devpts that the container sees. The containerizer gets the other ends with the word that the command
runs (:mod:`containerizer.steps`), and :mod:`containerizer.streams` takes it from there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from containerizer import held, linux
from containerizer.errors import InvalidSpec
from containerizer.isolator import Container
from containerizer.plan import LaunchPlan, Step
from containerizer.spec import ContainerSpec, Namespace

_MULTIPLEXER: Final = "/dev/pts/ptmx"
_CONSOLE: Final = "/dev/console"


class StandardFiles(msgspec.Struct):
    """Descriptors, the caller's to close.

    files  standard input, output and error of the init, and of its command unless a step puts others in their place
    log    where the output of a terminal is written to; -1 for nowhere
    """

    files: list[int]
    log: int = -1

    def close(self) -> None:
        """Close all of them."""
        for descriptor in (*self.files, self.log):
            if descriptor >= 0:
                held.close(descriptor)
        self.files, self.log = [], -1


def open_standard(spec: ContainerSpec, sandbox: int, uid: int, gid: int) -> StandardFiles:
    """Open what a command reads and writes: regular files of the sandbox, never what a link leads to.

    The sandbox may have been filled by others before: a link or a pipe in place of a file must not have a process with
    more rights than theirs write elsewhere, or wait. Raises :class:`InvalidSpec`.
    """
    opened = StandardFiles([])
    try:
        if spec.stdin:
            opened.files.append(_open_regular(sandbox, spec.stdin, os.O_RDONLY))
        else:
            opened.files.append(held.open_file(os.devnull, os.O_RDONLY))
        for name in (spec.stdout, spec.stderr):
            if spec.tty or not name:
                opened.files.append(held.open_file(os.devnull, os.O_WRONLY))
            else:
                opened.files.append(_open_output(sandbox, name, uid, gid))
        if spec.tty and spec.stdout:
            opened.log = _open_output(sandbox, spec.stdout, uid, gid)
    except BaseException:
        opened.close()
        raise
    return opened


def open_log(spec: ContainerSpec) -> int:
    """What `open_standard` has opened as `log` before; -1 if that is no file any more. Raises `OSError`."""
    sandbox = os.open(spec.sandbox, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _open_regular(sandbox, spec.stdout, os.O_WRONLY | os.O_APPEND)
    except InvalidSpec:
        return -1
    finally:
        os.close(sandbox)


def open_output(spec: ContainerSpec, name: str) -> int:
    """A file that a command writes, to be read. Raises :class:`InvalidSpec` or `OSError`."""
    sandbox = os.open(spec.sandbox, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _open_regular(sandbox, name, os.O_RDONLY)
    finally:
        os.close(sandbox)


def _open_output(sandbox: int, name: str, uid: int, gid: int) -> int:
    descriptor = _open_regular(sandbox, name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    if os.geteuid() == 0:
        held.change_owner(descriptor, uid, gid)
    return descriptor


def _open_regular(sandbox: int, name: str, flags: int) -> int:
    try:
        # The kernel takes a mode only for a file that it may make.
        mode = 0o644 if flags & os.O_CREAT else 0
        descriptor = linux.open_beneath(sandbox, name, flags | os.O_NONBLOCK, mode)
    except OSError as error:
        raise InvalidSpec(f"{name} in the sandbox cannot be opened: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidSpec(f"{name} in the sandbox is no regular file: remove it, or name another")
    os.set_blocking(descriptor, True)
    return descriptor


def steps_for(container: Container, plan: LaunchPlan) -> list[Step]:
    """What the init does for a terminal or for pipes, once the root is in place."""
    spec, user = container.spec, container.user
    if spec.tty:
        return [_terminal(container, plan)]
    pipes = [0] * spec.interactive + [1] * (not spec.stdout) + [2] * (not spec.stderr)
    return [("open_pipes", pipes, user.uid, user.gid)] if pipes else []


def _terminal(container: Container, plan: LaunchPlan) -> Step:
    """From the container's own devpts where it has one, or joins one that has; else from the host's."""
    spec, user = container.spec, container.user
    own_devices = not PurePosixPath(spec.sandbox).is_relative_to("/dev")
    inside = Namespace.MOUNT in plan.joined or (Namespace.MOUNT in plan.namespaces and own_devices)
    multiplexer = _MULTIPLEXER if inside else str(Path("/dev/ptmx").resolve())
    console = _CONSOLE if inside and Namespace.MOUNT in plan.namespaces else ""
    return ("open_terminal", multiplexer, user.uid, user.gid, spec.rows, spec.columns, console)
