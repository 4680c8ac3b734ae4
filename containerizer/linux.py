"""Linux as Kaon uses it: the one module that holds system-call numbers and flags of the kernel's interface.

Standard library only, and little of it: the zygote and every container's init import this module, and each of them pays
for it in memory and start-up. Errors are `OSError` with the call and its arguments as the file name.

`ctypes.PyDLL` keeps the interpreter's lock during a call. That is on purpose: the child of `clone3` returns from the
call as the only thread there is, and `CDLL` would have it wait for a lock that nobody is left to release.

Sources: the manual pages of section 2, `include/uapi/linux/{sched,mount,prctl,capability,seccomp}.h`.
"""

# pathlib would cost every container a megabyte.
from __future__ import annotations

import _socket
import ctypes
import errno
import fcntl
import os
import resource
import struct

from containerizer import bare

_libc = ctypes.PyDLL(None, use_errno=True)
# Each is looked up here, in the zygote, and not in every container anew.
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_prctl_ = _libc.prctl
_mount = _libc.mount
_umount2 = _libc.umount2
_pivot_root = _libc.pivot_root
_capset = _libc.capset
_madvise = _libc.madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_setns = _libc.setns
_unshare = _libc.unshare
# Declared, an argument is converted in C; undeclared, it would take an object of its own for each call.
_prctl_.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
_mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]

_name = ctypes.create_string_buffer(16)
"""Made once, in the zygote: making a buffer makes a type."""

# Numbers from 424 on are the same on every architecture (`include/uapi/asm-generic/unistd.h`).
_SYS_PIDFD_SEND_SIGNAL = 424
_SYS_CLONE3 = 435
_SYS_PROCESS_MADVISE = 440
_SYS_CLOSE_RANGE = 436
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_OPENAT2 = 437
_SYS_PIDFD_GETFD = 438
_SYS_MOUNT_SETATTR = 442
_SYS_QUOTACTL_FD = 443
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SYS_BPF = {"x86_64": 321, "aarch64": 280}

CLONE_NEWTIME = 0x00000080
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19

MNT_DETACH = 2

_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_PR_SET_KEEPCAPS = 8
_PR_SET_PTRACER = 0x59616D61
_PR_SET_PTRACER_ANY = -1

_CAPABILITY_VERSION_3 = 0x20080522

_SECCOMP_SET_MODE_FILTER = 1

_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE_IN_ROOT = 0x10

_OPEN_TREE_CLONE = 1
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_EMPTY_PATH = 0x40

HERE = -100
"""`AT_FDCWD`: the working directory in place of an open one."""
_MOUNT_ATTR_RDONLY = 0x01
_MOUNT_ATTR_NOSUID = 0x02
_MOUNT_ATTR_NODEV = 0x04

_SIOCSIFFLAGS = 0x8914
_SIOCGIFFLAGS = 0x8913
_IFF_UP = 1

_PIDFD_SELF = -10000
_MADV_POPULATE_WRITE = 23

SI_QUEUE = -1

_SIGINFO_BYTES = 128


class _CloneArguments(ctypes.Structure):
    """`struct clone_args` of `man 2 clone3`."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            *("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls"),
            *("set_tid", "set_tid_size", "cgroup"),
        )
    ]


def check(result: int, what: str) -> int:
    """`result` of a call, or the `OSError` that errno says, with `what` was called."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def clone(flags: int, cgroup: int = -1) -> tuple[int, int]:
    """Fork into new namespaces and, with `cgroup` (a directory's descriptor), into that cgroup.

    Returns the child's process id and pidfd to the parent, ``(0, -1)`` to the child. The caller must have one thread.
    Where the kernel has no `clone3` and nothing but a fork is asked for, a fork it is.
    """
    pidfd = ctypes.c_int(-1)
    arguments = _CloneArguments(
        flags=flags | CLONE_PIDFD,
        pidfd=ctypes.addressof(pidfd),
        exit_signal=0 if flags & CLONE_PARENT else bare.SIGCHLD,
    )
    if cgroup >= 0:
        arguments.flags |= CLONE_INTO_CGROUP
        arguments.cgroup = cgroup
    result = _syscall(_SYS_CLONE3, ctypes.byref(arguments), ctypes.c_size_t(ctypes.sizeof(arguments)))
    if result < 0 and ctypes.get_errno() == errno.ENOSYS and not flags and cgroup < 0:
        result = os.fork()
        return (0, -1) if result == 0 else (result, os.pidfd_open(result))
    check(result, f"clone3(flags={flags:#x})")
    return (0, -1) if result == 0 else (result, pidfd.value)


