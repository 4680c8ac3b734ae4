"""When an actor fails: what its supervisor does, as data (after Erlang's supervisors)."""

from __future__ import annotations

import enum
import random

import msgspec


class Restart(enum.Enum):
    """Which ends of an actor are mended by starting it again."""

    PERMANENT = "permanent"
    """Any end: it must always be there."""
    TRANSIENT = "transient"
    """A failure; a stop is an end."""
    TEMPORARY = "temporary"
    """None: whoever is linked to it decides."""


class Strategy(enum.Enum):
    """Which siblings are restarted with a failed actor."""

    ONE_FOR_ONE = "one_for_one"
    REST_FOR_ONE = "rest_for_one"
    """Also those that the same parent spawned after it, in that order."""


class Supervision(msgspec.Struct, frozen=True, gc=False):
    """How one actor is supervised.

    restart, strategy     see there
    intensity             restarts allowed within `period_seconds`; one more and the failure goes up: the parent fails,
                          and a parent that is the node ends the process
    backoff_seconds       before the first restart; doubles with each within the period, up to `backoff_max_seconds`
    """

    restart: Restart = Restart.TEMPORARY
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = 3
    period_seconds: float = 60.0
    backoff_seconds: float = 0.1
    backoff_max_seconds: float = 10.0


FATAL = Supervision(restart=Restart.PERMANENT, intensity=0)
"""Its failure ends the process at once, and another process takes over (masters and allocators)."""


class Decision(enum.Enum):
    """What a supervisor does about the end of an actor."""

    RESTART = "restart"
    FORGET = "forget"
    ESCALATE = "escalate"


def decide(policy: Supervision, *, failed: bool, restarts: list[float], now: float) -> tuple[Decision, float]:
    """Decide about one end.

    failed    it raised (True) or stopped by itself (False)
    restarts  times of the restarts so far; those older than the period are removed from the list
    Returns the decision and, for a restart, the seconds to wait first.
    """
    if policy.restart is Restart.TEMPORARY or (policy.restart is Restart.TRANSIENT and not failed):
        return Decision.FORGET, 0.0
    restarts[:] = [at for at in restarts if now - at < policy.period_seconds]
    if len(restarts) >= policy.intensity:
        return Decision.ESCALATE, 0.0
    delay = min(policy.backoff_seconds * 2 ** len(restarts), policy.backoff_max_seconds)
    return Decision.RESTART, delay


def backoff(attempt: int, *, factor: float, maximum: float, chance: random.Random) -> float:
    """Seconds to wait before retry `attempt` (0 the first): random up to ``factor * 2**attempt``, capped.

    Random over the whole interval, so that a thousand peers that lost one master do not come back at once
    (Mesos: `src/slave/slave.cpp`, registration backoff).
    """
    return chance.uniform(0.0, min(factor * 2.0**attempt, maximum))
