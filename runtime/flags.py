"""Flags: each setting is declared once; command line, environment, file, help, JSON and the manual follow.

::

    AGENT_FLAGS = FlagTable("agent", (
        Flag("work_dir", "/var/lib/kaon", PATH, "Where sandboxes and journals are kept.", section="Files"),
        Flag("gc_delay", "1weeks", DURATION, "How long the sandbox of a finished executor is kept."),
    ))

A value comes from the first of: command line, environment (``KAON_WORK_DIR``), TOML file, default. Whatever is
wrong with it is said with the place it came from.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from runtime.errors import ConfigurationError
from runtime.flag_kinds import PATH, Kind

ENVIRONMENT_PREFIX: Final = "KAON_"
CONFIG_VARIABLE: Final = "KAON_CONFIG"
"""Names the TOML file when the command line does not."""

MASK: Final = "******"
"""Shown in the place of a secret."""

_FROM_FILE: Final = "file://"


class Flag(msgspec.Struct, frozen=True):
    """One setting.

    name              in lower case with underscores; on the command line ``--work-dir`` or, as in Mesos, ``--work_dir``
    default           as one would write it (``15secs``), or None: not set
    kind              of value, see :mod:`runtime.flag_kinds`
    help              a sentence
    section           heading under which help and manual show it
    minimum, maximum  bounds, as one would write them
    required          not setting it is an error
    secret            never shown; give it as ``file:///path`` so that it is not seen in the process list either
    """

    name: str
    default: str | None
    kind: Kind
    help: str
    section: str = "General"
    minimum: str | None = None
    maximum: str | None = None
    required: bool = False
    secret: bool = False

    @property
    def environment(self) -> str:
        """Name of the environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def option(self) -> str:
        """Name on the command line."""
        return "--" + self.name.replace("_", "-")

    def parse(self, given: object, source: str) -> Any:
        """The value of what was given. Raises :class:`ConfigurationError` that names flag, value and source.

        A text ``file:///path`` stands for the content of that file, as in Mesos (stout, `flags/fetch.hpp`).
        """
        shown = MASK if self.secret else repr(given)
        try:
            if isinstance(given, str) and given.startswith(_FROM_FILE) and self.kind is not PATH:
                given = Path(given.removeprefix(_FROM_FILE)).read_text().strip()
            value = self.kind.parse(given)
            self._check(value)
        except OSError as error:
            raise ConfigurationError(f"{source}: {self.name} cannot be read: {error}") from error
        except ValueError as error:
            raise ConfigurationError(f"{source}: {self.name} cannot be {shown}: {error}") from None
        return value

    def _check(self, value: Any) -> None:
        if self.minimum is not None and value < self.kind.parse(self.minimum):
            raise ValueError(f"it must be at least {self.minimum}")
        if self.maximum is not None and value > self.kind.parse(self.maximum):
            raise ValueError(f"it must be at most {self.maximum}")


class FlagTable:
    """The flags of one command. Raises :class:`ConfigurationError` for a flag that is declared wrongly."""

    def __init__(self, name: str, flags: tuple[Flag, ...]) -> None:
        """`name` is that of the command, and of its table in the TOML file."""
        self.name = name
        self.flags: dict[str, Flag] = {}
        for flag in flags:
            if flag.name in self.flags:
                raise ConfigurationError(f"kaon {name}: the flag {flag.name} is declared twice")
            if not flag.name.isidentifier() or flag.name != flag.name.lower():
                raise ConfigurationError(f"kaon {name}: {flag.name!r} is no flag name: use letters and underscores")
            self.flags[flag.name] = flag
            if flag.default is not None:
                flag.parse(flag.default, "default")

    def resolve(
        self,
        command_line: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
        file: Path | None = None,
    ) -> Settings:
        """Find the value of every flag.

        command_line  by flag name; None as a value means that it was not given
        environment   `os.environ` unless another is given
        file          TOML; if None, the one that ``KAON_CONFIG`` names, if any
        Raises :class:`ConfigurationError`.
        """
        environment = os.environ if environment is None else environment
        if file is None and environment.get(CONFIG_VARIABLE):
            file = Path(environment[CONFIG_VARIABLE])
        table = read_table(file, self) if file is not None else {}
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for name, flag in self.flags.items():
            given, source = _first(flag, command_line or {}, environment, table, file)
            if given is None and flag.required:
                raise ConfigurationError(
                    f"{name} is not set: give {flag.option}, or {flag.environment} in the environment, "
                    f"or {name} under [{self.name}] in the TOML file"
                )
            values[name] = None if given is None else flag.parse(given, source)
            sources[name] = source
        return Settings(self, values, sources)


