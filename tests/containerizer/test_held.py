"""File calls that keep the interpreter's lock say what went wrong as `os` does, and where."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from containerizer import held


def test_what_is_written_is_there(tmp_path: Path) -> None:
    held.make_directory(tmp_path / "made")
    held.make_directory(tmp_path / "made", may_exist=True)
    descriptor = held.open_file(tmp_path / "made" / "file", os.O_CREAT | os.O_WRONLY, 0o600)
    assert not os.get_inheritable(descriptor)
    held.close(descriptor)
    held.write_file(tmp_path / "made" / "file", "text")
    assert (tmp_path / "made" / "file").read_text() == "text"
    assert held.exists(tmp_path / "made")
    assert not held.exists(tmp_path / "missing")


def test_a_full_disk_is_named() -> None:
    with pytest.raises(OSError, match="/dev/full") as caught:
        held.write_file("/dev/full", "text")
    assert caught.value.errno == errno.ENOSPC


def test_errors_are_those_of_os(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        held.write_file(tmp_path / "missing", "text")
    with pytest.raises(FileExistsError):
        held.make_directory(tmp_path)
    with pytest.raises(OSError, match="close"):
        held.close(-1)
