"""Schedules of faults: drawn from the seed, and made smaller for as long as they still show the same."""

from __future__ import annotations

import msgspec
import pytest

from actors.simulation.checkers import ALL_CHECKERS
from actors.simulation.cluster import Cluster
from actors.simulation.faults import HEAVY, LIGHT, NONE, Fault, FaultRates, Injection, Kind, draw
from actors.simulation.run import (
    Scenario,
    command,
    level_of,
    parse_level,
    schedule,
    shrink,
    simulate_cluster,
    violation_of,
)
from actors.simulation.violation import Violation
from actors.simulation.watching import Recent
from actors.simulation.workloads import Service
from runtime.errors import KaonError


def test_the_same_seed_draws_the_same_schedule_and_another_does_not() -> None:
    cluster = Cluster(1, masters=3, agents=4)
    first = draw(HEAVY, cluster, 600.0, "1")
    assert first == draw(HEAVY, cluster, 600.0, "1")
    assert first != draw(HEAVY, cluster, 600.0, "2")
    assert [fault.at for fault in first] == sorted(fault.at for fault in first)
    assert draw(NONE, cluster, 600.0, "1") == []


def test_every_kind_of_fault_is_drawn_and_can_be_done() -> None:
    cluster = Cluster(1, masters=3, agents=4)
    cluster.add_framework(Service(instances=2))
    long = draw(HEAVY, cluster, 36_000.0, "1")
    assert {fault.kind for fault in long} == set(Kind)
    one_of_each = {fault.kind: fault for fault in long}.values()
    early = [msgspec.structs.replace(fault, at=float(number)) for number, fault in enumerate(one_of_each)]
    injection = Injection(cluster, early, "1")
    cluster.run(60.0)
    assert len(injection.done) == len(Kind)
    injection.stop()
    cluster.settle()


def test_a_kind_without_anything_that_it_could_hit_is_left_out() -> None:
    cluster = Cluster(1, masters=1, agents=1)
    kinds = {fault.kind for fault in draw(HEAVY, cluster, 36_000.0, "1")}
    assert Kind.DEPOSE not in kinds
    assert Kind.SCHEDULER_CRASH not in kinds


def test_a_fault_can_be_read() -> None:
    assert str(Fault(12.34, Kind.SLOW_DISK, ("a1",), 3.0, 0.25)) == "12.3 s: slow_disk a1 for 3.0 s, 0.25"


@pytest.mark.parametrize(("text", "rates"), [("none", NONE), ("light", LIGHT), ("heavy", HEAVY)])
def test_levels_have_names(text: str, rates: FaultRates) -> None:
    assert parse_level(text) == rates
    assert level_of(rates) == text
    assert parse_level(level_of(FaultRates(reboot=3.0))) == FaultRates(reboot=3.0)


def test_rates_can_be_given_one_by_one() -> None:
    assert parse_level("agent_crash=2, break=0.5") == FaultRates(agent_crash=2.0, break_=0.5)


@pytest.mark.parametrize("text", ["much", "agent_crash", "agent_crash=often", "earthquake=1"])
def test_rates_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(KaonError):
        parse_level(text)


def test_a_violation_is_shrunk_to_the_fault_that_causes_it() -> None:
    """With a rule that forbids agents to crash, one crash of an agent is all that is needed."""
    scenario = Scenario(seconds=200.0, faults=msgspec.structs.replace(HEAVY, agent_crash=60.0))

    def forbid(cluster: Cluster) -> None:
        def crashed(node_id: str, *, wiped: bool) -> None:
            if node_id.startswith("a"):
                raise cluster.violation("agents do not crash", node_id)

        cluster.watch.checkers[0].crashed = crashed  # type: ignore[method-assign]

    found = violation_of(2, scenario, forbid)
    assert found is not None
    smaller, violation = shrink(2, scenario, found, prepare=forbid)
    assert smaller.only is not None
    assert len(smaller.only) == 1
    assert violation.rule == "agents do not crash"
    with pytest.raises(Violation):
        simulate_cluster(2, smaller, prepare=forbid)
    (fault,) = schedule(2, smaller, Cluster(2, agents=5))
    assert fault.kind in {Kind.AGENT_CRASH, Kind.AGENT_WIPE, Kind.REBOOT, Kind.REBOOT_WIPE}
    assert f"--only-faults {smaller.only[0]}" in command(2, smaller)


def test_all_checkers_name_their_rule() -> None:
    rules = [checker.rule for checker in ALL_CHECKERS]
    assert all(rules)
    assert len(set(rules)) == len(rules)


def test_a_checkers_memory_is_bounded() -> None:
    gone: list[int] = []
    recent = Recent(gone.append, limit=2)
    for number in range(5):
        recent.add(number)
    assert gone == [0, 1, 2]
