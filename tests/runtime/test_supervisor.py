"""The process supervisor, with real processes: restarts, signals, orphans, logs, and words for systemd."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SUPERVISE = [sys.executable, "-m", "runtime.supervise"]
QUICK = ["--backoff=1ms", "--backoff-max=1ms"]
DEADLINE_SECONDS = 30

DAEMON = """
import signal, sys
from runtime.process import become_daemon
notifier = become_daemon("test")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1])
import os
print(os.getpid(), flush=True)
notifier.ready()
while True:
    number = signal.sigwait([signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1])
    print(signal.Signals(number).name, flush=True)
    if number in (signal.SIGTERM, signal.SIGINT):
        sys.exit(0)
"""

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
while True:
    signal.pause()
"""


class Supervised:
    """A supervisor process and what it and its daemon say."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*SUPERVISE, *QUICK, *arguments],
            cwd=ROOT,
            env=os.environ | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdout: IO[str] = self.process.stdout
        self.stderr: IO[str] = self.process.stderr

    def says(self) -> str:
        """The next line of the daemon."""
        return self.stdout.readline().strip()

    def daemon(self) -> int:
        """The pid that the daemon says first."""
        return int(self.says())

    def end(self) -> tuple[int, str]:
        """Wait for the end; returns the exit status and what is on standard error."""
        _, errors = self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode, errors

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        return self.end()


@pytest.fixture
def started() -> Iterator[list[Supervised]]:
    """Put supervisors here: they are gone after the test."""
    running: list[Supervised] = []
    yield running
    for supervised in running:
        if supervised.process.poll() is None:
            family = psutil.Process(supervised.process.pid).children(recursive=True)
            supervised.process.kill()
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        supervised.process.communicate(timeout=DEADLINE_SECONDS)


def start(started: list[Supervised], *arguments: str, environment: dict[str, str] | None = None) -> Supervised:
    started.append(Supervised(*arguments, environment=environment))
    return started[-1]


def python(script: str) -> tuple[str, ...]:
    return ("--", sys.executable, "-c", script)


def wait_until_gone(pid: int) -> None:
    try:
        psutil.Process(pid).wait(DEADLINE_SECONDS)
    except psutil.NoSuchProcess:
        return


def test_a_killed_daemon_is_started_again(started: list[Supervised]) -> None:
    supervised = start(started, *python(DAEMON))
    pids = [supervised.daemon()]
    for _ in range(3):
        os.kill(pids[-1], signal.SIGKILL)
        pids.append(supervised.daemon())
        assert not psutil.pid_exists(pids[-2]), "a zombie was left"
    assert len(set(pids)) == 4
    status, errors = supervised.stop()
    assert status == 0
    assert errors.count("killed by SIGKILL; starting it again") == 3
    wait_until_gone(pids[-1])


def test_signals_are_passed_on(started: list[Supervised]) -> None:
    supervised = start(started, *python(DAEMON))
    supervised.daemon()
    for number in (signal.SIGHUP, signal.SIGUSR1):
        supervised.process.send_signal(number)
        assert supervised.says() == number.name
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.says() == "SIGINT"
    assert supervised.end()[0] == 0


def test_too_many_restarts_are_given_up(started: list[Supervised]) -> None:
    supervised = start(started, "--intensity=3", "--name=agent", "--", "sh", "-c", "echo life; exit 7")
    status, errors = supervised.end()
    assert status == 1
    assert errors.count("started agent") == 4
    assert "agent ended: exit status 7; giving up after 3 restarts within 60 s" in errors


@pytest.mark.parametrize(
    ("restart", "code", "lives", "status"),
    [("transient", 0, 1, 0), ("temporary", 5, 1, 5), ("permanent", 0, 3, 1), ("transient", 5, 3, 1)],
)
def test_which_ends_are_mended(started: list[Supervised], restart: str, code: int, lives: int, status: int) -> None:
    supervised = start(started, f"--restart={restart}", "--intensity=2", "--", "sh", "-c", f"exit {code}")
    found, errors = supervised.end()
    assert found == status
    assert errors.count("started sh") == lives


def test_a_daemon_that_is_wrongly_configured_is_not_started_again(started: list[Supervised]) -> None:
    supervised = start(started, "--restart=permanent", "--name=agent", "--", "sh", "-c", "exit 78")
    status, errors = supervised.end()
    assert status == 78
    assert errors.count("started agent") == 1
    assert "agent cannot start as it is configured" in errors


def test_a_daemon_that_does_not_stop_is_killed(started: list[Supervised]) -> None:
    supervised = start(started, "--stop-timeout=50ms", *python(STUBBORN))
    pid = supervised.daemon()
    status, errors = supervised.stop()
    assert status == 128 + signal.SIGKILL
    assert "SIGKILL" in errors
    wait_until_gone(pid)


def test_a_request_to_stop_while_waiting_for_a_restart_is_heard(started: list[Supervised]) -> None:
    supervised = start(started, "--backoff=1hrs", "--backoff-max=1hrs", "--", "sh", "-c", "exit 1")
    line = ""
    while "starting it again in 3600" not in line:
        line = supervised.stderr.readline()
        assert line
    assert supervised.stop()[0] == 0


def test_a_program_that_does_not_exist_is_named(started: list[Supervised], tmp_path: Path) -> None:
    status, errors = start(started, "--", "no-such-program").end()
    assert status == 127
    assert "no-such-program: No such file or directory" in errors
    assert "Traceback" not in errors
    log = tmp_path / "daemon.log"
    status, errors = start(started, f"--log-file={log}", "--", "no-such-program").end()
    assert status == 127
    assert errors == (
        f"kaon supervise: no-such-program cannot be started: no-such-program: No such file or directory; see {log}\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_CHILD_SUBREAPER is Linux's")
def test_orphans_are_adopted_and_reaped(started: list[Supervised]) -> None:
    """The daemon's child leaves a grandchild behind; when that ends, nothing of it remains."""
    script = """
import signal, subprocess
left = subprocess.run(["sh", "-c", "sleep 1000 >/dev/null & echo $!"], stdout=subprocess.PIPE)
print(int(left.stdout), flush=True)
signal.pause()
"""
    supervised = start(started, *python(script))
    orphan_pid = int(supervised.says())
    deadline = time.monotonic() + DEADLINE_SECONDS
    process = psutil.Process(orphan_pid)
    while process.ppid() != supervised.process.pid:
        assert time.monotonic() < deadline
        os.sched_yield()
    process.kill()
    while psutil.pid_exists(orphan_pid):
        assert time.monotonic() < deadline, "the orphan has become a zombie"
        os.sched_yield()
    assert supervised.stop()[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_daemon_dies_with_its_supervisor(started: list[Supervised]) -> None:
    supervised = start(started, *python(DAEMON))
    supervised.daemon()
    supervised.process.kill()
    assert supervised.says() == "SIGTERM"
    assert supervised.stdout.read() == "", "the pipe ends when the last of them is gone"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_supervisor_dies_with_its_parent_where_asked() -> None:
    command = [*SUPERVISE, "--die-with-parent", *python(DAEMON)]
    parent_script = f"import subprocess, signal; subprocess.Popen({command!r}); signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-c", parent_script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        int(parent.stdout.readline())
        parent.kill()
        assert parent.stdout.readline() == "SIGTERM\n"
        assert parent.stdout.read() == "", "the pipe ends when the last of them is gone"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_NAME is Linux's")
def test_processes_have_names(started: list[Supervised]) -> None:
    supervised = start(started, "--name=agent", *python(DAEMON))
    daemon = supervised.daemon()
    assert Path(f"/proc/{daemon}/comm").read_text() == "kaon-test\n"
    assert Path(f"/proc/{supervised.process.pid}/comm").read_text() == "kaon-sup-agent\n"
    supervised.stop()


def test_output_goes_to_a_file_that_is_rotated(started: list[Supervised], tmp_path: Path) -> None:
    log = tmp_path / "logs" / "daemon.log"
    script = "for number in range(1000): print(f'{number:049}')"
    supervised = start(started, f"--log-file={log}", "--log-limit=16KB", "--log-kept=10", *python(script))
    assert supervised.end() == (0, "")
    files = [log.with_name(f"daemon.log.{number}") for number in range(9, 0, -1)] + [log]
    files = [file for file in files if file.exists()]
    assert len(files) == 4
    assert all(file.stat().st_size <= 16 * 1024 for file in files)
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert [int(line) for line in lines if line.startswith("0")] == list(range(1000))
    assert sum("kaon.supervisor started" in line for line in lines) == 1


class Systemd:
    """The datagram socket of a service manager."""

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(DEADLINE_SECONDS)

    def hears(self) -> str:
        return self.socket.recv(4096).decode()


@pytest.fixture
def systemd() -> Iterator[Systemd]:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        made = Systemd(directory)
        with made.socket:
            yield made


def test_systemd_hears_what_the_daemon_says_of_itself(started: list[Supervised], systemd: Systemd) -> None:
    daemon = DAEMON.replace("notifier.ready()", "notifier.status('loading'); notifier.ready()")
    supervised = start(started, "--notify", *python(daemon), environment={"NOTIFY_SOCKET": systemd.path})
    supervised.daemon()
    assert systemd.hears() == "STATUS=loading"
    assert systemd.hears() == "READY=1"
    supervised.process.send_signal(signal.SIGTERM)
    assert systemd.hears() == "STOPPING=1"
    assert supervised.end()[0] == 0


def test_systemd_hears_of_a_plain_program_once_it_runs(started: list[Supervised], systemd: Systemd) -> None:
    supervised = start(started, *python(STUBBORN), environment={"NOTIFY_SOCKET": systemd.path})
    assert systemd.hears() == "READY=1"
    os.kill(supervised.daemon(), signal.SIGKILL)
    assert systemd.hears().startswith("STATUS=python")
    supervised.daemon()


def test_the_watchdog_of_systemd_is_served(started: list[Supervised], systemd: Systemd) -> None:
    environment = {"NOTIFY_SOCKET": systemd.path, "WATCHDOG_USEC": "20000"}
    supervised = start(started, *python(DAEMON), environment=environment)
    supervised.daemon()
    heard = [systemd.hears() for _ in range(5)]
    assert heard.count("WATCHDOG=1") >= 3
    supervised.stop()


def test_a_daemon_that_gives_no_sign_of_life_is_killed_and_started_again(started: list[Supervised]) -> None:
    supervised = start(started, "--watchdog=100ms", *python(DAEMON))
    first, second = supervised.daemon(), supervised.daemon()
    assert first != second
    supervised.process.terminate()
    errors = supervised.end()[1]
    assert "has given no sign of life for 0.1 s: SIGKILL" in errors


def test_a_wrong_flag_is_a_usage_error(started: list[Supervised]) -> None:
    status, errors = start(started, "--intensity=many", "--", "true").end()
    assert status == 2
    assert "--intensity: intensity cannot be 'many': it must be a whole number" in errors
    status, errors = start(started).end()
    assert status == 2
    assert "COMMAND" in errors
