"""What an operator can set about a master."""

from __future__ import annotations

import msgspec

from actors.master.constants import (
    AGENT_PING_SECONDS,
    AGENT_REREGISTER_SECONDS,
    COMPLETED_FRAMEWORKS,
    COMPLETED_TASKS_PER_FRAMEWORK,
    MAX_AGENT_PINGS_MISSED,
)


class MasterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """See `actors.master.constants` for the defaults and where they come from.

    hostname, address, http_address, public_key, version   what the master says of itself (`MasterInfo`)
    agent_ping_seconds        between two pings of an agent
    max_agent_pings_missed    unanswered ones that make it unreachable
    agent_reregister_seconds  how long an agent may stay away after its connection, or the master, broke
    offer_timeout_seconds     after which an offer is rescinded; None for never
    """

    hostname: str = ""
    address: str = ""
    http_address: str = ""
    public_key: str = ""
    version: str = ""
    agent_ping_seconds: float = AGENT_PING_SECONDS
    max_agent_pings_missed: int = MAX_AGENT_PINGS_MISSED
    agent_reregister_seconds: float = AGENT_REREGISTER_SECONDS
    offer_timeout_seconds: float | None = None
    max_completed_frameworks: int = COMPLETED_FRAMEWORKS
    max_completed_tasks_per_framework: int = COMPLETED_TASKS_PER_FRAMEWORK
