"""`kaon master`: one master, with its registrar and its allocator."""

from __future__ import annotations

import socket

import click

from actors.cli.daemon import Daemon, run_daemon
from actors.cli.settings import MASTER_FLAGS, daemon_settings
from actors.master.compose import spawn_master
from actors.master.settings import MasterSettings
from runtime import __version__
from runtime.flag_options import flag_options
from runtime.flags import Settings
from runtime.store_sqlite import SqliteStore
from runtime.transport.zeromq.keys import own_key


@click.command()
@flag_options(MASTER_FLAGS)
def master(settings: Settings) -> None:
    """Run a master. It keeps its registry below the work directory; keys are made on first use."""
    work_dir = settings["work_dir"]
    keys = settings["keys"] or work_dir / "keys"
    key = None if settings["insecure"] else own_key(keys)
    hostname = settings["hostname"] or socket.gethostname()

    def compose(daemon: Daemon) -> None:
        url = daemon.serve_http()
        address = daemon.node.listen(settings["listen"])
        spawn_master(
            daemon.node,
            lambda: SqliteStore(work_dir / "registry.sqlite"),
            MasterSettings(
                hostname=hostname,
                address=address,
                http_address=url,
                public_key=key.public.hex() if key is not None else "",
                version=__version__,
                agent_ping_seconds=settings["agent_ping_timeout"],
                max_agent_pings_missed=settings["max_agent_ping_timeouts"],
                agent_reregister_seconds=settings["agent_reregister_timeout"],
                offer_timeout_seconds=settings["offer_timeout"],
            ),
            policy=settings["allocator"],
            allocation_interval_seconds=settings["allocation_interval"],
        )

    name = key.principal if key is not None else "master"
    run_daemon(daemon_settings(settings, name, key, keys), compose)
