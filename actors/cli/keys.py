"""`kaon keys`: who may connect."""

from __future__ import annotations

from pathlib import Path

import click

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
@_directory
def list_(directory: Path | None) -> None:
    """List who may connect."""
    for file in sorted((_chosen(directory) / AUTHORISED).glob("*")):
        click.echo(file.name)


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
