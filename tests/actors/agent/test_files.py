"""Reading sandboxes: what is there, and nothing of what is outside. The disk and its simulated twin answer alike."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.agent.constants import READ_BYTES
from actors.agent.events import EdgeRefused, LocateSandbox, PrepareSandbox, SandboxLocated, SandboxPrepared
from actors.agent.files import Files, FilesState, NotReadable, prepare, read_beneath
from actors.agent.names import AGENT_NAME, FILES_NAME
from actors.agent.simulated_files import SimulatedFiles, SimulatedFilesState
from actors.messages.operating import ReadSandbox, Refusal, SandboxChunk
from runtime.actor import Actor, State, receive
from runtime.clock import RealClock
from runtime.message import Message
from runtime.node import Node
from runtime.pid import PID
from runtime.ref import Outside
from runtime.transport.memory import MemoryTransport, Network
from tests.actors.agent.cluster import FRAMEWORK, Cluster, command_task, executor_task


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """A sandbox beside a secret, full of traps."""
    (tmp_path / "secret").write_text("secret")
    sandbox = tmp_path / "sandbox"
    (sandbox / "results").mkdir(parents=True)
    (sandbox / "stdout").write_bytes(b"0123456789")
    (sandbox / "results" / "part-1").write_bytes(b"part")
    (sandbox / "link").symlink_to(tmp_path / "secret")
    (sandbox / "inner-link").symlink_to("stdout")
    (sandbox / "up").symlink_to("..")
    (sandbox / "root").symlink_to("/")
    os.mkfifo(sandbox / "pipe")
    return sandbox


@pytest.mark.parametrize(
    ("offset", "limit_bytes", "expected"),
    [
        (0, 100, (b"0123456789", 0)),
        (4, 3, (b"456", 4)),
        (10, 5, (b"", 10)),
        (50, 5, (b"", 50)),
        (-3, 100, (b"789", 7)),
        (-100, 2, (b"01", 0)),
    ],
)
def test_reading(sandbox: Path, offset: int, limit_bytes: int, expected: tuple[bytes, int]) -> None:
    data, begin, size = read_beneath(str(sandbox), "stdout", offset, limit_bytes)
    assert (data, begin) == expected
    assert size == 10


def test_reading_in_folders(sandbox: Path) -> None:
    assert read_beneath(str(sandbox), "results/part-1", 0, 10)[0] == b"part"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../secret",
        "results/../../secret",
        "./stdout",
        "results//part-1",
        "stdout\0",
        "link",
        "inner-link",
        "up/secret",
        "root/etc/passwd",
        "pipe",
        "results",
        "missing",
        "stdout/x",
        "x" * 300,
    ],
)
def test_what_is_refused(sandbox: Path, path: str) -> None:
    with pytest.raises(NotReadable):
        read_beneath(str(sandbox), path, 0, 100)


def test_sandbox_replaced_by_a_link_is_not_followed(sandbox: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.symlink_to(sandbox)
    with pytest.raises(NotReadable, match="the sandbox is not there"):
        read_beneath(str(trap), "stdout", 0, 100)


def test_no_descriptor_is_left_open(sandbox: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("stdout", "results/part-1", "link", "up/secret", "pipe", "missing"):
        try:
            read_beneath(str(sandbox), path, 0, 1)
        except NotReadable:
            continue
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_one_answer_has_a_bound(sandbox: Path) -> None:
    with (sandbox / "big").open("wb") as file:
        file.truncate(READ_BYTES * 3)
    data, _, size = read_beneath(str(sandbox), "big", 0, 1 << 40)
    assert (len(data), size) == (READ_BYTES, READ_BYTES * 3)


@pytest.mark.parametrize("limit_bytes", [0, -1])
def test_limit_must_be_something(sandbox: Path, limit_bytes: int) -> None:
    with pytest.raises(NotReadable, match="limit_bytes"):
        read_beneath(str(sandbox), "stdout", 0, limit_bytes)


def test_offset_beyond_any_file_is_its_end(sandbox: Path) -> None:
    assert read_beneath(str(sandbox), "stdout", 1 << 62, 10)[0] == b""


# The actors -----------------------------------------------------------------------------------------------------------


class GuideState(State):
    path: str
    ended: bool = False


class Guide(Actor[GuideState]):
    """In the agent's place: knows one sandbox."""

    @receive(LocateSandbox)
    def locate_sandbox(self, sender: PID, message: LocateSandbox) -> None:
        if message.task_id == "task-1":
            self.reply(SandboxLocated(path=self.state.path, ended=self.state.ended))
        else:
            self.reply(EdgeRefused(message="no such task"))


Asker = Callable[[Message, bool], Message]


