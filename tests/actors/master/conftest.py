"""A cluster whose invariants are checked after each test that uses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.actors.master.cluster import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.check()
