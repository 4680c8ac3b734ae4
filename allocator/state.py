"""The state of the allocator actor: the books, and what is to be looked at when."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from allocator.constants import ALLOCATION_INTERVAL_SECONDS, RUN_SAMPLES, STARVATION_WARNING_SECONDS
from allocator.ledger import Ledger
from allocator.maintenance import Inverse
from allocator.snapshot import Client
from runtime.actor import State
from runtime.pid import PID


class Cycle(msgspec.Struct):
    """A cycle under way. It may take several turns; messages between them change the books under it.

    agents      all that it is about
    stage       position in the policy's stages
    undivided   agents that this stage has yet to divide into blocks, by chance of `salt`
    blocks      agents that this stage has yet to put in order, in parts
    remaining   agents that this stage has yet to decide about, in order
    batch       whether the allocation interval began it, and starts again when it ends
    started     when, in seconds
    failed      a policy failed: nothing more of it is carried out
    thinned     agents were removed: some of `remaining` may not be there any more
    """

    agents: list[str]
    batch: bool
    started: float
    stage: int = -1
    undivided: list[str] = []
    salt: int = 1
    blocks: list[list[str]] = []
    remaining: list[str] = []
    failed: bool = False
    thinned: bool = False


class Held(msgspec.Struct):
    """No allocations until so many agents are back (None: until `Resume`); the timer ends it too."""

    expected_agents: int | None = None
    timer: int = 0


class Samples(msgspec.Struct):
    """The last durations of something, in milliseconds, and how many there were."""

    values: list[float] = []
    count: int = 0

    def add(self, value: float) -> None:
        """Take one in; the oldest of `RUN_SAMPLES` goes."""
        self.values.append(value)
        self.count += 1
        if len(self.values) > RUN_SAMPLES:
            del self.values[0]


class Starving(msgspec.Struct):
    """A framework that gets nothing in a role while others do: since when, and after how long it is said again."""

    since: float
    warn_after_seconds: float = STARVATION_WARNING_SECONDS


class Counters(msgspec.Struct):
    """What happened so far.

    runs              cycles
    stale             settlements and recoveries that found nothing: they crossed a removal
    excess            those that spoke of more than there was; what was there was taken
    policy_failures   cycles that were void because the policy raised or broke a rule
    """

    runs: int = 0
    stale: int = 0
    excess: int = 0
    policy_failures: int = 0


class AllocatorState(State):
    """All of it.

    master            whom allocations are sent to; the allocator ends with it
    policy            as ``--allocator`` names it
    interval_seconds  between batches
    ledger            who has what
    candidates        agents for the next cycle; or all, when `everything` is set
    waiting           agents where something came free, which join at the next batch; or all, with `everything_waits`
    held_back         agents that keep something free for a quota
    requested         when the next cycle was first asked for; None when it is not
    under_way         whether a message that begins or continues a cycle is on its way to this actor
    batch_due         the allocation interval has passed
    inverses          maintenance windows
    starving          clients that a policy lets starve: since when, and for how long it was when that was last said
    """

    master: PID
    policy: str = "drf"
    interval_seconds: float = ALLOCATION_INTERVAL_SECONDS
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    candidates: set[str] = msgspec.field(default_factory=set)
    waiting: set[str] = msgspec.field(default_factory=set)
    held_back: set[str] = msgspec.field(default_factory=set)
    everything: bool = False
    everything_waits: bool = False
    requested: float | None = None
    under_way: bool = False
    batch_due: bool = False
    cycle: Cycle | None = None
    held: Held | None = None
    inverses: dict[str, Inverse] = msgspec.field(default_factory=dict)
    starving: dict[Client, Starving] = msgspec.field(default_factory=dict)
    counters: Counters = msgspec.field(default_factory=Counters)
    run_ms: Samples = msgspec.field(default_factory=Samples)
    latency_ms: Samples = msgspec.field(default_factory=Samples)
    last_failure: str = ""


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Of some samples: min, max and the percentiles that Mesos's metrics have; empty for none."""
    if not values:
        return {}
    ranked = sorted(values)
    figures = {"min": ranked[0], "max": ranked[-1]}
    for name, part in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)):
        figures[name] = ranked[min(len(ranked) - 1, int(part * len(ranked)))]
    return figures
