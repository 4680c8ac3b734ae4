"""Bugs planted on purpose: each breaks one promise, and the simulation must notice.

python tests/simulation/mutants.py    for each the seed, the rule that was broken, and a shortened schedule of faults
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from actors.agent.agent import Agent
from actors.agent.base import AgentBase
from actors.agent.state import LaunchStep
from actors.agent.updates import Updates
from actors.master.agents import AgentsPart
from actors.master.reconciliation import ReconciliationPart
from actors.master.registrar import RegistrarActor
from actors.master.tasks import TasksPart
from actors.messages.records import Reason, TaskState
from actors.messages.registry import Applied, MarkUnreachable
from actors.messages.tasks import AcknowledgeUpdate, RunTask
from actors.scheduler import scheduler as scheduler_module
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import SubscribeAgain
from actors.scheduler.subscription import Subscriber
from actors.simulation.faults import HEAVY, FaultRates
from actors.simulation.run import DEFAULT_WORKLOADS, HASTY, Scenario, schedule, shrink, violation_of
from actors.simulation.run import begin as begin_scenario
from actors.simulation.shape import ClusterShape
from actors.simulation.violation import Violation
from actors.simulation.workloads import Batch
from allocator import cycle, plugin
from allocator.actor import Allocator
from allocator.ledger import Ledger
from allocator.quota import Quota
from allocator.resources import EMPTY
from containerizer.simulated import SimulatedContainerizer
from runtime.actor import Actor
from runtime.durability import Durability
from runtime.effects import Persist, Turn

SEND_FIRST: Final = vars(Updates)["_send_first"]
IS_OLD: Final = vars(Scheduler)["_is_old"]

Patch = tuple[Any, str, Any]
"""Owner, name, and what stands there instead."""


class Mutant(NamedTuple):
    """A planted bug.

    rule      that it breaks; several where it depends on the seed which is seen first
    scenario  in which it shows
    seeds     of which one finds it
    """

    name: str
    patches: tuple[Patch, ...]
    rules: tuple[str, ...]
    scenario: Scenario
    seeds: range = range(12)


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Plant it, for a while; handlers are looked up by message, so they are replaced there as well."""
    undo: list[Callable[[], None]] = []
    try:
        for owner, name, replacement in mutant.patches:
            undo.append(_replace(owner, name, replacement))
        yield
    finally:
        for each in reversed(undo):
            each()


def _replace(owner: Any, name: str, replacement: Any) -> Callable[[], None]:
    original = vars(owner).get(name)
    setattr(owner, name, replacement)
    tables = []
    if isinstance(owner, type) and issubclass(owner, Actor):
        for cls in _with_subclasses(owner):
            for message_type, handler in [*cls.handlers.items()]:
                if handler is original and handler is not None:
                    cls.handlers[message_type] = replacement
                    tables.append((cls, message_type))

    def undo() -> None:
        setattr(owner, name, original)
        for cls, message_type in tables:
            cls.handlers[message_type] = original

    return undo


def _with_subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from _with_subclasses(subclass)


# The bugs -------------------------------------------------------------------------------------------------------------


def _close_all(self: Ledger, allocation: Any, used: Any, returned: Any, close: Any = Ledger.close) -> Any:
    close(self, allocation, EMPTY, allocation.resources)
    return returned


def _ignore(self: Any, sender: Any, message: Any) -> None:
    """Nothing."""


def _acknowledge_for_others(self: Any, sender: Any, message: Any, update: Any = TasksPart.status_update) -> None:
    update(self, sender, message)
    status = message.status
    self.send(
        sender,
        AcknowledgeUpdate(framework_id=message.framework_id, task_id=status.task_id, uuid=status.uuid),
    )


def _send_once(self: Any, framework_id: str, task_id: str, stream: Any, send: Any = SEND_FIRST) -> None:
    send(self, framework_id, task_id, stream)
    self.cancel(stream.timer)


def _apply_at_once(self: Durability, cell: Any, turn: Turn, apply: Any = Durability.apply) -> None:
    apply(self, cell, msgspec.structs.replace(turn, effects=[each for each in turn.effects if type(each) is Persist]))
    self._node.turns.apply(
        cell, msgspec.structs.replace(turn, effects=[each for each in turn.effects if type(each) is not Persist])
    )


