"""How the allocator actor runs its cycles: when, over which agents, and in turns of bounded length.

`Cycles` is the half of the actor that decides and hands out; `allocator.actor` adds what the master says to it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Iterable
from typing import ClassVar

from allocator import metrics
from allocator.allocate import Policy, SortedPolicy
from allocator.constants import BLOCK_AGENTS, TURN_STEPS
from allocator.maintenance import inverse_allocations, mark
from allocator.messages import Allocated, AllocatorMessage, InverseAllocated
from allocator.plan import Plan
from allocator.plugin import PolicyFailed, decide, load_policy, order
from allocator.snapshot import MODULUS
from allocator.state import AllocatorState, Cycle, Starving
from runtime.actor import Actor, receive
from runtime.message import Overflow
from runtime.pid import PID

_log = logging.getLogger("kaon.allocator")


class BatchDue(AllocatorMessage, frozen=True, kw_only=True):
    """From the allocator to itself: the allocation interval has passed."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class GoOn(AllocatorMessage, frozen=True, kw_only=True):
    """From the allocator to itself: begin a cycle, or go on with the one under way."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class CycleEnded(AllocatorMessage, frozen=True, kw_only=True):
    """From the allocator to itself: what a cycle did is done; `started` tells how long it took."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    started: float


class Cycles(Actor[AllocatorState]):
    """The cycles of an allocator."""

    policy: Policy
    turn_steps: int = TURN_STEPS
    """How much one turn may decide about."""

    def __init__(self, state: AllocatorState, pid: PID, seed: str) -> None:
        super().__init__(state, pid, seed)
        self.policy = load_policy(state.policy)

    def go_on_after_hold(self) -> None:
        """The hold is over: finish the cycle that it stopped."""
        if self.state.cycle is not None:
            self._wake()

    def begin(self) -> None:
        """Start the allocation interval."""
        self.after(self.state.interval_seconds, BatchDue())

    def metrics(self) -> dict[str, float]:
        """Figures under Mesos's names; see `allocator.metrics`."""
        return metrics.figures(self.state)

    # What is to be looked at -----------------------------------------------------------------------------------------

    def want_cycle(self, agent_ids: Iterable[str]) -> None:
        """A cycle over these agents, as soon as may be; requests that come before it are one."""
        state = self.state
        state.candidates.update(agent_ids)
        if state.requested is None:
            state.requested = self.now
        self._wake()

    def want_full_cycle(self) -> None:
        """A cycle over all agents, as soon as may be."""
        self.state.everything = True
        self.want_cycle(())

    def all_freed(self) -> None:
        """Look at all agents in the next batch."""
        self.state.everything_waits = True

    def freed(self, agent_ids: Iterable[str]) -> None:
        """Look at these agents in the next batch, and again at those where something is held back for a quota."""
        state = self.state
        state.waiting.update(agent_ids)
        if state.held_back:
            state.waiting |= state.held_back
            state.held_back = set()

    def _wake(self) -> None:
        """See to it that a turn for cycles is on its way."""
        state = self.state
        if not state.under_way and state.held is None:
            state.under_way = True
            self.send(self.pid, GoOn())

    @receive(BatchDue)
    def batch_due(self, sender: PID, message: BatchDue) -> None:
        """The interval has passed: begin a batch, unless there is a hold."""
        state = self.state
        if state.held is not None:
            self.begin()
            return
        state.batch_due = True
        if state.requested is None:
            state.requested = self.now
        self._wake()

    # The cycle -------------------------------------------------------------------------------------------------------

    @receive(GoOn)
    def go_on(self, sender: PID, message: GoOn) -> None:
        """One turn of a cycle."""
        state = self.state
        state.under_way = False
        if state.held is not None:
            self._skip_batch()
            return
        if state.cycle is None:
            self._start_cycle()
        cycle = state.cycle
        assert cycle is not None
        left = self.turn_steps
        while left > 0 and cycle.stage < len(self.policy.stages):
            left -= self._step(cycle, left)
        if cycle.stage < len(self.policy.stages):
            self._wake_for_more()
        else:
            self._end_cycle(cycle)

    def _skip_batch(self) -> None:
        """A hold came between: a cycle under way goes on after it, what was asked for waits for the first batch."""
        state = self.state
        if state.cycle is None and state.batch_due:
            state.batch_due = False
            self.begin()

    def _wake_for_more(self) -> None:
        self.state.under_way = True
        self.send(self.pid, GoOn())

    def _start_cycle(self) -> None:
        """Gather the agents that are to be looked at."""
        state = self.state
        ledger = state.ledger
        batch = state.batch_due
        if batch:
            state.batch_due = False
            state.candidates |= state.waiting
            state.candidates |= ledger.filters.expire(self.now)
            state.candidates.update(state.inverses)
            state.waiting = set()
            state.everything |= state.everything_waits or not self.policy.incremental
            state.everything_waits = False
        agents = list(ledger.agents if state.everything else state.candidates)
        state.candidates, state.everything = set(), False
        if state.requested is not None:
            state.latency_ms.add((self.now - state.requested) * 1000)
            state.requested = None
        ledger.shared = {}
        state.cycle = Cycle(agents, batch, self.now)

    def _step(self, cycle: Cycle, steps: int) -> int:
        """Do the next bit of a cycle; returns about how many steps that took, one at least."""
        if cycle.remaining:
            return self._decide(cycle, steps)
        if cycle.undivided:
            return self._divide(cycle)
        if cycle.blocks:
            if len(cycle.blocks[-1]) > steps and steps < self.turn_steps:
                return steps  # a turn of its own
            block = cycle.blocks.pop()
            # Drawn from the stage's salt, so that what one block draws does not depend on the others.
            cycle.remaining = self._in_order(block, random.Random(cycle.salt + len(cycle.blocks)))
            return 1 + len(block)
        cycle.stage = len(self.policy.stages) if cycle.failed else cycle.stage + 1
        if cycle.stage < len(self.policy.stages):
            cycle.undivided = list(cycle.agents)
            cycle.salt = self.random.randrange(1, MODULUS)
        return 1

    def _divide(self, cycle: Cycle) -> int:
        """Put some agents into blocks of a size that can be put in order in one turn.

        The division is at random, and the same for an agent whichever others are asked for.
        """
        agents = self.state.ledger.agents
        count = 1 + len(agents) // BLOCK_AGENTS
        if len(cycle.blocks) < count:
            cycle.blocks += [[] for _ in range(count - len(cycle.blocks))]
        part = cycle.undivided[-2 * BLOCK_AGENTS :]
        del cycle.undivided[-2 * BLOCK_AGENTS :]
        for agent_id in part:
            agent = agents.get(agent_id)
            if agent is not None:
                cycle.blocks[agent.number * cycle.salt % MODULUS % count].append(agent_id)
        return 1 + len(part) // 2

    def _in_order(self, agent_ids: Collection[str], chance: random.Random) -> list[str]:
        """Those agents that have something to offer, in the policy's order."""
        ledger = self.state.ledger
        snapshot = ledger.snapshot(self.now)
        known = ledger.agents
        offerable = [
            agent_id
            for agent_id in agent_ids
            if agent_id in known and known[agent_id].free.items and snapshot.is_offerable(known[agent_id])
        ]
        try:
            return order(self.policy, snapshot, offerable, chance)
        except PolicyFailed as error:
            self._policy_failed(str(error))
            return []

    def _decide(self, cycle: Cycle, steps: int) -> int:
        """Decide about some agents and hand out; returns about how many steps that took."""
        ledger = self.state.ledger
        if cycle.thinned:
            cycle.thinned = False
            cycle.remaining = [agent_id for agent_id in cycle.remaining if agent_id in ledger.agents]
            if not cycle.remaining:
                return 1
        snapshot = ledger.snapshot(self.now)
        stage = self.policy.stages[cycle.stage]
        try:
            plan = decide(self.policy, snapshot, cycle.remaining, stage, self.random, steps)
        except PolicyFailed as error:
            self._policy_failed(str(error))
            return steps
        del cycle.remaining[: plan.visited]
        self._carry_out(plan)
        return max(1, plan.steps)

    def _carry_out(self, plan: Plan) -> None:
        """Enter the grants into the books and tell the master."""
        ledger = self.state.ledger
        self.state.held_back.update(plan.held_back)
        if plan.grants:
            self.send(self.state.master, Allocated(allocations=ledger.grant_all(plan.grants)))

    def _policy_failed(self, text: str) -> None:
        """A void cycle: nothing more of it is handed out, its agents are looked at again in the next batch."""
        state = self.state
        cycle = state.cycle
        assert cycle is not None
        cycle.failed, cycle.undivided, cycle.blocks, cycle.remaining = True, [], [], []
        state.waiting.update(cycle.agents)
        state.counters.policy_failures += 1
        state.last_failure = text
        _log.error("this allocation cycle is void: %s", text, extra={"limited_by": "policy"})

    def _end_cycle(self, cycle: Cycle) -> None:
        """Ask for agents under maintenance, count, and begin what was asked for meanwhile."""
        state = self.state
        ledger = state.ledger
        ledger.shared = {}
        if state.inverses:
            looked_at = state.inverses.keys() & set(cycle.agents)
            asked = inverse_allocations(ledger.snapshot(self.now), state.inverses, looked_at)
            if asked:
                mark(state.inverses, asked)
                self.send(state.master, InverseAllocated(allocations=tuple(asked)))
        state.counters.runs += 1
        state.cycle = None
        self.send(self.pid, CycleEnded(started=cycle.started))
        if cycle.batch:
            self._watch_starvation()
            self.begin()
        if state.candidates or state.everything or state.batch_due:
            self._wake()

    def _watch_starvation(self) -> None:
        """Count, and say now and then, who gets nothing because the policy means it so."""
        if not isinstance(self.policy, SortedPolicy):
            return
        before = self.state.starving
        clients = self.policy.starved(self.state.ledger.snapshot(self.now))
        self.state.starving = {client: before.get(client) or Starving(self.now) for client in clients}
        for (role, framework_id), starving in self.state.starving.items():
            seconds = self.now - starving.since
            if seconds >= starving.warn_after_seconds:
                starving.warn_after_seconds *= 2
                _log.warning(
                    "framework %s in role %r has had nothing for %.0f s: others of higher priority take all; "
                    "lower theirs, raise its own, or give its role a quota guarantee",
                    framework_id,
                    role,
                    seconds,
                )

    @receive(CycleEnded)
    def cycle_ended(self, sender: PID, message: CycleEnded) -> None:
        """Now its last turn is over as well: time passes only between turns."""
        self.state.run_ms.add((self.now - message.started) * 1000)
