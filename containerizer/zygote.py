"""The zygote: a small process with one thread that is cloned to make containers.

Run by ``python -I -S zygote_program.py RUNTIME_DIRECTORY DESCRIPTORS``. Cloning a process that has threads deadlocks
(the child finds locks held by threads that it has not) and cloning a large one copies a large page table; so the
containerizer, which has both a past and threads, asks this process instead. It outlives the containerizer, which
finds it again by the socket ``zygote.sock`` in a directory that only its user can enter; an exclusive lock on
``zygote.lock`` keeps it the only one.
Nothing depends on its life: containers write their own status and are watched by pidfd, so a killed zygote is simply
started again.

It speaks over SEQPACKET, one request a packet, in the form of `marshal`, which is read without an import:

    {"op": "hello"}                                     -> {"pid": ..., "version": ...}
    {"op": "launch", "n": ..., "flags": ..., ...} + fds -> {"n": ..., "pid": ...} + pidfd, or {"n", "error", "errno"}
    {"op": "stop"}                                      -> ends

Only the standard library, and little of it: what is imported here, every container pays for, in pages to be copied
and in the time until its first instruction.
"""

# ruff: noqa: PTH108, PTH120, PTH123
# pathlib would cost every container a megabyte.
from __future__ import annotations

import _socket
import errno
import fcntl
import gc
import marshal
import os
import resource
import select
import struct
import sys

from containerizer import bare, init, linux, rehearsal

TYPE_CHECKING = False  # as type checkers know it, without importing typing
if TYPE_CHECKING:
    from typing import Any

VERSION = f"5 on Python {sys.version_info[0]}.{sys.version_info[1]}"
"""Of the protocol. A containerizer that meets another version stops that zygote and starts its own. Python's is part of
it, for `marshal`.
"""

PROGRAM = f"{os.path.dirname(__file__)}/zygote_program.py"
"""The file to start one by."""

REQUEST_BYTES = 16_384
REQUEST_DESCRIPTORS = 9

IDLE_SECONDS = 30
"""With no containerizer and no children left for so long there is nothing to wait for."""


