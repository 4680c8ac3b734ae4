"""`kaon new framework`: what it writes passes its own test, and what it will not write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from actors.cli.new import new, write_skeleton
from runtime.errors import KaonError

ROOT = Path(__file__).resolve().parents[3]


def test_the_skeleton_passes_its_own_test(tmp_path: Path) -> None:
    directory = tmp_path / "word-count"
    result = CliRunner().invoke(new, ["framework", "word-count", "--directory", str(directory)])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in directory.iterdir()) == ["README.md", "test_word_count.py", "word_count.py"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(directory)],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 passed" in run.stdout


def test_nothing_is_left_to_fill_in(tmp_path: Path) -> None:
    texts = [path.read_text() for path in write_skeleton("word_count2", tmp_path)]
    assert all("class_name" not in text and "${" not in text for text in texts)
    assert "class WordCount2(Scheduler[WordCount2State])" in texts[0]


@pytest.mark.parametrize("name", ["", "Hello", "2fast", "a b", "../up", "x_", "-x"])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(KaonError, match="no name for a framework"):
        write_skeleton(name, tmp_path)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(KaonError, match="not empty: choose another directory"):
        write_skeleton("hello", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KaonError, match=r"cannot write to .*file/below"):
        write_skeleton("hello", tmp_path / "file" / "below")
