"""``kaon supervise``: the supervisor as a command; also ``python -m runtime.supervise`` and ``scripts/supervise``."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Final

import click

from runtime.flag_kinds import BOOLEAN, BYTES, DURATION, INTEGER, PATH, STRING, choice
from runtime.flag_options import flag_options
from runtime.flags import Flag, FlagTable, Settings
from runtime.logs import FORMATS, LEVELS, setup_logs
from runtime.process import PARENT_VARIABLE, Notifier, die_with_parent, name_process
from runtime.rotation import RotatingFile
from runtime.supervision import Restart, Supervision
from runtime.supervisor import Plan, Supervisor

SUPERVISE_FLAGS: Final = FlagTable(
    "supervise",
    (
        Flag("name", None, STRING, "What the daemon is called; by default its program's name."),
        Flag(
            "restart",
            "transient",
            choice(*(kind.value for kind in Restart)),
            "Which ends are mended: all (permanent), failures (transient), none (temporary).",
            section="Restarts",
        ),
        Flag("intensity", "5", INTEGER, "Restarts within the period; one more is given up.", "Restarts", minimum="0"),
        Flag("period", "1mins", DURATION, "Time in which restarts are counted.", section="Restarts"),
        Flag("backoff", "100ms", DURATION, "Wait before the first restart; it doubles.", section="Restarts"),
        Flag("backoff_max", "10secs", DURATION, "Longest wait before a restart.", section="Restarts"),
        Flag("stop_timeout", "20secs", DURATION, "From SIGTERM to SIGKILL.", section="Stopping"),
        Flag(
            "die_with_parent", "false", BOOLEAN, "Stop when the process that started this one dies.", section="Stopping"
        ),
        Flag("notify", "false", BOOLEAN, "The daemon says itself when it is ready (sd_notify).", section="Watching"),
        Flag(
            "watchdog",
            "0secs",
            DURATION,
            "Kill a daemon that has been ready and gives no sign of life for so long; 0secs for never.",
            section="Watching",
        ),
        Flag("log_file", None, PATH, "Takes what the daemon writes; without it, our own output.", section="Logs"),
        Flag("log_limit", "10MB", BYTES, "Size at which the file is rotated.", section="Logs", minimum="1KB"),
        Flag("log_kept", "5", INTEGER, "Older files kept.", section="Logs", minimum="0"),
        Flag("log_format", "text", choice(*FORMATS), "Of this supervisor's own lines.", section="Logs"),
        Flag("log_level", "info", choice(*LEVELS), "Least level of its own lines.", section="Logs"),
    ),
)


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@flag_options(SUPERVISE_FLAGS)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def supervise(command: tuple[str, ...], settings: Settings) -> None:
    """Start COMMAND, restart it when it fails, pass signals on to it, and keep its log.

    Exit status: the daemon's own; 0 when it was stopped on request; 1 when it failed too often; 127 when it cannot
    be started.
    """
    if settings["die_with_parent"] or PARENT_VARIABLE in os.environ:
        die_with_parent()
    name = settings["name"] or Path(command[0]).name
    name_process(f"kaon-sup-{name}", f"kaon supervise {name}: {' '.join(command)}")
    output = None
    lines = None
    if settings["log_file"] is not None:
        try:
            output = RotatingFile(settings["log_file"], settings["log_limit"], settings["log_kept"])
        except OSError as error:
            raise click.ClickException(f"the log file cannot be opened: {error}") from error
        lines = io.TextIOWrapper(io.BufferedWriter(output), encoding="utf-8")
    setup_logs(form=settings["log_format"], level=settings["log_level"], stream=lines)
    plan = Plan(
        command=command,
        name=name,
        policy=Supervision(
            restart=Restart(settings["restart"]),
            intensity=settings["intensity"],
            period_seconds=settings["period"],
            backoff_seconds=settings["backoff"],
            backoff_max_seconds=settings["backoff_max"],
        ),
        stop_seconds=settings["stop_timeout"],
        notifies=settings["notify"],
        watchdog_seconds=settings["watchdog"],
    )
    supervisor = Supervisor(plan, output, Notifier.from_environment())
    status = supervisor.run()
    if supervisor.failure and output is not None:
        click.echo(f"kaon supervise: {supervisor.failure}; see {output.path}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    supervise()
