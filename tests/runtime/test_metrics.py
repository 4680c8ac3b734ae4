"""Metrics of a node: what is counted, under which names, and that one actor's mistake hides nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from runtime.actor import Actor, State, receive
from runtime.clock import VirtualClock
from runtime.message import Message
from runtime.metrics import NodeMetrics, prometheus_name
from runtime.node import Node
from runtime.pid import PID
from runtime.tracing.recorder import FlightRecorder
from runtime.transport.memory import MemoryTransport, Network


class Finish(Message, frozen=True, kw_only=True, tag="test_metrics.Finish"):
    pass


class MasterState(State):
    finished: int = 0


class Master(Actor[MasterState]):
    @receive(Finish)
    def finish(self, sender: PID, message: Finish) -> None:
        self.state.finished += 1

    def metrics(self) -> Mapping[str, float]:
        return {"master/tasks_finished": self.state.finished, "master/elected": 1.0}


class Broken(Actor[MasterState]):
    def metrics(self) -> Mapping[str, float]:
        raise KeyError("no such task")


class Sensor(Actor[MasterState]):
    """Looks before it is asked, and has labels."""

    def __init__(self, state: MasterState, pid: PID, seed: str) -> None:
        super().__init__(state, pid, seed)
        self.looked = 0

    async def refresh(self) -> None:
        self.looked += 1

    def families(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily("kaon_sensor", "What it saw.", labels=["place"])
        family.add_metric(["attic"], self.looked)
        return [family]


class BlindSensor(Actor[MasterState]):
    async def refresh(self) -> None:
        raise OSError("no eyes")

    def families(self) -> list[GaugeMetricFamily]:
        raise KeyError("nothing seen")


class World:
    def __init__(self, name: str = "m1") -> None:
        self.clock = VirtualClock()
        self.node = Node(name, MemoryTransport(Network(self.clock)), self.clock, seed="1", recorder=FlightRecorder())
        self.metrics = NodeMetrics(self.node)
        self.master = self.node.spawn(Master, "master", MasterState())
        self.clock.settle()

    def samples(self) -> dict[str, float]:
        """All samples by name and labels, as Prometheus itself reads them."""
        return {
            sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(self.metrics.text().decode())
            for sample in family.samples
        }


def test_actors_that_look_first_are_shown_by_label_and_blind_ones_hide_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.node.spawn(Sensor, "sensor", MasterState())
    world.node.spawn(BlindSensor, "blind", MasterState())
    world.clock.settle()
    asyncio.run(world.metrics.refresh())
    samples = world.samples()
    assert samples["kaon_sensor attic"] == 1.0
    assert samples["kaon_master_elected"] == 1.0
    assert "blind cannot look" in caplog.text
    assert "blind cannot say" in caplog.text


def test_turns_mailboxes_and_actors_are_counted() -> None:
    world = World()
    for _ in range(3):
        world.node.post(world.master, Finish())
    samples = world.samples()
    assert samples["kaon_mailbox_messages"] == 3
    assert samples["kaon_mailbox_longest_messages"] == 3
    world.clock.settle()
    samples = world.samples()
    assert samples["kaon_turns_total"] == 4
    assert samples["kaon_mailbox_messages"] == 0
    assert samples["kaon_actors"] == 1
    assert samples["kaon_sessions"] == 0
    assert samples["kaon_turn_seconds 1.0"] == 0.0


def test_dead_letters_and_refusals_are_counted_by_reason() -> None:
    world = World()
    world.node.post(world.node.pid("nobody"), Finish())
    world.node.refused("flood", "peer", "too fast")
    samples = world.samples()
    assert samples["kaon_dead_letters_total no such actor"] == 1
    assert samples["kaon_refused_total flood"] == 1
    assert samples["kaon_refused_total unknown_type"] == 0
    assert world.metrics.snapshot()["node/refused/flood"] == 1


def test_actors_are_measured_under_the_names_of_mesos() -> None:
    world = World()
    world.node.post(world.master, Finish())
    world.clock.settle()
    assert world.samples()["kaon_master_tasks_finished"] == 1
    snapshot = world.metrics.snapshot()
    assert snapshot["master/tasks_finished"] == 1
    assert snapshot["node/turns"] == 2
    assert list(snapshot) == sorted(snapshot)
    assert prometheus_name("slave-1/cpus.total") == "kaon_slave_1_cpus_total"


def test_sources_that_are_no_actors_can_be_added_and_removed() -> None:
    world = World()
    world.metrics.add("store", lambda: {"registrar/queued_operations": 7})
    assert world.samples()["kaon_registrar_queued_operations"] == 7
    world.metrics.remove("store")
    world.metrics.remove("store")
    assert "kaon_registrar_queued_operations" not in world.samples()


def test_an_actor_that_cannot_say_its_metrics_hides_no_others(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.node.spawn(Broken, "broken", MasterState())
    with caplog.at_level(logging.ERROR):
        assert world.samples()["kaon_master_elected"] == 1
    assert "broken cannot say its metrics" in caplog.text


def test_nodes_of_one_process_count_apart() -> None:
    first, second = World("m1"), World("m2")
    first.node.post(first.master, Finish())
    first.clock.settle()
    assert first.samples()["kaon_turns_total"] == 2
    assert second.samples()["kaon_turns_total"] == 1
    assert any(name.startswith("kaon_build_info") and "m2" in name for name in second.samples())
