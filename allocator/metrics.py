"""The allocator's figures, under the names that Mesos gives them (`master/allocator/mesos/metrics.cpp`)."""

from __future__ import annotations

from typing import Final

from allocator.drf import Shares
from allocator.resources import Quantities
from allocator.state import AllocatorState, Samples, percentiles

_PREFIX: Final = "allocator/mesos/"


def figures(state: AllocatorState) -> dict[str, float]:
    """All of them, by name; amounts in CPUs, MiB and so on, durations in milliseconds."""
    values: dict[str, float] = {
        "allocation_runs": float(state.counters.runs),
        "stale_settlements": float(state.counters.stale),
        "excess_settlements": float(state.counters.excess),
        "policy_failures": float(state.counters.policy_failures),
        "starving_frameworks": float(len(state.starving)),
        "open_allocations": float(len(state.ledger.open)),
    }
    values |= _durations("allocation_run_ms", state.run_ms)
    values |= _durations("allocation_run_latency_ms", state.latency_ms)
    values |= _amounts(state)
    values |= _roles(state)
    values |= _quotas(state)
    return {_PREFIX + name: value for name, value in sorted(values.items())}


def _durations(name: str, samples: Samples) -> dict[str, float]:
    values = {f"{name}/count": float(samples.count)}
    if samples.values:
        values[name] = samples.values[-1]
    values |= {f"{name}/{part}": value for part, value in percentiles(samples.values).items()}
    return values


def _amounts(state: AllocatorState) -> dict[str, float]:
    ledger = state.ledger
    values: dict[str, float] = {}
    allocated = [0] * len(ledger.names)
    for role, totals in ledger.roles.items():
        if "/" not in role:
            allocated = [a + b for a, b in zip(allocated, totals.subtree, strict=True)]
    for name, total, given in zip(ledger.names, ledger.total, allocated, strict=True):
        values[f"resources/{name}/total"] = total / 1000
        values[f"resources/{name}/offered_or_allocated"] = given / 1000
    return values


def _roles(state: AllocatorState) -> dict[str, float]:
    ledger = state.ledger
    shares = Shares(ledger.snapshot(0.0))
    values: dict[str, float] = {}
    for role, totals in ledger.roles.items():
        values[f"roles/{role}/shares/dominant"] = shares.dominant(totals.subtree)
        values[f"offer_filters/roles/{role}/active"] = float(ledger.filters.active(role))
    return values


def _quotas(state: AllocatorState) -> dict[str, float]:
    """What each quota says and how much of it is used; `consumed` leaves out what is only offered."""
    ledger = state.ledger
    snapshot = ledger.snapshot(0.0)
    offered: dict[str, Quantities] = {}
    for allocation in ledger.open.values():
        top = allocation.role.partition("/")[0]
        if top in ledger.quotas:
            amounts = offered.setdefault(top, {})
            for name, amount in allocation.resources.unreserved().non_revocable().scalars().items():
                amounts[name] = amounts.get(name, 0) + amount
    values: dict[str, float] = {}
    for role, quota in ledger.quotas.items():
        consumed = dict(zip(ledger.names, snapshot.consumed(role), strict=True))
        guarantees, limits = dict(quota.guarantees), dict(quota.limits)
        for name in sorted({*guarantees, *limits}):
            stem = f"quota/roles/{role}/resources/{name}"
            if name in guarantees:
                values[f"{stem}/guarantee"] = guarantees[name] / 1000
            if name in limits:
                values[f"{stem}/limit"] = limits[name] / 1000
            values[f"{stem}/offered_or_allocated"] = consumed.get(name, 0) / 1000
            values[f"{stem}/consumed"] = (consumed.get(name, 0) - offered.get(role, {}).get(name, 0)) / 1000
    return values
