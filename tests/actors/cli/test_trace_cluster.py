"""One launched task, followed across all processes of a real cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.local import Cluster, wait_until


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster that runs."""
    work_dir = Path(tempfile.mkdtemp(prefix="kaon-", dir="/tmp"))
    made = Cluster(work_dir)
    try:
        made.up()
        yield made
    finally:
        made.kaon("down", check=False)
        shutil.rmtree(work_dir, ignore_errors=True)


@pytest.mark.root
def test_a_launched_task_is_followed_through_every_process(cluster: Cluster) -> None:
    running = cluster.start("run", "sleep", "60")
    try:
        wait_until(lambda: any(task["latest_state"] == "RUNNING" for task in cluster.json("ps")), "the task runs")
        (task,) = cluster.json("ps")
        task_id = task["info"]["task_id"]
        turns: list[dict[str, Any]] = json.loads(
            cluster.kaon("trace", "show", "--task", task_id, "--to", "json").stdout
        )
        why = cluster.kaon("why", "task", task_id).stdout
    finally:
        running.terminate()
        running.communicate(timeout=30)
    launched = next(turn["trace"] for turn in turns if turn["message"]["type"] == "RunTask")
    mine = [turn for turn in turns if turn["trace"] == launched]
    spans = {turn["span"]: turn for turn in mine}
    assert [turn["message"]["type"] for turn in mine if turn["parent"] and turn["parent"] not in spans] == []
    parents = {
        turn["message"]["type"]: spans[turn["parent"]]["message"]["type"] for turn in mine if turn["parent"] in spans
    }
    assert parents["RunTask"] == "Accept"
    assert parents["Accept"] == "Offers"
    assert parents["containerizer.Launched"] == "containerizer.LaunchEnded"
    assert parents["containerizer.LaunchEnded"] == "containerizer.Launch"
    assert parents["Update"] == "StatusUpdate"
    actors = {turn["actor"].partition("@")[0] for turn in mine}
    assert {"scheduler", "master", "allocator", "agent", "containerizer"} <= actors
    assert len({turn["actor"].partition("@")[2] for turn in mine}) == 4
    place = {turn["span"]: at for at, turn in enumerate(mine)}
    assert all(place[turn["parent"]] < place[turn["span"]] for turn in mine if turn["parent"])
    assert "it is RUNNING" in why
    assert f"kaon trace show {launched}" in why


def test_an_agent_that_cannot_be_asked_is_named(cluster: Cluster) -> None:
    agent = cluster.pid_of("agent-0")
    os.kill(agent, signal.SIGSTOP)
    try:
        wait_until(lambda: cluster.json("agents")[0]["state"] == "disconnected", "the master misses the agent")
        shown = cluster.kaon("trace", "grep", "RegisterAgent")
        assert "on localhost is disconnected: not asked" in shown.stderr
    finally:
        os.kill(agent, signal.SIGCONT)


def test_only_operators_look_into_a_cluster(cluster: Cluster) -> None:
    keys = cluster.work_dir / "keys"
    guest = cluster.kaon("keys", "add", "guest", "--directory", str(keys)).stdout.strip()
    connection = ("--master", f"tcp://127.0.0.1:{cluster.port}", "--key", guest)
    assert cluster.kaon("agents", *connection).returncode == 0
    for command in (("grep", "."), ("tail", "--seconds", "1"), ("record", "master", "--seconds", "1"), ("crashes",)):
        refused = cluster.kaon("trace", *command, *connection, check=False)
        assert refused.returncode == 1
        assert "may not look into node master: ask with an operator's key" in refused.stderr
