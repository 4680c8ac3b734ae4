"""An executor as a program, with keys over a Unix socket: it finds its agent, works in threads, and leaves."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from actors.messages.executing import (
    ExecutorSubscribed,
    ExecutorUpdate,
    LaunchTask,
    ShutdownExecutor,
    SubscribeExecutor,
    UpdateAccepted,
)
from actors.messages.records import (
    AgentInfo,
    CommandInfo,
    ExecutorInfo,
    FrameworkInfo,
    TaskInfo,
    TaskState,
    TaskStatus,
)
from allocator.resources import EMPTY
from runtime.actor import Actor, State, receive
from runtime.clock import RealClock
from runtime.node import Node
from runtime.pid import PID
from runtime.transport.zeromq.keys import AuthorisedKeys, add_node, own_key, read_key
from runtime.transport.zeromq.transport import ZeroMQTransport

ROOT = Path(__file__).resolve().parents[3]
LIMIT_SECONDS = 30.0
PROGRAM = """
from actors.executor import Executor, ExecutorState, run_executor

class Upper(Executor[ExecutorState]):
    def launch(self, task):
        self.run(task, bytes.upper, task.data)

run_executor(Upper, ExecutorState())
"""


class AgentState(State):
    statuses: list[TaskStatus] = msgspec.field(default_factory=list)


class Agent(Actor[AgentState]):
    """As much of an agent as an executor talks to."""

    @receive(SubscribeExecutor)
    def subscribe(self, sender: PID, message: SubscribeExecutor) -> None:
        self.send(
            sender,
            ExecutorSubscribed(
                executor=ExecutorInfo(executor_id="e", command=CommandInfo(shell="x")),
                framework=FrameworkInfo(name="test", framework_id="f1"),
                agent=AgentInfo(hostname="h", resources=EMPTY),
                container_id=message.container_id,
            ),
        )
        self.send(sender, LaunchTask(task=TaskInfo(task_id="t", agent_id="a", resources=EMPTY, data=b"abc")))

    @receive(ExecutorUpdate)
    def update(self, sender: PID, message: ExecutorUpdate) -> None:
        self.state.statuses.append(message.status)
        self.send(sender, UpdateAccepted(task_id=message.status.task_id, uuid=message.status.uuid))
        if message.status.state.is_terminal:
            self.send(sender, ShutdownExecutor(grace_seconds=5.0))


@pytest.fixture
def short_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield Path(directory)


def environment(**given: str) -> dict[str, str]:
    return {"PATH": os.defpath, "PYTHONPATH": str(ROOT), **given}


def test_an_executor_works_and_leaves(short_directory: Path, tmp_path: Path) -> None:
    own = own_key(tmp_path / "keys", "agent")
    key = read_key(add_node(tmp_path / "keys", "container-1", "agent"))

    async def serve() -> tuple[int, str, list[TaskStatus]]:
        transport = ZeroMQTransport(own, AuthorisedKeys(own, tmp_path / "keys"))
        node = Node("agent", transport, RealClock(asyncio.get_running_loop()))
        endpoint = node.listen(f"ipc://{short_directory}/a")
        node.spawn(Agent, "agent", AgentState())
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            cwd=tmp_path,
            env=environment(
                KAON_AGENT_ENDPOINT=f"{endpoint}?key={own.public.hex()}",
                KAON_FRAMEWORK_ID="f1",
                KAON_EXECUTOR_ID="e",
                KAON_CONTAINER_ID="container-1",
                KAON_EXECUTOR_SECRET=f"{key.public.hex()}:{key.secret.hex()}",
            ),
            stderr=subprocess.PIPE,
        )
        _, error = await asyncio.wait_for(program.communicate(), LIMIT_SECONDS)
        statuses = node.state_of("agent").statuses
        await node.stop(1.0)
        return program.returncode or 0, error.decode(), statuses

    status, error, statuses = asyncio.run(serve())
    assert (status, error) == (0, "")
    assert [(each.state, each.data) for each in statuses] == [(TaskState.RUNNING, b""), (TaskState.FINISHED, b"ABC")]


def test_without_an_agent_it_says_who_starts_it(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert "an executor is started by an agent" in ended.stderr
    assert "Traceback" not in ended.stderr
