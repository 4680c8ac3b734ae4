"""Which pages of the zygote every init writes to, found out by watching one.

A cloned process shares its memory until it writes: then each page is copied, by a page fault of its own. An init
writes to some two hundred, wherever the reference counts of what it uses happen to be. The zygote lets one init go
through its paces for nothing, compares its pages with its own, and from then on each init has exactly those copied at
once, by its first system call (:class:`containerizer.linux.HotPages`).

Nothing depends on it: where a figure cannot be had, inits take their faults one by one.
"""

# ruff: noqa: PTH123
# pathlib would cost every container a megabyte.
from __future__ import annotations

import _socket
import marshal
import os
import struct

from containerizer import bare, init, linux

PATIENCE_SECONDS = 2.0
"""For an init that rehearses: it takes a hundredth of a second, and if it is held up somewhere does without."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_PRESENT = 1 << 63
_ALONE = 1 << 56
_FRAME = (1 << 55) - 1
"""Bits of an entry of /proc/PID/pagemap (`Documentation/admin-guide/mm/pagemap.rst`); root alone sees the frame."""


def rehearse() -> list[tuple[int, int]]:
    """Addresses and lengths in bytes of what an init copies; empty where that cannot be found out.

    Done by a clone of this process, so that what it takes of memory is not copied into every container.
    """
    reader, writer = os.pipe()
    pid, pidfd = linux.clone(0)
    if pid == 0:
        try:
            bare.set_wakeup_fd(-1)
            # The zygote's lock and socket must not outlive it here.
            linux.close_all_but({0, 1, 2, writer})
            os.write(writer, marshal.dumps(_watch_one()))
        finally:
            os._exit(0)
    os.close(pidfd)
    os.close(writer)
    data = b""
    while piece := os.read(reader, init.CONTROL_BYTES):
        data += piece
    os.close(reader)
    os.waitpid(pid, 0)
    found: list[tuple[int, int]] = bare.load(data) if data else []
    return found


def _watch_one() -> list[tuple[int, int]]:
    """Have an init go through everything and wait; compare."""
    own, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    reader, writer = os.pipe()
    go, word = os.pipe()
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    plan, status = os.memfd_create("plan"), os.memfd_create("status")
    os.write(plan, _plan())
    pid = -1
    started = False
    own.settimeout(PATIENCE_SECONDS)
    try:
        pid, pidfd = linux.clone(linux.CLONE_NEWNS if os.geteuid() == 0 else 0)
        if pid == 0:
            init.run(plan, theirs.fileno(), status, [reader, null, null], go)
        os.close(pidfd)
        theirs.close()
        os.write(word, init.GO)
        # An error and an early end are no start either; then there is nothing to be seen.
        started = own.recv(init.CONTROL_BYTES).startswith(b'{"command"')
        return _written_by(pid) if started else []
    except OSError:
        return []
    finally:
        for descriptor in (reader, writer, go, word, null, plan, status):
            os.close(descriptor)
        own.close()
        theirs.close()
        if pid > 0:
            if not started:
                os.kill(pid, bare.SIGKILL)
            os.waitpid(pid, 0)


def _plan() -> bytes:
    """What most inits do, as far as it needs nothing and leaves nothing behind; the command waits for its input."""
    steps: list[tuple[object, ...]] = [("change_directory", "/")]
    if os.geteuid() == 0:
        steps = [
            ("mount", None, "/", None, linux.MS_REC | linux.MS_PRIVATE, None),
            ("bind", "", "/dev", "", "/dev", True),
            ("mount", "rehearsal", "/dev", "tmpfs", linux.MS_NOSUID, "mode=755,size=64k"),
            ("make_device", "/dev/null", 0o020666, 1, 3),
            ("make_link", "null", "/dev/link"),
            ("make_directory", "/dev/directory", 0o755),
            ("lock", "/dev"),
            ("mask", "/dev/nothing"),
            ("mask", "/dev/null"),
            *steps,
            ("forbid_new_privileges",),
            ("limit_capabilities", 0),
            ("set_user", 0, 0, [], 0),
        ]
    return marshal.dumps(
        {
            "steps": steps,
            "last_steps": [],
            "argv": ("sh", "-c", "read line"),
            "environment": {"PATH": os.defpath},
            "whole": True,
            "inspectable": os.geteuid() != 0,
        }
    )


def _written_by(pid: int) -> list[tuple[int, int]]:
    """Where a clone of this process has pages of its own."""
    found: list[tuple[int, int]] = []
    with open("/proc/self/maps") as file:
        regions = [line.split(None, 5) for line in file]
    own = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    theirs = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for region in regions:
            if region[1] != "rw-p":
                continue
            start, end = [int(number, 16) for number in region[0].split("-")]
            for index, (mine, its) in enumerate(
                zip(_entries(own, start, end), _entries(theirs, start, end), strict=True)
            ):
                if its & _PRESENT and (its & _ALONE if not its & _FRAME else its & _FRAME != mine & _FRAME):
                    _add(found, start + index * PAGE_BYTES, start)
    finally:
        os.close(own)
        os.close(theirs)
    return found


def _entries(pagemap: int, start: int, end: int) -> tuple[int, ...]:
    data = os.pread(pagemap, (end - start) // PAGE_BYTES * 8, start // PAGE_BYTES * 8)
    return struct.unpack(f"{len(data) // 8}Q", data)


def _add(found: list[tuple[int, int]], page: int, region: int) -> None:
    if found and found[-1][0] >= region and page == sum(found[-1]):
        found[-1] = (found[-1][0], found[-1][1] + PAGE_BYTES)
    else:
        found.append((page, PAGE_BYTES))
