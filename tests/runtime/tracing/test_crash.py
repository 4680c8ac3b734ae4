"""Crash reports: what an actor was doing when it failed, without anybody's secrets."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from runtime.actor import Actor, State, receive
from runtime.clock import VirtualClock
from runtime.message import SECRET, AskFailed, Message, Secret
from runtime.node import Node
from runtime.pid import PID
from runtime.tracing.crash import LAST_TURNS, CrashReports, without_secrets
from runtime.tracing.recorder import FlightRecorder
from runtime.transport.memory import MemoryTransport, Network
from tests.runtime.puppets import Do, Puppet, PuppetState


class Login(Message, frozen=True, kw_only=True, tag="vault.Login"):
    user: str
    password: Secret
    tokens: tuple[Secret, ...] = ()
    environment: dict[str, Secret] = msgspec.field(default_factory=dict)


class VaultState(State):
    master_key: Secret = "correct horse"
    logins: Annotated[dict[str, str], SECRET] = msgspec.field(default_factory=dict)
    doors: list[str] = msgspec.field(default_factory=list)


class Vault(Actor[VaultState]):
    @receive(Login)
    def login(self, sender: PID, message: Login) -> None:
        self.state.doors.append(message.user)
        secrets = [message.password, self.state.master_key, *message.tokens, *message.environment.values()]
        raise ValueError(f"no {' or '.join(secrets)} for {message.user}")


def crash(directory: Path) -> Node:
    """A node whose vault has failed."""
    clock = VirtualClock(1_000.0)
    node = Node(
        "n1",
        MemoryTransport(Network(clock)),
        clock,
        seed="1",
        incarnation=1,
        recorder=FlightRecorder(),
        crash_reports=CrashReports(directory),
    )
    vault = node.spawn(Vault, "vault", VaultState())
    asker = node.spawn(Puppet, "asker", PuppetState())
    login = Login(user="eve", password="hunter2", tokens=("t-one", "t-two"), environment={"KEY": "k-value"})
    node.post(asker, Do(act=lambda actor: actor.ask(vault, login, actor.answered)))
    clock.settle()
    return node


SECRETS = ("hunter2", "correct horse", "t-one", "t-two", "k-value")


def test_a_report_tells_message_turns_state_and_traceback(tmp_path: Path) -> None:
    crash(tmp_path / "reports")
    (path,) = (tmp_path / "reports").iterdir()
    report = json.loads(path.read_text())
    assert report["actor"] == "vault@n1"
    assert report["message"]["type"] == "vault.Login"
    assert report["fields"]["user"] == "eve"
    assert report["state"]["doors"] == ["eve"]
    assert report["traceback"][0].startswith("Traceback")
    assert "in login" in "".join(report["traceback"])
    assert [turn["type"] for turn in report["last_turns"]] == ["node.Started", "vault.Login"]


def test_no_secret_is_in_the_report_the_log_the_record_or_what_others_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        node = crash(tmp_path)
    assert node.recorder is not None
    (path,) = tmp_path.iterdir()
    failed = next(turn for turn in node.recorder.turns() if turn.error)
    told = [str(turn.message) for turn in node.recorder.turns() if isinstance(turn.message, AskFailed)]
    logged = [record.getMessage() + str(vars(record)) for record in caplog.records]
    assert told
    assert logged
    for secret in SECRETS:
        for text in (path.read_text(), failed.error, *told, *logged):
            assert secret not in text
    assert "no *** or *** or *** or *** or *** for eve" in failed.error


def test_a_report_says_of_the_last_turns_only(tmp_path: Path) -> None:
    clock = VirtualClock()
    recorder, reports = FlightRecorder(), CrashReports(tmp_path)
    node = Node("n1", MemoryTransport(Network(clock)), clock, seed="1", recorder=recorder, crash_reports=reports)
    a = node.spawn(Puppet, "group/a", PuppetState())
    for _ in range(2 * LAST_TURNS):
        node.post(a, Do(act=lambda actor: None))
    node.post(a, Do(act=lambda actor: 1 / 0))
    clock.settle()
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("crash-group_a-")
    assert len(json.loads(path.read_text())["last_turns"]) == LAST_TURNS


def test_a_report_that_cannot_be_written_does_not_hide_the_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    crash(tmp_path / "file" / "reports")
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "vault failed on vault.Login from asker@n1: ValueError" in record.getMessage()
    assert "not written to" in record.getMessage()


class Odd(msgspec.Struct):
    """A struct that cannot be looked through."""

    nowhere: NotThere  # type: ignore[name-defined]  # noqa: F821


class Broad(msgspec.Struct):
    anything: Any = None
    key: Secret = ""
    pair: tuple[str, Secret] = ("", "")
    maybe: Secret | None = None


def test_secrets_are_taken_out_of_texts_wherever_they_stand() -> None:
    value = Broad(anything=Broad(key="inner"), key="outer", pair=("open", "shut"), maybe="perhaps")
    text = "inner outer open shut perhaps and more"
    assert without_secrets(text, value) == "*** *** open *** *** and more"
    assert without_secrets("a longer outer-most", Broad(key="outer", maybe="outer-most")) == "a longer ***"
    assert without_secrets("nothing empty", Broad()) == "nothing empty"


def test_a_struct_that_cannot_be_looked_through_hides_everything() -> None:
    assert "left out" in without_secrets("a secret?", Odd(nowhere=1))
