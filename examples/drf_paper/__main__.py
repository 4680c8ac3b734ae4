"""``python -m examples.drf_paper``: run the paper's two frameworks side by side and watch their shares."""

from __future__ import annotations

import asyncio
import signal
import sys

import click
from rich.console import Console
from rich.table import Table

from actors.scheduler import Resources, serve_scheduler
from actors.scheduler.cluster import Cluster, find_cluster
from actors.scheduler.state import Interrupt
from allocator.resources import total
from examples.cluster import cluster_options, fetch_agents
from examples.drf_paper.scheduler import FAILURES, Begin, PaperFramework, PaperState, initial_state
from runtime.errors import KaonError
from runtime.message import Message

CLUSTER = Resources.scalar_only(cpus=9, mem=18 * 1024)
DEMANDS = {
    "A": Resources.scalar_only(cpus=1, mem=4 * 1024),
    "B": Resources.scalar_only(cpus=3, mem=1024),
}
EXPECTED = {"A": 3, "B": 2}

STABLE_OFFERS = 5
STABLE_SECONDS = 4.0
"""So many offers in a row that neither framework could use, over several cycles of the allocator (1 s each): then
nothing will change any more."""

NEGLIGIBLE = 0.05
"""Part of the paper's cluster that may be there besides, on agents too small for any task: it hardly moves a share."""

LIMIT_SECONDS = 180.0
"""For the whole example."""

EXIT_OTHER = 1
EXIT_WRONG_CLUSTER = 2


class Paper:
    """Both frameworks as they are run: states to look at, and an inbox for each."""

    def __init__(self) -> None:
        self.states = {name: initial_state(f"drf-{name}", demand) for name, demand in DEMANDS.items()}
        self.inboxes: dict[str, asyncio.Queue[Message]] = {name: asyncio.Queue() for name in DEMANDS}
        self.stable = asyncio.Event()
        self._begun = False
        self._shown: tuple[int, ...] = ()
        self._now = asyncio.get_running_loop().time
        self._started = self._changed = self._now()

    def look(self, name: str, state: PaperState) -> None:
        """After each turn of a framework: let both begin once both are there, show what moved, notice the end."""
        self.states[name] = state
        states = self.states.values()
        if not self._begun and all(each.connection.master is not None for each in states):
            self._begun = True
            self.tell(Begin())
        tasks = tuple(each.tasks for each in states)
        if self._begun and tasks != self._shown:
            self._shown = tasks
            self._changed = self._now()
            self._show()
        unused = sum(each.declined for each in states) >= STABLE_OFFERS
        quiet = unused and self._now() - self._changed >= STABLE_SECONDS and all(each.all_run for each in states)
        if any(len(each.failures) >= FAILURES for each in states) or (any(tasks) and quiet):
            self.stable.set()

    def tell(self, message: Message) -> None:
        """Put a message into both inboxes."""
        for inbox in self.inboxes.values():
            inbox.put_nowait(message)

    def tasks(self) -> dict[str, int]:
        """How many tasks each framework has."""
        return {name: state.tasks for name, state in self.states.items()}

    def _show(self) -> None:
        seconds = self._now() - self._started
        parts = [
            f"{name} {count} task{'s' if count != 1 else ' '}  share {dominant_share(name, count):4.0%}"
            for name, count in self.tasks().items()
        ]
        click.echo(f"{seconds:6.1f} s   {'      '.join(parts)}")


def dominant_share(name: str, tasks: int) -> float:
    """The larger of a framework's shares of the cluster's CPUs and of its memory."""
    whole = CLUSTER.scalars()
    return max(tasks * amount / whole[resource] for resource, amount in DEMANDS[name].scalars().items())


async def run(cluster: Cluster) -> int:
    """Run the example; returns the exit status."""
    agents = await fetch_agents(cluster)
    fitting = [agent for agent in agents if any(demand in agent.info.resources for demand in DEMANDS.values())]
    has = total(agent.info.resources for agent in fitting).scalars()
    besides = total(agent.info.resources for agent in agents if agent not in fitting).scalars()
    if any(
        has.get(name, 0) != amount or besides.get(name, 0) > amount * NEGLIGIBLE
        for name, amount in CLUSTER.scalars().items()
    ):
        click.echo(wrong_cluster(has), err=True)
        return EXIT_WRONG_CLUSTER
    if any(agent.tasks for agent in agents):
        click.echo("drf_paper: the cluster runs other tasks: the shares will not be the paper's", err=True)
    paper = Paper()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, paper.stable.set)
    frameworks = [
        asyncio.ensure_future(
            serve_scheduler(
                PaperFramework,
                paper.states[name],
                cluster,
                watch=lambda state, name=name: paper.look(name, state),  # type: ignore[misc]
                say=lambda line, name=name: click.echo(f"{name}: {line}", err=True),  # type: ignore[misc]
                inbox=paper.inboxes[name],
            )
        )
        for name in DEMANDS
    ]
    stable = asyncio.ensure_future(paper.stable.wait())
    await asyncio.wait([stable, *frameworks], timeout=LIMIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    tasks = paper.tasks()
    stable.cancel()
    paper.tell(Interrupt())
    await asyncio.gather(*frameworks)
    return verdict(paper, tasks)


def wrong_cluster(has: dict[str, int]) -> str:
    """What to say when the cluster is not the paper's. has: what the agents have that a task fits on."""
    return (
        f"drf_paper: the paper's cluster has 9 CPUs and 18 GB; where a task fits, this one has "
        f"{has.get('cpus', 0) / 1000:g} CPUs and {has.get('mem', 0) / 1000 / 1024:g} GB: start one with\n"
        "    kaon up --agents 1 --resources 'cpus:9;mem:18432'"
    )


def verdict(paper: Paper, tasks: dict[str, int]) -> int:
    """Show the result beside the paper's; returns the exit status."""
    table = Table("framework", "a task needs", "tasks", "in the paper", "dominant share")
    for name, demand in DEMANDS.items():
        amounts = demand.scalars()
        need = f"<{amounts['cpus'] / 1000:g} CPU, {amounts['mem'] / 1000 / 1024:g} GB>"
        table.add_row(name, need, str(tasks[name]), str(EXPECTED[name]), f"{dominant_share(name, tasks[name]):.0%}")
    Console().print(table)
    for state in paper.states.values():
        for failure in state.failures:
            click.echo(f"drf_paper: {failure}", err=True)
    if tasks == EXPECTED:
        click.echo("As in the paper: nobody was told what to take, and both have two thirds of what they need most.")
        return 0
    click.echo(f"drf_paper: {tasks['A']} and {tasks['B']} tasks, where the paper has 3 and 2", err=True)
    return EXIT_OTHER


@click.command()
@cluster_options
def main(master: str | None, key: str | None, insecure: bool) -> None:
    """Run the worked example of the DRF paper on a cluster with 9 CPUs and 18 GB of memory."""
    try:
        status = asyncio.run(run(find_cluster(master, key, insecure=insecure)))
    except KaonError as error:
        click.echo(f"drf_paper: {error}", err=True)
        status = EXIT_OTHER
    sys.exit(status)


if __name__ == "__main__":
    main(prog_name="python -m examples.drf_paper")
