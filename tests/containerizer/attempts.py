"""Commands that try what a container must not be able to do; they print ESCAPED when they have got anywhere."""

from __future__ import annotations

import platform
import sys

from containerizer.seccomp.tables import TABLES

NO_PRIVILEGE = "Operation not permitted"

CALL = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    print('ESCAPED' if result >= 0 else os.strerror(ctypes.get_errno()))
    sys.stdout.flush()
    os._exit(0)
"""
"""What a program needs to make a system call by number."""


def call(name: str, arguments: str = "0, 0, 0, 0, 0, 0") -> tuple[str, ...]:
    """A command that makes one system call."""
    number = TABLES[platform.machine()][name]
    return (sys.executable, "-I", "-S", "-c", f"{CALL}\ncall({number}, {arguments})")
