"""Flag tables: where values come from, what is refused, and what is shown of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigurationError
from runtime.flag_kinds import (
    BOOLEAN,
    BYTES,
    DURATION,
    INTEGER,
    LIST,
    NUMBER,
    PATH,
    STRING,
    choice,
    parse_bytes,
    parse_duration,
    render_bytes,
    render_duration,
)
from runtime.flag_options import flag_options
from runtime.flags import MASK, Flag, FlagTable, Settings, flags_page

TABLE = FlagTable(
    "agent",
    (
        Flag("work_dir", "/var/lib/kaon", PATH, "Where sandboxes are kept.", section="Files"),
        Flag("ping_timeout", "15secs", DURATION, "Seconds to a pong.", minimum="1secs", maximum="15mins"),
        Flag("disk_limit", "64MB", BYTES, "Of a log file."),
        Flag("switch_user", "true", BOOLEAN, "Run tasks as their user."),
        Flag("isolation", "posix", choice("posix", "cgroups"), "How to isolate."),
        Flag("port", "5051", INTEGER, "To bind."),
        Flag("weight", "1.5", NUMBER, "Of the role."),
        Flag("roles", "", LIST, "Allowed ones."),
        Flag("resources", None, STRING, "What the agent offers."),
        Flag("credential", None, STRING, "For the master.", secret=True),
    ),
)


def test_a_value_comes_from_the_first_source_that_has_it(tmp_path: Path) -> None:
    file = tmp_path / "kaon.toml"
    file.write_text('[agent]\nport = 1\nweight = 2\nresources = "cpus:4"\n')
    settings = TABLE.resolve({"port": "3", "weight": None}, {"KAON_PORT": "2", "KAON_WEIGHT": "5", "OTHER": "x"}, file)
    assert (settings["port"], settings.sources["port"]) == (3, "--port")
    assert (settings["weight"], settings.sources["weight"]) == (5.0, "KAON_WEIGHT (environment)")
    assert (settings["resources"], settings.sources["resources"]) == ("cpus:4", str(file))
    assert (settings["ping_timeout"], settings.sources["ping_timeout"]) == (15.0, "default")
    assert settings["credential"] is None


def test_every_kind_has_its_type() -> None:
    settings = TABLE.resolve({}, {"KAON_ROLES": "web, batch"})
    assert settings["work_dir"] == Path("/var/lib/kaon")
    assert settings["disk_limit"] == 64 * 1024 * 1024
    assert settings["switch_user"] is True
    assert settings["isolation"] == "posix"
    assert settings["roles"] == ("web", "batch")
    assert len(settings) == len(TABLE.flags) == len(list(settings))


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "kaon.toml"
    file.write_text('[agent]\nport = 1\nroles = ["a", "b"]\n[master]\nnot_of_the_agent = 1\n')
    settings = TABLE.resolve({}, {"KAON_CONFIG": str(file)})
    assert settings["port"] == 1
    assert settings["roles"] == ("a", "b")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ping_timeout", "15", "write a number and a unit: 500ms, 15secs"),
        ("ping_timeout", "15 parsecs", "write a number and a unit"),
        ("ping_timeout", "500ms", "at least 1secs"),
        ("ping_timeout", "16mins", "at most 15mins"),
        ("disk_limit", "1.5B", "write a number and a unit: 512B"),
        ("disk_limit", "-1MB", "write a number and a unit: 512B"),
        ("switch_user", "maybe", "true or false"),
        ("isolation", "magic", "one of posix, cgroups"),
        ("port", "80.5", "whole number"),
        ("weight", "nan", "must be a number"),
        ("work_dir", "", "must be a path"),
        ("resources", "file:///does/not/exist", "No such file"),
    ],
)
def test_a_wrong_value_is_refused_with_its_source(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^KAON_{name.upper()} \\(environment\\): {name} cannot be .*{says}"):
        TABLE.resolve({}, {f"KAON_{name.upper()}": value})
    with pytest.raises(ConfigurationError, match=f"^--{name.replace('_', '-')}: "):
        TABLE.resolve({name: value}, {})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[agent]\nprot = 1\n", r"\[agent\] has no flag 'prot'; did you mean port\?"),
        ("[agent]\nxyzzy = 1\n", "has no flag 'xyzzy'; kaon agent --help"),
        ("[agent]\nport = true\n", "port cannot be True: it must be a whole number"),
        ("[agent]\nping_timeout = 15\n", "write a number and a unit"),
        ("[agent\n", "is no TOML"),
        ("agent = 1\n", "agent must be a table"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "kaon.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=f"^{file}.*{says}"):
        TABLE.resolve({}, {}, file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml cannot be read: No such file"):
        TABLE.resolve({}, {}, tmp_path / "nowhere.toml")


def test_a_required_flag_says_all_ways_to_set_it() -> None:
    table = FlagTable("agent", (Flag("master", None, STRING, "To register with.", required=True),))
    with pytest.raises(ConfigurationError, match=r"--master, or KAON_MASTER .*, or master under \[agent\]"):
        table.resolve({}, {})


def test_flags_are_declared_once_and_rightly() -> None:
    port = Flag("port", "1", INTEGER, "")
    with pytest.raises(ConfigurationError, match="twice"):
        FlagTable("agent", (port, port))
    with pytest.raises(ConfigurationError, match="default: port cannot be 'x'"):
        FlagTable("agent", (Flag("port", "x", INTEGER, ""),))
    with pytest.raises(ConfigurationError, match="no flag name"):
        FlagTable("agent", (Flag("work-dir", "x", PATH, ""),))


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2\n")
    settings = TABLE.resolve({"credential": f"file://{file}"}, {})
    assert settings["credential"] == "hunter2"
    assert settings.shown()["credential"] == MASK
    table = FlagTable("agent", (Flag("pin", None, INTEGER, "", secret=True),))
    with pytest.raises(ConfigurationError) as caught:
        table.resolve({"pin": "hunter2"}, {})
    assert "hunter2" not in str(caught.value)


def test_shown_values_can_be_given_again() -> None:
    settings = TABLE.resolve({"ping_timeout": "90s", "roles": "a,b", "switch_user": "no"}, {})
    shown = settings.shown()
    assert shown["ping_timeout"] == "1.5mins"
    assert shown["switch_user"] == "false"
    assert "resources" not in shown
    assert dict(TABLE.resolve(shown, {})) == dict(settings)


@given(st.integers(0, 10**9))
def test_durations_and_sizes_survive_being_written(number: int) -> None:
    assert parse_duration(render_duration(number / 1000)) == pytest.approx(number / 1000)
    assert parse_duration(render_duration(float(number))) == number
    assert parse_bytes(render_bytes(number)) == number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0secs", 0), ("15s", 15), ("15secs", 15), ("10mins", 600), ("1.5hrs", 5400), ("2weeks", 1209600), ("5ms", 0.005)],
)
def test_durations_are_written_as_in_mesos(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


def test_the_manual_has_a_heading_for_each_flag() -> None:
    page = flags_page((TABLE,))
    for flag in TABLE.flags.values():
        assert f"### {flag.name}\n" in page
        assert flag.help in page
        assert flag.environment in page
    assert "at least `1secs`; at most `15mins`" in page


def command() -> click.Command:
    @click.command()
    @click.argument("word")
    @flag_options(TABLE)
    def run(word: str, settings: Settings) -> None:
        """Show what it got."""
        shown: dict[str, Any] = settings.shown()
        click.echo(f"{word} {shown['port']} {shown['work_dir']} {shown['switch_user']}")

    return run


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["w"], "w 5051 /var/lib/kaon true"),
        (["w", "--port=1", "--work-dir=/a", "--no-switch-user"], "w 1 /a false"),
        (["--work_dir", "/b", "--no_switch_user", "w"], "w 5051 /b false"),
    ],
)
def test_a_command_gets_its_settings(arguments: list[str], output: str) -> None:
    result = CliRunner().invoke(command(), arguments, env={"KAON_CONFIG": None})
    assert result.output == output + "\n"
    assert result.exit_code == 0


def test_a_command_explains_wrong_values_and_its_options() -> None:
    result = CliRunner().invoke(command(), ["w", "--port=x"])
    assert result.exit_code == 2
    assert "--port: port cannot be 'x': it must be a whole number" in result.output
    page = CliRunner().invoke(command(), ["--help"]).output
    assert "--work-dir PATH" in page
    assert "--work_dir" not in page
    assert "--switch-user / --no-switch-user" in page
    assert "KAON_PING_TIMEOUT" in page
