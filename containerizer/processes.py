"""Processes as /proc shows them: who they are, who descends from whom, and how to be rid of them (`man 5 proc`)."""

from __future__ import annotations

import functools
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec

_EXITING = 0x4
"""`PF_EXITING` among the flags in /proc/PID/stat (`include/linux/sched.h`)."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A container's processes, as the host numbers them.

    pid         of the init
    start_time  of the init, in clock ticks since boot: with the pid it names one process and no later one
    command     of the container's command; 0 before it runs
    whole       a PID namespace of its own: all of it dies with the init
    ends        name and number of descriptors that the init holds for its containerizer: of terminal, standard input
    """

    pid: int
    start_time: int
    command: int = 0
    whole: bool = False
    ends: tuple[tuple[str, int], ...] = ()


@functools.cache
def raise_descriptor_limit() -> int:
    """Allow this process as many descriptors as it may have; returns how many it had, which is for its children.

    A containerizer holds up to three for each container.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def start_time_of(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None when there is no such process, or a dead one."""
    fields = read_stat(pid)
    return None if fields is None or fields[0] in {"Z", "X"} else int(fields[19])


def is_ending(pid: int, start_time: int) -> bool:
    """Whether a process has gone or is on its way out, which takes a while for the first one of a PID namespace."""
    fields = read_stat(pid)
    return fields is None or fields[0] in {"Z", "X"} or int(fields[19]) != start_time or bool(int(fields[6]) & _EXITING)


def open_process(process: Process) -> int | None:
    """A pidfd of an init that still lives; None when it does not, or when its number is another's now."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if start_time_of(process.pid) != process.start_time:
        os.close(pidfd)
        return None
    return pidfd


def children_of(pid: int) -> list[int]:
    """Direct children, in no promised order; none if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in text.split()]


def descendants_of(pid: int) -> list[int]:
    """All below a process, parents before their children."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = children_of(waiting.pop())
        found.extend(children)
        waiting.extend(children)
    return found


def signal_all(pids: list[int], number: int) -> None:
    """Send a signal to each; those that are gone need none."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError:
            # A set-uid program below a containerizer that is not root: nobody but its own end can end it.
            continue


def command_of(init: int, command_inside: int) -> int:
    """The host's number of an init's child that is `command_inside` in the container; 0 when it is gone already."""
    for child in children_of(init):
        try:
            status = Path(f"/proc/{child}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in status.splitlines():
            if line.startswith("NSpid:") and int(line.split()[-1]) == command_inside:
                return child
    return 0


def marked_with(variable: str) -> Iterator[int]:
    """Processes that were started with this ``NAME=value`` in their environment, wherever they have got to."""
    wanted = variable.encode()
    for entry in os.listdir("/proc"):  # noqa: PTH208  a thousand Path objects for a thousand numbers
        if not entry.isdecimal():
            continue
        try:
            environment = Path(f"/proc/{entry}/environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if wanted in environment.split(b"\0"):
            yield int(entry)


def kill_marked(variable: str) -> bool:
    """Kill such processes; True when there were any, so that the caller looks again."""
    pids = list(marked_with(variable))
    signal_all(pids, signal.SIGKILL)
    return bool(pids)


def read_stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on: the second is a name that may contain anything."""
    try:
        # Bare calls, three instead of nine: this stands between a clone and its first instruction.
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        text = os.read(descriptor, 4096)
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    return text.rpartition(b")")[2].decode().split()