def _apply_unwritten(self: Any, sender: Any, message: Any, apply: Any = RegistrarActor.apply) -> None:
    if isinstance(message.operation, MarkUnreachable):
        self.reply(Applied())
    else:
        apply(self, sender, message)


def _forget_some(self: Any, number: int) -> bytes:
    bucket = vars(sys.modules[RegistrarActor.__module__])["Bucket"]
    return bytes(msgspec.msgpack.encode(bucket()))


def _launch_again(self: Any, sender: Any, message: Any, acknowledge: Any = TasksPart.acknowledge) -> None:
    key = (message.framework_id, message.task_id)
    task = self.state.tasks.get(key)
    acknowledge(self, sender, message)
    if task is not None and key not in self.state.tasks:
        run = RunTask(framework=self.state.frameworks[key[0]].info, task=task.info, role=task.role)
        self.send(self.state.agents[task.info.agent_id].pid, run)


def _subscribe_at_once(self: Any) -> None:
    self.state.connection.retry_timer = self.after(0.0, SubscribeAgain())


def _nothing_is_old(self: Any, status: Any, known: Any) -> bool:
    return False


def _from_anybody(self: Any, sender: Any, message: Any) -> bool:
    return True


def _gone_at_once(self: Any, framework: Any, task_id: str, agent_id: str) -> None:
    if (framework.framework_id, task_id) not in self.state.tasks:
        self.say_status(framework, task_id, TaskState.GONE, Reason.RECONCILIATION, "", agent_id=agent_id)


def _recovered_is_prepared(self: Any, records: Any, recover: Any = Agent.recover) -> None:
    recover(self, records)
    for executor in self.state.executors():
        executor.step = LaunchStep.PREPARED


def _answer_twice(self: Any, status: Any, known: Any, is_old: Any = IS_OLD) -> bool:
    if status.reason is Reason.RECONCILIATION and status.state in scheduler_module.ENDS_WITH_UPDATE:
        return True
    return bool(is_old(self, status, known))


def _never_lost(self: Any, agent_id: str, reason: str) -> None:
    """Nothing."""


def _forget_machine(self: Any, started: Any = SimulatedContainerizer.started) -> None:
    started(self)
    self.state.containers.clear()


def _without_limits(policy: Any, snapshot: Any, *arguments: Any, decide: Any = plugin.decide) -> Any:
    return decide(policy, msgspec.structs.replace(snapshot, quotas={}), *arguments)


QUIET: Final = Scenario(seconds=300.0, faults=FaultRates(), shape=ClusterShape(settings=HASTY))
ROUGH: Final = Scenario(seconds=400.0, faults=HEAVY, shape=ClusterShape(settings=HASTY))
SLOW: Final = Scenario(seconds=300.0, faults=FaultRates(slow_disk=60.0, agent_crash=30.0))
TORN: Final = Scenario(
    seconds=600.0,
    faults=FaultRates(depose=60.0, partition=30.0, one_way=30.0),
    shape=ClusterShape(masters=3, settings=HASTY),
)
LOSSY: Final = Scenario(seconds=300.0, faults=FaultRates(loss=60.0, break_=120.0, scheduler_crash=60.0))
FAILOVERS: Final = Scenario(seconds=400.0, faults=FaultRates(master_crash=60.0, agent_crash=30.0))
WIPES: Final = Scenario(seconds=400.0, faults=FaultRates(agent_wipe=40.0, containerizer_crash=40.0, agent_crash=40.0))
REBOOTS: Final = Scenario(seconds=300.0, faults=FaultRates(reboot=60.0))
FULL: Final = Scenario(seconds=400.0, faults=FaultRates(failed_disk=200.0))
PARTED: Final = Scenario(seconds=600.0, faults=FaultRates(partition=60.0))
WIPED_UNHEARD: Final = Scenario(seconds=400.0, faults=FaultRates(master_crash=90.0, agent_wipe=90.0))
LIMITED: Final = Scenario(
    seconds=300.0,
    faults=FaultRates(),
    shape=ClusterShape(quotas=(("small", Quota(limits=(("cpus", 4_000),))),)),
    workloads=(*DEFAULT_WORKLOADS, Batch(name="limited", role="small", jobs_per_hour=1200.0)),
)

