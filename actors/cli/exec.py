"""`kaon exec` and `kaon attach`: sessions at tasks, from this terminal."""

from __future__ import annotations

import sys
from typing import Final

import click

from actors.cli.client import Tool, cluster_options, with_tool
from actors.cli.logs import agent_of, find_task
from actors.cli.session import CREDIT_BYTES, LAG_BYTES, Client, ClientState, hold, raw_terminal, window_size
from actors.messages.operating import GetMaster
from actors.messages.records import Task, TaskState
from actors.messages.sessions import AttachTask, OpenSession, SessionOpened
from actors.scheduler.cluster import Cluster
from runtime.errors import KaonError
from runtime.pid import PID

SESSIONS: Final = "sessions"
"""The actor of an agent that opens sessions."""

DEFAULT_WINDOW: Final = (24, 80)
"""Rows and columns where nobody sits at a terminal."""


@click.command("exec", context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.argument("task_id", metavar="TASK")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--input", "-i", "interactive", is_flag=True, help="Standard input from here.")
@click.option("--tty", "-t", "terminal", is_flag=True, help="A terminal, and what is typed here goes into it.")
@click.option("--env", "-e", "environment", multiple=True, metavar="NAME=VALUE", help="On top of the task's.")
@click.option("--user", default="", help="To run as; the task's unless given.")
@click.option("--framework", default="", metavar="ID", help="Of the task, where two frameworks use one task id.")
@cluster_options
def exec_command(
    cluster: Cluster,
    task_id: str,
    command: tuple[str, ...],
    interactive: bool,
    terminal: bool,
    environment: tuple[str, ...],
    user: str,
    framework: str,
) -> None:
    """Run COMMAND in the container of a running TASK: in its namespaces, its limits, its sandbox.

    It ends with this command, with the agent, and with the task. A task of a custom executor has no container of its
    own: COMMAND runs in its executor's. Exit status: COMMAND's own, 128 and its number if a signal ended it, 127 if it
    cannot be executed; 1 and a line that begins with "kaon:" if there was no running it, or the connection broke.
    """
    rows, columns = window_size() or DEFAULT_WINDOW
    pairs = read_environment(environment)

    async def work(tool: Tool) -> int:
        task = await running_task(tool, task_id, framework)
        question = OpenSession(
            framework_id=task.framework_id,
            task_id=task.task_id,
            argv=command[1:] if command[0] == "--" else command,
            credit_bytes=CREDIT_BYTES,
            environment=pairs,
            user=user,
            tty=terminal,
            rows=rows,
            columns=columns,
            input=interactive or terminal,
        )
        return await hold_session(tool, await agent_of(tool, task, SESSIONS), question)

    raise click.exceptions.Exit(with_tool(cluster, work))


@click.command()
@click.argument("task_id", metavar="TASK")
@click.option("--no-input", is_flag=True, help="Only look.")
@click.option("--tail", "tail_bytes", default=0, type=click.IntRange(min=0), metavar="BYTES", help="Of before, first.")
@click.option("--framework", default="", metavar="ID", help="Of the task, where two frameworks use one task id.")
@cluster_options
def attach(cluster: Cluster, task_id: str, no_input: bool, tail_bytes: int, framework: str) -> None:
    """Show what a running TASK prints, as it prints it, and let it read what is typed here.

    A task reads what is typed if it has a terminal (`kaon run --tty`) or an open standard input (`--interactive`). It
    goes on when this command ends; ^P ^Q leaves a terminal.
    """

    async def work(tool: Tool) -> int:
        task = await running_task(tool, task_id, framework)
        question = AttachTask(
            framework_id=task.framework_id,
            task_id=task.task_id,
            credit_bytes=CREDIT_BYTES,
            input=not no_input,
            offset=-tail_bytes if tail_bytes else None,
            lag_bytes=LAG_BYTES if sys.stdout.isatty() else None,
        )
        return await hold_session(tool, await agent_of(tool, task, SESSIONS), question)

    raise click.exceptions.Exit(with_tool(cluster, work))


async def running_task(tool: Tool, task_id: str, framework_id: str) -> Task:
    """A task that runs. Raises :class:`KaonError` for another."""
    await tool.ask(GetMaster())
    task = await find_task(tool, task_id, framework_id)
    if task.latest_state.is_terminal:
        raise KaonError(f"task {task.task_id} has ended ({task.latest_state.value}); `kaon logs` shows what it printed")
    if task.latest_state is TaskState.UNREACHABLE:
        raise KaonError(f"the agent of task {task.task_id} is unreachable: try again when `kaon agents` shows it")
    if task.latest_state not in {TaskState.RUNNING, TaskState.KILLING}:
        raise KaonError(f"task {task.task_id} does not run yet ({task.latest_state.value}): try again in a moment")
    return task


async def hold_session(tool: Tool, agent: PID, question: OpenSession | AttachTask) -> int:
    """Open a session and stay in it; the status to exit with. Raises :class:`KaonError` when it went wrong."""
    tool.node.spawn(Client, "session", ClientState(agent=agent, question=question))
    client = tool.node.cells["session"].actor
    assert isinstance(client, Client)

    with raw_terminal() as enter_raw:

        def opened(answer: SessionOpened) -> None:
            if answer.tty and answer.input:
                enter_raw()

        result = await hold(client, opened)
    if result.error and result.status == 1:
        raise KaonError(result.error)
    if result.error:
        click.echo(f"kaon: {result.error}", err=True)
    return result.status


def read_environment(pairs: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Read NAME=VALUE. Raises a usage error."""
    found = []
    for pair in pairs:
        name, given, value = pair.partition("=")
        if not given or not name:
            raise click.UsageError(f"--env {pair}: write it as NAME=VALUE")
        found.append((name, value))
    return tuple(found)
