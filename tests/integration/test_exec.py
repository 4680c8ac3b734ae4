"""`kaon exec` and `kaon attach` on a real cluster."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.local import KAON, ROOT, Cluster, running_cluster, wait_until
from tests.integration.terminal import Terminal

pytestmark = [pytest.mark.serial, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def steady() -> Iterator[Cluster]:
    """A cluster on which the task `steady` runs, whatever is done to it."""
    with running_cluster() as cluster:
        cluster.up("--resources", "cpus:4;mem:1024")
        run = start_task(cluster, "steady", "--", "sleep", "600")
        yield cluster
        run.send_signal(signal.SIGINT)
        run.communicate()


def start_task(cluster: Cluster, name: str, *arguments: str) -> subprocess.Popen[str]:
    run = cluster.start("run", "--name", name, *arguments)
    wait_until(lambda: state_of(cluster, name) == "RUNNING", f"{name} runs")
    return run


def state_of(cluster: Cluster, name: str) -> str:
    states = [str(task["latest_state"]) for task in cluster.json("ps", "--all") if task["info"]["task_id"] == name]
    return states[0] if states else ""


def processes_with(argument: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if argument in (process.info["cmdline"] or [])]


def test_commands_beside_a_task(steady: Cluster, tmp_path: Path) -> None:
    told = steady.kaon(
        *("exec", "--env", "COLOUR=red", "steady", "--"),
        *("sh", "-c", "echo $COLOUR $MESOS_TASK_ID; echo err >&2; touch seen; exit 7"),
        check=False,
    )
    assert (told.returncode, told.stdout, told.stderr) == (7, "red steady\n", "err\n")
    (sandbox,) = {path.parent for path in steady.work_dir.rglob("seen")}
    assert (sandbox / "stdout").read_text() == "", "what a session prints is not the task's"
    assert sorted(path.name for path in sandbox.iterdir()) == ["seen", "stderr", "stdout"]

    assert steady.kaon("exec", "steady", "sh", "-c", "kill -9 $$", check=False).returncode == 137
    assert steady.kaon("exec", "steady", "cat").stdout == "", "without -i there is no input"
    missing = steady.kaon("exec", "steady", "--", "nosuch", check=False)
    assert (missing.returncode, "cannot be executed" in missing.stderr) == (127, True)

    data = os.urandom(10 << 20)
    copied = subprocess.run(
        [*KAON, "exec", "-i", "steady", "--", "cat"],
        env=steady.environment,
        cwd=ROOT,
        input=data,
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert copied.stdout == data

    head = f"{' '.join(KAON)} exec steady -- yes | head -c 100000 | wc -c"
    piped = subprocess.run(
        ["bash", "-c", head], env=steady.environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert piped.stdout.strip() == "100000"
    wait_until(lambda: not processes_with("yes"), "nobody reads it: it is gone")
    assert state_of(steady, "steady") == "RUNNING"


def test_what_cannot_be_said_is_said_in_words(steady: Cluster) -> None:
    def error(*arguments: str) -> str:
        done = steady.kaon(*arguments, check=False)
        assert done.returncode == 1, done
        assert done.stderr.startswith("kaon: ")
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "no task is called 'nosuch'" in error("exec", "nosuch", "--", "ls")
    assert "user 'nosuch' does not exist" in error("exec", "--user", "nosuch", "steady", "--", "ls")
    steady.kaon("run", "--name", "over", "true")
    assert "over has ended (FINISHED)" in error("exec", "over", "--", "ls")
    assert "over has ended (FINISHED)" in error("attach", "over")
    agent = psutil.Process(steady.pid_of("agent-0"))
    agent.suspend()
    try:
        asked = steady.start("exec", "steady", "--", "true")
        assert asked.wait(90) == 1
        assert "agent" in asked.communicate()[1]
    finally:
        agent.resume()


def test_a_terminal(steady: Cluster) -> None:
    with Terminal(steady, "exec", "-t", "steady", "--", "sh", rows=30, columns=100) as terminal:
        terminal.type(b"tty; stty size\n")
        terminal.until("/dev/pts/")
        terminal.until("30 100")
        assert terminal.now != terminal.before, "raw: each key goes on as it is"
        # In a shell of its own: an interactive one gives each command a process group, and signals go to that one.
        loop = "trap 'stty size' WINCH; echo read''y; while :; do sleep 0.05; done"
        terminal.type(f'sh -c "{loop}"\n'.encode())
        terminal.until("ready")
        terminal.resize(31, 101)
        terminal.until("31 101")
        terminal.type(b"\x03")
        terminal.type(b"echo after the inter''rupt\n")
        terminal.until("after the interrupt")
        assert terminal.process.poll() is None, "^C is the container's"
        terminal.type(b"exit 9\n")
        assert terminal.end() == 9
        assert terminal.now == terminal.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_terminal_is_as_before_whatever_ends_the_tool(steady: Cluster, number: int) -> None:
    with Terminal(steady, "exec", "-t", "steady", "--", "sh", "-c", "echo read''y; sleep 98765") as terminal:
        terminal.until("ready")
        assert processes_with("98765")
        terminal.process.send_signal(number)
        assert terminal.end() == 128 + number
        assert terminal.now == terminal.before
    wait_until(lambda: not processes_with("98765"), "its command is gone")
    assert state_of(steady, "steady") == "RUNNING"


@pytest.mark.parametrize("who", ["tool", "agent-0", "agent-0.containerizer", "task"])
def test_a_session_ends_with_whoever_is_killed(steady: Cluster, who: str) -> None:
    session = steady.start("exec", "steady", "--", "sh", "-c", "echo ready; sleep 98765")
    assert session.stdout is not None
    assert session.stdout.readline() == "ready\n"
    if who == "task":
        steady.kaon("kill", "steady")
    else:
        os.kill(session.pid if who == "tool" else steady.pid_of(who), signal.SIGKILL)
    session.wait(30)
    text = session.communicate()[1]
    if who != "tool":
        assert session.returncode != 0
        assert text.startswith("kaon: "), text
        assert "Traceback" not in text
    wait_until(lambda: not processes_with("98765"), "its command is gone")
    if who != "task":
        wait_until(lambda: again(steady), "another session")
        assert state_of(steady, "steady") == "RUNNING"


def again(cluster: Cluster) -> bool:
    return cluster.kaon("exec", "steady", "--", "true", check=False).returncode == 0


def test_a_task_with_a_terminal_is_attached_to_again_and_again(cluster: Cluster) -> None:
    cluster.up()
    shell = 'echo began; while read line; do echo "<$line>" $(stty size); done; exit 0'
    run = start_task(cluster, "console", "--tty", "--shell", shell)
    with Terminal(cluster, "attach", "--tail", "1000", "console", rows=33, columns=99) as terminal:
        terminal.until("began")
        terminal.type(b"one\n")
        terminal.until("<one> 33 99")
        terminal.type(b"\x10\x11")
        assert terminal.end() == 0
        assert terminal.now == terminal.before
    with Terminal(cluster, "attach", "--tail", "1000", "console") as terminal:
        terminal.until("<one>")
        os.kill(cluster.pid_of("agent-0.containerizer"), signal.SIGKILL)
        terminal.until("kaon: the agent's containerizer has ended")
        assert terminal.end() == 1
        assert terminal.now == terminal.before

    def attached() -> bool:
        with Terminal(cluster, "attach", "--tail", "1000", "console") as terminal:
            try:
                terminal.until("<one>")
            except AssertionError:
                return False
            terminal.type(b"two\n\x04")
            terminal.until("<two>")
            return terminal.end() == 0

    wait_until(attached, "attached after kill -9 of the containerizer")
    stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 0, stderr
    assert "<two>" in stdout


def test_input_of_a_task_that_is_open_for_it(cluster: Cluster) -> None:
    cluster.up()
    run = start_task(cluster, "copier", "--interactive", "--", "cat")
    done = subprocess.run(
        [*KAON, "attach", "copier"],
        env=cluster.environment,
        cwd=ROOT,
        input="to the task\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "to the task\n"
    assert run.communicate(timeout=60)[0] == "to the task\n"
    assert run.returncode == 0


def test_a_terminal_that_is_too_slow_is_moved_on_and_the_log_is_whole(cluster: Cluster) -> None:
    cluster.up()
    run = start_task(cluster, "wild", "--tty", "--shell", "read go; seq 1000000; echo over; sleep 600")
    (log,) = cluster.work_dir.rglob("stdout")
    with Terminal(cluster, "attach", "--tail", "1", "wild") as terminal:
        terminal.type(b"go\n")
        wait_until(lambda: b"over" in log.read_bytes()[-100:], "it is done, whoever looks on")
        terminal.until("bytes are not shown: they came too fast")
        terminal.until("over")
    assert log.read_text().split() == ["go", *map(str, range(1, 1_000_001)), "over"]
    run.send_signal(signal.SIGINT)
    run.communicate()
