"""The first process of every container: carries out the plan, starts the command, reaps, and leaves the exit status.

It is a copy of the zygote, not a program of its own, so that a container costs one copied page table and a few touched
pages. It writes down who it is, waits for the zygote's word that the containerizer has been told, looks whether that
still lives, does the plan's steps, starts the command, and says so. Where something is to be done from outside before,
it waits for the containerizer's word instead, and is written down by that. Once the command runs it needs nobody:
signals that it gets go to the command, orphans are reaped, and when the command ends its status is on disk, one line
written and synced, before the init ends. In a PID namespace its end is everybody's; elsewhere it kills what is left
below it.

Standard library only: see :mod:`containerizer.zygote`.
"""

# ruff: noqa: PTH110, PTH123
# pathlib would cost every container a megabyte.
from __future__ import annotations

import _socket
import os
import select
import time

from containerizer import bare, linux, steps

TYPE_CHECKING = False  # as type checkers know it, without importing typing
if TYPE_CHECKING:
    from typing import Any

CONTROL_BYTES = 65_536
"""Largest message on the control socket."""

GO = b"go"
"""What the containerizer says when the container may come to life. Its silence, an end of file, ends the init."""

START = "start"
"""What a failure names as its step when the command itself could not be executed."""

CLOSE_INPUT: int = bare.SIGRTMAX
"""Queued, not killed with (`man 3 sigqueue`), by the containerizer: nothing more comes on the command's standard input,
of which this process holds an end so that it outlives the containerizer."""

KEPT = ("terminal", "input")
"""Ends of the command's standard files that this process holds as long as it lives."""

ENDS = 3
"""At most, of one command: those of pipes for all three."""

hot_pages = linux.HotPages([])
"""What every init writes to; found out by the zygote (:mod:`containerizer.rehearsal`)."""

EVERY_SIGNAL = bare.valid_signals()
"""Made once, in the zygote."""

_SETUP_FAILED = 125
"""Exit status of an init that could not do its plan; nobody reads it but people."""


def run(plan_file: int, control: int, status_file: int, standard: list[int], go: int) -> None:
    """Be a container's init, in a freshly cloned process; never returns.

    plan_file    holds the plan, see :meth:`containerizer.plan.LaunchPlan.encode`
    control      socket to the containerizer
    status_file  opened before privileges are given up, because nobody in a container may write beside it
    standard     descriptors of standard input, output and error
    go           where the word comes from: `control`, or a pipe of the zygote's
    """
    code = _SETUP_FAILED
    hot_pages.copy()
    try:
        for number, descriptor in enumerate(standard):
            os.dup2(descriptor, number)
        linux.close_all_but({0, 1, 2, plan_file, control, status_file, go})
        code = _live(plan_file, control, status_file, go)
    except BaseException as error:  # noqa: BLE001  nothing may return into the zygote's frames
        _say(control, status_file, {"error": f"{type(error).__name__}: {error}", "errno": 0, "step": "init"})
    finally:
        os._exit(code)


def _live(plan_file: int, control: int, status_file: int, go: int) -> int:
    bare.pthread_sigmask(bare.SIG_BLOCK, EVERY_SIGNAL)
    # The zygote has set all others to their defaults before, and handles this one.
    bare.set_handler(bare.SIGCHLD, bare.SIG_DFL)
    os.setsid()
    os.umask(0)
    linux.set_name("kaon-init")
    plan = _read_plan(plan_file)
    if not may_go(control, status_file, go, plan["whole"]):
        return _SETUP_FAILED
    if not plan["whole"]:
        linux.become_subreaper()
    kernel = steps.LinuxKernel()
    doing = ""
    try:
        for step in plan["steps"]:
            doing = step[0]
            getattr(kernel, doing)(*step[1:])
        if plan["inspectable"]:
            linux.allow_inspection()
        else:
            linux.forbid_inspection()
        os.umask(0o022)
        linux.close_all_but({0, 1, 2, control, status_file, *kernel.ends.values(), max(kernel.terminal, 0)})
        doing = START
        command = _start_forked(kernel, plan) if plan["last_steps"] or kernel.terminal >= 0 else _start(plan)
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", 0) or 0
        _say(control, status_file, {"error": str(error), "errno": number, "step": doing})
        return _SETUP_FAILED
    # Where there is one processor the command has it first: what is to be told can wait for its first instructions.
    os.sched_yield()
    try:
        _say_started(control, command, kernel.ends)
    except OSError:
        # Nobody has the other ends of its files, nor knows which process it is: what is half made is undone.
        gone = {"error": "the containerizer was killed while it launched this container", "errno": 0, "step": START}
        _write_record(status_file, gone)
        _kill_rest()
        return _SETUP_FAILED
    os.close(control)
    _leave_standard_files()
    for name in ("output", "error"):
        if name in kernel.ends:
            os.close(kernel.ends[name])
    status = _supervise(command, kernel.ends.get("input", -1))
    _write_status(status_file, status)
    if not plan["whole"]:
        _kill_rest()
    return 0


def may_go(control: int, status_file: int, go: int, whole: bool) -> bool:
    """Wait for the word. False when there will be none, or nobody who would know of this container.

    A containerizer that comes after one that died reads the records. What it finds there is in its hands; an init that
    has written after that finds the control socket without an other end, and ends.
    """
    if go == control:
        return os.read(control, CONTROL_BYTES) == GO
    _write_process(status_file, whole)
    going = os.read(go, CONTROL_BYTES) == GO
    os.close(go)
    other_end = select.poll()
    other_end.register(control, select.POLLIN)
    return going and not other_end.poll(0)


