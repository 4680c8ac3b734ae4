"""The machine's own kernel: what an init does for each step of a plan.

Standard library only: see :mod:`containerizer.zygote`. Errors are `OSError` that name the call and its arguments.
"""

# ruff: noqa: PTH102, PTH116, PTH120, PTH211
# pathlib would cost every container a megabyte.
from __future__ import annotations

import _socket
import errno
import os
import resource
import stat

from containerizer import linux, terminals

_HARMLESS = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC

_ABSENT = (FileNotFoundError, NotADirectoryError)


class LinuxKernel:
    """:class:`containerizer.kernel.Kernel`, done for real, by a process whose umask takes nothing away.

    Descriptors that a step has done with stay open: the init closes all of them at once, before it starts the command.

    ends      the containerizer's ends of what the command's standard files are, by name: ``terminal``, or ``input``,
              ``output`` and ``error``
    terminal  the command's end of its terminal; -1 for none
    """

    def __init__(self) -> None:
        self.ends: dict[str, int] = {}
        self.terminal = -1
        self._roots: dict[str, int] = {}
        self._masked = ""

    def mount(self, source: str | None, target: str, filesystem: str | None, flags: int, data: str | None) -> None:
        """`man 2 mount`."""
        linux.mount(source, target, filesystem, flags, data)

    def unmount(self, target: str, flags: int) -> None:
        """`man 2 umount`."""
        linux.unmount(target, flags)

    def pivot_root(self, new_root: str) -> None:
        """Make `new_root` the root, and detach the old one."""
        linux.pivot_root(new_root)
        self._roots.clear()
        self._masked = ""

    def bind(self, base: str, source: str, root: str, target: str, read_only: bool) -> None:
        """Show a file or directory in another place, below `root`, with all that is mounted on it.

        With `base` the source is looked for below that directory and no link is followed: whoever may write there must
        not choose what is shown. The target is looked for as a process in `root` would, and made if it is missing.
        """
        try:
            if base:
                directory = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                tree = linux.clone_tree(linux.open_beneath(directory, source, os.O_PATH))
            else:
                tree = linux.clone_tree(linux.HERE, source)
            if read_only:
                linux.set_tree_attributes(tree, read_only=True)
            linux.attach_tree(tree, self._open_target(root or "/", target, tree))
        except OSError as error:
            what = f"bind({source} on {target}): {error.filename or ''}"
            raise OSError(error.errno, error.strerror, what) from None

    def _open_target(self, root: str, target: str, tree: int) -> int:
        """Where to mount `tree`; directories on the way are made one by one, so that no link leads out of `root`."""
        base = self._roots.get(root, -1)
        if base < 0:
            base = self._roots[root] = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return linux.open_in_root(base, target, os.O_PATH)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
        directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        parts = [part for part in target.split("/") if part]
        for depth in range(1, len(parts) + 1):
            self._make_entry(base, parts[:depth], directory=directory or depth < len(parts))
        return linux.open_in_root(base, target, os.O_PATH)

    def _make_entry(self, base: int, parts: list[str], *, directory: bool) -> None:
        parent = linux.open_in_root(base, "/" + "/".join(parts[:-1]), os.O_PATH | os.O_DIRECTORY)
        try:
            if directory:
                os.mkdir(parts[-1], 0o755, dir_fd=parent)
            else:
                os.close(os.open(parts[-1], os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
        except FileExistsError:
            # Made by an earlier volume, or there all along.
            return
        finally:
            os.close(parent)

    def lock(self, path: str) -> None:
        """Make a tree of mounts read-only; nothing to do where there is no such path.

        For a moment it can be written to: nobody is there yet. A tree that is made apart and put there, as in `bind`,
        costs four times as much.
        """
        try:
            linux.mount(path, path, None, linux.MS_BIND | linux.MS_REC, None)
        except _ABSENT:
            return
        self._set_attributes(path, read_only=True)

    def lock_all(self, path: str) -> None:
        """Make the mounts at `path` and all below it read-only where they are."""
        self._set_attributes(path, read_only=True)

    def unlock(self, path: str) -> None:
        """Make the mount at `path`, and those below it, writable."""
        self._set_attributes(path, read_only=False)

    def _set_attributes(self, path: str, *, read_only: bool) -> None:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            linux.set_tree_attributes(descriptor, read_only=read_only, writable=not read_only)
        finally:
            os.close(descriptor)

    def mask(self, path: str) -> None:
        """Cover a file or a directory by an empty one; nothing to do where there is no such path.

        One empty directory serves for all: a file system costs five times as much as showing one again.
        """
        try:
            mode = os.stat(path).st_mode
        except _ABSENT:
            return
        if stat.S_ISDIR(mode) and self._masked:
            linux.mount(self._masked, path, None, linux.MS_BIND, None)
        elif stat.S_ISDIR(mode):
            linux.mount("masked", path, "tmpfs", _HARMLESS | linux.MS_RDONLY, "size=0,mode=555")
            self._masked = path
        else:
            linux.mount("/dev/null", path, None, linux.MS_BIND, None)

    def cover(self, directory: str, options: str, keep: list[str], read_only: bool) -> None:
        """Put an empty file system in memory over `directory`, in which only `keep` is to be seen as before."""
        trees: list[tuple[str, int]] = []
        try:
            for path in keep:
                source = os.open(path, os.O_PATH | os.O_CLOEXEC)
                try:
                    trees.append((path, linux.clone_tree(source)))
                finally:
                    os.close(source)
            flags = linux.MS_NOSUID | linux.MS_NODEV
            linux.mount("covered", directory, "tmpfs", flags, options)
            for path, tree in trees:
                self.make_directory(path, 0o755)
                target = os.open(path, os.O_PATH | os.O_CLOEXEC)
                try:
                    linux.attach_tree(tree, target)
                finally:
                    os.close(target)
            if read_only:
                remount = linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY
                linux.mount(None, directory, None, remount | flags, None)
        finally:
            for _, tree in trees:
                os.close(tree)

    def make_directory(self, path: str, mode: int) -> None:
        """A directory and its parents; no error if it is there."""
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            return
        except FileNotFoundError:
            self.make_directory(os.path.dirname(path), 0o755)
            os.mkdir(path, mode)

    def make_link(self, target: str, path: str) -> None:
        """A symbolic link."""
        os.symlink(target, path)

    def make_device(self, path: str, mode: int, major: int, minor: int) -> None:
        """A device node; `mode` has its type and permissions."""
        os.mknod(path, mode, os.makedev(major, minor))

    def write_file(self, path: str, text: str) -> None:
        """Write a kernel file in one call: what it takes is checked when it is written."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def write_secret(self, path: str, text: str, uid: int, gid: int) -> None:
        """A file that only `uid` may read."""
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o400)
        try:
            os.write(descriptor, text.encode())
            os.fchown(descriptor, uid, gid)
        finally:
            os.close(descriptor)

    def set_hostname(self, name: str) -> None:
        """Of this UTS namespace."""
        _socket.sethostname(name)

    def raise_loopback(self) -> None:
        """Bring `lo` up in this network namespace."""
        linux.raise_interface("lo")

    def open_terminal(self, multiplexer: str, uid: int, gid: int, rows: int, columns: int, console: str) -> None:
        """A terminal of its own for the command, which belongs to `uid`; shown at `console` too, if given."""
        master, self.terminal, number = terminals.open_terminal(multiplexer)
        self.ends["terminal"] = master
        if os.geteuid() == 0:
            os.fchown(self.terminal, uid, gid)
        os.fchmod(self.terminal, 0o620)
        terminals.set_window_size(master, rows, columns)
        if console:
            os.close(os.open(console, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC, 0o600))
            linux.mount(f"/dev/pts/{number}", console, None, linux.MS_BIND, None)

    def open_pipes(self, numbers: list[int], uid: int, gid: int) -> None:
        """Pipes for some of standard input (0), output (1) and error (2)."""
        for number in numbers:
            reader, writer = os.pipe()
            inside, outside = (reader, writer) if number == 0 else (writer, reader)
            if os.geteuid() == 0:
                # Or opening /dev/stdout would be another's to allow.
                os.fchown(inside, uid, gid)
            os.dup2(inside, number)
            os.close(inside)
            self.ends[("input", "output", "error")[number]] = outside

    def set_rlimit(self, name: str, soft: int | None, hard: int | None) -> None:
        """`man 2 setrlimit`; None is unlimited."""
        number = getattr(resource, "RLIMIT_" + name.upper())
        infinity = resource.RLIM_INFINITY
        resource.setrlimit(number, (infinity if soft is None else soft, infinity if hard is None else hard))

    def change_directory(self, path: str) -> None:
        """Working directory."""
        os.chdir(path)

    def limit_capabilities(self, mask: int) -> None:
        """Take every capability that is not in `mask` out of the bounding set, for good."""
        for number in range(64):
            if not mask >> number & 1 and not linux.drop_bounding(number):
                # The kernel's last one was before.
                return

    def set_user(self, uid: int, gid: int, groups: list[int], mask: int | None) -> None:
        """Become a user. With `mask` keep these capabilities (ambient where the user is not root) and no others."""
        if mask is not None and uid:
            linux.keep_capabilities()
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        if mask is not None:
            linux.set_capabilities(mask, mask if uid else 0)
            linux.set_ambient_capabilities(mask if uid else 0)

    def forbid_new_privileges(self) -> None:
        """Programs gain nothing by set-uid bits and file capabilities, now and for ever."""
        linux.forbid_new_privileges()

    def filter_calls(self, program: str) -> None:
        """Load a seccomp filter, in hexadecimal."""
        linux.load_filter(bytes.fromhex(program))
