"""Metrics: what a node counts, as Prometheus text and as the flat JSON of Mesos's ``/metrics/snapshot``.

Counting costs an addition: counts are plain numbers on the node and in its actors, and are collected when somebody
asks, between turns. There is no registry of the process: several nodes may live in one.

An actor is measured by a method ``metrics(self) -> Mapping[str, float]``, with Mesos's names: ``master/tasks_finished``
becomes ``kaon_master_tasks_finished``. Whatever is no actor is added with :meth:`NodeMetrics.add`.

What has labels comes from a method ``families(self) -> Iterable[Metric]``. An edge actor that must look at the world
first has a coroutine ``refresh(self)``, which is awaited before it is asked.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, UnknownMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import runtime
from runtime.constants import REFUSALS

if TYPE_CHECKING:
    from runtime.node import Node

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `NodeMetrics.text` returns."""

QUANTILES: Final = (0.5, 0.99, 1.0)
"""Of handling and waiting times; 1.0 is the longest."""

Source = Callable[[], Mapping[str, float]]

_NOT_ALLOWED: Final = re.compile(r"[^a-zA-Z0-9_]")
_log = logging.getLogger("kaon.metrics")


class NodeMetrics:
    """The metrics of one node. Use it on the node's thread."""

    def __init__(self, node: Node) -> None:
        """Costs nothing until it is asked."""
        self._node = node
        self._sources: dict[str, Source] = {}
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self.collector())
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def add(self, name: str, source: Source) -> None:
        """Ask `source` as well; `name` says whose numbers they are, and replaces a source of that name."""
        self._sources[name] = source

    def remove(self, name: str) -> None:
        """Ask it no more; no error if there is none."""
        self._sources.pop(name, None)

    async def refresh(self) -> None:
        """Let the actors that must look first do so; to be awaited before `text`."""
        for name, refresh in self._methods("refresh"):
            try:
                await refresh()
            except Exception:  # noqa: BLE001  as for what they count
                _log.exception("%s cannot look at what it measures", name, extra={"limited_by": name})

    def text(self) -> bytes:
        """Everything, in Prometheus's text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def snapshot(self) -> dict[str, float]:
        """The numbers of actors and sources by Mesos's names, sorted; those of the node under ``node/``."""
        node = self._node
        numbers = {
            "node/turns": float(node.turns.total),
            "node/actors": float(len(node.cells)),
            "node/sessions": float(len(node.peers.sessions)),
            "node/mailbox_messages": float(sum(len(cell.queue) for cell in node.cells.values())),
        }
        numbers |= {f"node/dead_letters/{reason}": float(count) for reason, count in node.dead_letters.items()}
        numbers |= {f"node/refused/{reason}": float(count) for reason, count in node.refusals.items()}
        return dict(sorted((numbers | self._named()).items()))

    def collector(self) -> Collector:
        """For a registry of one's own."""
        return _NodeCollector(self)

    def collect(self) -> Iterator[Metric]:
        """Everything but what is true of the process."""
        yield from _of_node(self._node)
        yield from _of_turns(self._node)
        for name, value in sorted(self._named().items()):
            yield UnknownMetricFamily(prometheus_name(name), name, value=value)
        for name, families in self._methods("families"):
            try:
                yield from list(families())
            except Exception:  # noqa: BLE001  as for what they count
                _log.exception("%s cannot say its metrics; the others are shown", name, extra={"limited_by": name})

    def _methods(self, method: str) -> list[tuple[str, Callable[[], Any]]]:
        """Of the actors that have a method of that name."""
        found = ((name, getattr(cell.actor, method, None)) for name, cell in self._node.cells.items())
        return [(name, measure) for name, measure in found if callable(measure)]

    def _named(self) -> dict[str, float]:
        """The numbers of all actors that are measured, and of all sources."""
        sources = {**self._sources, **dict(self._methods("metrics"))}
        named: dict[str, float] = {}
        for name, source in sources.items():
            try:
                named.update(source())
            except Exception:  # noqa: BLE001  one actor that cannot count must not blind the operator
                _log.exception("%s cannot say its metrics; the others are shown", name, extra={"limited_by": name})
        return named


class _NodeCollector(Collector):
    """What a registry asks."""

    def __init__(self, metrics: NodeMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.collect()


def prometheus_name(name: str) -> str:
    """``master/tasks_finished`` in the words of Prometheus: ``kaon_master_tasks_finished``."""
    return f"kaon_{_NOT_ALLOWED.sub('_', name)}"


def _of_node(node: Node) -> Iterator[Metric]:
    """Counts and sizes of a node."""
    peers = node.peers
    build = GaugeMetricFamily(
        "kaon_build_info", "Version of the program that runs this node.", labels=["version", "node"]
    )
    build.add_metric([runtime.__version__, node.identity.node], 1)
    yield build
    yield CounterMetricFamily("kaon_turns", "Messages handled.", node.turns.total)
    yield CounterMetricFamily("kaon_persisted_records", "Records appended to journals.", node.durability.persisted)
    yield CounterMetricFamily("kaon_envelopes_received", "Messages from other nodes.", peers.envelopes_in)
    yield CounterMetricFamily("kaon_envelopes_sent", "Messages to other nodes.", peers.envelopes_out)
    dead = CounterMetricFamily("kaon_dead_letters", "Messages that reached nobody.", labels=["reason"])
    for reason, count in sorted(node.dead_letters.items()):
        dead.add_metric([reason], count)
    yield dead
    refused = CounterMetricFamily("kaon_refused", "Input turned away at the socket.", labels=["reason"])
    for reason in REFUSALS:
        refused.add_metric([reason], node.refusals[reason])
    yield refused
    waiting = [len(cell.queue) for cell in node.cells.values()]
    yield GaugeMetricFamily("kaon_actors", "Actors alive.", len(waiting))
    yield GaugeMetricFamily("kaon_mailbox_messages", "Messages that wait in mailboxes.", sum(waiting))
    yield GaugeMetricFamily(
        "kaon_mailbox_longest_messages", "Messages in the fullest mailbox.", max(waiting, default=0)
    )
    yield GaugeMetricFamily("kaon_sessions", "Open sessions with other nodes.", len(peers.sessions))


def _of_turns(node: Node) -> Iterator[Metric]:
    """Times of the turns that the flight recorder holds: recent ones, at no cost to those that run."""
    turns = node.recorder.turns() if node.recorder is not None else []
    handled = GaugeMetricFamily(
        "kaon_turn_seconds", "Time that recent turns took, from the flight recorder.", labels=["quantile"]
    )
    waited = GaugeMetricFamily(
        "kaon_wait_seconds", "Time that recent messages waited in mailboxes.", labels=["quantile"]
    )
    _add_quantiles(handled, [turn.ended - turn.started for turn in turns])
    _add_quantiles(waited, [turn.started - turn.received for turn in turns])
    yield handled
    yield waited


def _add_quantiles(family: GaugeMetricFamily, values: Sequence[float]) -> None:
    """The nearest-rank quantiles of some values."""
    if values:
        ranked = sorted(values)
        for quantile in QUANTILES:
            family.add_metric([str(quantile)], ranked[min(int(quantile * len(ranked)), len(ranked) - 1)])
