"""Reading a cluster: `kaon ps`, `agents`, `frameworks`, `offers`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from actors.cli.client import ask, cluster_options
from actors.cli.show import age, print_json, print_table, shown
from actors.messages.operating import GetAgents, GetFrameworks, GetOffers, GetTasks
from actors.messages.records import Task
from actors.scheduler.cluster import Cluster

_json = click.option("--json", "json_", is_flag=True, help="JSON instead of a table.")


@click.command()
@click.option("--all", "-a", "all_", is_flag=True, help="Also tasks that have ended.")
@click.option("--framework", default="", metavar="ID", help="Only those of one framework.")
@_json
@cluster_options
def ps(cluster: Cluster, all_: bool, framework: str, json_: bool) -> None:
    """List tasks."""
    tasks = ask(cluster, GetTasks(framework_id=framework, completed=all_)).tasks
    if json_:
        print_json(tasks)
        return
    print_table(
        ("TASK", "STATE", "FRAMEWORK", "ROLE", "AGENT", "RESOURCES", "SINCE>", "MESSAGE"),
        (_task_row(task) for task in tasks),
        "no tasks" if all_ else "no tasks run; --all shows those that have ended",
    )


def _task_row(task: Task) -> tuple[str, ...]:
    last = task.statuses[-1] if task.statuses else None
    return (
        task.task_id,
        task.latest_state.value,
        task.framework_id,
        task.role,
        task.info.agent_id,
        shown(task.info.resources),
        age(last.timestamp if last else 0.0),
        last.message if last else "",
    )


@click.command()
@_json
@cluster_options
def agents(cluster: Cluster, json_: bool) -> None:
    """List agents and what they have to offer."""
    known = ask(cluster, GetAgents()).agents
    if json_:
        print_json(known)
        return
    print_table(
        ("AGENT", "HOST", "STATE", "RESOURCES", "USED", "OFFERED", "TASKS>", "ATTRIBUTES", "NOT ISOLATED"),
        (
            (
                agent.info.agent_id,
                agent.info.hostname,
                agent.state,
                shown(agent.info.resources),
                shown(agent.used),
                shown(agent.offered),
                str(agent.tasks),
                ";".join(f"{name}:{value}" for name, value in agent.info.attributes) or "-",
                _grouped(agent.info.not_isolated) or "-",
            )
            for agent in known
        ),
        "no agents have registered; `kaon agent --master ADDRESS` starts one",
    )


def _grouped(isolators: Iterable[str]) -> str:
    """Isolators by what they belong to: ``cgroups: core cpu mem; linux: seccomp``."""
    groups: dict[str, list[str]] = {}
    for isolator in isolators:
        group, _, name = isolator.partition("/")
        groups.setdefault(group, []).append(name)
    return "; ".join(f"{group}: {' '.join(names)}" for group, names in groups.items())


@click.command()
@click.option("--all", "-a", "all_", is_flag=True, help="Also frameworks that have completed.")
@_json
@cluster_options
def frameworks(cluster: Cluster, all_: bool, json_: bool) -> None:
    """List frameworks and their shares."""
    known = ask(cluster, GetFrameworks(completed=all_)).frameworks
    if json_:
        print_json(known)
        return
    print_table(
        ("FRAMEWORK", "NAME", "STATE", "ROLES", "TASKS>", "USED", "OFFERED", "SHARE>", "SINCE>"),
        (
            (
                framework.info.framework_id,
                framework.info.name,
                framework.state,
                ",".join(framework.info.roles),
                str(framework.tasks),
                shown(framework.used),
                shown(framework.offered),
                f"{framework.dominant_share:.1%}",
                age(framework.registered_at),
            )
            for framework in known
        ),
        "no frameworks are subscribed",
    )


@click.command()
@_json
@cluster_options
def offers(cluster: Cluster, json_: bool) -> None:
    """List offers that frameworks hold."""
    held = ask(cluster, GetOffers()).offers
    if json_:
        print_json(held)
        return
    print_table(
        ("OFFER", "FRAMEWORK", "ROLE", "AGENT", "HOST", "RESOURCES"),
        (
            (offer.offer_id, offer.framework_id, offer.role, offer.agent_id, offer.hostname, shown(offer.resources))
            for offer in held
        ),
        "no offers are outstanding",
    )