class HotPages:
    """Memory of this process that each of its clones will write to, to be copied at once.

    ranges  addresses and lengths in bytes, whole pages
    """

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self._ranges = ranges
        self._vector = ctypes.create_string_buffer(b"".join(struct.pack("@PN", *one) for one in ranges))
        self._count = len(ranges)
        self._at_once = self._copy_at_once() >= 0

    def _copy_at_once(self) -> int:
        result: int = _syscall(_SYS_PROCESS_MADVISE, _PIDFD_SELF, self._vector, self._count, _MADV_POPULATE_WRITE, 0)
        return result

    def copy(self) -> None:
        """For a clone to call first of all. Where the kernel cannot do it, pages are copied as they are touched."""
        if self._at_once:
            self._copy_at_once()
            return
        for address, length in self._ranges:
            if _madvise(address, length, _MADV_POPULATE_WRITE) < 0:
                return


def has_clone3() -> bool:
    """Whether the kernel knows the call: it refuses arguments of no size with another error than "no such call"."""
    _syscall(_SYS_CLONE3, None, ctypes.c_size_t(0))
    return ctypes.get_errno() != errno.ENOSYS


def set_namespaces(descriptor: int, flags: int) -> None:
    """Join the namespaces `flags` of the process that a pidfd stands for, or the one namespace of a /proc file."""
    check(_setns(descriptor, flags), f"setns(flags={flags:#x})")


def unshare(flags: int) -> None:
    """Leave shared namespaces for new ones."""
    check(_unshare(flags), f"unshare({flags:#x})")


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor but these."""
    start = 0
    for descriptor in [*sorted(keep), 0x7FFFFFFF]:
        if descriptor > start and _syscall(_SYS_CLOSE_RANGE, start, descriptor - 1, 0) < 0:
            os.closerange(start, min(descriptor, resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        start = descriptor + 1


def open_beneath(directory: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` below an open directory without following any symbolic link, nor any way out of it (`openat2`)."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)
    size = ctypes.c_size_t(len(how))
    result = _syscall(_SYS_OPENAT2, directory, os.fsencode(path), how, size)
    if result < 0 and ctypes.get_errno() == errno.ENOSYS and "/" not in path:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode, dir_fd=directory)
    return check(result, path)


def _prctl(option: int, second: int = 0, third: int = 0) -> int:
    return int(_prctl_(option, second, third, 0, 0))


def become_subreaper() -> None:
    """Adopt orphaned descendants, so that they can be found and reaped."""
    check(_prctl(_PR_SET_CHILD_SUBREAPER, 1), "prctl(PR_SET_CHILD_SUBREAPER)")


def forbid_inspection() -> None:
    """No ptrace, no /proc/PID/fd and no core dump of this process for anybody without CAP_SYS_PTRACE."""
    check(_prctl(_PR_SET_DUMPABLE, 0), "prctl(PR_SET_DUMPABLE)")


def allow_inspection() -> None:
    """Any process of the same user may look into this one, where Yama allows it to its parents only."""
    # An error says that this kernel has no Yama: then there is nothing to lift.
    _prctl(_PR_SET_PTRACER, _PR_SET_PTRACER_ANY)


def set_name(name: str) -> None:
    """The name of this process in `ps`; 15 bytes."""
    _name.value = os.fsencode(name)[:15]
    check(_prctl(_PR_SET_NAME, ctypes.addressof(_name)), f"prctl(PR_SET_NAME, {name!r})")


def bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """The `bpf` call; returns its result, a descriptor for most commands. What it answers is in `attributes` then."""
    number = _SYS_BPF.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, "the number of this call is not known on this architecture", f"bpf({command})")
    return check(_syscall(number, command, attributes, len(attributes)), f"bpf({command})")


def control_quota(descriptor: int, command: int, number: int, data: bytes) -> bytes:
    """`quotactl_fd` (Linux 5.14) for the file system of an open file; returns `data` as the call has left it."""
    buffer = ctypes.create_string_buffer(data, len(data))
    check(_syscall(_SYS_QUOTACTL_FD, descriptor, command, number, buffer), f"quotactl_fd({command:#x}, {number})")
    return buffer.raw


def copy_descriptor(pidfd: int, number: int) -> int:
    """A copy of descriptor `number` of another process (`man 2 pidfd_getfd`); takes the right to trace it."""
    return check(_syscall(_SYS_PIDFD_GETFD, pidfd, number, 0), f"pidfd_getfd({number})")


def queue_signal(pidfd: int, number: int) -> None:
    """Send a signal as `sigqueue` does: its receiver sees SI_QUEUE and tells it from one that `kill` sent."""
    information = struct.pack("=iii4xii", number, 0, SI_QUEUE, os.getpid(), os.getuid()).ljust(_SIGINFO_BYTES, b"\0")
    check(_syscall(_SYS_PIDFD_SEND_SIGNAL, pidfd, number, information, 0), f"pidfd_send_signal({number})")


def open_in_root(root: int, path: str, flags: int) -> int:
    """Open `path` as a process whose root is the open directory `root` would: links never lead out (`openat2`)."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    result = _syscall(_SYS_OPENAT2, root, os.fsencode(path), how, ctypes.c_size_t(len(how)))
    return check(result, path)


