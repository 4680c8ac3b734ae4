"""What a daemon owes its machine: notifications, names, and not to outlive its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import process
from runtime.process import NOTIFY_VARIABLE, PARENT_VARIABLE, Notifier

ROOT = Path(__file__).parents[2]


def test_a_notifier_takes_over_what_the_environment_says() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    environment = {NOTIFY_VARIABLE: str(writing), "WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1", "HOME": "/root"}
    notifier = Notifier.from_environment(environment)
    assert environment == {"HOME": "/root"}
    assert notifier.watchdog_seconds == 2.5
    assert not os.get_inheritable(writing)
    assert notifier.status("two\nlines")
    assert notifier.ready()
    assert notifier.watchdog()
    assert notifier.stopping()
    assert os.read(reading, 4096) == b"STATUS=two lines\nREADY=1\nWATCHDOG=1\nSTOPPING=1\n"
    os.close(reading)
    assert not notifier.ready(), "nobody reads any more"
    os.close(writing)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_systemd_may_listen_in_the_abstract_namespace() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")  # the kernel chooses an abstract name
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": f"@{listener.getsockname()[1:].decode()}"})
        assert notifier.ready()
        assert listener.recv(100) == b"READY=1"
    assert not notifier.ready()


def test_nobody_needs_to_listen() -> None:
    assert not Notifier.from_environment({}).ready()
    assert not Notifier(address="/nowhere/at/all").ready()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_daemon_whose_parent_has_died_already_ends_at_once() -> None:
    script = "from runtime.process import become_daemon; become_daemon('test'); print('lives on')"
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {PARENT_VARIABLE: "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == -signal.SIGTERM
    assert result.stdout == ""


def test_without_prctl_nothing_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "prctl", None)
    assert not process.name_process("kaon-test")
    assert not process.adopt_orphans()
    assert not process.die_with_parent(expected=1)
