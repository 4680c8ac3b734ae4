"""What an allocation cycle costs: a full one, and one after 100 agents changed; with many refusals; in memory.

    python benchmarks/bench_allocator.py [--json] [--only 1000x200,turns,memory]

CPU time of one thread, medians. A cluster has agents of ``cpus:2;mem:1024;disk:4096;ports`` (those of Mesos's own
allocator benchmark), frameworks in 20 roles of which half are nested, weights, quota guarantees and limits on four
roles, and 1 % of all pairs of framework and agent refused. A cycle is planned, checked and entered into the books, in
slices as the actor does it. Mesos's published figure, for 10,000 agents and 1,000 frameworks: 1,060 ms since 1.7.1
(commit 86653356d, DeclineOffers benchmark).
"""

from __future__ import annotations

import functools
import gc
import random
import resource
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _harness import Companion, Figure, arguments, report

from allocator.actor import Allocator
from allocator.allocate import Policy
from allocator.constants import TURN_STEPS
from allocator.drf import DRF
from allocator.ledger import Ledger
from allocator.messages import AllocateNow
from allocator.plugin import decide, order
from allocator.quota import Quota
from allocator.resources import EMPTY, Resources, amounts
from allocator.snapshot import MODULUS, Agent, Framework
from allocator.state import AllocatorState
from runtime import testing
from runtime.effects import Send
from runtime.message import Message
from runtime.pid import PID

NOW = 1_000.0
FOREVER = 1e9
TOTAL = Resources.parse("cpus:2;mem:1024;disk:4096;ports:[31000-32000]")
SIZES = ((1_000, 200, 25, 4), (10_000, 200, 200, 6), (10_000, 1_000, 300, 10), (50_000, 200, 1_000, 10))
"""Agents, frameworks, limits in ms of a full cycle and of one after 100 agents changed."""
PUBLISHED = {"10000x1000": "Mesos 1.7.1 and later: 1,060 ms"}
ROLES = [f"r{n}" if n % 2 else f"r{n}/team" for n in range(20)]


def cluster(agents: int, frameworks: int, refused: float, chance: random.Random) -> Ledger:
    """Books with everything free."""
    ledger = Ledger()
    for n in range(frameworks):
        role = ROLES[n % len(ROLES)]
        ledger.set_framework(Framework(framework_id=f"framework-{n:04}", roles=(role,)))
    for n in range(agents):
        agent_id = f"agent-{n:05}"
        ledger.add_agent(Agent(agent_id=agent_id, hostname=agent_id, number=chance.randrange(MODULUS), total=TOTAL), ())
    ledger.weights = {"r1": 2.0, "r2": 3.0, "r4/team": 2.0}
    for role, part in (("r1", 0.05), ("r2", 0.02), ("r3", 0.02), ("r4", 0.01)):
        quota = {"cpus": int(2000 * agents * part), "mem": int(1_024_000 * agents * part)}
        limits = {name: 10 * amount for name, amount in quota.items()}
        ledger.quotas[role] = Quota(amounts(quota), amounts(limits))
    ids = list(ledger.agents)
    for n in range(frameworks):
        client = (ROLES[n % len(ROLES)], f"framework-{n:04}")
        for agent_id in chance.sample(ids, int(refused * agents)):
            ledger.filters.refuse(client, agent_id, TOTAL, FOREVER, NOW)
    return ledger


def cycle(ledger: Ledger, agent_ids: list[str], policy: Policy, chance: random.Random) -> int:
    """One cycle as the actor runs it; how many grants it made."""
    grants = 0
    for stage in policy.stages:
        remaining = order(policy, ledger.snapshot(NOW), agent_ids, chance)
        while remaining:
            plan = decide(policy, ledger.snapshot(NOW), remaining, stage, chance, TURN_STEPS)
            del remaining[: plan.visited]
            ledger.grant_all(plan.grants)
            grants += len(plan.grants)
        agent_ids = [agent_id for agent_id in agent_ids if ledger.agents[agent_id].free.items]
    return grants


def give_back(ledger: Ledger, count: int | None = None) -> list[str]:
    """Decline (some of) what is offered, without filters; the agents it was on."""
    allocations = list(ledger.open.values())[:count]
    for allocation in allocations:
        ledger.close(allocation, EMPTY, allocation.resources)
    return [allocation.agent_id for allocation in allocations]


def timed(work: Callable[[], object]) -> float:
    """CPU milliseconds."""
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * 1000


def measure(agents: int, frameworks: int, refused: float, rounds: int) -> tuple[float, float]:
    """Medians of a full cycle and of one after 100 agents changed, in milliseconds."""
    chance = random.Random(7)
    ledger = cluster(agents, frameworks, refused, chance)
    policy = DRF()
    gc.collect()
    gc.freeze()
    full, changed = [], []
    for _ in range(rounds):
        give_back(ledger)
        full.append(timed(functools.partial(cycle, ledger, list(ledger.agents), policy, chance)))
        changed += [timed(functools.partial(cycle, ledger, give_back(ledger, 100), policy, chance)) for _ in range(3)]
    gc.unfreeze()
    return statistics.median(full), statistics.median(changed)


def longest_turn_ms(agents: int, frameworks: int) -> float:
    """The longest turn of an allocator actor in a full cycle, which it cuts into many; median of five cycles."""
    state = AllocatorState(master=PID("master", "bench"), ledger=cluster(agents, frameworks, 0.01, random.Random(7)))
    actor: Allocator = testing.make(Allocator, state, name="allocator")
    longest = []
    for _ in range(5):
        give_back(state.ledger)
        mail: deque[Message] = deque([AllocateNow()])
        turns = []
        while mail:
            message = mail.popleft()
            began = time.thread_time()
            effects = testing.turn(actor, message, now=NOW)
            turns.append((time.thread_time() - began) * 1000)
            mail.extend(e.message for e in effects if isinstance(e, Send) and e.to == actor.pid)
        longest.append(max(turns))
    return statistics.median(longest)


def held_mb(_: Connection) -> float:
    """Peak resident memory of this process with 50,000 agents, 1,000 frameworks, 1 % refused and everything offered."""
    chance = random.Random(7)
    ledger = cluster(50_000, 1_000, 0.01, chance)
    cycle(ledger, list(ledger.agents), DRF(), chance)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_mb() -> float:
    """The same of a fresh process."""
    companion = Companion()
    try:
        companion.begin(held_mb)
        return float(companion.wait(120))
    finally:
        companion.close()


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__ or "")
    wanted = set(filter(None, options.only.split(",")))
    figures: list[Figure] = []
    for agents, frameworks, full_limit, changed_limit in SIZES:
        size = f"{agents}x{frameworks}"
        if not wanted or size in wanted:
            full, changed = measure(agents, frameworks, 0.01, min(options.rounds, 3 if agents > 10_000 else 5))
            figures.append(Figure(f"full_ms_{size}", full, full_limit, most=True, note=PUBLISHED.get(size, "")))
            figures.append(Figure(f"changed_ms_{size}", changed, changed_limit, most=True))
    if not wanted or "refused" in wanted:
        full, _ = measure(10_000, 200, 0.95, 3)
        figures.append(
            Figure("refused95_ms_10000x200", full, 600, most=True, note="three times the limit of a full cycle")
        )
    if not wanted or "turns" in wanted:
        longest = longest_turn_ms(10_000, 200)
        figures.append(Figure("turn_ms_10000x200", longest, 20, most=True, note="the longest turn of a full cycle"))
    if not wanted or "memory" in wanted:
        figures.append(Figure("memory_mb_50000x1000", memory_mb(), 600, most=True, note="of a process of its own"))
    return report(figures, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
