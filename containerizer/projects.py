"""Project quotas of XFS and ext4: files that carry a number, and how much all files of one number may take.

The kernel's interface, and nothing of containers. Everything takes the descriptor of a file or directory and is about
the file system that it lies on. A new file has the number of its directory if that passes it on; a file of another
number cannot be moved, nor linked, into such a directory (EXDEV). An owner may change the number of his files, unless
something else keeps him from it: see :data:`FILTER`.

Sources: `include/uapi/linux/{fs,quota,dqblk_xfs}.h`, `man 2 quotactl`, `man 2 ioctl_fsxattr` (ioctl_xfs_fsgetxattr),
`fs/file_attr.c` (who may change what).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import struct
from pathlib import Path
from typing import Final

import msgspec

from containerizer import linux
from containerizer.seccomp import Argument, Profile, Rule
from runtime.errors import ConfigurationError

_PROJECTS: Final = 2
"""`PRJQUOTA`, in the low byte of a command."""
_GET_QUOTA: Final = 0x800007 << 8 | _PROJECTS
_SET_QUOTA: Final = 0x800008 << 8 | _PROJECTS
_GET_STATE: Final = (ord("X") << 8 | 5) << 8 | _PROJECTS
"""`Q_XGETQSTAT`: answered for every kind of file system, whatever its name says."""

_STATE: Final = struct.Struct("=bxH")
_STATE_BYTES: Final = 128
"""More than `struct fs_quota_stat` has."""
_ENFORCED: Final = 1 << 5
"""`FS_QUOTA_PDQ_ENFD`"""

_QUOTA: Final = struct.Struct("=8QI4x")
"""`struct if_dqblk`: block limits, hard and soft, in KiB; bytes in use; the same for files; times; what is valid."""
_LIMIT_UNIT_BYTES: Final = 1024
_BLOCK_LIMITS: Final = 1
"""`QIF_BLIMITS`"""

_GET_ATTRIBUTES: Final = 0x801C581F
_SET_ATTRIBUTES: Final = 0x401C5820
"""`FS_IOC_FSGETXATTR`, `FS_IOC_FSSETXATTR`"""
_SET_FLAGS: Final = 0x40086602
"""`FS_IOC_SETFLAGS`: what chattr(1) does; one flag is that a directory passes its number on."""
_ATTRIBUTES: Final = struct.Struct("=5I8x")
"""`struct fsxattr`: flags, extent size, extents, project, size of copied extents."""
_PASSED_ON: Final = 0x200
"""`FS_XFLAG_PROJINHERIT`"""

KINDS: Final = frozenset({"ext4", "xfs"})
"""Types of file systems that have such quotas, by a call on an open file."""

RANGE: Final = (5000, 10_000)
"""Numbers to use, first and last (Mesos: `--xfs_project_range`)."""

_LAST_POSSIBLE: Final = 2**32 - 2
"""The one above is no number to the kernel."""

_LOW_HALF: Final = 0xFFFFFFFF
FILTER: Final = Profile(
    default_action="SCMP_ACT_ALLOW",
    syscalls=(
        *(
            Rule(
                names=("ioctl",),
                action="SCMP_ACT_ERRNO",
                args=(Argument(index=1, value=_LOW_HALF, value_two=number, op="SCMP_CMP_MASKED_EQ"),),
            )
            for number in (_SET_ATTRIBUTES, _SET_FLAGS)
        ),
        Rule(names=("file_setattr",), action="SCMP_ACT_ERRNO"),
    ),
)
"""The ways for an owner to give a file another number, or to have a directory not pass its own on: all refused. They
are allowed by the kernel to every owner of a file in the first user namespace."""


class Quota(msgspec.Struct, frozen=True):
    """Of one project: what its files take, how many there are, what they may take (None: any amount)."""

    used_bytes: int = 0
    files: int = 0
    limit_bytes: int | None = None


def parse_range(text: str) -> tuple[int, int]:
    """`FIRST-LAST`, both included; in Mesos's brackets too. Raises :class:`ConfigurationError`."""
    match = re.fullmatch(r"\[?\s*([0-9]{1,10})\s*-\s*([0-9]{1,10})\s*\]?", text.strip())
    if match is not None and 0 < int(match[1]) <= int(match[2]) <= _LAST_POSSIBLE:
        return int(match[1]), int(match[2])
    raise ConfigurationError(
        f"--project-range: {text!r} is no range of project ids: write FIRST-LAST, such as {RANGE[0]}-{RANGE[1]}, "
        f"with numbers from 1 to {_LAST_POSSIBLE}"
    )


