"""File calls that keep the interpreter's lock, for the way to a container's first instruction.

`os` gives the lock up around every call. Where other threads are busy, each of those calls is a chance for one of them
to take it, and getting it back takes as long as the machine likes: many times what the call takes. A launch makes some
forty such calls: on files that are in memory (cgroups, /run), and to make sandbox and output anew, which a disk's cache
takes. Nothing that reads from a disk, syncs, or waits for a peer belongs here. Errors are `OSError`, as from `os`.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from containerizer.linux import check

_F_OK = 0

_libc = ctypes.PyDLL(None, use_errno=True)
_open = _libc.open
_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_uint]
_write = _libc.write
_write.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
_write.restype = ctypes.c_ssize_t
_close = _libc.close
_close.argtypes = [ctypes.c_int]
_mkdir = _libc.mkdir
_mkdir.argtypes = [ctypes.c_char_p, ctypes.c_uint]
_chown = _libc.chown
_chown.argtypes = [ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint]
_fchown = _libc.fchown
_fchown.argtypes = [ctypes.c_int, ctypes.c_uint, ctypes.c_uint]
_access = _libc.access
_access.argtypes = [ctypes.c_char_p, ctypes.c_int]
_memfd_create = _libc.memfd_create
_memfd_create.argtypes = [ctypes.c_char_p, ctypes.c_uint]


def open_file(path: str | os.PathLike[str], flags: int, mode: int = 0) -> int:
    """A descriptor, not inherited by programs (`man 2 open`)."""
    return check(_open(os.fsencode(path), flags | os.O_CLOEXEC, mode), os.fspath(path))


def open_memory(name: str) -> int:
    """A file in memory, not inherited by programs (`man 2 memfd_create`)."""
    return check(_memfd_create(name.encode(), os.MFD_CLOEXEC), f"memfd_create({name})")


def write(descriptor: int, data: bytes) -> None:
    """All of it in one call, or an error."""
    written = int(_write(descriptor, data, len(data)))
    if written < len(data):
        number = ctypes.get_errno() if written < 0 else errno.ENOSPC
        raise OSError(number, os.strerror(number), str(Path(f"/proc/self/fd/{descriptor}").readlink()))


def close(descriptor: int) -> None:
    """`man 2 close`."""
    check(_close(descriptor), f"close({descriptor})")


def write_file(path: str | os.PathLike[str], text: str) -> None:
    """Write to a file that is there, in one call: what the kernel's files take is checked when they are written."""
    descriptor = open_file(path, os.O_WRONLY)
    try:
        write(descriptor, text.encode())
    finally:
        close(descriptor)


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether there is something by that name."""
    return int(_access(os.fsencode(path), _F_OK)) == 0


def make_directory(path: str | os.PathLike[str], mode: int = 0o777, *, may_exist: bool = False) -> None:
    """`man 2 mkdir`. may_exist  whatever is there already is taken for a directory"""
    try:
        check(_mkdir(os.fsencode(path), mode), os.fspath(path))
    except FileExistsError:
        if not may_exist:
            raise


def change_owner(of: str | os.PathLike[str] | int, uid: int, gid: int) -> None:
    """Of a path or of what a descriptor stands for."""
    if isinstance(of, int):
        check(_fchown(of, uid, gid), f"fchown({of})")
    else:
        check(_chown(os.fsencode(of), uid, gid), os.fspath(of))
