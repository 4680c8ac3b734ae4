"""``kaon``: the entry point. Commands are imported when they run, so that ``kaon --help`` is quick."""

from __future__ import annotations

import importlib
import sys
from typing import Final, NoReturn

import click

from runtime import __version__
from runtime.errors import KaonError

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "up": ("actors.cli.up:up", "Start a local cluster: a master, agents and their containerizers."),
    "down": ("actors.cli.up:down", "Stop the local cluster that `kaon up` started."),
    "run": ("actors.cli.run:run", "Run a command on the cluster, and show what it prints."),
    "ps": ("actors.cli.views:ps", "List tasks."),
    "agents": ("actors.cli.views:agents", "List agents and what they have to offer."),
    "frameworks": ("actors.cli.views:frameworks", "List frameworks and their shares."),
    "offers": ("actors.cli.views:offers", "List offers that frameworks hold."),
    "logs": ("actors.cli.logs:logs", "Show what a task has printed."),
    "exec": ("actors.cli.exec:exec_command", "Run a command beside a task, in its container."),
    "attach": ("actors.cli.exec:attach", "Talk to a task: its output, its input, its terminal."),
    "kill": ("actors.cli.kill:kill", "End tasks."),
    "trace": ("actors.cli.trace:trace", "Follow messages through the cluster, live and afterwards."),
    "why": ("actors.cli.why:why", "Say why a task, a framework or an agent is as it is."),
    "master": ("actors.cli.master:master", "Run a master."),
    "agent": ("actors.cli.agent:agent", "Run an agent."),
    "containerizer": ("actors.cli.containerizer:containerizer", "Run an agent's containerizer."),
    "supervise": ("runtime.supervise:supervise", "Start a daemon, and again when it fails."),
    "keys": ("actors.cli.keys:keys", "Make, list and revoke keys of nodes."),
    "doctor": ("actors.cli.doctor:doctor", "Say what this machine can isolate, and what is missing."),
    "simulate": ("actors.cli.simulate:simulate", "Simulate a whole cluster on virtual time."),
    "new": ("actors.cli.new:new", "Write the skeleton of a framework."),
}
"""Name, where the command is, and its line in the help."""


class _Group(click.Group):
    """Commands by name, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table: first what a newcomer needs."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Their help lines, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a hint at what was probably meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean `kaon {close[0]}`?" if close else ""
            raise click.UsageError(f"{error.message.rstrip('.')}.{hint}", ctx) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kaon")
def kaon() -> None:
    """Kaon is a cluster manager: it offers the resources of many machines to many frameworks.

    Start with `kaon up`, then `kaon run echo hello` in another terminal.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; errors that a user can mend are one line, exit status 1 (2 for wrong usage)."""
    try:
        status = kaon.main(arguments, prog_name="kaon", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except KaonError as error:
        click.echo(f"kaon: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"kaon: {where}{error.strerror or error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
