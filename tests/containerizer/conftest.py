"""Fixtures of the containerizer's tests: each harness ends its containers and its zygote."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def _load(file: str) -> Any:
    """Test folders are no packages: a module beside this one is loaded by its path, once."""
    name = f"containerizer_{file}"
    if name not in sys.modules:
        specification = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{file}.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module
        specification.loader.exec_module(module)
    return sys.modules[name]


harness = _load("harness")


@pytest.fixture
def attached() -> Any:
    """The module with those who attach to containers."""
    return _load("attached")


@pytest.fixture
def build_rootfs() -> Callable[[Path], Path]:
    built: Callable[[Path], Path] = _load("rootfs").build
    return built


@pytest.fixture
def left() -> Callable[[Any], list[str]]:
    """What a machine without containers has and should not."""
    found: Callable[[Any], list[str]] = _load("leftovers").everything_left
    return found


@pytest.fixture
def quota_disk() -> Iterator[Callable[[str], Any]]:
    """Makes file systems with project quotas: ``quota_disk("xfs")``."""
    made: list[Any] = []

    def make(kind: str) -> Any:
        made.append(_load("quota_disks").QuotaDisk(kind))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, quota_disk: Callable[[str], Any]) -> Any:
    """Each kind of file system that has them, in turn."""
    return quota_disk(request.param)


@pytest.fixture
def simulated() -> Iterator[Any]:
    made = harness.SimulatedHarness()
    yield made
    made.close()


@pytest.fixture
def real() -> Iterator[Callable[..., Any]]:
    """Makes harnesses of real containerizers: ``real("plain")``."""
    made: list[Any] = []

    def make(*isolation: str, **config: Any) -> Any:
        made.append(harness.RealHarness(*isolation, **config))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=["simulated", "plain", pytest.param("isolated", marks=pytest.mark.root)])
def machine(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each kind of containerizer in turn, an agent attached: what the contract suite runs on."""
    made = harness.SimulatedHarness() if request.param == "simulated" else harness.RealHarness(request.param)
    made.attach()
    yield made
    made.close()


@pytest.fixture
def network() -> Iterator[Any]:
    """A network in place of this machine's: a `HostNetwork`."""
    from tests.containerizer.host_network import host_network  # with pyroute2, which few tests need

    with host_network() as made:
        yield made
