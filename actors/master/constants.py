"""Numbers of the master, with unit and source (`src/master/constants.hpp` unless another file is named)."""

from __future__ import annotations

from typing import Final

AGENT_PING_SECONDS: Final = 15.0
"""Between two pings of an agent (``--agent_ping_timeout``)."""

MAX_AGENT_PINGS_MISSED: Final = 5
"""So many unanswered pings in a row make an agent unreachable (``--max_agent_ping_timeouts``)."""

AGENT_REREGISTER_SECONDS: Final = 600.0
"""How long an agent whose connection broke, or that only the registry knows, may stay away
(``--agent_reregister_timeout``)."""

COMPLETED_FRAMEWORKS: Final = 50
"""Ended frameworks that are remembered (``--max_completed_frameworks``)."""

COMPLETED_TASKS_PER_FRAMEWORK: Final = 1_000
"""Ended tasks that are remembered of each framework (``--max_completed_tasks_per_framework``)."""

UNREACHABLE_TASKS_PER_FRAMEWORK: Final = 1_000
"""Tasks on unreachable agents that are remembered of each framework (``--max_unreachable_tasks_per_framework``)."""

STATUSES_PER_TASK: Final = 16
"""Changes of a task's state that are remembered, the newest; the states of one life are fewer."""

REGISTRY_GC_SECONDS: Final = 15 * 60.0
"""Between two collections of what the registry need not remember (``--registry_gc_interval``)."""

REGISTRY_MAX_AGE_SECONDS: Final = 14 * 24 * 3600.0
"""Unreachable and gone agents are forgotten after two weeks (``--registry_max_agent_age``)."""

REGISTRY_MAX_AGENTS: Final = 102_400
"""Unreachable and gone agents that are remembered, each (``--registry_max_agent_count``)."""

REGISTRY_FETCH_SECONDS: Final = 60.0
"""Reading the registry may take so long (``--registry_fetch_timeout``)."""

REGISTRY_STORE_SECONDS: Final = 20.0
"""One write may take so long, then the master ends (``--registry_store_timeout``)."""

REGISTRY_ANSWER_SECONDS: Final = 3 * REGISTRY_STORE_SECONDS
"""An operation waits for the write under way and then for its own; a registrar that takes longer than both is stuck."""

REGISTRY_BUCKETS: Final = 256
"""Entries of the store among which agents are spread: 400 agents of 500 bytes each come to a fifth of its limit."""

MAX_ID_CHARACTERS: Final = 255
"""Ids become file names on agents: NAME_MAX (`src/common/validation.cpp`)."""

assert AGENT_REREGISTER_SECONDS > AGENT_PING_SECONDS * MAX_AGENT_PINGS_MISSED
assert REGISTRY_ANSWER_SECONDS > 2 * REGISTRY_STORE_SECONDS
