"""The pytest fixture `cluster`: a simulated cluster for tests of frameworks, shipped with the distribution.

::

    def test_my_framework_finishes_although_an_agent_dies(cluster):
        world = cluster(agents=3, seed=7)
        name = world.add_scheduler(MyScheduler, MyState(framework=FrameworkInfo(name="mine")))
        world.run(10.0)
        world.crash("a1")
        world.run_until(lambda: world.is_finished(name), limit_seconds=300.0)

Every checker looks at every turn, and the master's books are looked at once more at the end of the test.
``--simulation-seed N`` gives every cluster of a run that seed, to replay one that failed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from actors.simulation.cluster import Cluster


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    group = parser.getgroup("kaon", "simulated clusters")
    group.addoption(
        "--simulation-seed", type=int, default=None, help="seed of every simulated cluster (the test's own)"
    )


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Callable[..., Cluster]]:
    """Makes simulated clusters: ``cluster(masters=3, agents=1000, seed=7)``, see `actors.simulation.Cluster`.

    Without a seed a cluster has one that follows from the name of the test.
    """
    from actors.simulation.cluster import Cluster

    made: list[Cluster] = []

    def make(masters: int = 1, agents: int = 3, seed: int | None = None, **options: object) -> Cluster:
        given = request.config.getoption("--simulation-seed")
        chosen = given if given is not None else seed if seed is not None else seed_of(request.node.nodeid)
        command = f"python -m pytest '{request.node.nodeid}' --simulation-seed {chosen}"
        made.append(Cluster(chosen, masters, agents, command=command, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.check()


def seed_of(name: str) -> int:
    """A number that follows from a text, the same in every process."""
    return zlib.crc32(name.encode())
