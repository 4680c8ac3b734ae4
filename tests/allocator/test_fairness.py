"""What the DRF paper proves (section 3 and 6.1), on users with many small tasks served by the sorter.

The proofs are for tasks that can be divided at will. Here each user has whole tasks, and filling stops when the task
that is next does not fit any more. So dominant shares differ by one task at most, and every property holds up to that:
`slack` is the largest share of any one task.
"""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.drf import ShareSorter
from allocator.ledger import Ledger
from allocator.resources import Resources
from allocator.snapshot import Agent, Framework

Demand = tuple[int, int]
CAPACITY: Demand = (10_000, 10_000)
"""Thousandths of CPUs and MiB; a task takes at most 4 % of either."""

demands = st.tuples(st.integers(40, 400), st.integers(40, 400))
users = st.lists(demands, min_size=2, max_size=5)


def fill(asked: list[Demand]) -> list[int]:
    """Tasks per user, when the least dominant share is served again and again."""
    ledger = Ledger()
    total = Resources.scalar_only(cpus=CAPACITY[0] / 1000, mem=CAPACITY[1] / 1000)
    ledger.add_agent(Agent(agent_id="all", hostname="h", number=1, total=total), ())
    for n in range(len(asked)):
        ledger.set_framework(Framework(framework_id=f"u{n}", roles=(f"r{n}",)))
    sorter = ShareSorter(ledger.snapshot(0.0), [dict(ledger.wanting)])
    left = list(CAPACITY)
    tasks = [0] * len(asked)
    while True:
        role, _ = next(sorter.roles())
        user = int(role[1:])
        if any(need > have for need, have in zip(asked[user], left, strict=True)):
            return tasks
        left = [have - need for need, have in zip(asked[user], left, strict=True)]
        tasks[user] += 1
        sorter.allocated(role, f"u{user}", asked[user])


def dominant(demand: Demand) -> Fraction:
    """The share of one task."""
    return max(Fraction(need, capacity) for need, capacity in zip(demand, CAPACITY, strict=True))


def slack(asked: list[Demand]) -> Fraction:
    """By how much shares may differ, since tasks are whole."""
    return max(map(dominant, asked))


def possible(bundle: tuple[Fraction | int, ...], demand: Demand) -> int:
    """Tasks of a demand that fit into some resources."""
    return min(int(have / Fraction(need)) for have, need in zip(bundle, demand, strict=True))


@settings(max_examples=80, deadline=None)
@given(users)
def test_shares_are_level(asked: list[Demand]) -> None:
    """Nobody is ahead of another by more than the task that brought it there."""
    shares = [tasks * dominant(demand) for tasks, demand in zip(fill(asked), asked, strict=True)]
    assert max(shares) - min(shares) <= slack(asked)


@settings(max_examples=80, deadline=None)
@given(users)
def test_sharing_incentive(asked: list[Demand]) -> None:
    """Nobody would be better off with 1/n of everything for itself.

    All shares together exceed 1 less one task, when a resource has run out; so the largest is 1/n of that at least.
    """
    each = Fraction(1, len(asked))
    for tasks, demand in zip(fill(asked), asked, strict=True):
        assert tasks * dominant(demand) >= each - slack(asked) * (1 + each)


@settings(max_examples=80, deadline=None)
@given(users)
def test_envy_freeness(asked: list[Demand]) -> None:
    """Nobody would rather have what another has."""
    tasks = fill(asked)
    for mine, demand in zip(tasks, asked, strict=True):
        for others, other_demand in zip(tasks, asked, strict=True):
            theirs = tuple(others * need for need in other_demand)
            assert possible(theirs, demand) * dominant(demand) <= mine * dominant(demand) + slack(asked)


@settings(max_examples=150, deadline=None)
@given(users, demands)
def test_strategy_proofness(asked: list[Demand], lie: Demand) -> None:
    """Asking for something else than what a task needs runs no more tasks of it.

    With whole tasks a liar may gain what levelness leaves open (two tasks' share), or what one task of another leaves
    of the resource that runs out.
    """
    truthful, lying = fill(asked)[0], fill([lie, *asked[1:]])[0]
    useful = possible(tuple(lying * need for need in lie), asked[0])
    largest = [max(demand[at] for demand in (lie, *asked)) for at in (0, 1)]
    room = max(Fraction(most, need) for most, need in zip(largest, asked[0], strict=True))
    assert useful - truthful <= max(2 * slack([lie, *asked]) / dominant(asked[0]), room) + 1


@settings(max_examples=80, deadline=None)
@given(users)
def test_pareto_efficiency(asked: list[Demand]) -> None:
    """Something is used up: less is left of one resource than the largest task takes of it."""
    tasks = fill(asked)
    used = [sum(n * demand[at] for n, demand in zip(tasks, asked, strict=True)) for at in (0, 1)]
    assert any(CAPACITY[at] - used[at] < max(demand[at] for demand in asked) for at in (0, 1))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(40, 400), min_size=2, max_size=5))
def test_single_resource_fairness(sizes: list[int]) -> None:
    """With one kind of resource it is max-min fairness: shares differ by one task at most."""
    asked = [(size, 1) for size in sizes]
    shares = [n * size for n, size in zip(fill(asked), sizes, strict=True)]
    assert max(shares) - min(shares) <= max(sizes)
