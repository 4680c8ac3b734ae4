"""Numbers of the allocator, with unit and source."""

from __future__ import annotations

from typing import Final

ALLOCATION_INTERVAL_SECONDS: Final = 1.0
"""From the end of one batch to the start of the next (Mesos: ``--allocation_interval``)."""

DEFAULT_REFUSE_SECONDS: Final = 5.0
"""What a negative `refuse_seconds` means (Mesos: ``Filters.refuse_seconds`` in mesos.proto)."""

MAX_REFUSE_SECONDS: Final = 365 * 24 * 3600.0
"""No filter lasts longer (Mesos: `hierarchical.cpp`, recoverResources)."""

MINIMUM_ALLOCATABLE: Final = ((("cpus", 10),), (("mem", 32_000),))
"""An offer has 0.01 CPUs or 32 MiB at least (Mesos: MIN_CPUS, MIN_MEM in `master/constants.hpp`), in thousandths."""

RECOVERY_AGENT_FACTOR: Final = 0.8
RECOVERY_TIMEOUT_SECONDS: Final = 600.0
"""After a failover with quotas: go on when so many of the agents are back, or after so long (`hierarchical.cpp`)."""

AGENT_STEPS: Final = 20
"""Cost of visiting one agent, in units of looking at one framework (about a microsecond)."""

TURN_STEPS: Final = 10_000
"""Steps of one turn: well below 20 ms on one core, so that pings and calls are never kept waiting. A cycle that needs
more goes on in the next turn."""

BLOCK_AGENTS: Final = 4_000
"""About so many agents are put in order in one turn; larger clusters are divided at random into blocks of that size."""

STARVATION_WARNING_SECONDS: Final = 60.0
"""Under strict priority: a framework that has had nothing for so long, while others of higher priority have, is named
in the log, and again whenever the time has doubled."""

RUN_SAMPLES: Final = 1_000
"""Cycle durations kept for percentiles."""

UNLIMITED: Final = 1 << 62
"""Stands for no limit in vectors of thousandths: above anything a 64-bit amount can be compared with."""
