"""What the kernel says when a quota is used up, at the moment when it refuses more (generic netlink, `VFS_DQUOT`).

In the host's own network namespace only. Sources: `Documentation/filesystems/quota.rst`, `fs/quota/netlink.c`,
`include/uapi/linux/{netlink,genetlink,quota}.h`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Final

_NETLINK_GENERIC: Final = 16
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_ERROR: Final = 2

_CONTROLLER: Final = 0x10
_GET_FAMILY: Final = 3
_FAMILY_NAME: Final = 2
_FAMILY_GROUPS: Final = 7
_GROUP_NAME: Final = 1
_GROUP_ID: Final = 2

_FAMILY: Final = b"VFS_DQUOT\0"
_GROUP: Final = b"events\0"

_HEADER: Final = struct.Struct("=IHHIIBBH")
"""`struct nlmsghdr` and `struct genlmsghdr`."""
_ATTRIBUTE: Final = struct.Struct("=HH")
_TYPE_MASK: Final = 0x3FFF
_REQUEST: Final = 1

_QUOTA_KIND, _PROJECT, _WARNING, _MAJOR, _MINOR = 1, 2, 3, 4, 5
_PROJECTS: Final = 2
_HARD_LIMIT: Final = 4
"""`QUOTA_NL_BHARDWARN`: space was refused."""

_BUFFER_BYTES: Final = 65_536

AT_ONCE: Final = 64
PAUSE_SECONDS: Final = 0.02
"""So many messages are read, then others have their turn: XFS sends one for each refused write, as often as that is
tried."""


class QuotaEvents:
    """Calls `reached` with device and number of each project that was refused space.

    lost  called when the kernel had more to say than there was room for
    Raises `OSError` where the kernel does not tell, or not in this network namespace.
    """

    def __init__(self, reached: Callable[[int, int], None], lost: Callable[[], None]) -> None:
        self._reached = reached
        self._lost = lost
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, self._find_group())
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise

    def _find_group(self) -> int:
        name = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(_FAMILY), _FAMILY_NAME) + _FAMILY
        body = name + bytes(-len(name) % 4)
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), _CONTROLLER, _REQUEST, 1, 0, _GET_FAMILY, 1, 0) + body)
        answer = self._socket.recv(_BUFFER_BYTES)
        if _HEADER.unpack_from(answer)[1] == _ERROR:
            (number,) = struct.unpack_from("=i", answer, 16)
            raise OSError(-number, os.strerror(-number), "generic netlink family VFS_DQUOT")
        groups = dict(_attributes(answer[_HEADER.size :])).get(_FAMILY_GROUPS, b"")
        for _, text in _attributes(groups):
            group = dict(_attributes(text))
            if group.get(_GROUP_NAME) == _GROUP:
                return int.from_bytes(group[_GROUP_ID], sys.byteorder)
        raise OSError(0, "it has no group of events", "generic netlink family VFS_DQUOT")

    def listen(self) -> None:
        """From now on, in this thread's loop. What was said before is heard, too. Twice is once."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._socket, self._read)

    def _read(self) -> None:
        assert self._loop is not None
        for _ in range(AT_ONCE):
            try:
                self._take(self._socket.recv(_BUFFER_BYTES))
            except BlockingIOError:
                return
            except OSError:
                # ENOBUFS: messages were dropped.
                self._lost()
        self._loop.remove_reader(self._socket)
        self._loop.call_later(PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        if self._loop is not None and self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._read)

    def _take(self, data: bytes) -> None:
        while len(data) >= _HEADER.size:
            length = _HEADER.unpack_from(data)[0]
            values = {
                key: int.from_bytes(text, sys.byteorder) for key, text in _attributes(data[_HEADER.size : length])
            }
            if (values.get(_QUOTA_KIND), values.get(_WARNING)) == (_PROJECTS, _HARD_LIMIT):
                self._reached(os.makedev(values[_MAJOR], values[_MINOR]), values[_PROJECT])
            data = data[-(-max(length, _HEADER.size) // 4) * 4 :]

    def close(self) -> None:
        """Twice is once."""
        if self._loop is not None and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
        self._socket.close()


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content, one after another (`struct nlattr`)."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind & _TYPE_MASK, data[_ATTRIBUTE.size : length]
        data = data[-(-max(length, _ATTRIBUTE.size) // 4) * 4 :]
