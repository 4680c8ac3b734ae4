"""Usage and limits of live containers in the containerizer's metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from containerizer.messages import ContainerUsage, Pressure
from containerizer.spec import Limits
from containerizer.usage_metrics import COUNTERS, GAUGES, families
from runtime.metrics import NodeMetrics


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("kaon_container_")
    }


def of(*usages: ContainerUsage) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value for family in families(usages) for sample in family.samples
    }


def test_what_is_not_known_has_no_sample() -> None:
    assert of(ContainerUsage(container_id="c", timestamp=1.0)) == {}


def test_every_figure_has_a_name_of_its_own() -> None:
    names = [name for name, _, _ in (*COUNTERS, *GAUGES)]
    assert len(set(names)) == len(names)
    assert len(list(families(()))) == len(names) + 1


def test_usage_limits_and_pressure_are_told_by_container() -> None:
    one = ContainerUsage(
        container_id="one",
        timestamp=1.0,
        cpu_user_seconds=1.5,
        memory_bytes=7,
        memory_pressure=Pressure(some_percent=1.0, some_seconds=3.0, full_seconds=2.0),
        limits=Limits(cpus=1.0, memory_bytes=2**26, pids=5),
    )
    two = ContainerUsage(container_id="two", timestamp=1.0, cpu_user_seconds=0.0)
    assert of(one, two) == {
        ("kaon_container_cpu_user_seconds_total", "one"): 1.5,
        ("kaon_container_cpu_user_seconds_total", "two"): 0.0,
        ("kaon_container_memory_bytes", "one"): 7.0,
        ("kaon_container_requested_cpus", "one"): 1.0,
        ("kaon_container_limit_memory_bytes", "one"): 2.0**26,
        ("kaon_container_limit_pids", "one"): 5.0,
        ("kaon_container_pressure_seconds_total", "one", "memory", "some"): 3.0,
        ("kaon_container_pressure_seconds_total", "one", "memory", "all"): 2.0,
    }


def scrape(machine: Any) -> dict[tuple[str, ...], float]:
    metrics = NodeMetrics(machine.node)
    machine.loop.run_until_complete(asyncio.wait_for(metrics.refresh(), 10.0))
    return samples(metrics.text().decode())


def test_live_containers_are_measured_and_ended_ones_forgotten(real: Callable[..., Any]) -> None:
    machine = real("plain")
    machine.attach()
    machine.launch("c1", "echo up; sleep 60")
    machine.await_output("c1", "up")
    measured = scrape(machine)
    assert measured["kaon_container_processes", "c1"] >= 1
    assert measured["kaon_container_memory_bytes", "c1"] > 0
    machine.destroy("c1")
    assert scrape(machine) == {}


@pytest.mark.root
@pytest.mark.cgroup2
def test_limits_and_their_effects_are_measured_by_the_kernel(real: Callable[..., Any]) -> None:
    machine = real("auto")
    machine.attach()
    limits = Limits(cpus=0.2, cpus_limit=0.2, memory_bytes=2**26, pids=20)
    machine.launch("c1", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo burnt; sleep 60", limits=limits)
    machine.await_output("c1", "burnt")
    measured = scrape(machine)
    assert measured["kaon_container_limit_cpus", "c1"] == 0.2
    assert measured["kaon_container_limit_memory_bytes", "c1"] == 2**26
    assert measured["kaon_container_limit_pids", "c1"] == 20
    assert measured["kaon_container_cpu_throttled_periods_total", "c1"] >= 2
    assert measured["kaon_container_cpu_throttled_seconds_total", "c1"] > 0
    assert 0 < measured["kaon_container_memory_bytes", "c1"] <= measured["kaon_container_memory_peak_bytes", "c1"]
