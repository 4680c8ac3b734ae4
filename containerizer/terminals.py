"""Pseudo-terminals (`man 7 pty`). Standard library only: an init makes them, see :mod:`containerizer.zygote`."""

# pathlib would cost every container a megabyte.
from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

_TIOCSWINSZ = 0x5414
_TIOCSPTLCK = 0x40045431
_TIOCGPTN = 0x80045430
_TIOCGPTPEER = 0x5441
END_OF_FILE = b"\x04"
"""^D: what a terminal takes for the end of a file, at the beginning of a line (`man 3 termios`, VEOF)."""

_PTMX = os.makedev(5, 2)


def set_window_size(terminal: int, rows: int, columns: int) -> None:
    """Tell a terminal its size, in characters."""
    fcntl.ioctl(terminal, _TIOCSWINSZ, struct.pack("=HHHH", rows, columns, 0, 0))


def open_terminal(multiplexer: str) -> tuple[int, int, int]:
    """A new pseudo-terminal (`man 7 pty`): its master, its other end, and that one's number in /dev/pts.

    multiplexer  the ``ptmx`` of the devpts that it is to be in; no link
    The other end is opened through the master (TIOCGPTPEER), not by a name that others may have put something at.
    """
    master = os.open(multiplexer, os.O_RDWR | os.O_NOCTTY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(master)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _PTMX:
            raise OSError(errno.ENODEV, "this is no terminal multiplexer", multiplexer)
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("=i", 0))
        (number,) = struct.unpack("=I", fcntl.ioctl(master, _TIOCGPTN, b"\0\0\0\0"))
        terminal = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except BaseException:
        os.close(master)
        raise
    return master, terminal, number
