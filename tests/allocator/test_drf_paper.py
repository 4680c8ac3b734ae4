"""The worked example of Ghodsi et al., Dominant Resource Fairness, NSDI 2011, and what the paper says about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from allocator import messages as m


def play(world: Any, tasks: dict[str, str], parse: Callable[[str], Any], rounds: int = 40) -> dict[str, int]:
    """Each framework launches one task per offer if it fits, and declines the rest for 0 s."""
    running = dict.fromkeys(tasks, 0)
    offers = world.take()
    for _ in range(rounds):
        for offer in offers:
            fits = parse(tasks[offer.framework_id]) in offer.resources
            running[offer.framework_id] += fits
            world.accept(offer, tasks[offer.framework_id] if fits else "", refuse_seconds=0)
        offers = world.batch()
    return running


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({}, {"A": 3, "B": 2}),  # section 4.1 of the paper: <3 CPUs, 12 GB> and <6 CPUs, 2 GB>
        ({"a": 2.0}, {"A": 3, "B": 2}),  # A 12/18/2 and B 3/9 tie at a third; B was allocated to less often
        ({"a": 3.0}, {"A": 4, "B": 1}),  # A 16/18/3 = 0.30 is still below B 3/9 = 0.33
        ({"b": 4.0}, {"A": 1, "B": 2}),
    ],
)
def test_tasks_of_the_worked_example(
    driver: Any, res: Any, weights: dict[str, float], expected: dict[str, int]
) -> None:
    world = driver()
    world.tell(m.UpdateWeights(weights=tuple(weights.items())))
    world.post(
        m.AddFramework(framework_id="A", roles=("a",)),
        m.AddFramework(framework_id="B", roles=("b",)),
        m.AddAgent(agent_id="agent", hostname="host", total=res("cpus:9;mem:18GB")),
    )
    world.settle()
    assert play(world, {"A": "cpus:1;mem:4GB", "B": "cpus:3;mem:1GB"}, res) == expected
