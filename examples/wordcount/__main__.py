"""``python -m examples.wordcount [DIRECTORY]``: count words on a cluster, and check the result."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from actors.messages.operating import AgentSummary
from actors.scheduler import serve_scheduler
from actors.scheduler.cluster import Cluster, find_cluster
from actors.scheduler.run import pass_on_signals, say_on_stderr
from examples.cluster import cluster_options, fetch_agents
from examples.wordcount.counting import count_files, merge, unpack
from examples.wordcount.plan import Plan, default_directory, final_parts, list_files, make_plan, outstanding
from examples.wordcount.scheduler import ATTRIBUTE, WordCount, WordCountState, initial_state
from runtime.errors import KaonError

TOP = 10
"""Words shown."""


class Progress:
    """Prints a line for each result that is safe, and for each task that was lost."""

    def __init__(self) -> None:
        self._told = 0
        self._lost = 0
        self._begun = False

    def look(self, state: WordCountState) -> None:
        """After each turn of the scheduler."""
        if not self._begun:
            self._begun = True
            if state.resumed:
                click.echo(f"taking up an earlier run: {state.restored} results are there")
        for lost in state.lost[self._lost :]:
            click.echo(f"{lost}; it will be run again")
        self._lost = len(state.lost)
        for key in state.safe[self._told :]:
            self._told += 1
            there = list(state.results)[: state.restored + self._told]
            maps = sum(name.startswith("map-") for name in there)
            click.echo(f"{key:16} done   map {maps}/{len(state.plan.splits)}   reduce {len(there) - maps}")


def places_of(agents: Sequence[AgentSummary]) -> list[str]:
    """Values of the attribute `data`, sorted."""
    return sorted({value for agent in agents for name, value in agent.info.attributes if name == ATTRIBUTE})


async def run(
    cluster: Cluster,
    directory: Path,
    work_dir: Path | None,
    split_bytes: int,
    reduces: int,
    pause_seconds: float,
) -> int:
    """Count, show, check; returns the exit status."""
    files = list_files(directory)
    places = places_of(await fetch_agents(cluster))
    plan = make_plan(files, places, split_bytes, reduces, pause_seconds)
    where = (
        f"by the attribute {ATTRIBUTE}: {', '.join(places)}" if places else "anywhere: no agent has an attribute data"
    )
    click.echo(f"{len(files)} files under {directory}, {sum(size for _, size in files) / 1e6:.1f} MB")
    click.echo(f"{len(plan.splits)} map tasks, placed {where}; {reduces} partitions to reduce")
    state = await serve_scheduler(
        WordCount,
        initial_state(plan),
        cluster,
        work_dir=work_dir,
        watch=Progress().look,
        say=say_on_stderr,
        inbox=pass_on_signals(),
    )
    if state.problem:
        raise KaonError(state.problem)
    if outstanding(state.plan, state.results):
        if state.connection.finishing:
            raise KaonError("ended by the user")
        raise KaonError(f"stopped before the end; go on with --work-dir {work_dir}")
    return show(state.plan, state)


def show(plan: Plan, state: WordCountState) -> int:
    """Show the most frequent words, and whether a single process counts the same."""
    counts = merge(unpack(packed) for packed in final_parts(plan, state.results))
    table = Table("word", "count")
    for word, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP]:
        table.add_row(word, str(count))
    Console().print(table)
    same = counts == count_files(plan.paths)
    click.echo(
        f"{counts.total()} words, {len(counts)} different; {len(state.lost)} tasks run again; "
        f"a single process counts {'the same' if same else 'something else'}"
    )
    return 0 if same else 1


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False), required=False)
@cluster_options
@click.option("--work-dir", type=click.Path(path_type=Path), help="Journal: a run that was killed is taken up again.")
@click.option("--split-bytes", default=1_000_000, show_default=True, type=click.IntRange(1), help="Text per map task.")
@click.option("--reduces", default=2, show_default=True, type=click.IntRange(1, 64), help="Parts merged side by side.")
@click.option("--pause-seconds", default=0.0, type=click.FloatRange(0, 600), help="Before each task: time to watch.")
def main(
    directory: Path | None,
    master: str | None,
    key: str | None,
    insecure: bool,
    work_dir: Path | None,
    split_bytes: int,
    reduces: int,
    pause_seconds: float,
) -> None:
    """Count the words of the text files under DIRECTORY (Python's standard library by default) on a cluster."""
    try:
        cluster = find_cluster(master, key, insecure=insecure)
        coming = run(cluster, directory or default_directory(), work_dir, split_bytes, reduces, pause_seconds)
        status = asyncio.run(coming)
    except KaonError as error:
        click.echo(f"wordcount: {error}", err=True)
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main(prog_name="python -m examples.wordcount")
