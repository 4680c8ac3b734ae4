"""`kaon trace` and `kaon why`, against a real master in another process and on files."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from actors.cli.trace import trace
from actors.cli.why import why
from runtime.errors import KaonError
from runtime.tracing.files import Header, TraceWriter
from runtime.tracing.records import encode_record
from runtime.tracing.replay import CannotReplay, Replay
from tests.actors.cli import tracing_cluster
from tests.runtime.tracing.turns import launch

ROOT = Path(__file__).resolve().parents[3]

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a master listens that runs as long as the tests do."""
    work_dir = tmp_path_factory.mktemp("cluster")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.actors.cli.tracing_cluster", str(work_dir)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith("tcp://"), "the master did not start"
    yield address
    process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.fixture
def run(master: str) -> Run:
    def on_master(*arguments: str, exit_code: int = 0) -> Result:
        command = why if arguments[0] == "why" else trace
        given = arguments[1:] if arguments[0] == "why" else arguments
        result = CliRunner().invoke(command, [*given, "--master", master, "--insecure"])
        if isinstance(result.exception, KaonError):
            raise result.exception
        assert result.exit_code == exit_code, result.output
        return result

    return on_master


@pytest.fixture
def trace_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.trace"
    writer = TraceWriter(path, Header())
    for turn in launch():
        writer.write(encode_record(turn))
    writer.close()
    return path


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.split("\n") if line]


def test_tail_shows_turns_as_they_happen(run: Run) -> None:
    turns = lines(run("tail", "--actor", "clock", "--count", "3", "--json", "--seconds", "20"))
    numbers = [turn["message"].get("number", 0) for turn in turns]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert all(turn["message"]["type"] == "look.Tick" and turn["actor"] == "clock@master" for turn in turns)


def test_tail_ends_at_the_users_wish(master: str) -> None:
    program = "from actors.cli.trace import trace; trace()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "tail", "--master", master, "--insecure", "--actor", "clock"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "look.Tick" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_tail_says_what_the_bounds_kept_out(run: Run) -> None:
    result = run("tail", "--actor", "clock", "--rate", "1", "--seconds", "2")
    assert len(result.stdout.splitlines()) <= 3
    assert "turns were dropped" in result.stderr
    assert "dropped: " in result.stderr
    assert "by --rate" in result.stderr


