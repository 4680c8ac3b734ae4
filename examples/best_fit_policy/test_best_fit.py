"""The example policy, tested: by the contract that holds for all, and for what it is about."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from best_fit import BestFit

from allocator.contract import PolicyContract
from allocator.drf import DRF
from allocator.ledger import Ledger
from allocator.messages import Used
from allocator.plugin import load_policy
from allocator.resources import EMPTY, Resources
from allocator.snapshot import Agent, Framework

TASK = Resources.scalar_only(cpus=1, mem=512)


class TestBestFit(PolicyContract):
    """It keeps what every policy must keep."""

    policy_class = BestFit


def busy_agents(policy: DRF, tasks: int) -> int:
    """Agents in use when a framework takes the first offer that fits and launches one task on it, time and again."""
    ledger = Ledger()
    ledger.set_framework(Framework(framework_id="f", roles=("*",)))
    chance = random.Random(1)
    for n in range(10):
        total = Resources.scalar_only(cpus=4, mem=2048)
        ledger.add_agent(Agent(agent_id=f"a{n}", hostname="h", number=chance.randrange(2**60), total=total), ())
    for _ in range(tasks):
        order = policy.order(ledger.snapshot(0.0), sorted(ledger.agents), chance)
        plan = policy.allocate(ledger.snapshot(0.0), order, "fair", chance, 10**6)
        first, *others = [a for a in ledger.grant_all(plan.grants) if TASK in a.resources]
        ledger.close(first, TASK, first.resources - TASK)
        for other in others:
            ledger.close(other, EMPTY, other.resources)
        for left in tuple(ledger.open.values()):
            ledger.close(left, EMPTY, left.resources)
    return sum(bool(agent.held) for agent in ledger.agents.values())


def test_it_packs_tasks_onto_few_agents() -> None:
    """Twelve tasks, four of which fit an agent, need three; at random they spread over more."""
    assert busy_agents(BestFit(), tasks=12) == 3
    assert busy_agents(DRF(), tasks=12) > 5


def test_full_agents_come_first() -> None:
    """One with 3 of 4 CPUs in use comes before one with 2, and that before one with 1."""
    ledger = Ledger()
    for n, used in enumerate((1, 3, 2)):
        total = Resources.scalar_only(cpus=4)
        part = Used("f", "*", Resources.scalar_only(cpus=used))
        ledger.add_agent(Agent(agent_id=f"a{n}", hostname="h", number=n, total=total), (part,))
    ordered = BestFit().order(ledger.snapshot(0.0), ["a0", "a1", "a2"], random.Random(1))
    assert ordered == ["a1", "a2", "a0"]


def test_it_is_found_by_name() -> None:
    """As ``--allocator`` names it."""
    assert isinstance(load_policy("best_fit:BestFit"), BestFit)