def clone_tree(descriptor: int, path: str = "") -> int:
    """A detached copy of the mounts at an open file or directory, to be changed and put elsewhere (`open_tree`).

    With `path`, of what is there as seen from that directory, or from the working directory for `HERE`.
    """
    flags = _OPEN_TREE_CLONE | _AT_EMPTY_PATH | _AT_RECURSIVE | os.O_CLOEXEC
    return check(_syscall(_SYS_OPEN_TREE, descriptor, os.fsencode(path), flags), path or "open_tree")


def set_tree_attributes(
    descriptor: int, *, read_only: bool, writable: bool = False, no_set_uid: bool = False, no_devices: bool = False
) -> None:
    """Change the mounts at an open file or directory and all below it (`mount_setattr`)."""
    wanted = _MOUNT_ATTR_RDONLY * read_only | _MOUNT_ATTR_NOSUID * no_set_uid | _MOUNT_ATTR_NODEV * no_devices
    attributes = struct.pack("=QQQQ", wanted, _MOUNT_ATTR_RDONLY if writable else 0, 0, 0)
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    size = ctypes.c_size_t(len(attributes))
    check(_syscall(_SYS_MOUNT_SETATTR, descriptor, b"", flags, attributes, size), "mount_setattr")


def attach_tree(tree: int, target: int) -> None:
    """Put a detached tree over an open file or directory (`move_mount`)."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    check(_syscall(_SYS_MOVE_MOUNT, tree, b"", target, b"", flags), "move_mount")


def mount(source: str | None, target: str, filesystem: str | None, flags: int, data: str | None) -> None:
    """`man 2 mount`."""
    result = _mount(_bytes(source), _bytes(target), _bytes(filesystem), flags, _bytes(data))
    check(result, f"mount({source} on {target}, {filesystem or 'no type'}, flags={flags:#x}, {data or ''})")


def unmount(target: str, flags: int) -> None:
    """`man 2 umount`."""
    check(_umount2(_bytes(target), flags), f"umount({target}, flags={flags})")


def pivot_root(new_root: str) -> None:
    """Make `new_root`, a mount point, the root, and detach the old one (`man 2 pivot_root`, "." and ".")."""
    os.chdir(new_root)
    check(_pivot_root(b".", b"."), f"pivot_root({new_root})")
    unmount(".", MNT_DETACH)
    os.chdir("/")


def raise_interface(name: str) -> None:
    """Bring a network interface up (`man 7 netdevice`)."""
    control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        request = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH14x", name.encode(), 0))
        (flags,) = struct.unpack_from("16xH", request)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), flags | _IFF_UP))
    finally:
        control.close()


def drop_bounding(number: int) -> bool:
    """Take a capability out of the bounding set, for good; False when this kernel has none of that number."""
    result = _prctl(_PR_CAPBSET_DROP, number)
    if result < 0 and ctypes.get_errno() == errno.EINVAL:
        return False
    if result < 0:
        check(result, f"prctl(PR_CAPBSET_DROP, {number})")
    return True


def keep_capabilities() -> None:
    """Permitted capabilities survive the change to another user."""
    check(_prctl(_PR_SET_KEEPCAPS, 1), "prctl(PR_SET_KEEPCAPS)")


def set_capabilities(effective: int, inheritable: int) -> None:
    """Effective and permitted set, inheritable set: a bit for each number of `man 7 capabilities`."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = (effective, effective, inheritable)
    data = b"".join(struct.pack("=III", *(part >> shift & 0xFFFFFFFF for part in sets)) for shift in (0, 32))
    check(_capset(header, data), f"capset({effective:#x})")


def set_ambient_capabilities(mask: int) -> None:
    """What programs without file capabilities start with, for a user other than root."""
    check(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL), "prctl(PR_CAP_AMBIENT_CLEAR_ALL)")
    for number in range(64):
        if mask >> number & 1:
            check(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number), f"prctl(PR_CAP_AMBIENT_RAISE, {number})")


def forbid_new_privileges() -> None:
    """Programs gain nothing by set-uid bits and file capabilities, now and for ever."""
    check(_prctl(_PR_SET_NO_NEW_PRIVS, 1), "prctl(PR_SET_NO_NEW_PRIVS)")


def load_filter(code: bytes) -> None:
    """A seccomp filter: BPF instructions of eight bytes each."""
    instructions = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HP", len(code) // 8, ctypes.addressof(instructions))
    number = _SYS_SECCOMP.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, "the number of this call is not known on this architecture", "seccomp")
    check(_syscall(number, _SECCOMP_SET_MODE_FILTER, 0, head), "seccomp(SECCOMP_SET_MODE_FILTER)")
