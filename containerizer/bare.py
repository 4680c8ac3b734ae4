"""The built-in halves of `signal`, `socket` and `json`, for the zygote and the inits.

What their public modules import (enumerations, regular expressions) costs a megabyte in each container, and what those
do at each call touches pages of which each is copied: to block all signals by `signal` touches forty, by its built-in
half three.
"""

from __future__ import annotations

import _socket
import marshal
import struct
from _json import encode_basestring_ascii as quote
from _signal import (  # type: ignore[import-not-found]
    SIG_BLOCK,
    SIG_DFL,
    SIG_SETMASK,
    SIGCHLD,
    SIGKILL,
    SIGRTMAX,
    SIGSTOP,
    pthread_sigmask,
    set_wakeup_fd,
    sigwaitinfo,
    valid_signals,
)
from _signal import signal as set_handler

TYPE_CHECKING = False  # as type checkers know it, without importing typing
if TYPE_CHECKING:
    from typing import Any

_MSG_CMSG_CLOEXEC = 0x40000000
_INT_BYTES = 4

__all__ = [
    "SIGCHLD",
    "SIGKILL",
    "SIGRTMAX",
    "SIGSTOP",
    "SIG_BLOCK",
    "SIG_DFL",
    "SIG_SETMASK",
    "load",
    "pthread_sigmask",
    "receive_with_files",
    "send_with_files",
    "set_handler",
    "set_wakeup_fd",
    "sigwaitinfo",
    "to_json",
    "valid_signals",
]


def load(data: bytes) -> Any:
    """What `marshal.dumps` was given, at the other end of a socket or file to which nobody else has access."""
    return marshal.loads(data)  # noqa: S302  the containerizer, its zygote and an init before its plan: one program


def to_json(value: Any) -> str:
    """JSON of text, numbers, and dictionaries of these by name."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, dict):
        return "{" + ", ".join([f"{quote(name)}: {to_json(one)}" for name, one in value.items()]) + "}"
    return repr(value)


def receive_with_files(connection: _socket.socket, size_bytes: int, count: int) -> tuple[bytes, list[int]]:
    """A packet and the descriptors that came with it, `count` at most, which no program that is executed inherits.

    `socket.recv_fds` would do, but until Python 3.13 it drops the flag that says so.
    """
    data, messages, _, _ = connection.recvmsg(size_bytes, _socket.CMSG_LEN(count * _INT_BYTES), _MSG_CMSG_CLOEXEC)
    files: list[int] = []
    for level, kind, content in messages:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            files.extend(struct.unpack(f"{len(content) // _INT_BYTES}i", content[: len(content) & -_INT_BYTES]))
    return data, files


def send_with_files(connection: _socket.socket, data: bytes, files: list[int]) -> None:
    """Send a packet over a socket, and copies of these descriptors with it."""
    rights = struct.pack(f"{len(files)}i", *files)
    connection.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
