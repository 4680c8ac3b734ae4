"""`kaon logs`: what a task has printed, and prints."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Final

import click

from actors.cli.client import NoAnswerFrom, Tool, cluster_options, with_tool
from actors.messages.operating import GetAgents, GetTasks, ReadSandbox, SandboxChunk
from actors.messages.records import AgentInfo, Task
from actors.scheduler.cluster import Cluster
from runtime.errors import KaonError
from runtime.pid import PID

FOLLOW_SECONDS: Final = 0.25
"""Between two looks at a file that is followed."""

PATIENCE_SECONDS: Final = 30.0
"""For an agent that does not answer while a file of its is followed: it may be started again, and listen elsewhere."""


@click.command()
@click.argument("task_id", metavar="TASK")
@click.option("--follow", "-f", is_flag=True, help="Go on until the task has ended.")
@click.option("--stderr", is_flag=True, help="Standard error instead of standard output.")
@click.option("--file", "path", metavar="PATH", help="Any other file of the sandbox.")
@click.option("--tail", "tail_bytes", type=click.IntRange(min=1), metavar="BYTES", help="Only the end of it.")
@click.option("--framework", default="", metavar="ID", help="Of the task, where two frameworks use one task id.")
@cluster_options
def logs(
    cluster: Cluster, task_id: str, follow: bool, stderr: bool, path: str | None, tail_bytes: int | None, framework: str
) -> None:
    """Show what a task has printed."""

    async def work(tool: Tool) -> None:
        task = await find_task(tool, task_id, framework)
        name = path or ("stderr" if stderr else "stdout")
        async for data in read_file(tool, task, name, follow=follow, start=-tail_bytes if tail_bytes else 0):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    with_tool(cluster, work)


async def find_task(tool: Tool, task_id: str, framework_id: str) -> Task:
    """The task of that id, or the only one whose id begins so. Raises :class:`KaonError`."""
    question = GetTasks(framework_id=framework_id, task_prefix=task_id, completed=True)
    tasks: tuple[Task, ...] = (await tool.ask(question)).tasks
    exact = [task for task in tasks if task.task_id == task_id]
    found = exact or list(tasks)
    if not found:
        raise KaonError(f"no task is called {task_id!r}; `kaon ps --all` lists them")
    if len({(task.framework_id, task.task_id) for task in found}) > 1:
        names = ", ".join(sorted({f"{task.task_id} of {task.framework_id}" for task in found})[:5])
        raise KaonError(f"{task_id!r} is not one task but {len(found)} ({names}); give more of its id, or --framework")
    return found[0]


async def agent_of(tool: Tool, task: Task, name: str = "files") -> PID:
    """Where the agent of a task answers questions, its actor of that name.

    Raises :class:`NoAnswerFrom` while the agent is not there.
    """
    for agent in (await tool.ask(GetAgents())).agents:
        if agent.info.agent_id == task.info.agent_id:
            return files_of(agent.info, name)
    raise NoAnswerFrom(f"agent {task.info.agent_id} of {task.task_id} is not registered: it cannot be reached now")


def files_of(agent: AgentInfo, name: str = "files") -> PID:
    """The actor of an agent that reads sandboxes, or another of its actors."""
    if not agent.address:
        raise KaonError(f"agent {agent.agent_id} has told no address: it cannot be reached")
    return PID(name, agent.address)


async def read_file(tool: Tool, task: Task, path: str, *, follow: bool = False, start: int = 0) -> AsyncIterator[bytes]:
    """The bytes of a sandbox file, from `start` (negative: from its end); with `follow` until the task has ended."""
    agent = await agent_of(tool, task)
    offset = start
    clock = asyncio.get_running_loop().time
    heard = clock()
    while True:
        question = ReadSandbox(framework_id=task.framework_id, task_id=task.task_id, path=path, offset=offset)
        try:
            chunk: SandboxChunk = await tool.ask(question, agent)
        except NoAnswerFrom:
            if not follow or clock() - heard > PATIENCE_SECONDS:
                raise
            await asyncio.sleep(FOLLOW_SECONDS)
            with contextlib.suppress(NoAnswerFrom):
                agent = await agent_of(tool, task)
            continue
        heard = clock()
        if chunk.data:
            yield chunk.data
        offset = chunk.offset + len(chunk.data)
        if offset < chunk.size_bytes:
            continue
        if chunk.ended or not follow:
            return
        await asyncio.sleep(FOLLOW_SECONDS)
