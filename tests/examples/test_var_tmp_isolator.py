"""The example isolator's own tests pass, and its entry point is the one that it declares."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from examples.var_tmp_isolator.var_tmp import PrivateVarTmp

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "var_tmp_isolator"


def test_the_tests_of_the_example_pass() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_it_is_declared_under_its_name() -> None:
    declared = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]["kaon.isolators"]
    assert declared == {PrivateVarTmp.name: "var_tmp:PrivateVarTmp"}
