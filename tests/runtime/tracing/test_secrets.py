"""Secrets planted everywhere that a message can hold them are in no trace, recording, log and report."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from runtime.actor import Actor, State, receive
from runtime.logs import remove_logs, setup_logs
from runtime.message import SECRET, Message, Secret
from runtime.node import Node
from runtime.pid import PID
from runtime.testing import World
from runtime.tracing import messages as m
from runtime.tracing.crash import CrashReports
from runtime.tracing.mermaid import mermaid
from runtime.tracing.messages import StartTap
from runtime.tracing.otlp import otlp
from runtime.tracing.perfetto import perfetto
from runtime.tracing.recorder import FlightRecorder
from runtime.tracing.records import plain_turn, turns_in
from runtime.tracing.replay import Replay
from runtime.tracing.svg import svg
from runtime.tracing.text import tree_text, turn_line
from runtime.tracing.tracer import Tracer, spawn_tracer
from runtime.tracing.tree import build
from runtime.transport.memory import MemoryTransport
from tests.runtime.tracing.mall import Asker, AskerState, Say

PLANTED = [f"hunter2-{place}" for place in range(12)]
WITNESS = "in-plain-sight"
"""What must be found, so that the search is known to look where it should."""


class Key(msgspec.Struct, frozen=True):
    secret: Secret
    data: Annotated[bytes, SECRET] = b""


class Launch(Message, frozen=True, kw_only=True, tag="secrets.Launch"):
    name: str
    password: Secret
    pairs: Annotated[tuple[tuple[str, str], ...], SECRET]
    keys: tuple[Key, ...]
    by_name: dict[str, Key]
    optional: Secret | None = None


class Fail(Message, frozen=True, kw_only=True, tag="secrets.Fail"):
    password: Secret
    pairs: Annotated[tuple[tuple[str, str], ...], SECRET] = ()


class Kept(msgspec.Struct, frozen=True):
    token: Secret


class KeeperState(State):
    name: str = ""
    password: Secret = ""
    keys: Annotated[dict[str, str], SECRET] = msgspec.field(default_factory=dict)


class Child(Actor[KeeperState]):
    """Holds a secret from its first turn on."""


class Keeper(Actor[KeeperState]):
    @receive(Launch)
    def launch(self, sender: PID, message: Launch) -> None:
        self.state.name = message.name
        self.state.password = message.password
        self.state.keys = dict(message.pairs)
        logging.getLogger("kaon.keeper").info("launching %s", message)
        self.send(self.pid, Fail(password=PLANTED[0]))
        self.ask(PID("nobody", self.pid.node), message, self.answered, Kept(PLANTED[7]))
        self.after(1000.0, message)
        self.spawn(Child, "child", KeeperState(password=PLANTED[8]))

    def answered(self, sender: PID, answer: Message, context: Kept) -> None:
        self.state.name += " answered"

    @receive(Fail)
    def fail(self, sender: PID, message: Fail) -> None:
        if message.pairs:
            raise ValueError(f"{message.password} {message.pairs[0][1]} {self.state.password} do not open {WITNESS}")


class Scene:
    """A keeper on a node with all that writes, and one who asks its tracer."""

    def __init__(self, directory: Path) -> None:
        self.log = io.StringIO()
        setup_logs(level="debug", stream=self.log)
        self.world = World(seed=1)
        self.node = Node(
            "n1",
            MemoryTransport(self.world.network),
            self.world.clock,
            seed="1",
            incarnation=1,
            recorder=FlightRecorder(),
            crash_reports=CrashReports(directory / "crashes"),
        )
        self.keeper = self.node.spawn(Keeper, "keeper", KeeperState(password=PLANTED[9]))
        self.node.spawn(Asker, "asker", AskerState())
        spawn_tracer(self.node, directory, record=["keeper"])
        self.world.settle()

    def ask(self, question: Message) -> Any:
        asker = self.node.cells["asker"].actor
        assert isinstance(asker, Asker)
        self.node.post(self.node.pid("asker"), Say(to=self.node.pid("tracer"), message=question))
        self.world.run(1.0)
        return asker.answers[-1]

    @property
    def heard(self) -> list[Any]:
        asker = self.node.cells["asker"].actor
        assert isinstance(asker, Asker)
        return asker.heard

    def act(self) -> None:
        """Let secrets travel, be kept, and be said aloud in a failure."""
        launch = Launch(
            name=WITNESS,
            password=PLANTED[1],
            pairs=(("PASSWORD", PLANTED[2]), (PLANTED[3], "x")),
            keys=(Key(PLANTED[4], PLANTED[5].encode()),),
            by_name={WITNESS: Key(PLANTED[6])},
            optional=PLANTED[10],
        )
        self.node.post(self.keeper, launch)
        self.world.run(1.0)
        self.node.post(self.keeper, Fail(password=PLANTED[11], pairs=(("a", PLANTED[2]),)))
        self.world.run(1.0)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    remove_logs()


def test_planted_secrets_are_found_nowhere(scene: Scene, tmp_path: Path) -> None:
    scene.ask(StartTap())
    scene.ask(StartTap(file="everything"))
    scene.act()
    answer = scene.ask(m.GetTurns())
    chunks = b"".join(each.records for each in scene.heard if isinstance(each, m.TapData))
    asyncio.run(scene.node.stop(0.0))
    turns = turns_in(answer.records)
    traces = build(turns)
    written = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found = {
        **written,
        "log": scene.log.getvalue().encode(),
        "tap": chunks,
        "recorder": answer.records,
        "lines": "\n".join(turn_line(turn, "") for turn in turns).encode(),
        "json": json.dumps([plain_turn(turn) for turn in turns], default=str).encode(),
        "text": "\n".join(map(tree_text, traces)).encode(),
        "svg": "\n".join(map(svg, traces)).encode(),
        "mermaid": "\n".join(map(mermaid, traces)).encode(),
        "perfetto": json.dumps(perfetto(traces)).encode(),
        "otlp": json.dumps(otlp(traces)).encode(),
        "replay": json.dumps(Replay(tmp_path / "traces" / "keeper.recording").state()).encode(),
    }
    assert {"everything", "keeper.recording", "log", "tap"} <= found.keys()
    assert any(name.startswith("crash-keeper") for name in found)
    leaks = {name: secret for name, data in found.items() for secret in PLANTED if secret.encode() in data}
    assert leaks == {}
    silent = {name for name, data in found.items() if WITNESS.encode() not in data}
    assert silent <= {"replay"}, "the search looks where nothing is"


def test_the_recording_of_secrets_replays_all_the_same(scene: Scene, tmp_path: Path) -> None:
    scene.act()
    tracer = scene.node.cells["tracer"].actor
    assert isinstance(tracer, Tracer)
    asyncio.run(scene.node.stop(0.0))
    outcomes = list(Replay(tmp_path / "traces" / "keeper.recording").turns())
    assert [each.step.message["type"] for each in outcomes][:2] == ["node.Started", "secrets.Launch"]
    assert [each.difference for each in outcomes][:-1] == [None] * (len(outcomes) - 1)