def _disk(tmp_path: Path) -> tuple[type[Actor[Any]], msgspec.Struct]:
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "stdout").write_bytes(b"0123456789")
    return Files, FilesState()


def _simulated(tmp_path: Path) -> tuple[type[Actor[Any]], msgspec.Struct]:
    return SimulatedFiles, SimulatedFilesState(contents={f"{tmp_path}/box/stdout": b"0123456789"})


@pytest.fixture(params=[_disk, _simulated], ids=["disk", "simulated"])
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Asker:
    """Asks the files actor one question; the task has ended or not."""
    actor_class, state = request.param(tmp_path)

    def ask_it(question: Message, ended: bool = False) -> Message:
        async def main() -> Message:
            clock = RealClock(asyncio.get_running_loop())
            node = Node("a1", MemoryTransport(Network(clock)), clock)
            node.spawn(actor_class, FILES_NAME, state)
            node.spawn(Guide, AGENT_NAME, GuideState(path=f"{tmp_path}/box", ended=ended))
            try:
                answer = await Outside.on(node).fetch_answer(PID(FILES_NAME, "a1"), question, 10.0)
                assert isinstance(answer, Message)
                return answer
            finally:
                await node.stop(1.0)

        return asyncio.run(main())

    return ask_it


def read(**fields: object) -> ReadSandbox:
    return msgspec.structs.replace(ReadSandbox(framework_id="f", task_id="task-1"), **fields)


@pytest.mark.parametrize("ended", [False, True])
def test_chunk_says_whether_more_may_come(ask: Asker, ended: bool) -> None:
    assert ask(read(offset=7), ended) == SandboxChunk(offset=7, data=b"789", size_bytes=10, ended=ended)
    assert ask(read(limit_bytes=4), ended) == SandboxChunk(offset=0, data=b"0123", size_bytes=10, ended=False)


def test_refusals_are_sentences(ask: Asker) -> None:
    assert ask(read(task_id="other"), False) == Refusal(message="no such task")
    answer = ask(read(path="stderr"), False)
    assert answer == Refusal(message="'stderr' in the sandbox cannot be read: No such file or directory")


def test_directories_are_prepared(ask: Asker, tmp_path: Path) -> None:
    assert ask(PrepareSandbox(path=f"{tmp_path}/agents/a/runs/c"), False) == SandboxPrepared()


def test_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = prepare(f"{tmp_path}/file/agents/a/c")
    assert isinstance(answer, EdgeRefused)
    assert answer.message.startswith(f"{tmp_path}/file")
    assert answer.message.endswith("Not a directory")


# Through the agent ----------------------------------------------------------------------------------------------------


def read_through_agent(cluster: Cluster, asker: str = "tool") -> Message:
    tool = cluster.speaker(asker, f"reader-{cluster.world.clock.now()}")
    question = ReadSandbox(framework_id=FRAMEWORK.framework_id, task_id="task-1")
    cluster.say(tool, question, to=PID(FILES_NAME, "simulated://a1"))
    return tool.state.received[-1]


def write(cluster: Cluster, data: bytes) -> None:
    (container_id,) = cluster.containerizer.containers
    sandbox = cluster.containerizer.containers[container_id].spec.sandbox
    cluster.world.nodes["a1"].state_of(FILES_NAME).contents[f"{sandbox}/stdout"] = data


def test_output_is_read_while_the_task_runs_after_it_and_after_a_restart() -> None:
    cluster = Cluster().register()
    cluster.run_task(command_task(shell="sleep 5"))
    cluster.world.run(seconds=1)
    write(cluster, b"hello")
    assert read_through_agent(cluster) == SandboxChunk(offset=0, data=b"hello", size_bytes=5, ended=False)
    cluster.world.run(seconds=5)
    assert read_through_agent(cluster) == SandboxChunk(offset=0, data=b"hello", size_bytes=5, ended=True)
    contents = dict(cluster.world.nodes["a1"].state_of(FILES_NAME).contents)
    cluster.crash_agent()
    cluster.start_agent()
    cluster.world.run(seconds=1)
    cluster.world.nodes["a1"].state_of(FILES_NAME).contents.update(contents)
    assert read_through_agent(cluster) == SandboxChunk(offset=0, data=b"hello", size_bytes=5, ended=True)


def test_unknown_task_is_refused() -> None:
    answer = read_through_agent(Cluster().register())
    assert answer == Refusal(message="task 'task-1' of framework 'framework-1' has no sandbox on this agent")


def test_executors_read_nothing() -> None:
    cluster = Cluster().register()
    cluster.run_task(executor_task())
    cluster.world.run(seconds=1)
    write(cluster, b"hello")
    container_id = cluster.container_of("task-1")
    assert read_through_agent(cluster, container_id) == Refusal(message="sandboxes are shown to tools only")