class Zygote:
    """Serves one runtime directory, which is its working directory."""

    def __init__(self, listener: _socket.socket) -> None:
        self._listener = listener
        self._poll = select.poll()
        self._peers: dict[int, _socket.socket] = {}
        self._wakeup, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        bare.set_handler(bare.SIGCHLD, lambda *_: None)
        bare.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        self._poll.register(listener, select.POLLIN)
        self._poll.register(self._wakeup, select.POLLIN)

    def serve(self) -> None:
        """Until told to stop, or until nobody can need it any more."""
        while True:
            ready = self._poll.poll(IDLE_SECONDS * 1000)
            if not ready and not self._peers and not self._has_children():
                return
            for descriptor, _ in ready:
                if descriptor == self._wakeup:
                    os.read(self._wakeup, 4096)
                    self._reap()
                elif descriptor == self._listener.fileno():
                    self._accept()
                elif not self._answer(self._peers[descriptor]):
                    return

    def _has_children(self) -> bool:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def _reap(self) -> None:
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    return
            except ChildProcessError:
                return

    def _accept(self) -> None:
        descriptor, _ = self._listener._accept()  # type: ignore[attr-defined]
        peer = _socket.socket(fileno=descriptor)
        credentials = peer.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        if uid not in (0, os.getuid()):
            peer.close()
            return
        self._peers[peer.fileno()] = peer
        self._poll.register(peer, select.POLLIN)

    def _answer(self, peer: _socket.socket) -> bool:
        """Serve one request; False when it was the last."""
        try:
            data, descriptors = bare.receive_with_files(peer, REQUEST_BYTES, REQUEST_DESCRIPTORS)
        except ConnectionError:
            data, descriptors = b"", []
        if not data:
            self._poll.unregister(peer)
            del self._peers[peer.fileno()]
            peer.close()
            return True
        try:
            request = bare.load(data)
            if request["op"] == "stop":
                return False
            if request["op"] == "launch":
                self._launch(peer, request, descriptors)
            else:
                peer.send(marshal.dumps({"pid": os.getpid(), "version": VERSION}))
        except ConnectionError:
            # The containerizer went away meanwhile: what was cloned for it ends with its control socket.
            return True
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _launch(self, peer: _socket.socket, request: dict[str, Any], descriptors: list[int]) -> None:
        number = request["n"]
        go, word = os.pipe()
        try:
            pid, pidfd = self._clone(request, descriptors, go)
            try:
                bare.send_with_files(peer, marshal.dumps({"n": number, "pid": pid}), [pidfd])
            finally:
                os.close(pidfd)
            # Not before the containerizer has who it is: an init that nobody can kill must not get going.
            os.write(word, init.GO)
        except OSError as error:
            peer.send(marshal.dumps({"n": number, "error": str(error), "errno": error.errno or 0}))
        finally:
            os.close(go)
            os.close(word)
        init.hot_pages.copy()

    def _clone(self, request: dict[str, Any], descriptors: list[int], go: int) -> tuple[int, int]:
        """Make the container's init; returns in the zygote only. go: what it waits on before it does anything"""
        plan, control, status, *rest = descriptors
        standard, rest = rest[:3], rest[3:]
        cgroup = rest.pop(0) if request["cgroup"] else -1
        if request["join"]:
            pid, pidfd = self._clone_inside(request, rest.pop(0), cgroup)
        else:
            pid, pidfd = linux.clone(request["flags"], cgroup)
        if pid == 0:
            bare.set_wakeup_fd(-1)
            init.run(plan, control, status, standard, control if request["waits"] else go)
        try:
            for name in ("setgroups", "uid_map", "gid_map"):
                if request.get(name):
                    _write(f"/proc/{pid}/{name}", request[name])
        except OSError:
            # Without its control socket it will find an end of file; killed it ends sooner.
            os.kill(pid, bare.SIGKILL)
            os.close(pidfd)
            raise
        return pid, pidfd

    def _clone_inside(self, request: dict[str, Any], other: int, cgroup: int) -> tuple[int, int]:
        """Make an init in namespaces of another container; returns in the zygote and in that init.

        Joining some of them cannot be undone, so a process in between does it and has the zygote be the parent. A PID
        namespace is joined by children only, and made by those who live where it is to be: that takes a second one.
        """
        flags, join = request["flags"], request["join"]
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            between, between_pidfd = linux.clone(0)
            if between == 0:
                try:
                    linux.set_namespaces(other, join)
                    if join & linux.CLONE_NEWPID and flags & linux.CLONE_NEWPID and linux.clone(linux.CLONE_PARENT)[0]:
                        os._exit(0)
                    pid, pidfd = linux.clone(flags | linux.CLONE_PARENT, cgroup)
                except OSError as error:
                    theirs.send(marshal.dumps({"error": str(error), "errno": error.errno or 0}))
                    os._exit(1)
                if pid == 0:
                    return 0, -1
                bare.send_with_files(theirs, marshal.dumps({}), [pidfd])
                os._exit(0)
            os.close(between_pidfd)
            theirs.close()
            data, received = bare.receive_with_files(ours, REQUEST_BYTES, 1)
        finally:
            ours.close()
            theirs.close()
        os.waitpid(between, 0)
        said: dict[str, Any] = bare.load(data) if data else {"error": "the process in between was killed", "errno": 0}
        if "error" in said:
            raise OSError(said["errno"], said["error"])
        return _pid_of(received[0]), received[0]


def _pid_of(pidfd: int) -> int:
    """The process that a pidfd stands for, by our own numbering (`man 2 pidfd_open`)."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        for line in file:
            if line.startswith("Pid:"):
                return int(line.split()[1])
    raise OSError(errno.ESRCH, "no process", f"pidfd {pidfd}")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{path} <- {text!r}") from None
    finally:
        os.close(descriptor)


def _take_lock() -> int | None:
    """The lock's descriptor, to be kept for life; None when another zygote has it."""
    lock = os.open("zygote.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise
        os.close(lock)
        return None
    os.ftruncate(lock, 0)
    os.write(lock, b"%d\n" % os.getpid())
    return lock


def _listen() -> _socket.socket:
    if os.path.lexists("zygote.sock"):
        os.unlink("zygote.sock")
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    listener.bind("zygote.sock")
    listener.listen(16)
    return listener


def main(directory: str, descriptors: int) -> None:
    """Detach, and serve `directory`; the starting process returns once requests are accepted.

    descriptors  that a container may have unless its spec says otherwise; the containerizer has taken more for itself
    """
    os.chdir(directory)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os._exit(0 if os.read(reader, 1) else 1)
    os.close(reader)
    for number in init.EVERY_SIGNAL - {bare.SIGKILL, bare.SIGSTOP}:
        bare.set_handler(number, bare.SIG_DFL)
    bare.pthread_sigmask(bare.SIG_SETMASK, ())
    os.setsid()
    os.umask(0o077)
    lock = _take_lock()
    if lock is None:
        os.write(writer, b"1")
        return
    linux.become_subreaper()
    linux.set_name("kaon-zygote")
    zygote = Zygote(_listen())
    # What lives now lives on in every child: the collector must not write its marks into the shared pages.
    gc.disable()
    gc.freeze()
    init.hot_pages = linux.HotPages(rehearsal.rehearse())
    os.write(writer, b"1")
    os.close(writer)
    zygote.serve()
    os.unlink("zygote.sock")
