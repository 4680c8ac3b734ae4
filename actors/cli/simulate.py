"""``kaon simulate``: a whole cluster in this process, on virtual time; nothing of it touches the machine."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from actors.cli.show import print_table
from actors.simulation.day import STATIC, Day, simulate_day, workloads_of
from actors.simulation.faults import LEVELS
from actors.simulation.plots import plot
from actors.simulation.run import HASTY, Outcome, Scenario, parse_level, schedule, shrink, simulate_cluster
from actors.simulation.run import begin as begin_scenario
from actors.simulation.shape import ClusterShape
from actors.simulation.summary import Sample, Summary
from actors.simulation.violation import Violation
from actors.simulation.workloads import Batch, Service
from allocator.plugin import load_policy
from runtime.errors import ConfigurationError, KaonError

EXIT_VIOLATED = 3


@click.command()
@click.option("--agents", default=100, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--frameworks", default=10, show_default=True, type=click.IntRange(1, 1_000))
@click.option("--masters", default=1, show_default=True, type=click.IntRange(1, 9))
@click.option("--hours", default=1.0, show_default=True, type=click.FloatRange(0.001, 10_000), help="Virtual hours.")
@click.option(
    "--load", default=0.8, show_default=True, type=click.FloatRange(0.0, 100.0), help="Work, as a part of all CPUs."
)
@click.option("--faults", default="none", show_default=True, help=f"{', '.join(LEVELS)}, or kind=number per hour, ...")
@click.option(
    "--policy", "policies", multiple=True, help="drf, priority, random, static, module:Class; several compare."
)
@click.option("--workload", type=click.Path(dir_okay=False, path_type=Path), help="JSON: a list of workloads, instead.")
@click.option("--seed", type=int, help="Of everything random; drawn and shown if it is not given.")
@click.option(
    "--plot", "picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw shares and use (matplotlib)."
)
@click.option("--json", "json_", is_flag=True, help="JSON instead of tables.")
@click.option(
    "--check", is_flag=True, help="Three frameworks under faults, then none until all is settled; shrinks what fails."
)
@click.option("--only-faults", help="With --check: numbers of the faults to do, with commas; '-' for none.")
def simulate(
    agents: int,
    frameworks: int,
    masters: int,
    hours: float,
    load: float,
    faults: str,
    policies: tuple[str, ...],
    workload: Path | None,
    seed: int | None,
    picture: Path | None,
    json_: bool,
    check: bool,
    only_faults: str | None,
) -> None:
    """Simulate a cluster of real masters, agents and schedulers on virtual time.

    The same seed gives the same history. Policies are compared on the same work; `static` gives each framework a fixed
    part of the agents. What must never happen is checked all the time, and ends the simulation with status 3.
    """
    seed = random.SystemRandom().randrange(1_000_000_000) if seed is None else seed
    rates = parse_level(faults)
    _check_policies(policies)
    if check:
        shape = ClusterShape(masters=masters, agents=agents, settings=HASTY, policy=policies[0] if policies else "drf")
        scenario = Scenario(shape=shape, faults=rates, seconds=hours * 3600.0, only=_numbers(only_faults))
        with _quiet():
            status = _check(seed, scenario, json_)
        raise click.exceptions.Exit(status)
    day = Day(
        agents=agents,
        frameworks=frameworks,
        masters=masters,
        hours=hours,
        load=load,
        faults=rates,
        seed=seed,
        workloads=_read(workload),
    )
    with _quiet():
        results = _run([msgspec.structs.replace(day, policy=policy) for policy in policies or ("drf",)], quiet=json_)
    if results is None:
        raise click.exceptions.Exit(EXIT_VIOLATED)
    if picture is not None:
        names = [each.name for each in workloads_of(day)]
        plot({summary.policy: samples for summary, samples in results}, names, picture)
        click.echo(f"wrote {picture}", err=True)
    if json_:
        click.echo(msgspec.json.encode([summary for summary, _ in results]).decode())
    else:
        _show([summary for summary, _ in results])


@contextmanager
def _quiet() -> Iterator[None]:
    """Simulated processes fail as they should: that is no news."""
    log = logging.getLogger("kaon")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return () if text == "-" else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(f"--only-faults {text}: write numbers with commas between them, or -") from None


def _check_policies(policies: Iterable[str]) -> None:
    """Before any of them is given a day: each exists."""
    for policy in policies:
        if policy != STATIC:
            try:
                load_policy(policy)
            except ConfigurationError as error:
                text = str(error).removeprefix(f"--allocator={policy}: ")
                raise click.UsageError(f"--policy {policy}: {text}; {STATIC} is static partitioning") from None


def _read(path: Path | None) -> tuple[Batch | Service, ...]:
    """The workloads of a file."""
    if path is None:
        return ()
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Batch | Service, ...])
    except (OSError, msgspec.MsgspecError) as error:
        raise KaonError(f"{path} holds no workloads: {error}") from None


# A day ----------------------------------------------------------------------------------------------------------------


def _run(days: list[Day], *, quiet: bool) -> list[tuple[Summary, list[Sample]]] | None:
    """Simulate each, with a bar; None when one was violated, which is said."""
    results = []
    console = Console(stderr=True, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[at]}"), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            for day in days:
                bar = progress.add_task(day.policy, total=day.hours * 3600.0, at="")

                def tell(seconds: float, bar: object = bar) -> None:
                    progress.update(bar, completed=seconds, at=f"{seconds / 3600.0:.1f} h")  # type: ignore[arg-type]

                results.append(simulate_day(day, tell))
    except Violation as violation:
        click.echo(f"violated: {violation}", err=True)
        return None
    return results


def _show(summaries: list[Summary]) -> None:
    first = summaries[0]
    click.echo(
        f"seed {first.seed}: {first.agents} agents, {first.frameworks} frameworks, {first.seconds / 3600.0:g} h; "
        "no invariant was broken"
    )
    print_table(
        ("POLICY", "JOBS>", "DONE>", "WAIT>", "IN USE>", "FAIRNESS>", "AT LEAST>", "FAULTS>", "SPEED>"),
        (
            (
                each.policy,
                f"{each.came:,}",
                f"{each.done:,}",
                f"{each.wait_seconds:,.1f} s",
                f"{each.utilisation:.1%}",
                f"{each.fairness:.3f}",
                f"{each.fairness_least:.3f}",
                f"{sum(each.faults.values()):,}",
                f"{each.seconds / each.wall_seconds:,.0f} x",
            )
            for each in summaries
        ),
        "nothing was simulated",
    )
    for each in summaries:
        if each.faults:
            survived = ", ".join(f"{count} {kind}" for kind, count in each.faults.items())
            click.echo(f"{each.policy} survived {survived}; {each.restarts} processes ended by themselves")
    if len(summaries) == 1:
        _show_frameworks(first)


def _show_frameworks(summary: Summary) -> None:
    click.echo()
    print_table(
        ("FRAMEWORK", "JOBS>", "DONE>", "WAITING>", "WAIT>", "SHARE>"),
        (
            (
                each.name,
                f"{each.came:,}",
                f"{each.done:,}",
                f"{each.waiting:,}",
                f"{each.wait_seconds:,.1f} s",
                f"{each.share:.1%}",
            )
            for each in summary.by_framework
        ),
        "there are no frameworks",
    )


# A check --------------------------------------------------------------------------------------------------------------


def _check(seed: int, scenario: Scenario, json_: bool) -> int:
    """Run one seed to its end; what fails is shrunk and shown. Returns the exit status."""
    try:
        outcome: Outcome = simulate_cluster(seed, scenario, digested=True)
    except Violation as violation:
        click.echo(f"violated: {violation.rule}: {violation.what}\nleaving out faults ...", err=True)
        scenario, violation = shrink(seed, scenario, violation, tell=lambda text: click.echo(text, err=True))
        for fault in schedule(seed, scenario, begin_scenario(seed, scenario)):
            click.echo(f"  {fault}", err=True)
        click.echo(f"violated: {violation}", err=True)
        return EXIT_VIOLATED
    if json_:
        click.echo(msgspec.json.encode(outcome).decode())
    else:
        click.echo(
            f"seed {seed} holds: {outcome.faults} faults, {outcome.jobs_done} jobs done in {outcome.seconds:g} s, "
            f"{outcome.turns:,} turns, history {outcome.digest}"
        )
    return 0
