"""Fixtures of the tests that run real processes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.local import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster, not started; stopped after the test, its logs shown if the test failed."""
    work_dir = Path(tempfile.mkdtemp(prefix="kaon-", dir="/tmp"))
    made = Cluster(work_dir)
    try:
        yield made
    finally:
        made.kaon("down", check=False)
        for log in sorted((work_dir / "logs").glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")
        shutil.rmtree(work_dir, ignore_errors=True)
