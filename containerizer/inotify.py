"""Files that tell when they are written to (`man 7 inotify`)."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)

_IN_MODIFY: Final = 0x2
_EVENT_BYTES: Final = 16


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def open_watch() -> int:
    """A descriptor that can be read when a file has changed that :func:`watch_file` named (`man 7 inotify`)."""
    return _check(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")


def watch_file(watch: int, descriptor: int) -> int:
    """Tell of writes to an open file; returns the number that events name it by, the same for the same file."""
    return _check(
        _libc.inotify_add_watch(watch, f"/proc/self/fd/{descriptor}".encode(), _IN_MODIFY), "inotify_add_watch"
    )


def unwatch_file(watch: int, number: int) -> None:
    """Tell of it no more."""
    _check(_libc.inotify_rm_watch(watch, number), "inotify_rm_watch")


def read_watch(watch: int) -> set[int]:
    """Numbers of the files that have changed; empty if none has."""
    try:
        data = os.read(watch, 65_536)
    except BlockingIOError:
        return set()
    found, at = set(), 0
    while at < len(data):
        number, _, _, length = struct.unpack_from("=iIII", data, at)
        found.add(number)
        at += _EVENT_BYTES + length
    return found