def has_call() -> bool:
    """Whether this kernel has `quotactl_fd`: it refuses no file with another error than "no such call"."""
    try:
        linux.control_quota(-1, _GET_STATE, 0, bytes(_STATE_BYTES))
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True


def is_enforced(descriptor: int) -> bool:
    """Whether limits of projects hold on this file system now."""
    try:
        answer = linux.control_quota(descriptor, _GET_STATE, 0, bytes(_STATE_BYTES))
    except OSError:
        # It has no quotas at all, or none that are switched on: which error says so depends on the file system.
        return False
    _, flags = _STATE.unpack_from(answer)
    return bool(flags & _ENFORCED)


def find_enforced() -> str:
    """Where a file system with such quotas is mounted; empty for nowhere."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] not in KINDS:
            continue
        place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split()[4])
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            # A single file is mounted there, or something is mounted over it.
            continue
        try:
            if is_enforced(descriptor):
                return place
        finally:
            os.close(descriptor)
    return ""


def read_quota(descriptor: int, project: int) -> Quota:
    """Of a project here; nothing is known of one that never had a file. `OSError` (ESRCH) when quotas are off."""
    try:
        answer = linux.control_quota(descriptor, _GET_QUOTA, project, bytes(_QUOTA.size))
    except FileNotFoundError:
        return Quota()
    hard, _, used_bytes, _, _, files, *_ = _QUOTA.unpack(answer)
    return Quota(used_bytes, files, hard * _LIMIT_UNIT_BYTES or None)


def set_limit(descriptor: int, project: int, limit_bytes: int | None) -> None:
    """What a project's files may take, rounded up to a KiB; None for any amount. `OSError` (ESRCH): quotas are off."""
    hard = 0 if limit_bytes is None else -(-limit_bytes // _LIMIT_UNIT_BYTES)
    linux.control_quota(descriptor, _SET_QUOTA, project, _QUOTA.pack(hard, 0, 0, 0, 0, 0, 0, 0, _BLOCK_LIMITS))


def project_of(descriptor: int) -> int:
    """The number of an open file or directory; 0 where it has none."""
    attributes = bytearray(_ATTRIBUTES.size)
    try:
        fcntl.ioctl(descriptor, _GET_ATTRIBUTES, attributes)
    except OSError as error:
        if error.errno in {errno.ENOTTY, errno.EOPNOTSUPP}:
            return 0
        raise
    return int(_ATTRIBUTES.unpack(attributes)[3])


def assign(directory: int, project: int) -> None:
    """Give a directory, and all files and directories below it on its file system, a number that it passes on.

    From the top down, each directory before it is looked into: what others make there meanwhile has the number, and
    what they move stays where it is or is still to come. Links, pipes, sockets and devices that were there before keep
    theirs: they cannot be opened for it, and hold no data.
    """
    device = os.fstat(directory).st_dev
    _assign(directory, project)
    waiting = ["."]
    while waiting:
        path = waiting.pop()
        try:
            below = linux.open_beneath(directory, path, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            with os.scandir(below) as entries:
                for entry in entries:
                    _assign_entry(below, entry, project, device)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{path}/{entry.name}")
        finally:
            os.close(below)


def _assign_entry(directory: int, entry: os.DirEntry[str], project: int, device: int) -> None:
    if not (entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)):
        return
    try:
        descriptor = linux.open_beneath(directory, entry.name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:
            # Gone meanwhile, or another kind of thing by now.
            return
        raise
    try:
        status = os.fstat(descriptor)
        if status.st_dev == device and (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
            _assign(descriptor, project)
    finally:
        os.close(descriptor)


def _assign(descriptor: int, project: int) -> None:
    attributes = bytearray(_ATTRIBUTES.size)
    fcntl.ioctl(descriptor, _GET_ATTRIBUTES, attributes)
    flags, extent, extents, known, copied = _ATTRIBUTES.unpack(attributes)
    wanted = flags | _PASSED_ON if stat.S_ISDIR(os.fstat(descriptor).st_mode) else flags
    if (wanted, project) != (flags, known):
        fcntl.ioctl(descriptor, _SET_ATTRIBUTES, _ATTRIBUTES.pack(wanted, extent, extents, project, copied))
