"""What goes wrong in a simulation, as data: a schedule drawn from the seed, of which parts can be left out."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from runtime.faults import hiccuping, losing_repeated

if TYPE_CHECKING:
    from actors.simulation.cluster import Cluster


class Kind(enum.Enum):
    """What a fault does; `seconds` is how long it lasts, or how long a node stays down."""

    AGENT_CRASH = "agent_crash"
    AGENT_WIPE = "agent_wipe"
    """The agent comes back with an empty disk; its containers run on meanwhile."""
    REBOOT = "reboot"
    """The host of an agent: nothing runs there any more."""
    REBOOT_WIPE = "reboot_wipe"
    CONTAINERIZER_CRASH = "containerizer_crash"
    MASTER_CRASH = "master_crash"
    SCHEDULER_CRASH = "scheduler_crash"
    PARTITION = "partition"
    """Some nodes cannot be reached by the others, nor reach them."""
    ONE_WAY = "one_way"
    """Nothing gets from these nodes to the others; the way back is open."""
    BREAK = "break"
    """The connection of two nodes breaks, with what is on its way; it may be opened anew at once."""
    SLOW_DISK = "slow_disk"
    FAILED_DISK = "failed_disk"
    """The next write fails, and with it the process."""
    PAUSE = "pause"
    """A process stands still, as by SIGSTOP."""
    SKEW = "skew"
    """From its next start on, a node's clock is off and runs at another rate."""
    STORE_FAILURE = "store_failure"
    DEPOSE = "depose"
    """The leading master's session with ZooKeeper ends though it lives."""
    LOSS = "loss"
    """Messages that are repeated anyway get lost."""
    HICCUPS = "hiccups"
    """Connections stall now and then."""


class Fault(msgspec.Struct, frozen=True):
    """One thing that goes wrong.

    at       seconds after the start of the schedule
    nodes    that it is about
    seconds  how long it lasts
    amount   what else there is to say: latency of a disk, chance of a loss, seconds of skew
    """

    at: float
    kind: Kind
    nodes: tuple[str, ...] = ()
    seconds: float = 0.0
    amount: float = 0.0

    def __str__(self) -> str:
        where = f" {' '.join(self.nodes)}" if self.nodes else ""
        amount = f", {self.amount:.3g}" if self.amount else ""
        return f"{self.at:.1f} s: {self.kind.value}{where} for {self.seconds:.1f} s{amount}"


