"""Streams of a containerizer that is not root, for which the init has to leave itself open to its own user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOBODY = "65534"
READ_ALL = "+dac_read_search"
"""Only to find the interpreter and the modules, wherever they are; it is no right to look into processes."""

HERE = Path(__file__).parent


@pytest.mark.root
def test_terminals_and_pipes_outlive_a_containerizer_that_is_not_root() -> None:
    """The tests of plain containers, by another user: nobody there can do what only root may."""
    command = [
        *("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"),
        *("--inh-caps", READ_ALL, "--ambient-caps", READ_ALL),
        *(sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("-k", "plain", str(HERE / "test_terminals.py"), str(HERE / "test_streaming.py")),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        command,
        cwd=HERE.parents[1],
        env={**environment, "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
