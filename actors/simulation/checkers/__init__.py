"""The invariants of a cluster, each kept up with every turn."""

from __future__ import annotations

from typing import Final

from actors.simulation.checkers.allocations import AllocationsChecker, QuotaChecker
from actors.simulation.checkers.capacity import CapacityChecker
from actors.simulation.checkers.failures import FailuresChecker, StormChecker
from actors.simulation.checkers.launches import LaunchesChecker
from actors.simulation.checkers.promises import EpochsChecker, PromisesChecker
from actors.simulation.checkers.rest import OfferedChecker, RestChecker
from actors.simulation.checkers.updates import DurableChecker, TerminalChecker
from actors.simulation.watching import Checker

ALL_CHECKERS: Final[tuple[type[Checker], ...]] = (
    AllocationsChecker,
    QuotaChecker,
    CapacityChecker,
    LaunchesChecker,
    DurableChecker,
    TerminalChecker,
    PromisesChecker,
    EpochsChecker,
    FailuresChecker,
    StormChecker,
    RestChecker,
    OfferedChecker,
)
"""In the order in which they are asked."""
