"""Tables: whole where there is room, and still to be read where there is little."""

from __future__ import annotations

import pytest

from actors.cli.show import print_table
from actors.cli.why import _may_be

AGENT = "85bbbe6f7529eacff4aa58151685c311-S1"
FRAMEWORK = "85bbbe6f7529eacff4aa58151685c311-0011"
COLUMNS = ("TASK", "STATE", "FRAMEWORK", "AGENT", "SINCE>")
ROW = ("sleep-93d98c", "RUNNING", FRAMEWORK, AGENT, "7m")


def table_on(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes that for a terminal
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, [ROW], "none")
    return capsys.readouterr().out.splitlines()


def test_a_wide_terminal_shows_ids_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = table_on(150, monkeypatch, capsys)
    assert lines[1].split() == list(ROW)


def test_a_narrow_one_shows_their_ends_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = table_on(80, monkeypatch, capsys)
    assert len(lines) == 2
    assert lines[1].split() == ["sleep-93d98c", "RUNNING", "85bbbe…-0011", "85bbbe…-S1", "7m"]


def test_what_is_no_terminal_gets_ids_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_table(COLUMNS, [ROW], "none")
    assert capsys.readouterr().out.splitlines()[1].split() == list(ROW)


@pytest.mark.parametrize("which", ["S1", "-S1", "85bbbe6f", "85bbbe…-S1", AGENT])
def test_parts_that_name_an_agent(which: str) -> None:
    assert _may_be(AGENT, which)
    assert not _may_be("85bbbe6f7529eacff4aa58151685c311-S2", which) or which == "85bbbe6f"
