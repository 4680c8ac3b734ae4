"""What tests of tracing share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.testing import World
from tests.runtime.tracing.mall import Mall


@pytest.fixture
def mall() -> Mall:
    """Nodes with tracers, and no directory for files."""
    return Mall(World(seed=3), None)


@pytest.fixture
def make_mall() -> Callable[[Path], Mall]:
    """The same with files below a directory."""
    return lambda work_dir: Mall(World(seed=3), work_dir)
