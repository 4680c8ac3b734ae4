"""The kernel behind one interface: what is asked of it while a container is made, and a twin that only writes it down.

Isolators do not call the kernel; they say what is to be called, as steps (:mod:`containerizer.plan`). A container's
init carries the steps out through a :class:`Kernel`. So the order of mounts, limits and drops of privilege is data, and
tests read it without being root.
"""

from __future__ import annotations

from typing import Any, Protocol

STEPS = frozenset(
    {
        "mount",
        "unmount",
        "pivot_root",
        "bind",
        "lock",
        "lock_all",
        "unlock",
        "mask",
        "cover",
        "make_directory",
        "make_link",
        "make_device",
        "write_file",
        "write_secret",
        "set_hostname",
        "raise_loopback",
        "open_terminal",
        "open_pipes",
        "set_rlimit",
        "change_directory",
        "limit_capabilities",
        "set_user",
        "forbid_new_privileges",
        "filter_calls",
    }
)
"""Names of the methods below: what a plan may contain."""


class Kernel(Protocol):
    """System calls and file writes. Each raises `OSError` that names the call and its arguments."""

    def mount(self, source: str | None, target: str, filesystem: str | None, flags: int, data: str | None) -> None:
        """`man 2 mount`."""

    def unmount(self, target: str, flags: int) -> None:
        """`man 2 umount`."""

    def pivot_root(self, new_root: str) -> None:
        """Make `new_root` the root and detach the old one."""

    def bind(self, base: str, source: str, root: str, target: str, read_only: bool) -> None:
        """Show `source`, found below `base` without following links, at `target` below `root`."""

    def lock(self, path: str) -> None:
        """Make a tree read-only by a mount over it."""

    def lock_all(self, path: str) -> None:
        """Make mounts read-only where they are."""

    def unlock(self, path: str) -> None:
        """Make mounts writable where they are."""

    def mask(self, path: str) -> None:
        """Cover a file or a directory by an empty one."""

    def cover(self, directory: str, options: str, keep: list[str], read_only: bool) -> None:
        """Put an empty file system in memory over `directory`, in which only `keep` is to be seen as before."""

    def make_directory(self, path: str, mode: int) -> None:
        """A directory and its parents; no error if it is there."""

    def make_link(self, target: str, path: str) -> None:
        """A symbolic link."""

    def make_device(self, path: str, mode: int, major: int, minor: int) -> None:
        """A device node; `mode` has its type and permissions."""

    def write_file(self, path: str, text: str) -> None:
        """Write an existing file in one call."""

    def write_secret(self, path: str, text: str, uid: int, gid: int) -> None:
        """A new file that only `uid` may read."""

    def set_hostname(self, name: str) -> None:
        """Of this UTS namespace."""

    def raise_loopback(self) -> None:
        """Bring `lo` up."""

    def open_terminal(self, multiplexer: str, uid: int, gid: int, rows: int, columns: int, console: str) -> None:
        """A terminal of its own for the command, which belongs to `uid`; shown at `console` too, if given."""

    def open_pipes(self, numbers: list[int], uid: int, gid: int) -> None:
        """Pipes for some of standard input (0), output (1) and error (2)."""

    def set_rlimit(self, name: str, soft: int | None, hard: int | None) -> None:
        """`man 2 setrlimit`; None is unlimited."""

    def change_directory(self, path: str) -> None:
        """Working directory."""

    def limit_capabilities(self, mask: int) -> None:
        """The bounding set."""

    def set_user(self, uid: int, gid: int, groups: list[int], mask: int | None) -> None:
        """Become a user, with these capabilities and no others (None: as the kernel has it)."""

    def forbid_new_privileges(self) -> None:
        """`PR_SET_NO_NEW_PRIVS`."""

    def filter_calls(self, program: str) -> None:
        """Load a seccomp filter, in hexadecimal."""


class RecordingKernel:
    """A kernel that does nothing and remembers everything; fails at one call where a test asks for it.

    fail_at  index of the call that raises `error` instead
    calls    what was called, in order: name and arguments
    """

    def __init__(self, fail_at: int | None = None, error: OSError | None = None) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._fail_at = fail_at
        self._error = error or OSError(5, "Input/output error", "injected")

    def __getattr__(self, name: str) -> Any:
        if name not in STEPS:
            raise AttributeError(f"no kernel call is named {name!r}")

        def record(*arguments: Any) -> None:
            if len(self.calls) == self._fail_at:
                raise self._error
            self.calls.append((name, arguments))

        return record

    @property
    def names(self) -> list[str]:
        """What was called, without arguments."""
        return [name for name, _ in self.calls]
