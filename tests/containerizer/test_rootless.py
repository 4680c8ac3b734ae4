"""A containerizer that is not root: streams, for which the init must leave itself open to its own user, and limits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
READ_ALL = "+dac_read_search"
"""Only to find the interpreter and the modules, wherever they are; it is no right to look into processes."""

HERE = Path(__file__).parent

PATIENCE_SECONDS = 600
"""For some thirty tests on one processor, which takes a minute where nobody else wants it."""

HANDED_OVER = (".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
"""What a user gets of a cgroup that is delegated to him (cgroup-v2.rst, "Model of Delegation"), by systemd too."""


def run_tests(*arguments: str | Path, cgroup: Path | None = None, **environment: str) -> str:
    """Other tests, by another user: nobody there can do what only root may. What they say; all have passed."""
    command = [
        *("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"),
        *("--inh-caps", READ_ALL, "--ambient-caps", READ_ALL),
        *(sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, arguments)),
    ]
    if cgroup is not None:
        command = ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$@"', "sh", *command]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        command,
        cwd=HERE.parents[1],
        env={**kept, "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.root
def test_terminals_and_pipes_outlive_a_containerizer_that_is_not_root() -> None:
    assert " passed" in run_tests("-k", "plain", HERE / "test_terminals.py", HERE / "test_streaming.py")


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A cgroup of that user's, as a service or a session has one of systemd."""
    path = Path("/sys/fs/cgroup/kaon-test-delegated")
    path.mkdir()
    for name in HANDED_OVER:
        os.chown(path / name, NOBODY, NOBODY)
    yield path
    for below in sorted(path.rglob("*/"), reverse=True):
        below.rmdir()
    path.rmdir()


@pytest.mark.root
@pytest.mark.cgroup2
@pytest.mark.timeout(PATIENCE_SECONDS)
def test_limits_hold_in_a_cgroup_that_was_handed_to_a_user(delegated: Path) -> None:
    """The tests of limits by the kernel's own counters, and some of what is different there."""
    tests = (HERE / "test_cgroups.py", HERE / "delegated.py")
    said = run_tests("-m", "cgroup2 and not root", *tests, cgroup=delegated, KAON_CGROUP2="delegated")
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None, said
    assert int(passed[1]) >= 28
    assert "skipped" not in said