TWICE: Final = "resources are never handed out twice"
FITS: Final = "an agent runs no more than fits"
DURABLE: Final = "an acknowledged update is never lost and never delivered before it is durable"
SURVIVES: Final = "what was told by a master survives it"
ONCE: Final = "a task runs at most once per launch"
FINAL: Final = "a terminal task stays terminal"
SETTLES: Final = "everything settles"
AGAIN: Final = "freed resources are offered again"
EPOCH: Final = "one leader acts per epoch"
STORM: Final = "messages come to rest"
LIMITS: Final = "quota limits hold"
FAILS: Final = "no actor fails"

MUTANTS: Final = (
    Mutant("what tasks use is offered again", ((Ledger, "close", _close_all),), (TWICE,), QUIET),
    Mutant("what tasks give back is forgotten", ((Allocator, "recover_resources", _ignore),), (SETTLES, AGAIN), QUIET),
    Mutant("the master loses acknowledgements", ((TasksPart, "acknowledge", _ignore),), (SETTLES,), QUIET),
    Mutant(
        "the master acknowledges for others",
        ((TasksPart, "status_update", _acknowledge_for_others),),
        (DURABLE,),
        QUIET,
    ),
    Mutant("an update is sent only once", ((Updates, "_send_first", _send_once),), (SETTLES,), LOSSY),
    Mutant("updates are sent before they are durable", ((Durability, "apply", _apply_at_once),), (DURABLE,), SLOW),
    Mutant("losses of agents are not written", ((RegistrarActor, "apply", _apply_unwritten),), (SURVIVES,), PARTED),
    Mutant("the registry forgets agents", ((RegistrarActor, "_encoded", _forget_some),), (SURVIVES,), QUIET),
    Mutant(
        "a launch is repeated when its task has ended", ((TasksPart, "acknowledge", _launch_again),), (ONCE,), QUIET
    ),
    Mutant("schedulers tell updates twice", ((Scheduler, "_is_old", _nothing_is_old),), (FINAL, FAILS), LOSSY),
    Mutant("agents obey any master", ((AgentBase, "is_from_master", _from_anybody),), (EPOCH,), TORN),
    Mutant(
        "an absent agent's tasks are called gone",
        ((ReconciliationPart, "reconcile_one", _gone_at_once),),
        (SURVIVES,),
        FAILOVERS,
    ),
    Mutant("a recovered agent launches again", ((Agent, "recover", _recovered_is_prepared),), (ONCE,), REBOOTS),
    Mutant("an update is taken for an answer", ((Scheduler, "_is_old", _answer_twice),), (DURABLE,), FULL),
    Mutant(
        "a lost master is asked for at once",
        ((Subscriber, "_subscribe_later", _subscribe_at_once),),
        (STORM,),
        FAILOVERS,
    ),
    Mutant(
        "a silent agent is never given up",
        ((AgentsPart, "mark_unreachable", _never_lost),),
        (SETTLES,),
        WIPED_UNHEARD,
        range(20),
    ),
    Mutant(
        "the containerizer forgets its containers",
        ((SimulatedContainerizer, "started", _forget_machine),),
        (SETTLES,),
        WIPES,
    ),
    Mutant("limits are ignored", ((cycle, "decide", _without_limits),), (LIMITS,), LIMITED),
)


def find(mutant: Mutant) -> tuple[int, Violation] | None:
    """The first seed that notices it, and what it says."""
    for seed in mutant.seeds:
        violation = violation_of(seed, mutant.scenario)
        if violation is not None:
            return seed, violation
    return None


def main() -> int:
    """Plant each, find it, and shorten what leads to it."""
    logging.disable(logging.CRITICAL)
    missed = 0
    for mutant in MUTANTS:
        with planted(mutant):
            found = find(mutant)
            if found is None or found[1].rule not in mutant.rules:
                missed += 1
                print(f"MISSED {mutant.name}: {found[1] if found else 'nothing was noticed'}")
                continue
            seed, violation = found
            scenario, violation = shrink(seed, mutant.scenario, violation, limit_runs=30)
            print(f"{mutant.name}\n    seed {seed}: {violation.rule}: {violation.what} (after {violation.at:.1f} s)")
            for fault in schedule(seed, scenario, begin_scenario(seed, scenario)):
                print(f"    {fault}")
    print(f"{len(MUTANTS) - missed} of {len(MUTANTS)} planted bugs were noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
