"""Fixtures of the tests that run real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.local import Cluster, running_cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster, not started; stopped after the test, its logs shown if the test failed."""
    with running_cluster() as made:
        yield made
