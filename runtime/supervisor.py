"""The supervisor of one daemon: starts it, restarts it when it dies, and passes on what both sides should know.

One thread, one loop: signals, the daemon's output, its notifications and timers. The daemon is started with
posix_spawn, in a process group of its own, so that ^C reaches it once, through here. What its descendants leave behind
is adopted and reaped, but not killed: containers outlive daemons on purpose.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Final

import msgspec

from runtime.process import NOTIFY_VARIABLE, PARENT_VARIABLE, Notifier, adopt_orphans
from runtime.rotation import RotatingFile
from runtime.supervision import Decision, Supervision, decide

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
FORWARDED_SIGNALS: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

PIPE_BYTES: Final = 65536
"""Read from the daemon's output at once."""

GAVE_UP: Final = 1
NOT_FOUND: Final = 127
"""Exit status when the daemon failed too often, and when it cannot be started at all (as in shells)."""

WRONG_CONFIGURATION: Final = 78
"""A daemon's word that it cannot start as it is configured (sysexits.h, EX_CONFIG): it is not started again."""

_log = logging.getLogger("kaon.supervisor")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How one daemon is supervised.

    command           program and arguments
    name              of the daemon, for messages
    policy            when and how often it is restarted
    stop_seconds      from passing on the request to stop to SIGKILL
    notifies          it says itself when it is ready; otherwise it is as soon as it runs
    watchdog_seconds  it must give a sign of life this often, once it is ready, or it is killed; 0: it need not
    """

    command: tuple[str, ...]
    name: str
    policy: Supervision
    stop_seconds: float = 20.0
    notifies: bool = False
    watchdog_seconds: float = 0.0


class Supervisor:
    """Runs one daemon until it is told to stop, or the daemon ends for good. Use `run` on the main thread."""

    def __init__(self, plan: Plan, output: RotatingFile | None = None, systemd: Notifier | None = None) -> None:
        """`output` takes what the daemon writes; None leaves it our own. `systemd` hears how the daemon is."""
        self.failure = ""
        self._plan = plan
        self._output = output
        self._systemd = systemd or Notifier()
        self._selector = selectors.DefaultSelector()
        self._timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self._restarts: list[float] = []
        self._child = 0
        self._stopping: signal.Signals | None = None
        self._status: int | None = None
        self._said = b""
        self._output_pipe = (-1, -1)

    def run(self) -> int:
        """Supervise; returns the exit status for this process: the daemon's, or why there is none."""
        adopt_orphans()
        signals, wakeup = socket.socketpair()
        output = os.pipe() if self._output is not None else (-1, -1)
        notify = os.pipe()
        for fd in (signals.fileno(), wakeup.fileno(), output[0], *notify):
            if fd >= 0:
                os.set_blocking(fd, False)
        self._output_pipe, self._notify_pipe = output, notify
        self._selector.register(signals, selectors.EVENT_READ, lambda: self._signals(signals))
        self._selector.register(notify[0], selectors.EVENT_READ, self._notifications)
        if output[0] >= 0:
            self._selector.register(output[0], selectors.EVENT_READ, self._copy_output)
        before = self._catch_signals(wakeup)
        try:
            return self._loop()
        finally:
            self._restore_signals(before)
            self._selector.close()
            for fd in (*output, *notify):
                if fd >= 0:
                    os.close(fd)
            signals.close()
            wakeup.close()

    # The loop --------------------------------------------------------------------------------------------------------

    def _loop(self) -> int:
        """Turn until there is an exit status."""
        self._start()
        if self._systemd.watchdog_seconds:
            self._reassure()
        while self._status is None:
            for key, _ in self._selector.select(self._until_next_timer()):
                key.data()
            now = time.monotonic()
            for name in [name for name, (when, _) in self._timers.items() if when <= now]:
                if (due := self._timers.pop(name, None)) is not None:
                    due[1]()
        self._copy_output()
        return self._status

    def _after(self, seconds: float, name: str, callback: Callable[[], None]) -> None:
        """Call back in so many seconds; a timer of the same name is replaced."""
        self._timers[name] = (time.monotonic() + seconds, callback)

    def _until_next_timer(self) -> float | None:
        """Seconds that the loop may sleep."""
        if not self._timers:
            return None
        return max(0.0, min(when for when, _ in self._timers.values()) - time.monotonic())

    def _catch_signals(self, wakeup: socket.socket) -> dict[signal.Signals, object]:
        """Turn signals into bytes on a socket; returns what stood before."""
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        caught = (signal.SIGCHLD, *STOP_SIGNALS, *FORWARDED_SIGNALS)
        return {number: signal.signal(number, _noted) for number in caught}

    def _restore_signals(self, before: dict[signal.Signals, object]) -> None:
        """Undo `_catch_signals`."""
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned, it takes

    # The daemon ------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the daemon."""
        plan = self._plan
        environment = os.environ | {
            PARENT_VARIABLE: str(os.getpid()),
            NOTIFY_VARIABLE: str(self._notify_pipe[1]),
        }
        if plan.watchdog_seconds:
            environment["WATCHDOG_USEC"] = str(int(plan.watchdog_seconds * 1e6))
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        ]
        if self._output_pipe[1] >= 0:
            actions += [(os.POSIX_SPAWN_DUP2, self._output_pipe[1], fd) for fd in (1, 2)]
        os.set_inheritable(self._notify_pipe[1], True)
        try:
            self._child = os.posix_spawnp(
                plan.command[0],
                plan.command,
                environment,
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        except OSError as error:
            self._start_failed(f"{plan.name} cannot be started: {plan.command[0]}: {error.strerror}")
            return
        finally:
            os.set_inheritable(self._notify_pipe[1], False)
        _log.info("started %s, pid %d", plan.name, self._child)
        if not plan.notifies:
            self._systemd.ready()

    def _ended(self, code: int) -> None:
        """The daemon has ended; `code` is its exit status, or minus the signal that killed it."""
        self._child = 0
        for name in ("watchdog", "kill"):
            self._timers.pop(name, None)
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        if self._stopping is not None:
            _log.info("%s stopped: %s", self._plan.name, how)
            self._end(0 if -code == self._stopping else _exit_status(code))
            return
        if code == WRONG_CONFIGURATION:
            self._give_up(f"{self._plan.name} cannot start as it is configured", code)
            return
        now = time.monotonic()
        decision, delay = decide(self._plan.policy, failed=code != 0, restarts=self._restarts, now=now)
        if decision is Decision.RESTART:
            self._restarts.append(now)
            _log.warning("%s ended: %s; starting it again in %.1f s", self._plan.name, how, delay)
            self._systemd.status(f"{self._plan.name} ended ({how}); restarting")
            self._after(delay, "restart", self._start)
        elif decision is Decision.FORGET:
            _log.info("%s ended: %s", self._plan.name, how)
            self._end(_exit_status(code))
        else:
            policy = self._plan.policy
            self._give_up(
                f"{self._plan.name} ended: {how}; giving up after {policy.intensity} restarts "
                f"within {policy.period_seconds:g} s",
                GAVE_UP,
            )

    def _start_failed(self, text: str) -> None:
        """The program is not there: try again if it was once, as in an upgrade; else there is nothing to do."""
        if self._restarts:
            _log.error("%s", text)
            self._ended(NOT_FOUND)
        else:
            self._give_up(text, NOT_FOUND)

    def _give_up(self, text: str, status: int) -> None:
        """There is no daemon, and will be none."""
        _log.error("%s", text)
        self.failure = text
        self._end(status)

    def _stop(self, number: signal.Signals) -> None:
        """Pass on a request to stop; a second one is passed on as well."""
        self._systemd.stopping()
        self._timers.pop("restart", None)
        if not self._child:
            self._end(0)
            return
        if self._stopping is None:
            _log.info("stopping %s with %s", self._plan.name, number.name)
            self._after(self._plan.stop_seconds, "kill", self._kill)
        self._stopping = number
        os.kill(self._child, number)

    def _kill(self) -> None:
        """It had its time."""
        if self._child:
            _log.warning("%s has not stopped within %.0f s: SIGKILL", self._plan.name, self._plan.stop_seconds)
            os.kill(self._child, signal.SIGKILL)

    def _end(self, status: int) -> None:
        """Leave the loop."""
        self._status = status

    # What comes in ---------------------------------------------------------------------------------------------------

    def _signals(self, signals: socket.socket) -> None:
        """Signals that came since the last look."""
        numbers = signals.recv(4096)
        for number in map(signal.Signals, numbers):
            if number in STOP_SIGNALS:
                self._stop(number)
            elif number in FORWARDED_SIGNALS and self._child:
                os.kill(self._child, number)
        if signal.SIGCHLD in numbers:
            self._reap()

    def _reap(self) -> None:
        """Take leave of every child that has ended, adopted ones included."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child:
                self._ended(os.waitstatus_to_exitcode(status))
            else:
                _log.debug("reaped orphan %d", pid)

    def _copy_output(self) -> None:
        """Write down what the daemon has said; all there is, but no more than a pipe holds at once."""
        if self._output is None:
            return
        try:
            self._output.write(os.read(self._output_pipe[0], PIPE_BYTES))
        except BlockingIOError:
            return

    def _notifications(self) -> None:
        """What the daemon says of itself, one assignment a line; the last one may still be incomplete."""
        *lines, self._said = (self._said + os.read(self._notify_pipe[0], PIPE_BYTES)).split(b"\n")
        self._said = self._said[-PIPE_BYTES:]
        for line in lines:
            state = line.decode(errors="replace")
            if state in ("READY=1", "WATCHDOG=1") and self._plan.watchdog_seconds:
                self._after(self._plan.watchdog_seconds, "watchdog", self._bark)
            if state == "READY=1":
                _log.info("%s is ready", self._plan.name)
            if state != "WATCHDOG=1":
                self._systemd.send(state)

    # Watchdogs -------------------------------------------------------------------------------------------------------

    def _bark(self) -> None:
        """The daemon has been silent for too long: its loop is stuck, and it would not hear a polite request."""
        if self._child and self._stopping is None:
            _log.error("%s has given no sign of life for %.1f s: SIGKILL", self._plan.name, self._plan.watchdog_seconds)
            os.kill(self._child, signal.SIGKILL)

    def _reassure(self) -> None:
        """Tell systemd's watchdog that this supervisor turns."""
        self._systemd.watchdog()
        self._after(self._systemd.watchdog_seconds / 2, "reassure", self._reassure)


def _noted(number: int, frame: object) -> None:
    """A signal's handler: the number is on the wakeup socket already."""


def _exit_status(code: int) -> int:
    """Of a daemon, as shells say it: 128 and the signal's number for one that was killed."""
    return code if code >= 0 else 128 - code
