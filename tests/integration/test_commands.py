"""What a user types, on a real cluster."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from actors.cli.local import LocalCluster
from tests.integration.local import Cluster, wait_until

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]


def runtime_dir(cluster: Cluster) -> Path:
    """Where a cluster has its sockets, and what containers see."""
    local = LocalCluster(
        work_dir=cluster.work_dir,
        port=cluster.port,
        http_port=cluster.port + 10,
        agents=(),
        isolation="auto",
        insecure=False,
        log_level="info",
    )
    return local.runtime_dir


def traces_of(cluster: Cluster) -> set[str]:
    """Mounts, sockets and files that a cluster has on this machine; others may run beside it."""
    places = (str(cluster.work_dir), str(runtime_dir(cluster)))
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    sockets = [line.rpartition(" ")[2] for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    files = [str(path) for place in places for path in Path(place).rglob("*") if path.is_socket()]
    return {name for name in (*mounts, *sockets, *files) if name.lstrip("@").startswith(places)}


def cgroups() -> set[Path]:
    return {path for path in Path("/sys/fs/cgroup").rglob("*kaon*") if path.is_dir()}


def test_a_cluster_runs_commands_and_leaves_nothing_behind(cluster: Cluster) -> None:
    before = cgroups()
    text = cluster.up("--agents", "2", "--attributes", "rack:a", "--attributes", "rack:b")
    assert f"kaon: ready http://127.0.0.1:{cluster.port + 10}" in text

    assert any(name.startswith(str(runtime_dir(cluster))) for name in traces_of(cluster)), "it is looked for there"

    hello = cluster.kaon("run", "echo", "hello", "world")
    assert hello.stdout == "hello world\n"
    failed = cluster.kaon("run", "--shell", "echo oops >&2; exit 7", check=False)
    assert (failed.returncode, failed.stderr) == (7, "oops\n")
    killed = cluster.kaon("run", "--shell", "kill -9 $$", check=False)
    assert (killed.returncode, "ended by signal 9 (SIGKILL)" in killed.stderr) == (137, True)
    missing = cluster.kaon("run", "nosuchcommand", check=False)
    assert (missing.returncode, "the command cannot be executed" in missing.stderr) == (127, True)
    three = cluster.kaon("run", "-n", "3", "--name", "trio", "--shell", "echo here")
    assert sorted(three.stdout.splitlines()) == ["[0] here", "[1] here", "[2] here"]
    on_b = cluster.kaon("run", "--constraint", "rack=b", "--name", "placed", "true")
    assert on_b.stdout == ""

    (completed, *_) = cluster.json("frameworks", "--all")
    why = cluster.kaon("why", "framework", completed["info"]["framework_id"]).stdout
    assert "is completed" in why
    assert "allocator:" not in why, "which knows it no more"

    agents = {agent["info"]["agent_id"]: dict(agent["info"]["attributes"]) for agent in cluster.json("agents")}
    assert sorted(attributes["rack"] for attributes in agents.values()) == ["a", "b"]
    tasks = {task["info"]["task_id"]: task for task in cluster.json("ps", "--all")}
    assert agents[tasks["placed"]["info"]["agent_id"]] == {"rack": "b"}
    assert cluster.kaon("logs", "trio.1").stdout == "here\n"

    sleeper = cluster.start("run", "--name", "sleeper", "sleep", "600")
    wait_until(lambda: any(t["latest_state"] == "RUNNING" for t in cluster.json("ps")), "the sleeper runs")
    assert "sleeper" in cluster.kaon("ps").stdout
    assert cluster.kaon("kill", "sleeper").stdout == "killing sleeper\n"
    assert sleeper.wait(30) != 0
    sleeper.communicate()

    last = cluster.start("run", "--name", "last", "sleep", "600")
    wait_until(lambda: any(t["info"]["task_id"] == "last" for t in cluster.json("ps")), "the last task is known")
    cluster.down()
    assert last.wait(30) != 0
    last.communicate()
    assert cluster.processes() == []
    assert (traces_of(cluster), cgroups()) == (set(), before)
    assert not runtime_dir(cluster).exists()


def test_interrupting_a_run_kills_its_task(cluster: Cluster) -> None:
    cluster.up()
    run = cluster.start("run", "--name", "sleeper", "sleep", "600")
    wait_until(lambda: any(t["latest_state"] == "RUNNING" for t in cluster.json("ps")), "the sleeper runs")
    run.send_signal(signal.SIGINT)
    assert run.wait(30) == 130
    run.communicate()
    assert cluster.json("ps") == []
    (task,) = cluster.json("ps", "--all")
    assert task["latest_state"] == "KILLED"


def test_a_run_can_be_left_although_the_master_is_gone(cluster: Cluster) -> None:
    cluster.up()
    run = cluster.start("run", "--name", "sleeper", "--grace", "0.5", "sleep", "600")
    wait_until(lambda: any(t["latest_state"] == "RUNNING" for t in cluster.json("ps")), "the sleeper runs")
    master = cluster.pid_of("master")
    supervisor = cluster.pid_of("sup-master")
    os.kill(supervisor, signal.SIGSTOP)  # or it would start another
    try:
        os.kill(master, signal.SIGKILL)
        assert run.stderr is not None
        assert "lost the master" in run.stderr.readline()
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 128 + signal.SIGTERM
        _, said = run.communicate()
        assert "no master is there to end the tasks" in said
        assert "left sleeper behind" in said
    finally:
        os.kill(supervisor, signal.SIGCONT)
    wait_until(lambda: _is_back(cluster, "master", master), "the master is back")
    wait_until(lambda: cluster.json("ps") == [], "the master has ended what was left behind")


def test_a_run_whose_output_nobody_reads_any_more_ends(cluster: Cluster) -> None:
    cluster.up()
    run = cluster.start("run", "--name", "talker", "--shell", "while :; do echo word; sleep 0.1; done")
    assert run.stdout is not None
    assert run.stdout.readline() == "word\n"
    run.stdout.close()
    assert run.wait(30) == 128 + signal.SIGPIPE
    assert run.stderr is not None
    assert run.stderr.read() == ""
    run.stderr.close()
    assert cluster.json("ps") == []


def test_logs_are_followed_across_the_restart_of_the_agent(cluster: Cluster) -> None:
    cluster.up()
    run = cluster.start(
        "run", "--name", "steady", "--shell", "echo one; while [ ! -e go ]; do sleep 0.1; done; echo two"
    )
    wait_until(lambda: any(t["latest_state"] == "RUNNING" for t in cluster.json("ps")), "the task runs")
    logs = cluster.start("logs", "--follow", "steady")
    assert logs.stdout is not None
    assert logs.stdout.readline() == "one\n"
    agent = cluster.pid_of("agent-0")
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: _is_back(cluster, "agent-0", agent), "the agent is back")
    (sandbox,) = {path.parent for path in cluster.work_dir.rglob("stdout")}
    (sandbox / "go").touch()
    stdout, stderr = logs.communicate(timeout=60)
    assert (logs.returncode, stdout, stderr) == (0, "two\n", "")
    run.communicate(timeout=60)


def test_many_at_once(cluster: Cluster) -> None:
    cluster.up("--agents", "2", "--resources", "cpus:8;mem:4096")
    runs = [cluster.start("run", "--name", f"r{number}", "echo", str(number)) for number in range(20)]
    for number, run in enumerate(runs):
        stdout, stderr = run.communicate(timeout=120)
        assert (run.returncode, stdout) == (0, f"{number}\n"), stderr
    many = cluster.kaon("run", "-n", "200", "true", timeout=120)
    assert many.returncode == 0


@pytest.mark.parametrize("daemon", ["master", "agent-0", "agent-0.containerizer"])
def test_a_killed_daemon_comes_back_and_the_task_goes_on(cluster: Cluster, daemon: str) -> None:
    cluster.up()
    run = cluster.start("run", "--name", "steady", "--shell", "while [ ! -e go ]; do sleep 0.1; done; echo went on")
    wait_until(lambda: any(t["latest_state"] == "RUNNING" for t in cluster.json("ps")), "the task runs")
    pid = cluster.pid_of(daemon)
    subprocess.run(["kill", "-9", str(pid)], check=True)
    wait_until(lambda: _is_back(cluster, daemon, pid), f"{daemon} is back")
    (sandbox,) = {path.parent for path in cluster.work_dir.rglob("stdout")}
    (sandbox / "go").touch()
    stdout, stderr = run.communicate(timeout=60)
    assert (run.returncode, stdout) == (0, "went on\n"), stderr


def _is_back(cluster: Cluster, daemon: str, old: int) -> bool:
    try:
        if cluster.pid_of(daemon) == old:
            return False
    except AssertionError:
        return False
    answer = cluster.kaon("agents", "--json", check=False)
    return answer.returncode == 0 and '"active"' in answer.stdout
