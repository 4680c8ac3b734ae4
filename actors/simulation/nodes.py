"""What simulated nodes stand on: clocks that go wrong, disks that are slow or break, a store that refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actors.master.registrar import read
from runtime.clock import Handle, VirtualClock
from runtime.journal_memory import MemoryJournalStore
from runtime.node import Node
from runtime.store import Change, MemoryStore, StoreError, Versioned
from runtime.testing import World
from runtime.tracing.recorder import FlightRecorder
from runtime.transport.memory import MemoryTransport
from runtime.transport.simulated import Latency, SimulatedNetwork, no_latency


class NodeClock:
    """The clock of one simulated node: it may be off, run fast or slow, and stand still with its process.

    A paused node runs no turns: what arrives, and what its timers say, waits in mailboxes, as for a process that was
    stopped by a signal.
    """

    def __init__(self, base: VirtualClock, offset_seconds: float = 0.0, rate: float = 1.0) -> None:
        """`rate` is how many of its seconds pass in one of the world's."""
        self._base = base
        self._since = base.now()
        self._offset = offset_seconds
        self._rate = rate
        self._waiting: list[Callable[[], None]] | None = None
        self.call_soon: Callable[[Callable[[], None]], object] = base.call_soon
        """At the present time, or when the node goes on."""
        self.now: Callable[[], float] = self._skewed_now
        self.call_at: Callable[[float, Callable[[], None]], Handle] = self._skewed_call_at
        if offset_seconds == 0.0 and rate == 1.0:
            self.now, self.call_at = base.now, base.call_at
        self.ticks = self.now
        self.epoch = 0.0
        self.stands = True

    def _skewed_now(self) -> float:
        return self._since + self._offset + (self._base.now() - self._since) * self._rate

    def _skewed_call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        return self._base.call_at(self._since + (when - self._since - self._offset) / self._rate, callback)

    def pause(self) -> None:
        """Run nothing more of this node; twice is once."""
        if self._waiting is None:
            self._waiting = []
            self.call_soon = self._waiting.append

    def resume(self) -> None:
        """Go on; no error for a node that was not paused."""
        waiting, self._waiting = self._waiting or [], None
        self.call_soon = self._base.call_soon
        for callback in waiting:
            self._base.call_soon(callback)


class SimulatedStore(MemoryStore):
    """The store of the registry; it may refuse for a while.

    fails   with this text; empty for never
    writes  so far
    """

    def __init__(self) -> None:
        super().__init__()
        self.fails = ""
        self.writes = 0
        self._known: dict[str, tuple[bool, bool]] = {}
        self._read_at = -1

    def get(self, key: str) -> Versioned | None:
        """See :class:`runtime.store.Store`."""
        self._check()
        return super().get(key)

    def commit(self, changes: Sequence[Change], epoch: int) -> list[int]:
        """See :class:`runtime.store.Store`."""
        self._check()
        self.writes += 1
        return super().commit(changes, epoch)

    def _check(self) -> None:
        if self.fails:
            raise StoreError(self.fails)

    def agents(self) -> dict[str, tuple[bool, bool]]:
        """What the registry says, whether the store refuses or not: agent id, and if it is unreachable, and gone."""
        if self._read_at != self.writes:
            fails, self.fails = self.fails, ""
            try:
                self._known = {
                    agent.info.agent_id: (agent.unreachable_since is not None, agent.gone_since is not None)
                    for _, _, bucket in read(self)
                    for agent in bucket.agents
                }
            finally:
                self.fails = fails
            self._read_at = self.writes
        return self._known


class Nodes(World):
    """The nodes of a simulation: a :class:`runtime.testing.World` whose clocks, disks and network can go wrong."""

    def __init__(self, seed: int, latency: Latency = no_latency, *, recorded: bool = True) -> None:
        """recorded  whether nodes keep their last turns; a day of a thousand nodes does without."""
        super().__init__(seed)
        self.network = SimulatedNetwork(self.clock, latency)
        self.clocks: dict[str, NodeClock] = {}
        self.skews: dict[str, tuple[float, float]] = {}
        """Offset in seconds and rate of the clock that a node has from its next start on."""
        self._recorded = recorded
        self._paused: dict[str, list[str]] = {}

    def disk(self, node_id: str) -> MemoryJournalStore:
        """The disk of a node, new if it had none."""
        disk = self.disks.get(node_id)
        if disk is None:
            disk = self.disks[node_id] = MemoryJournalStore(self.clock)
        return disk

    def wipe(self, node_id: str) -> None:
        """A node that is down gets a new, empty disk."""
        self.disks.pop(node_id, None)

    def node(self, node_id: str, listen: str = "") -> Node:
        """Start a node; starting one of the same id again gives it a new incarnation and its old disk."""
        self._lives += 1
        clock = self.clocks[node_id] = NodeClock(self.clock, *self.skews.get(node_id, (0.0, 1.0)))
        node = Node(
            node_id,
            MemoryTransport(self.network),
            clock,
            seed=str(self.seed),
            incarnation=self._lives,
            journals=self.disk(node_id),
            recorder=FlightRecorder() if self._recorded else None,
        )
        self.nodes[node_id] = node
        if listen:
            node.listen(listen)
        return node

    def pause(self, node_id: str) -> None:
        """Stop a node as SIGSTOP does; its peers hear nothing of it. No error for one that is paused."""
        if node_id not in self._paused:
            self._paused[node_id] = [other for other in self.nodes if other != node_id]
            self.clocks[node_id].pause()
            self.network.partition([node_id], self._paused[node_id])

    def resume(self, node_id: str) -> None:
        """Let a node go on; no error for one that is not paused. One that died meanwhile can be reached again."""
        others = self._paused.pop(node_id, None)
        if others is not None:
            self.clocks[node_id].resume()
            self.network.restore([node_id], others)
            self.network.restore(others, [node_id])

    def resume_all(self) -> None:
        """Let every node go on."""
        for node_id in [*self._paused]:
            self.resume(node_id)
