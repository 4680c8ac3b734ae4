"""Whether an ordinary user gets namespaces here: in a user namespace of his own, which many hosts forbid.

Who makes a user namespace may do everything in it, and so make the others (`man 7 user_namespaces`). A distribution
may switch that off, or allow the namespace and nothing in it (AppArmor), and where a part of /proc is covered no other
may be mounted. So it is tried, in a process of its own, as a container's init would do it.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from containerizer import linux

SECONDS: Final = 10.0
"""For the attempt, which takes a tenth of one."""

_ATTEMPT: Final = "import sys; sys.path.append({!r}); from containerizer.unprivileged import attempt; attempt()"


@functools.cache
def why_no_namespaces() -> str:
    """Why not, in the kernel's words; empty if an ordinary user gets them. This does not change while a host is up."""
    program = _ATTEMPT.format(str(Path(__file__).resolve().parents[1]))
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2] or "it was killed"


def attempt() -> None:
    """Make what a container has, in this process, which then ends; what fails is the last line of its errors."""
    uid, gid = os.getuid(), os.getgid()
    every = linux.CLONE_NEWUSER | linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
    try:
        linux.unshare(every | linux.CLONE_NEWCGROUP)
        for name, text in map_itself(uid, gid).items():
            Path("/proc/self", name).write_text(text)
        # The PID namespace is that of children.
        child = os.fork()
        if child:
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_SLAVE, None)
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC, None)
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        os._exit(1)
    os._exit(0)


def map_itself(uid: int, gid: int) -> dict[str, str]:
    """Files of /proc/PID, in order, and what to write: the one user and group that an ordinary user may map."""
    return {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
