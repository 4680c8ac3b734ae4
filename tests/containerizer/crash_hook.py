"""Kills the process it is in, by SIGKILL, right before its n-th act.

An act is a call by which the containerizer's code changes something that outlives the process or that others see: a
system call of `os`, `socket` or `signal`, or a function of :mod:`containerizer.linux` or :mod:`containerizer.held`.
They are not listed; what is listed is what does no more than look, so a step that is added later is a place to crash
at without being named here.

Standard library only: the zygote imports this, see `crash_zygote.py`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

DYING = "kaon-dying"

SILENT = frozenset(
    (
        *(
            "access",
            "close",
            "cpu_count",
            "dup",
            "dup2",
            "fspath",
            "fstat",
            "get_blocking",
            "get_inheritable",
            "getcwd",
        ),
        *("getegid", "geteuid", "getgid", "getgroups", "getpid", "getppid", "getuid", "getxattr", "listdir", "lseek"),
        *(
            "lstat",
            "memfd_create",
            "pidfd_open",
            "pipe",
            "pipe2",
            "pread",
            "putenv",
            "read",
            "readlink",
            "scandir",
            "sched_yield",
        ),
        *("set_blocking", "set_inheritable", "stat", "statvfs", "strerror", "sysconf", "umask", "uname", "urandom"),
        *("waitid", "waitpid", "waitstatus_to_exitcode", "WIFSIGNALED", "WTERMSIG", "WEXITSTATUS", "major", "minor"),
        *("makedev", "_path_normpath", "_exit"),
        *("getsignal", "pthread_sigmask", "set_wakeup_fd", "signal", "sigwaitinfo", "valid_signals"),
        *("check", "close_all_but", "exists", "has_clone3", "open_memory", "receive_with_files"),
    )
)
"""Calls that change nothing outside of the process."""

_SENDING = frozenset({"bind", "connect", "listen", "send", "sendmsg"})
"""Methods of sockets that others notice."""

_CALLS = ("/containerizer/linux.py", "/containerizer/held.py")

_MODULES = frozenset({"_posixsubprocess", "_signal", "posix"})


def act_of(frame: FrameType, event: str, called: Any) -> str:
    """The name of the act that is about to be done, by a profiler's arguments; empty when it is none."""
    if event == "call":
        code = frame.f_code
        name = code.co_name
        is_act = code.co_filename.endswith(_CALLS) and not name.startswith(("_", "<"))
    elif event == "c_call":
        name = called.__name__
        is_act = called.__module__ in _MODULES
        is_act |= name in _SENDING and isinstance(called.__self__, socket.SocketType)
    else:
        return ""
    return name if is_act and name not in SILENT and _is_ours(frame) else ""


def _is_ours(frame: FrameType | None) -> bool:
    """Whether code of the containerizer is on the stack, which an event loop's and a test's own calls have not."""
    while frame is not None:
        if "/containerizer/" in frame.f_code.co_filename and "/tests/" not in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def die() -> None:
    """As `kill -9` does it, on the spot. No signal from inside ends the first process of a PID namespace: it waits,
    with a name by which whoever is outside knows that it is to be killed.
    """
    os.kill(os.getpid(), signal.SIGKILL)
    sys.modules["containerizer.linux"].set_name(DYING)
    while True:
        signal.pause()


def install(before_act: Callable[[str], None]) -> Callable[[FrameType, str, Any], None]:
    """Have `before_act` called with the name of each act of this thread, and of what is cloned from it.

    Returns what is to be called for other threads: `threading.setprofile` takes it.
    """

    def hook(frame: FrameType, event: str, called: Any) -> None:
        name = act_of(frame, event, called)
        if name:
            before_act(name)

    sys.setprofile(hook)
    return hook
