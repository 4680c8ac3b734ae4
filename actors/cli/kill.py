"""`kaon kill`: end tasks by hand."""

from __future__ import annotations

import click

from actors.cli.client import Tool, cluster_options, with_tool
from actors.messages.operating import KillTaskByOperator
from actors.scheduler.cluster import Cluster
from runtime.errors import KaonError


@click.command()
@click.argument("tasks", nargs=-1, required=True, metavar="TASK...")
@click.option("--framework", default="", metavar="ID", help="Of the tasks, where two frameworks use one task id.")
@cluster_options
def kill(cluster: Cluster, tasks: tuple[str, ...], framework: str) -> None:
    """End tasks: SIGTERM first, SIGKILL after the task's grace. Exit status 1 if one of them is unknown."""

    async def work(tool: Tool) -> list[str]:
        problems = []
        for task_id in tasks:
            try:
                await tool.ask(KillTaskByOperator(task_id=task_id, framework_id=framework))
                click.echo(f"killing {task_id}")
            except KaonError as error:
                problems.append(str(error))
        return problems

    problems = with_tool(cluster, work)
    for problem in problems:
        click.echo(f"kaon: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(1)