def test_tail_writes_a_trace_file_that_convert_reads(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "live.trace"
    run("tail", "--actor", "clock", "--count", "3", "--seconds", "20", "--output", str(path))
    result = CliRunner().invoke(trace, ["convert", str(path), "--to", "json"])
    assert [turn["message"]["type"] for turn in json.loads(result.stdout)] == ["look.Tick"] * 3


def test_grep_finds_what_the_nodes_remember(run: Run) -> None:
    found = run("grep", "it stumbled").stdout.splitlines()
    assert len(found) == 1
    assert "stumbler@master <- stumbler@master look.Stumble" in found[0]
    assert "FAILED: ValueError: it stumbled" in found[0]
    run("grep", "IT STUMBLED", exit_code=1)
    run("grep", "IT STUMBLED", "--ignore-case")
    run("grep", "hunter2", exit_code=1)


def test_show_and_export_of_one_trace(run: Run, tmp_path: Path) -> None:
    (stumble,) = lines(run("grep", "it stumbled", "--json"))
    text = run("show", stumble["trace"]).stdout
    assert text.startswith(f"trace {stumble['trace']}: 1 turn on 1 node")
    assert ElementTree.fromstring(run("show", stumble["trace"], "--to", "svg").stdout).tag.endswith("svg")
    path = tmp_path / "stumble.trace"
    assert "wrote 1 turns" in run("export", "--trace", stumble["trace"], "--output", str(path)).output
    converted = CliRunner().invoke(trace, ["convert", str(path)])
    assert converted.stdout == text


def test_show_of_what_a_task_was_mentioned_in(run: Run) -> None:
    assert "look.Tick task=tick-task" in run("show", "--task", "tick-task").stdout


def test_a_recording_of_a_running_actor_replays_without_a_difference(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "clock.recording"
    assert "turns; replay it with" in run("record", "clock", "--seconds", "0.5", "--output", str(path)).output
    result = CliRunner().invoke(trace, ["replay", str(path)])
    assert (result.exit_code, "no difference" in result.stdout) == (0, True), result.output
    stopped = CliRunner().invoke(trace, ["replay", str(path), "--turn", "2", "--json"])
    report = json.loads(stopped.stdout)
    assert (report["turns"], report["message"]["type"], report["difference"]) == (2, "look.Tick", None)
    assert report["state"]["ticks"] > 2


def test_a_recording_of_the_master_under_questions_replays_without_a_difference(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "master.recording"
    run("record", "master", "--seconds", "0.5", "--output", str(path))
    result = CliRunner().invoke(trace, ["replay", str(path)])
    assert "no difference" in result.stdout, result.output


def test_a_changed_actor_is_found_out(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clock.recording"
    run("record", "clock", "--seconds", "0.5", "--output", str(path))
    monkeypatch.setattr(tracing_cluster, "TICK_SECONDS", 0.06)
    result = CliRunner().invoke(trace, ["replay", str(path)])
    assert result.exit_code == 1
    assert "turn 1 differs: effects[0][1].delay_seconds: recorded 0.05, replayed 0.06" in result.stdout


def test_the_debugger_stops_in_the_handler(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "clock.recording"
    run("record", "clock", "--seconds", "0.5", "--output", str(path))
    program = "from actors.cli.trace import trace; trace()"
    stopped = subprocess.run(
        [sys.executable, "-c", program, "replay", str(path), "--turn", "2", "--pdb"],
        cwd=ROOT,
        input="p message.task_id\np self.state.ticks\ncontinue\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "tick()" in stopped.stdout
    assert "'tick-task'" in stopped.stdout
    assert stopped.returncode == 0, stopped.stderr


def test_leaving_the_debugger_is_no_difference(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clock.recording"
    run("record", "clock", "--seconds", "0.5", "--output", str(path))
    monkeypatch.setattr("sys.stdin", io.StringIO("quit\n"))
    with pytest.raises(CannotReplay, match="the debugger was left in turn 2: what it did was not compared"):
        list(Replay(path).turns(debug_at=2))


def test_crash_reports_are_listed_and_shown(run: Run) -> None:
    (crash,) = json.loads(run("crashes", "--json").stdout)
    assert (crash["node"], crash["actor"], crash["message_type"]) == ("master", "stumbler@master", "look.Stumble")
    report = json.loads(run("crashes", crash["name"]).stdout)
    assert report["traceback"][-1] == "ValueError: it stumbled"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("tail", "--node", "nowhere*"), "no node of the cluster matches 'nowhere*': master"),
        (("show", "abcdef"), "no node remembers trace 0000000000abcdef"),
        (("record", "nobody"), "no actor is called 'nobody'; there are"),
        (("crashes", "crash-no.json"), "no node has a crash report"),
        (("why", "task", "t9"), "the master knows no task 't9'"),
        (("why", "framework", "f9"), "no framework is called 'f9'; there are: none"),
        (("why", "agent", "a9"), "no agent is called 'a9'; there are: none"),
    ],
)
def test_what_is_not_there_is_said(run: Run, arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(KaonError) as raised:
        run(*arguments)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show",), "say which trace"),
        (("show", "xyz"), "is no trace id"),
        (("show", "1", "--task", "t1"), "say which trace"),
        (("grep", "("), "is no regular expression"),
        (("tail", "--field", "x"), "write NAME=VALUE"),
        (("tail", "--rate", "0"), "0.0 is not in the range x>0"),
        (("export",), "Missing option '--output'"),
    ],
)
def test_wrong_usage_is_said(run: Run, arguments: tuple[str, ...], says: str) -> None:
    assert says in run(*arguments, exit_code=2).output


def test_no_master_is_said_within_the_time(tmp_path: Path) -> None:
    result = CliRunner().invoke(trace, ["tail", "--master", "tcp://127.0.0.1:9", "--insecure", "--seconds", "1"])
    assert isinstance(result.exception, KaonError)
    assert "no node of the cluster can be asked" in str(result.exception)


@pytest.mark.parametrize("form", ["text", "json", "mermaid", "svg", "perfetto", "otlp"])
def test_convert_writes_every_form(trace_file: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / "out"
    result = CliRunner().invoke(trace, ["convert", str(trace_file), "--to", form, "--output", str(output)])
    assert result.exit_code == 0, result.output
    text = output.read_text()
    if form in ("json", "perfetto", "otlp"):
        assert json.loads(text)
    assert "RunTask" in text


def test_convert_says_that_a_tail_is_torn(trace_file: Path) -> None:
    trace_file.write_bytes(trace_file.read_bytes()[:-5])
    result = CliRunner().invoke(trace, ["convert", str(trace_file)])
    assert result.exit_code == 0
    assert "ends in the middle of a record" in result.stderr
    assert "5 turns" in result.stdout


def test_a_diagram_of_several_traces_asks_which(trace_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.trace"
    writer = TraceWriter(path, Header())
    for turn in launch():
        turn.trace = 77
        writer.write(encode_record(turn))
    writer.close()
    result = CliRunner().invoke(trace, ["convert", str(trace_file), str(path), "--to", "svg"])
    assert "choose one by its id; the largest are 0000000000000001, 000000000000004d" in str(result.exception)
    chosen = CliRunner().invoke(trace, ["convert", str(trace_file), str(path), "--to", "svg", "--trace", "4d"])
    assert chosen.exit_code == 0
