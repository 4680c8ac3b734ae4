"""A local cluster for benchmarks: `kaon up` in a directory of its own, and its end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[1]
KAON = [sys.executable, "-m", "actors.cli.main"]


def kaon(work_dir: Path, *arguments: str, timeout: float = 60.0) -> float:
    """Run a command of the command line; returns the seconds it took. Raises RuntimeError when it fails."""
    began = time.perf_counter()
    done = subprocess.run(
        [*KAON, *arguments],
        env={**os.environ, "KAON_WORK_DIR": str(work_dir), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"kaon {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return took


class LocalCluster:
    """A running cluster as a context; `up_seconds` is how long it took to be ready."""

    def __init__(self, *options: str) -> None:
        """`options` of `kaon up`."""
        self.work_dir = Path(tempfile.mkdtemp(prefix="kaon-", dir="/tmp"))
        self._options = options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.up_seconds = 0.0

    def __enter__(self) -> LocalCluster:
        """Start it."""
        try:
            self.up_seconds = kaon(self.work_dir, "up", "--detach", f"--port={self.port}", *self._options)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def run(self, *arguments: str, timeout: float = 60.0) -> float:
        """Run a command on it; returns the seconds it took."""
        return kaon(self.work_dir, *arguments, timeout=timeout)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, and remove its files."""
        kaon(self.work_dir, "down")
        shutil.rmtree(self.work_dir, ignore_errors=True)
