"""Rotating files: how much is kept, and that lines are not torn."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.rotation import RotatingFile


def contents(path: Path, kept: int) -> list[bytes]:
    """Oldest first."""
    files = [path.with_name(f"{path.name}.{number}") for number in range(kept, 0, -1)] + [path]
    return [file.read_bytes() for file in files if file.exists()]


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_nothing_is_lost_or_out_of_order_and_no_file_is_too_large(
    tmp_path_factory: pytest.TempPathFactory, writes: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("rotation") / "log"
    with RotatingFile(path, limit_bytes=100, kept=1000) as file:
        for data in writes:
            assert file.write(data) == len(data)
    files = contents(path, 1000)
    assert b"".join(files) == b"".join(writes)
    assert all(len(content) <= 100 for content in files)
    assert file.lost_bytes == 0


def test_files_are_cut_between_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with RotatingFile(path, limit_bytes=100, kept=9) as file:
        file.write(b"".join(b"line %03d of many\n" % number for number in range(20)))
    assert all(content.endswith(b"many\n") for content in contents(path, 9))


def test_only_so_many_old_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with RotatingFile(path, limit_bytes=10, kept=2) as file:
        for number in range(10):
            file.write(b"number %d\n" % number)
    assert contents(path, 9) == [b"number 7\n", b"number 8\n", b"number 9\n"]
    with RotatingFile(tmp_path / "none", limit_bytes=10, kept=0) as file:
        file.write(b"number 1\n" * 3)
    assert [found.name for found in tmp_path.glob("none*")] == ["none"]


def test_a_file_from_before_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    with RotatingFile(path, limit_bytes=10, kept=2) as file:
        file.write(b"after\n")
    assert contents(path, 2) == [b"before\n", b"after\n"]


def test_a_full_disk_loses_what_it_refuses_and_no_more() -> None:
    with RotatingFile(Path("/dev/full")) as file:
        assert file.write(b"lost\n") == 5
        assert file.lost_bytes == 5
