"""`kaon containerizer`: the process of an agent that launches and isolates tasks."""

from __future__ import annotations

import click

from actors.cli.daemon import Daemon, run_daemon
from actors.cli.settings import (
    CONTAINERIZER_FLAGS,
    containerizer_dir,
    containerizer_socket,
    daemon_settings,
    key_of,
    make_runtime_dir,
)
from containerizer.actor import ContainerizerActor
from containerizer.state import ContainerizerConfig, ContainerizerState
from runtime.flag_options import flag_options
from runtime.flags import Settings
from runtime.supervision import FATAL


@click.command()
@flag_options(CONTAINERIZER_FLAGS)
def containerizer(settings: Settings) -> None:
    """Run an agent's containerizer: the process that launches and isolates tasks, the only one that needs root."""
    key = key_of(settings)
    runtime_dir = make_runtime_dir(settings)

    def compose(daemon: Daemon) -> None:
        config = ContainerizerConfig(
            runtime_directory=str(containerizer_dir(runtime_dir)),
            isolation=settings["isolation"],
            hidden=(str(settings["work_dir"]),),
            cgroup=settings["cgroup"],
            gpu_devices=settings["gpu_devices"],
            project_range=settings["project_range"],
            network_bridge=settings["network_bridge"],
            network_subnet=settings["network_subnet"],
        )
        daemon.node.spawn(ContainerizerActor, "containerizer", ContainerizerState(config=config), FATAL)
        daemon.node.listen(containerizer_socket(runtime_dir))
        daemon.serve_http()

    common = daemon_settings(settings, settings["name"], key)
    common.work_dir = common.work_dir / "containerizer"
    run_daemon(common, compose)
