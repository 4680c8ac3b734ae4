"""`kaon agent`: one agent, which offers its machine to the master."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from actors.agent.compose import spawn_agent
from actors.agent.detect import detect_resources
from actors.agent.state import AgentSettings
from actors.cli.daemon import Daemon, run_daemon
from actors.cli.settings import (
    AGENT_FLAGS,
    containerizer_socket,
    daemon_settings,
    executor_socket,
    key_of,
    make_runtime_dir,
    with_key,
)
from runtime import __version__
from runtime.errors import ConfigurationError
from runtime.flag_options import flag_options
from runtime.flags import Settings
from runtime.pid import PID
from runtime.transport.zeromq.keys import MASTER_PRINCIPAL


@click.command()
@flag_options(AGENT_FLAGS)
def agent(settings: Settings) -> None:
    """Run an agent: it offers this machine to the master, and runs tasks through its containerizer."""
    key = key_of(settings)
    runtime_dir = make_runtime_dir(settings)
    work_dir: Path = settings["work_dir"]
    keys = None if key is None else settings["keys"] or work_dir / "keys"
    resources = detect_resources(settings["resources"], str(work_dir))
    attributes = parse_attributes(settings["attributes"])

    def compose(daemon: Daemon) -> None:
        url = daemon.serve_http()
        listening = daemon.node.listen(settings["listen"])
        spawn_agent(
            daemon.node,
            AgentSettings(
                hostname=settings["hostname"] or socket.gethostname(),
                resources=resources,
                work_directory=str(work_dir),
                containerizer=PID("containerizer", with_key(containerizer_socket(runtime_dir), key)),
                master=PID("master", _address(settings["master"])),
                attributes=attributes,
                address=with_key(listening, key),
                http_address=url,
                executor_address=executor_socket(runtime_dir),
                public_key=key.public.hex() if key is not None else "",
                key_directory=str(keys) if keys is not None else "",
                version=__version__,
            ),
            daemon.end,
        )

    run_daemon(daemon_settings(settings, settings["name"], key, keys, relays=(MASTER_PRINCIPAL,)), compose)


def _address(text: str) -> str:
    """Where a master listens; ``host:port`` means TCP."""
    address = text if "://" in text else f"tcp://{text}"
    PID.parse(f"master@{address}")
    return address


def parse_attributes(text: str) -> tuple[tuple[str, str], ...]:
    """Read ``rack:a;disk:ssd``. Raises :class:`ConfigurationError`."""
    pairs = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, colon, value = (piece.strip() for piece in part.partition(":"))
        if not (name and colon and value):
            raise ConfigurationError(f"attributes {text!r}: {part!r} is not name:value, as in 'rack:a;disk:ssd'")
        pairs.append((name, value))
    return tuple(pairs)
