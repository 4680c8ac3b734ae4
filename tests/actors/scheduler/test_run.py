"""A scheduler as a program, over real sockets: with a master, without one, across its own lives, and when it fails."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from actors.master.compose import spawn_master
from actors.messages.records import FrameworkInfo
from actors.scheduler.cluster import Cluster
from actors.scheduler.run import SchedulerFailed, serve_scheduler
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import Interrupt, SchedulerRecords, SchedulerState
from runtime.clock import RealClock
from runtime.errors import JournalError
from runtime.message import Message, Terminate
from runtime.node import Node
from runtime.pid import PID
from runtime.store import MemoryStore
from runtime.transport.zeromq.transport import ZeroMQTransport

LIMIT_SECONDS = 30.0
ROOT = Path(__file__).resolve().parents[3]


class Brief(Scheduler[SchedulerState]):
    """Ends as soon as it is subscribed."""

    def subscribed(self, framework_id: str) -> None:
        self.finish()


class Failing(Scheduler[SchedulerState]):
    def subscribed(self, framework_id: str) -> None:
        raise RuntimeError("no idea")


class Durable(Scheduler[SchedulerState]):
    records: ClassVar[Any] = SchedulerRecords


def state() -> SchedulerState:
    return SchedulerState(framework=FrameworkInfo(name="test"))


@asynccontextmanager
async def master() -> AsyncIterator[Cluster]:
    """A real master, insecure, on a free port."""
    node = Node("m", ZeroMQTransport(insecure=True), RealClock(asyncio.get_running_loop()))
    address = node.listen("tcp://127.0.0.1:0")
    spawn_master(node, MemoryStore, blocking_store=False)
    try:
        yield Cluster((PID("master", address),), None)
    finally:
        await node.stop(1.0)


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(work(), LIMIT_SECONDS)

    return asyncio.run(bounded())


def test_it_runs_until_the_scheduler_ends() -> None:
    seen: list[bool] = []
    said: list[str] = []

    async def work() -> SchedulerState:
        async with master() as cluster:
            return await serve_scheduler(
                Brief, state(), cluster, watch=lambda now: seen.append(now.connection.finishing), say=said.append
            )

    final = run(work)
    assert final.connection.framework_id
    assert (seen[0], seen[-1]) == (False, True)
    assert said == [f"subscribed as framework {final.connection.framework_id}"]


def test_a_failure_is_told_and_reported(tmp_path: Path) -> None:
    async def work() -> None:
        async with master() as cluster:
            await serve_scheduler(Failing, state(), cluster, work_dir=tmp_path)

    with pytest.raises(SchedulerFailed, match="RuntimeError: no idea"):
        run(work)
    (report,) = (tmp_path / "crashes").iterdir()
    assert "no idea" in report.read_text()


def test_without_a_master_it_says_so_and_keeps_trying_until_interrupted() -> None:
    said: list[str] = []

    async def work() -> SchedulerState:
        inbox: asyncio.Queue[Message] = asyncio.Queue()

        def say(line: str) -> None:
            said.append(line)
            inbox.put_nowait(Interrupt())

        nobody = Cluster((PID("master", "tcp://127.0.0.1:1"),), None)
        return await serve_scheduler(Brief, state(), nobody, say=say, inbox=inbox)

    assert run(work).connection.framework_id == ""
    assert "no master yet at tcp://127.0.0.1:1" in said[0]
    assert "trying again" in said[0]


def terminated_when_subscribed(work_dir: Path | None) -> Callable[[Cluster], Awaitable[SchedulerState]]:
    async def serve(cluster: Cluster) -> SchedulerState:
        inbox: asyncio.Queue[Message] = asyncio.Queue()

        def say(line: str) -> None:
            inbox.put_nowait(Terminate(deadline_seconds=5.0))

        return await serve_scheduler(Durable, state(), cluster, work_dir=work_dir, say=say, inbox=inbox)

    return serve


def test_a_durable_framework_is_taken_up_by_its_next_life(tmp_path: Path) -> None:
    async def work() -> list[SchedulerState]:
        async with master() as cluster:
            return [await terminated_when_subscribed(tmp_path)(cluster) for _ in range(2)]

    first, second = run(work)
    assert first.connection.framework_id == second.connection.framework_id != ""
    assert not first.connection.finishing


def test_a_journal_in_memory_has_no_next_life() -> None:
    async def work() -> SchedulerState:
        async with master() as cluster:
            return await terminated_when_subscribed(None)(cluster)

    assert run(work).connection.finishing


def test_two_cannot_share_a_work_directory(tmp_path: Path) -> None:
    async def work() -> None:
        nobody = Cluster((PID("master", "tcp://127.0.0.1:1"),), None)
        first = asyncio.ensure_future(serve_scheduler(Durable, state(), nobody, work_dir=tmp_path))
        await asyncio.sleep(0)
        try:
            await serve_scheduler(Durable, state(), nobody, work_dir=tmp_path)
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)

    with pytest.raises(JournalError, match="another"):
        run(work)


def test_a_program_says_what_the_user_can_mend_in_one_line(tmp_path: Path) -> None:
    text = (
        "from actors.scheduler import *\n"
        "run_scheduler(Scheduler, SchedulerState(framework=FrameworkInfo(name='x')), 'tcp://m', insecure=True)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("kaon: 'tcp://m'")
    assert ended.stderr.count("\n") == 1


def test_states_are_not_shared_with_the_caller() -> None:
    given = state()

    async def work() -> SchedulerState:
        async with master() as cluster:
            return await serve_scheduler(Brief, given, cluster)

    run(work)
    assert given == msgspec.structs.replace(state())
