"""`kaon keys`: what it lists, and what it says when there is nothing."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from actors.cli.keys import keys


def run(*arguments: str, directory: Path) -> tuple[str, str]:
    result = CliRunner().invoke(keys, [*arguments, "--directory", str(directory)])
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    made, _ = run("add", "agent-7", directory=tmp_path)
    assert Path(made.strip()).stat().st_mode & 0o077 == 0
    run("add", "operator", directory=tmp_path)
    assert run("list", directory=tmp_path) == ("agent-7\noperator\n", "")
    assert json.loads(run("list", "--json", directory=tmp_path)[0]) == ["agent-7", "operator"]
    run("revoke", "agent-7", directory=tmp_path)
    assert run("list", directory=tmp_path)[0] == "operator\n"


def test_no_keys_are_said(tmp_path: Path) -> None:
    listed, said = run("list", directory=tmp_path)
    assert listed == ""
    assert "has no keys; `kaon keys add NAME` makes one" in said