class Settings(Mapping[str, Any]):
    """The values of a command's flags, by name; None for one that is not set."""

    def __init__(self, table: FlagTable, values: dict[str, Any], sources: dict[str, str]) -> None:
        """`sources` says where each value came from."""
        self.table = table
        self.sources = sources
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def shown(self) -> dict[str, str]:
        """Every flag that is set, as text, secrets masked: what ``GET_FLAGS`` and ``--json`` show."""
        flags = self.table.flags
        return {
            name: MASK if flags[name].secret else flags[name].kind.render(value)
            for name, value in self._values.items()
            if value is not None
        }


def read_table(file: Path, table: FlagTable) -> dict[str, Any]:
    """The table ``[name]`` of a TOML file. Raises :class:`ConfigurationError`, also for a key that no flag has."""
    try:
        with file.open("rb") as opened:
            content = tomllib.load(opened)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is no TOML: {error}") from error
    values = content.get(table.name, {})
    if not isinstance(values, dict):
        raise ConfigurationError(f"{file}: {table.name} must be a table: write [{table.name}] on a line of its own")
    for key in values:
        if key not in table.flags:
            near = difflib.get_close_matches(key, table.flags, n=1)
            hint = f"did you mean {near[0]}?" if near else f"kaon {table.name} --help lists those there are"
            raise ConfigurationError(f"{file}: [{table.name}] has no flag {key!r}; {hint}")
    return values


def _first(
    flag: Flag,
    command_line: Mapping[str, object],
    environment: Mapping[str, str],
    table: Mapping[str, Any],
    file: Path | None,
) -> tuple[object, str]:
    """What was given for a flag, and where."""
    if (given := command_line.get(flag.name)) is not None:
        return given, flag.option
    if flag.environment in environment:
        return environment[flag.environment], f"{flag.environment} (environment)"
    if flag.name in table:
        return table[flag.name], str(file)
    return flag.default, "default"


def flags_page(tables: tuple[FlagTable, ...]) -> str:
    """The manual's page of all flags, in Markdown."""
    lines = [
        "# Flags",
        "",
        "A value comes from the first of: command line (`--work-dir=DIR`; `--work_dir=DIR` is the same), environment",
        '(`KAON_WORK_DIR=DIR`), TOML file (`work_dir = "DIR"` under the command\'s own heading; the file is named by',
        f"`--config` or `{CONFIG_VARIABLE}`), default. A value `file:///path` stands for the content of that file.",
        "",
        "This page is written by `make docs` from the flag tables; do not edit it.",
    ]
    for table in tables:
        lines += ["", f"## kaon {table.name}"]
        for section in dict.fromkeys(flag.section for flag in table.flags.values()):
            lines += ["", f"**{section}**"]
            for flag in table.flags.values():
                if flag.section == section:
                    lines += _manual_entry(flag)
    return "\n".join(lines) + "\n"


def _manual_entry(flag: Flag) -> list[str]:
    """The paragraph of one flag."""
    facts = [f"{flag.kind.name}", f"`{flag.option}`", f"`{flag.environment}`"]
    if flag.required:
        facts.append("required")
    else:
        facts.append("not set by default" if flag.default is None else f"default `{flag.default or '(empty)'}`")
    if flag.minimum is not None:
        facts.append(f"at least `{flag.minimum}`")
    if flag.maximum is not None:
        facts.append(f"at most `{flag.maximum}`")
    if flag.secret:
        facts.append("secret")
    return ["", f"### {flag.name}", "", flag.help, "", "; ".join(facts) + "."]
