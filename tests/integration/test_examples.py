"""The examples on a real cluster; and wordcount while each of its parts is killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from actors.master.master import MasterActor
from actors.messages.scheduling import Acknowledge
from runtime.tracing.replay import Replay
from tests.integration.local import ROOT, Cluster

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(300)]

LIMIT_SECONDS = 120.0
PAPER = (
    *("--agents", "3"),
    *("--resources", "cpus:9;mem:18432;disk:10240", "--attributes", "rack:a"),
    *("--resources", "cpus:0.2;mem:384;disk:64", "--attributes", "data:a"),
    *("--resources", "cpus:0.2;mem:384;disk:64", "--attributes", "data:b"),
)
"""The paper's machine, and two that have data and are too small to move a share."""


class Example:
    """An example that runs, its output read line by line."""

    def __init__(self, cluster: Cluster, name: str, *arguments: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", f"examples.{name}", *arguments],
            env=cluster.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._deadline = time.monotonic() + LIMIT_SECONDS

    def __enter__(self) -> Example:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait(LIMIT_SECONDS)
        self.process.stdout.close()

    def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return
            assert time.monotonic() < self._deadline
        raise AssertionError(f"it ended without {text!r}:\n{''.join(self.lines)}")

    def end(self) -> str:
        assert self.process.stdout is not None
        self.lines.append(self.process.stdout.read())
        self.process.wait(LIMIT_SECONDS)
        return "".join(self.lines)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for number in range(12):
        (tmp_path / f"{number}.txt").write_text(f"word{'x' * number} the of the\n" * 2000)
    return tmp_path


def test_the_papers_result_emerges(cluster: Cluster) -> None:
    cluster.up(*PAPER)
    with Example(cluster, "drf_paper") as example:
        text = example.end()
    assert example.process.returncode == 0, text
    assert "As in the paper" in text


def test_another_cluster_is_not_the_papers(cluster: Cluster) -> None:
    cluster.up("--resources", "cpus:4;mem:8192")
    with Example(cluster, "drf_paper") as example:
        text = example.end()
    assert example.process.returncode == 2, text
    assert "this one has 4 CPUs and 8 GB" in text


def executors_of(cluster: Cluster) -> list[int]:
    """Executors that work in a sandbox of this cluster."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            here = str(cluster.work_dir) in process.environ().get("MESOS_SANDBOX", "")
            if here and "examples.wordcount.executor" in process.cmdline():
                found.append(process.pid)
    return found


def pid_of(who: str, cluster: Cluster, example: Example) -> int:
    if who == "scheduler":
        return example.process.pid
    if who == "executor":
        return executors_of(cluster)[0]
    return cluster.pid_of({"agent": "agent-0", "containerizer": "agent-0.containerizer", "master": "master"}[who])


def run_and_kill(who: str, cluster: Cluster, arguments: list[str]) -> str:
    """What wordcount says while `who` is killed, and its next life if that is the scheduler."""
    with Example(cluster, "wordcount", *arguments) as example:
        example.read_until("map 1/12")
        os.kill(pid_of(who, cluster, example), signal.SIGKILL)
        text = example.end()
        status = example.process.returncode
    if who != "scheduler":
        assert status == 0, f"{who} killed:\n{text}"
        return text
    assert status == -signal.SIGKILL
    with Example(cluster, "wordcount", *arguments) as example:
        text += example.end()
        assert example.process.returncode == 0, text
    (there,) = re.findall(r"taking up an earlier run: (\d+) results are there", text)
    assert text.rpartition("taking up")[2].count(" done ") == 14 - int(there), "12 maps and 2 reduces, each said once"
    return text


def test_the_count_is_right_whoever_is_killed(cluster: Cluster, texts: Path, tmp_path: Path) -> None:
    cluster.up(*PAPER)
    for who in ("executor", "agent", "containerizer", "master", "scheduler"):
        arguments = [str(texts), "--split-bytes=1", "--pause-seconds=1", f"--work-dir={tmp_path / who}"]
        text = run_and_kill(who, cluster, arguments)
        assert "a single process counts the same" in text, f"{who} killed:\n{text}"
        for number in range(12):
            said = len(re.findall(rf"^map-{number} +done", text, re.MULTILINE))
            assert said == 1 or (said == 0 and who == "scheduler"), f"{who} killed, map-{number}: {said}\n{text}"


def record_the_master(cluster: Cluster, texts: Path, recording: Path) -> None:
    """Record the master while wordcount runs."""
    recorder = cluster.start("trace", "record", "master", "--output", str(recording))
    assert recorder.stderr is not None
    assert "recording master on master" in recorder.stderr.readline()
    with Example(cluster, "wordcount", str(texts), "--split-bytes=1") as example:
        assert "a single process counts the same" in example.end()
    recorder.send_signal(signal.SIGINT)
    recorder.communicate(timeout=60)
    assert recorder.returncode == 0


def test_a_recording_of_a_master_under_wordcount_replays_and_a_planted_change_is_found_at_its_turn(
    cluster: Cluster, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.up(*PAPER)
    recording = tmp_path / "master.recording"
    record_the_master(cluster, texts, recording)
    replayed = cluster.kaon("trace", "replay", str(recording), "--json")
    report = json.loads(replayed.stdout)
    assert report["difference"] is None
    assert report["turns"] > 14 * 3, "each of 14 tasks has two updates at least, and their acknowledgements"

    messages = [outcome.step.message["type"] for outcome in Replay(recording).turns()]
    expected = 1 + messages.index("Acknowledge")
    changed: dict[type[Any], Any] = {**MasterActor.handlers, Acknowledge: lambda actor, sender, message: None}
    monkeypatch.setattr(MasterActor, "handlers", changed)
    differing = [outcome.number for outcome in Replay(recording).turns() if outcome.difference is not None]
    assert differing[0] == expected
