"""`kaon keys`: who may connect."""

from __future__ import annotations

from pathlib import Path

import click

from actors.cli.show import print_json
from actors.scheduler.cluster import default_work_dir
from runtime.transport.zeromq.keys import AUTHORISED, add_node, own_key, revoke_node

_directory = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Key directory of the masters; that of `kaon up` unless given.",
)


def _chosen(directory: Path | None) -> Path:
    return directory or default_work_dir() / "keys"


@click.group()
def keys() -> None:
    """Make, list and revoke keys. Every node of a cluster has one file, and the masters know its public half."""


@keys.command("add")
@click.argument("name")
@_directory
def add(name: str, directory: Path | None) -> None:
    """Make the key of node NAME: one file to hand to it, which also holds the masters' public key."""
    click.echo(str(add_node(_chosen(directory), name)))


@keys.command("list")
@click.option("--json", "json_", is_flag=True, help="JSON instead of lines.")
@_directory
def list_(directory: Path | None, json_: bool) -> None:
    """List who may connect."""
    where = _chosen(directory) / AUTHORISED
    names = sorted(file.name for file in where.glob("*"))
    if json_:
        print_json(names)
        return
    for name in names:
        click.echo(name)
    if not names:
        click.echo(f"kaon: {where} has no keys; `kaon keys add NAME` makes one", err=True)


@keys.command("revoke")
@click.argument("name")
@_directory
def revoke(name: str, directory: Path | None) -> None:
    """Take the key of NAME away: its connections end within a second, and it cannot come back with it."""
    revoke_node(_chosen(directory), name)
    click.echo(f"revoked {name}")


@keys.command("show")
@_directory
def show(directory: Path | None) -> None:
    """Show the masters' public key, which addresses may carry (``tcp://host:5040?key=...``)."""
    click.echo(own_key(_chosen(directory)).public.hex())
