"""A real local cluster: processes, sockets and containers, started by the commands that users type."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
KAON = [sys.executable, "-m", "actors.cli.main"]
POLL_SECONDS = 0.05


def free_port() -> int:
    """A port that nobody listens on, and ten above it neither."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 10))
            except OSError:
                continue
            return port


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait for a condition of real processes, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s: {what}"
        time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster, not started; stopped afterwards, its logs printed."""
    work_dir = Path(tempfile.mkdtemp(prefix="kaon-", dir="/tmp"))
    made = Cluster(work_dir)
    try:
        yield made
    finally:
        made.kaon("down", check=False)
        for log in sorted((work_dir / "logs").glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")
        shutil.rmtree(work_dir, ignore_errors=True)


class Cluster:
    """A cluster that `kaon up --detach` started."""

    def __init__(self, work_dir: Path) -> None:
        """Not started yet."""
        self.work_dir = work_dir
        self.port = free_port()
        self.environment = {**os.environ, "KAON_WORK_DIR": str(work_dir), "PYTHONPATH": str(ROOT)}

    def kaon(self, *arguments: str, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line."""
        done = subprocess.run(
            [*KAON, *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"kaon {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command and do not wait for it."""
        return subprocess.Popen(
            [*KAON, *arguments],
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def up(self, *arguments: str) -> str:
        """Start the cluster; returns what `kaon up` printed."""
        return self.kaon("up", "--detach", f"--port={self.port}", *arguments).stdout

    def down(self) -> None:
        """Stop it."""
        self.kaon("down")

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        """What a read command answers."""
        answer: list[dict[str, Any]] = json.loads(self.kaon(*arguments, "--json").stdout)
        return answer

    def pid_of(self, name: str) -> int:
        """Process id of a daemon of this cluster, by the name that it gives its process."""
        for process in self.processes():
            if process.name() == f"kaon-{name}"[:15]:
                return int(process.pid)
        raise AssertionError(f"{name} does not run")

    def processes(self) -> list[psutil.Process]:
        """Every process that has to do with this cluster."""
        found = []
        for process in psutil.process_iter():
            try:
                words = f"{' '.join(process.cmdline())} {process.environ().get('KAON_WORK_DIR', '')}"
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            if str(self.work_dir) in words and process.pid != os.getpid():
                found.append(process)
        return found
