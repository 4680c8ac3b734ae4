"""`scripts/with-cgroup2` for real: what comes out of its kernel, what stays inside, and that nothing outlives it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "with-cgroup2"
DEADLINE_SECONDS = 60

PROBE = r"""
import os, sys
from pathlib import Path
controllers = Path("/sys/fs/cgroup/cgroup.subtree_control").read_text().split()
group = Path("/sys/fs/cgroup/probe")
group.mkdir()
(group / "memory.max").write_text("33554432")
Path(sys.argv[1], "through").write_text(f"{sorted(controllers)} {(group / 'memory.max').read_text().strip()}")
Path(sys.argv[2], "thrown-away").write_text("seen by nobody")
sys.stdout.buffer.write(bytes(range(256)) * 400)
sys.stderr.write(os.environ["KAON_CGROUP2"] + " " + os.environ["GREETING"])
sys.exit(7)
"""


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the script keeps its folder while it runs."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def with_cgroup2(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([SCRIPT, "--vm", *words], capture_output=True, timeout=DEADLINE_SECONDS, check=False)


@pytest.mark.root
def test_command_runs_on_cgroup_v2_and_only_its_output_status_and_rw_folders_come_out(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    through, thrown_away = tmp_path / "it's through", tmp_path / "inside"
    through.mkdir()
    thrown_away.mkdir()
    monkeypatch.setenv("GREETING", "two lines\nand 'quotes'")
    monkeypatch.chdir(thrown_away)

    done = with_cgroup2("--rw", str(through), "--", sys.executable, "-c", PROBE, str(through), str(thrown_away))

    assert done.returncode == 7, done.stderr.decode()
    assert done.stdout == bytes(range(256)) * 400
    assert done.stderr.decode() == "vm two lines\nand 'quotes'"
    assert (through / "through").read_text() == "['cpu', 'io', 'memory', 'pids'] 33554432"
    assert list(thrown_away.iterdir()) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.root
def test_time_limit_ends_the_kernel_with_status_124(scratch: Path) -> None:
    done = with_cgroup2("--timeout", "1", "--", "sleep", "1000")
    assert done.returncode == 124, done.stderr.decode()
    assert b"--timeout" in done.stderr
    assert list(scratch.iterdir()) == []


@pytest.mark.root
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_script(ending: signal.Signals, scratch: Path) -> None:
    command = [str(SCRIPT), "--vm", "--", "sh", "-c", "echo up; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == b"up\n"
        started = psutil.Process(script.pid).children(recursive=True)
        assert started

        script.send_signal(ending)

        assert script.wait(DEADLINE_SECONDS) == (128 + ending if ending == signal.SIGTERM else -ending)
        _, alive = psutil.wait_procs(started, timeout=DEADLINE_SECONDS)
        assert alive == []
    assert ending == signal.SIGKILL or list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give a COMMAND"),
        (["--rw", "/does/not/exist", "true"], "/does/not/exist"),
        (["--timeout", "soon", "true"], "soon"),
        (["--check", "true"], "give a COMMAND"),
    ],
)
def test_wrong_usage_is_said_and_ends_with_2(words: list[str], said: str) -> None:
    done = with_cgroup2(*words)
    assert done.returncode == 2
    assert said in done.stderr.decode()
