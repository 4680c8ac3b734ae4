"""What a daemon owes the machine it runs on: a name, no longer life than its parent's, and word that it is ready.

Linux only where `prctl` is needed; elsewhere those functions say that they could not, and the rest works.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import MutableMapping
from typing import Final

try:
    import prctl
except ImportError:  # not Linux
    prctl = None

PARENT_VARIABLE: Final = "KAON_PARENT"
"""Environment: pid of the parent that a daemon must not outlive."""

NOTIFY_VARIABLE: Final = "KAON_NOTIFY_FD"
"""Environment: number of the descriptor on which a supervisor listens."""

YOUNG_OBJECTS: Final = 20_000
"""Objects made before the youngest are looked at."""

NAME_BYTES: Final = 15
"""Of a process's short name (prctl(2), PR_SET_NAME)."""


def name_process(name: str, title: str = "") -> bool:
    """Show `name` in ``ps`` and ``top`` (cut to 15 bytes), and `title` as the command line; False where impossible."""
    if prctl is None:
        return False
    prctl.set_name(name.encode()[:NAME_BYTES].decode(errors="ignore"))
    if title:
        prctl.set_proctitle(title)
    return True


def adopt_orphans() -> bool:
    """Become the parent of what descendants leave behind (PR_SET_CHILD_SUBREAPER); False where impossible."""
    if prctl is None:
        return False
    prctl.set_child_subreaper(True)
    return True


def die_with_parent(
    expected: int = 0,
    signal_number: signal.Signals = signal.SIGTERM,
    environment: MutableMapping[str, str] = os.environ,
) -> bool:
    """Get a signal when the parent dies (PR_SET_PDEATHSIG); at once if it is dead already. False where impossible.

    expected  pid that the parent must have; 0 takes it from ``KAON_PARENT``, and if that is not set either, whoever is
              the parent now. A process asks for itself because doing it between fork and exec is unsafe with threads.
    """
    expected = expected or int(environment.pop(PARENT_VARIABLE, "0"))
    if prctl is None:
        return False
    prctl.set_pdeathsig(signal_number)
    if expected and os.getppid() != expected:
        os.kill(os.getpid(), signal_number)
    return True


def tune_collector() -> None:
    """Set the garbage collector for a node: what is there by now stays, and what comes is looked at in larger portions.

    Messages and deliveries hold no cycles, they only pass through in thousands; looking at every 700th of them, as
    Python does by itself, costs a tenth of a flood.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 50)


def become_daemon(name: str) -> Notifier:
    """What every daemon does first: take its name, and die with its parent if that asks so. Returns whom to notify."""
    name_process(f"kaon-{name}", f"kaon {name} {' '.join(sys.argv[2:])}".rstrip())
    if PARENT_VARIABLE in os.environ:
        die_with_parent()
    return Notifier.from_environment()


class Notifier:
    """Tells a supervisor, ours or systemd, how a daemon is, in the words of sd_notify(3). Nobody listening is fine.

    watchdog_seconds  the listener expects `watchdog` at least this often; 0 if it does not
    """

    def __init__(self, fd: int = -1, address: str = "", watchdog_seconds: float = 0.0) -> None:
        """`fd`: a pipe to a supervisor; `address`: systemd's datagram socket, with ``@`` for the abstract namespace."""
        self.watchdog_seconds = watchdog_seconds
        self._fd = fd
        self._address = address

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Notifier:
        """Take over what the environment says; children of this process do not see it any more."""
        fd = int(environment.pop(NOTIFY_VARIABLE, "-1"))
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = int(environment.pop("WATCHDOG_USEC", "0"))
        environment.pop("WATCHDOG_PID", None)
        if fd >= 0:
            os.set_inheritable(fd, False)
        return cls(fd, address, microseconds / 1e6)

    def ready(self) -> bool:
        """The daemon serves."""
        return self.send("READY=1")

    def watchdog(self) -> bool:
        """The daemon's loop turns."""
        return self.send("WATCHDOG=1")

    def stopping(self) -> bool:
        """The daemon ends, as it was asked to."""
        return self.send("STOPPING=1")

    def status(self, text: str) -> bool:
        """One line about what the daemon does."""
        return self.send(f"STATUS={' '.join(text.split())}")

    def send(self, state: str) -> bool:
        """Send one assignment; False when nobody listens or the listener does not read."""
        try:
            if self._fd >= 0:
                os.write(self._fd, f"{state}\n".encode())
            elif self._address:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
                    datagram.setblocking(False)
                    path = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
                    datagram.sendto(state.encode(), path)
            else:
                return False
        except OSError:
            return False
        return True