def _write_process(status_file: int, whole: bool) -> None:
    """Who this is, as the host numbers it: the /proc that was there before the clone shows that."""
    descriptor = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    stat = os.read(descriptor, CONTROL_BYTES)
    os.close(descriptor)
    pid, start_time = stat.split(b" ", 1)[0], stat.rpartition(b")")[2].split()[19]
    known = b'"pid": %b, "start_time": %b, "whole": %b' % (pid, start_time, b"true" if whole else b"false")
    os.write(status_file, b'{"process": {%b}}\n' % known)


def _read_plan(plan_file: int) -> dict[str, Any]:
    plan: dict[str, Any] = bare.load(os.pread(plan_file, os.lseek(plan_file, 0, os.SEEK_END), 0))
    os.close(plan_file)
    return plan


def _leave_standard_files() -> None:
    """Hold the command's files no longer: whoever reads a pipe sees its end when the command's processes are gone."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC) if os.path.exists("/dev/null") else -1
    for number in range(3):
        if null >= 0:
            os.dup2(null, number)
        else:
            os.close(number)
    if null >= 0:
        os.close(null)


def _start(plan: dict[str, Any]) -> int:
    """Start the command as `vfork` does: the init's memory is not copied, and a failure to execute is an exception."""
    environment = plan["environment"]
    os.environ["PATH"] = environment.get("PATH", os.defpath)
    return os.posix_spawnp(
        plan["argv"][0],
        plan["argv"],
        environment,
        setsid=True,
        setsigmask=(),
    )


def _start_forked(kernel: steps.LinuxKernel, plan: dict[str, Any]) -> int:
    """Start the command with steps that must not bind the init itself: resource limits, a seccomp filter of its own."""
    reader, writer = os.pipe()
    command = os.fork()
    if command == 0:
        try:
            if kernel.terminal >= 0:
                os.login_tty(kernel.terminal)
            else:
                os.setsid()
            environment = plan["environment"]
            os.environ["PATH"] = environment.get("PATH", os.defpath)
            bare.pthread_sigmask(bare.SIG_SETMASK, ())
            for step in plan["last_steps"]:
                getattr(kernel, step[0])(*step[1:])
            os.execvpe(plan["argv"][0], plan["argv"], environment)  # noqa: S606  no shell is wanted
        except (OSError, ValueError) as error:
            os.write(writer, f"{getattr(error, 'errno', 0) or 0} {error}".encode(errors="surrogateescape"))
        finally:
            os._exit(127)
    os.close(writer)
    failure = os.read(reader, CONTROL_BYTES)
    os.close(reader)
    if failure:
        os.waitpid(command, 0)
        number, _, text = failure.decode(errors="surrogateescape").partition(" ")
        raise OSError(int(number), text)
    return command


def _supervise(command: int, input_end: int) -> int:
    """Reap and pass signals on until the command ends; its wait status. input_end: let go of when told to."""
    while True:
        received = bare.sigwaitinfo(EVERY_SIGNAL)
        caught = received.si_signo
        if caught == CLOSE_INPUT and received.si_code == linux.SI_QUEUE and input_end >= 0:
            os.close(input_end)
            input_end = -1
            continue
        if caught != bare.SIGCHLD:
            try:
                os.kill(command, caught)
            except OSError:
                # Another user's by now (a set-uid program) or just gone: its status follows.
                continue
            continue
        result = _reap(command)
        if result is not None:
            return result


def _reap(command: int) -> int | None:
    """Bury whoever has died; the command's wait status if it is among them."""
    result = None
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return result
        if process == 0:
            return result
        if process == command:
            result = status


def _kill_rest() -> None:
    """Kill all descendants: as the subreaper this process is the parent of each once those in between are dead."""
    children = f"/proc/self/task/{os.getpid()}/children"
    while True:
        with open(children) as file:
            pids = [int(word) for word in file.read().split()]
        for pid in pids:
            try:
                os.kill(pid, bare.SIGKILL)
            except OSError:
                # Another user's: it is waited for like the rest.
                continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _write_status(status_file: int, wait_status: int) -> None:
    record: dict[str, Any] = {"at": time.time()}
    if os.WIFSIGNALED(wait_status):
        record["signal"] = os.WTERMSIG(wait_status)
    else:
        record["exit"] = os.WEXITSTATUS(wait_status)
    _write_record(status_file, record)


def _write_record(status_file: int, record: dict[str, Any]) -> None:
    """One line in one write, then synced: a reader takes a line that ends, and nothing else, for the truth."""
    os.write(status_file, bare.to_json({"status": record}).encode() + b"\n")
    os.fsync(status_file)


def _say_started(control: int, command: int, ends: dict[str, int]) -> None:
    """The command runs. `ends` go along; numbers of those that stay here too are said, for a later containerizer."""
    said = bare.to_json({"command": command, "ends": ends}).encode()
    if ends:
        connection = _socket.socket(fileno=control)
        try:
            bare.send_with_files(connection, said, list(ends.values()))
        finally:
            connection.detach()
    else:
        os.write(control, said)


def _say(control: int, status_file: int, failure: dict[str, Any]) -> None:
    """Why the container did not come to life, to whoever listens and to disk."""
    try:
        _write_record(status_file, failure)
        os.write(control, bare.to_json(failure).encode())
    except OSError:
        # The containerizer is gone or the disk is full: the end of this process says enough.
        return
