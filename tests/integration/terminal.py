"""A terminal with a command of the command line in it, as a user sits at one."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from typing import Any

from tests.integration.local import KAON, POLL_SECONDS, ROOT, Cluster

PATIENCE_SECONDS = 30.0


class Terminal:
    """`kaon` with these arguments, in a terminal of so many rows and columns."""

    def __init__(self, cluster: Cluster, *arguments: str, rows: int = 24, columns: int = 80) -> None:
        self._master, self._line = pty.openpty()
        self._set_size(rows, columns)
        self.before = termios.tcgetattr(self._line)
        self.text = ""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *KAON, *arguments],
            env=cluster.environment,
            cwd=ROOT,
            stdin=self._line,
            stdout=self._line,
            stderr=self._line,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        os.close(self._master)
        os.close(self._line)

    @property
    def now(self) -> list[Any]:
        """The line's settings."""
        return termios.tcgetattr(self._line)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def resize(self, rows: int, columns: int) -> None:
        """As the window of an emulator is drawn larger: the kernel tells the foreground."""
        self._set_size(rows, columns)

    def _set_size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("=HHHH", rows, columns, 0, 0))

    def until(self, text: str) -> str:
        """Read until that is there; returns what came up to it, and begins behind it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.text:
            over = self.process.poll() is not None
            read = self._read()
            assert read or not over, f"it ended without {text!r}: {self.text!r}"
            assert time.monotonic() < deadline, f"no {text!r} in {self.text!r}"
        before, _, self.text = self.text.partition(text)
        return before

    def _read(self) -> bool:
        """Take in what is there, or comes in a moment; False if nothing does."""
        ready, _, _ = select.select([self._master], [], [], POLL_SECONDS)
        if ready:
            self.text += os.read(self._master, 65_536).decode(errors="replace")
        return bool(ready)

    def end(self) -> int:
        """Wait for the command's end, reading on; its status."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._read() or self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.text!r}"
        return int(self.process.returncode)
