"""Flag tables as options of click commands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from runtime.errors import ConfigurationError
from runtime.flag_kinds import BOOLEAN
from runtime.flags import Flag, FlagTable

F = TypeVar("F", bound=Callable[..., Any])


class _FlagOption(click.Option):
    """An option that also goes by its name in Mesos's spelling, which the help does not repeat."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        opts, secondary = self.opts, self.secondary_opts
        self.opts, self.secondary_opts = opts[:1], secondary[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts, self.secondary_opts = opts, secondary


def flag_options(table: FlagTable) -> Callable[[F], F]:
    """Give a click command the options of a table: it gets ``settings``, a :class:`runtime.flags.Settings`.

    ``--config FILE`` names the TOML file. What is wrong is a usage error: a message and exit status 2.
    """

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def run(*args: Any, config: Path | None, **given: Any) -> Any:
            flags = {name: given.pop(name) for name in table.flags}
            try:
                settings = table.resolve(flags, file=config)
            except ConfigurationError as error:
                raise click.UsageError(str(error)) from error
            return command(*args, settings=settings, **given)

        decorated: Any = run
        for flag in reversed(table.flags.values()):
            decorated = _option(flag)(decorated)
        file = click.Path(dir_okay=False, path_type=Path)
        config_help = f"TOML file; this command reads its table [{table.name}].  [env: KAON_CONFIG]"
        decorated = click.option("--config", type=file, metavar="FILE", help=config_help)(decorated)
        result: F = decorated
        return result

    return decorate


def _option(flag: Flag) -> Callable[[F], F]:
    """The click option of one flag: the table parses the value, so that all sources are told apart."""
    names = [flag.option, "--" + flag.name] if "_" in flag.name else [flag.option]
    facts = [f"env: {flag.environment}"]
    if flag.required:
        facts.append("required")
    elif flag.default is not None:
        facts.append(f"default: {flag.default or '(empty)'}")
    text = f"{flag.help}  [{'; '.join(facts)}]"
    if flag.kind is BOOLEAN:
        switches = "/".join(names[:1] + [name.replace("--", "--no-", 1) for name in names[:1]])
        more = [f"{name}/{name.replace('--', '--no_', 1)}" for name in names[1:]]
        return click.option(switches, *more, flag.name, default=None, help=text, cls=_FlagOption)
    metavar = "|".join(flag.kind.choices) or flag.kind.name.split(",")[0].replace(" ", "-").upper()
    return click.option(*names, flag.name, default=None, metavar=metavar, help=text, cls=_FlagOption)
