"""The built-in halves of `signal`, `socket` and `json`, for the zygote and the inits.

What their public modules import (enumerations, regular expressions) costs a megabyte in each container, and what those
do at each call touches pages of which each is copied: to block all signals by `signal` touches forty, by its built-in
half three.
"""

from __future__ import annotations

import marshal
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