class FaultRates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many faults of each kind there are in an hour of the whole cluster, on average."""

    agent_crash: float = 0.0
    agent_wipe: float = 0.0
    reboot: float = 0.0
    reboot_wipe: float = 0.0
    containerizer_crash: float = 0.0
    master_crash: float = 0.0
    scheduler_crash: float = 0.0
    partition: float = 0.0
    one_way: float = 0.0
    break_: float = msgspec.field(default=0.0, name="break")
    slow_disk: float = 0.0
    failed_disk: float = 0.0
    pause: float = 0.0
    skew: float = 0.0
    store_failure: float = 0.0
    depose: float = 0.0
    loss: float = 0.0
    hiccups: float = 0.0

    def of(self, kind: Kind) -> float:
        """Of one kind."""
        return float(getattr(self, "break_" if kind is Kind.BREAK else kind.value))


NONE: Final = FaultRates()

LIGHT: Final = FaultRates(
    agent_crash=0.5,
    reboot=0.5,
    reboot_wipe=0.1,
    containerizer_crash=0.5,
    master_crash=0.1,
    scheduler_crash=0.2,
    partition=0.3,
    pause=0.3,
    slow_disk=0.5,
    break_=2.0,
    hiccups=0.5,
)
"""A cluster of some hundred machines on a bad day."""

HEAVY: Final = FaultRates(
    agent_crash=20.0,
    agent_wipe=6.0,
    reboot=8.0,
    reboot_wipe=4.0,
    containerizer_crash=10.0,
    master_crash=10.0,
    scheduler_crash=10.0,
    partition=8.0,
    one_way=8.0,
    break_=30.0,
    slow_disk=12.0,
    failed_disk=6.0,
    pause=12.0,
    skew=6.0,
    store_failure=4.0,
    depose=6.0,
    loss=8.0,
    hiccups=8.0,
)
"""Something every twenty seconds: what finds bugs."""

LEVELS: Final = {"none": NONE, "light": LIGHT, "heavy": HEAVY}


def draw(rates: FaultRates, cluster: Cluster, seconds: float, seed: str) -> list[Fault]:
    """A schedule for so many seconds, in order. The same seed and cluster give the same."""
    faults = []
    for kind in Kind:
        chance = random.Random(f"{seed}/{kind.value}")
        rate = rates.of(kind) / 3600.0
        at = chance.expovariate(rate) if rate > 0.0 else seconds
        while at < seconds:
            fault = _draw_one(kind, at, cluster, chance)
            if fault is not None:
                faults.append(fault)
            at += chance.expovariate(rate)
    return sorted(faults, key=lambda fault: (fault.at, fault.kind.value))


_LASTS: Final[dict[Kind, tuple[float, float]]] = {
    Kind.AGENT_CRASH: (0.1, 30.0),
    Kind.AGENT_WIPE: (0.1, 30.0),
    Kind.REBOOT: (5.0, 120.0),
    Kind.REBOOT_WIPE: (5.0, 120.0),
    Kind.CONTAINERIZER_CRASH: (0.1, 10.0),
    Kind.MASTER_CRASH: (0.1, 20.0),
    Kind.SCHEDULER_CRASH: (0.1, 20.0),
    Kind.PARTITION: (0.5, 120.0),
    Kind.ONE_WAY: (0.5, 60.0),
    Kind.SLOW_DISK: (1.0, 60.0),
    Kind.PAUSE: (0.1, 40.0),
    Kind.STORE_FAILURE: (0.5, 30.0),
    Kind.DEPOSE: (0.5, 30.0),
    Kind.LOSS: (5.0, 60.0),
    Kind.HICCUPS: (5.0, 60.0),
}
"""Least and most seconds; drawn so that short ones are as likely as long ones."""


def _draw_one(kind: Kind, at: float, cluster: Cluster, chance: random.Random) -> Fault | None:
    nodes: tuple[str, ...] = ()
    amount = 0.0
    agents, frameworks, masters = cluster.agent_names, cluster.framework_names, cluster.master_names
    machines = [] if cluster.shape.together else [*cluster.machines]
    everybody = [*masters, *agents, *machines, *frameworks]
    match kind:
        case Kind.AGENT_CRASH | Kind.AGENT_WIPE | Kind.REBOOT | Kind.REBOOT_WIPE:
            nodes = _some(agents, chance)
        case Kind.CONTAINERIZER_CRASH:
            nodes = _some(machines, chance)
        case Kind.MASTER_CRASH:
            nodes = _some(masters, chance)
        case Kind.SCHEDULER_CRASH:
            nodes = _some(frameworks, chance)
        case Kind.PARTITION | Kind.ONE_WAY:
            nodes = tuple(sorted(chance.sample(everybody, chance.randint(1, max(1, len(everybody) // 3)))))
        case Kind.BREAK:
            nodes = (*_some(masters, chance), *_some([*agents, *frameworks], chance))
            if machines and chance.random() < 0.3:
                nodes = (chance.choice(agents),)
                nodes = (*nodes, f"c{nodes[0][1:]}")
        case Kind.SLOW_DISK | Kind.FAILED_DISK:
            nodes = _some([*agents, *frameworks], chance)
            amount = 10 ** chance.uniform(-2.0, 0.7)
        case Kind.PAUSE:
            nodes = _some(everybody, chance)
        case Kind.SKEW:
            nodes = _some([*masters, *agents, *frameworks], chance)
            amount = chance.uniform(-30.0, 30.0)
        case Kind.DEPOSE if len(masters) < 2:
            return None
        case Kind.LOSS | Kind.HICCUPS:
            amount = chance.uniform(0.01, 0.3)
    if not nodes and kind not in _WITHOUT_NODES:
        return None
    least, most = _LASTS.get(kind, (0.0, 0.0))
    seconds = least * (most / least) ** chance.random() if least else 0.0
    return Fault(round(at, 3), kind, nodes, round(seconds, 3), round(amount, 4))


_WITHOUT_NODES: Final = frozenset({Kind.STORE_FAILURE, Kind.DEPOSE, Kind.LOSS, Kind.HICCUPS})


def _some(names: Sequence[str], chance: random.Random) -> tuple[str, ...]:
    return (chance.choice(names),) if names else ()


# What each does -------------------------------------------------------------------------------------------------------


class Injection:
    """Faults that are being done to a cluster.

    done  those that have begun
    """

    def __init__(self, cluster: Cluster, faults: Sequence[Fault], seed: str) -> None:
        """Begin with all of `faults`, each at its time from now on."""
        self.done: list[Fault] = []
        self._cluster = cluster
        self._chance = random.Random(f"{seed}/injection")
        self._over = False
        self._ends: list[Callable[[], object]] = []
        for fault in faults:
            cluster.after(fault.at, lambda fault=fault: self._do(fault))  # type: ignore[misc]

    def stop(self) -> None:
        """No more faults begin, and what goes with rules and disks ends; the cluster heals the rest."""
        self._over = True
        for end in self._ends:
            end()

    def _do(self, fault: Fault) -> None:
        if not self._over:
            self.done.append(fault)
            getattr(self, f"_{fault.kind.value}")(self._cluster, fault)

    def _agent_crash(self, cluster: Cluster, fault: Fault) -> None:
        cluster.restart(fault.nodes[0], fault.seconds)

    _containerizer_crash = _master_crash = _scheduler_crash = _agent_crash

    def _agent_wipe(self, cluster: Cluster, fault: Fault) -> None:
        cluster.restart(fault.nodes[0], fault.seconds, wiped=True)

    def _reboot(self, cluster: Cluster, fault: Fault) -> None:
        cluster.reboot(fault.nodes[0], fault.seconds)

    def _reboot_wipe(self, cluster: Cluster, fault: Fault) -> None:
        cluster.reboot(fault.nodes[0], fault.seconds, wiped=True)

    def _partition(self, cluster: Cluster, fault: Fault) -> None:
        others = self._others(fault)
        network = cluster.world.network
        network.partition(fault.nodes, others)

        def join() -> None:
            network.restore(fault.nodes, others)
            network.restore(others, fault.nodes)

        cluster.after(fault.seconds, join)

    def _one_way(self, cluster: Cluster, fault: Fault) -> None:
        others = self._others(fault)
        network = cluster.world.network
        network.cut(fault.nodes, others)
        cluster.after(fault.seconds, lambda: network.restore(fault.nodes, others))

    def _others(self, fault: Fault) -> list[str]:
        cluster = self._cluster
        everybody = [*cluster.master_names, *cluster.agent_names, *cluster.machines, *cluster.framework_names]
        return [name for name in everybody if name not in fault.nodes]

    def _break(self, cluster: Cluster, fault: Fault) -> None:
        cluster.world.network.break_sessions(*fault.nodes)

    def _slow_disk(self, cluster: Cluster, fault: Fault) -> None:
        disk = cluster.world.disk(fault.nodes[0])
        disk.latency_seconds = fault.amount

        def be_quick() -> None:
            disk.latency_seconds = 0.0

        self._ends.append(be_quick)
        cluster.after(fault.seconds, be_quick)

    def _failed_disk(self, cluster: Cluster, fault: Fault) -> None:
        cluster.world.disk(fault.nodes[0]).fail("no space left on device")

    def _pause(self, cluster: Cluster, fault: Fault) -> None:
        name = fault.nodes[0]
        if cluster.is_up(name):
            cluster.world.pause(name)
            cluster.after(fault.seconds, lambda: cluster.world.resume(name))

    def _skew(self, cluster: Cluster, fault: Fault) -> None:
        cluster.world.skews[fault.nodes[0]] = (fault.amount, 1.0 + fault.amount / 30.0 * 0.01)

    def _store_failure(self, cluster: Cluster, fault: Fault) -> None:
        cluster.store.fails = "the store does not answer"

        def work() -> None:
            cluster.store.fails = ""

        self._ends.append(work)
        cluster.after(fault.seconds, work)

    def _depose(self, cluster: Cluster, fault: Fault) -> None:
        if cluster.election is not None:
            cluster.election.depose(fault.seconds)

    def _loss(self, cluster: Cluster, fault: Fault) -> None:
        self._rule(fault, cluster.world.network.faults.add(losing_repeated(fault.amount, self._chance)))

    def _hiccups(self, cluster: Cluster, fault: Fault) -> None:
        rule = hiccuping(fault.amount * 0.1, 5.0, self._chance)
        self._rule(fault, cluster.world.network.faults.add(rule))

    def _rule(self, fault: Fault, remove: Callable[[], None]) -> None:
        self._ends.append(remove)
        self._cluster.after(fault.seconds, remove)
