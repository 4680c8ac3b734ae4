"""A node: the actors of one process, their mailboxes, and the way to those of other nodes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from runtime.actor import Actor, Delivery
from runtime.clock import Clock, RealClock
from runtime.constants import TURNS_PER_PUMP
from runtime.durability import Durability
from runtime.effects import Request, Spawn, Turn
from runtime.errors import KaonError
from runtime.journal import JournalStore
from runtime.lifecycle import Lifecycle
from runtime.links import Links
from runtime.mailbox import Cell, is_ask
from runtime.message import Busy, Message, Overflow, Started, Terminate, tag_of
from runtime.peers import Peers
from runtime.pid import PID, is_node_id
from runtime.supervision import Supervision
from runtime.tracing.crash import CrashReports
from runtime.tracing.recorder import FlightRecorder, Moment
from runtime.transport.protocol import Identity, Transport
from runtime.turns import Turns

LINGER_SECONDS: Final = 2.0
"""How long a stopping node waits for its last messages to leave."""


class Node:
    """Runs actors: one turn at a time, all on one thread.

    identity  id and incarnation; a PID of this node carries both
    observe   called with every :class:`Turn` once its effects are carried out (tracers, checkers)
    choose    called with the run queue, answers the index of the actor whose turn it is (simulators); None for fair
    """

    def __init__(
        self,
        node_id: str,
        transport: Transport,
        clock: Clock,
        *,
        seed: str | None = None,
        incarnation: int | None = None,
        journals: JournalStore | None = None,
        recorder: FlightRecorder | None = None,
        crash_reports: CrashReports | None = None,
    ) -> None:
        """Make a node; `run` or a virtual clock turns it.

        seed          of everything random on this node; None draws one
        incarnation   of this life; None draws one
        journals      needed by actors that persist
        recorder      the flight recorder; None records nothing (benchmarks)
        """
        if not is_node_id(node_id):
            raise KaonError(f"{node_id!r} is no node id: letters, digits and _.- (128 at most)")
        self.seed = seed if seed is not None else str(random.SystemRandom().getrandbits(64))
        self.random = random.Random(f"{self.seed}/{node_id}")
        drawn = incarnation if incarnation is not None else self.random.getrandbits(62) + 1
        self.identity = Identity(node_id, drawn)
        self.clock = clock
        self.now: Callable[[], float] = clock.now
        self.cells: dict[str, Cell] = {}
        self.roots: dict[str, Cell] = {}
        self.run_queue: deque[Cell] = deque()
        self.recorder = recorder
        self.record: Callable[[Turn | Moment], None] | None = recorder.record if recorder is not None else None
        self.observe: Callable[[Turn], None] | None = None
        self._observers: list[Callable[[Turn], None]] = []
        self.choose: Callable[[deque[Cell]], int] | None = None
        self.log = logging.getLogger(f"kaon.node.{node_id}")
        self.stopping = False
        self.failure = ""
        self.dead_letters: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.on_failure: Callable[[str], None] | None = None
        self._crash_reports = crash_reports
        self._pump_scheduled = False
        self._thread = threading.get_ident()
        self._loop = clock.loop if isinstance(clock, RealClock) else None
        first_span = self.random.getrandbits(60) << 1
        self.links = Links(self)
        self.lifecycle = Lifecycle(self)
        self.durability = Durability(self, journals)
        self.peers = Peers(self, transport)
        self.turns = Turns(self, first_span)
        self.transport = transport
        transport.start(self.peers)

    # From outside ---------------------------------------------------------------------------------------------------

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The asyncio loop that turns this node; edge actors and outside code need it."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def pid(self, name: str) -> PID:
        """The address of an actor of this node."""
        return PID(name, self.identity.node, self.identity.incarnation)

    def listen(self, address: str) -> str:
        """Let other nodes open sessions at `address`; returns it with its port filled in."""
        return self.transport.listen(address)

    def spawn(
        self,
        actor_class: type[Actor[Any]],
        name: str,
        state: msgspec.Struct,
        supervision: Supervision | None = None,
    ) -> PID:
        """Start an actor that the node itself supervises: when it may not be restarted, the node fails."""
        effect = Spawn(name, actor_class, state, supervision or Supervision())
        return self.lifecycle.spawn(effect, None).pid

    def post(self, pid: PID, message: Message, cause: Request | None = None) -> None:
        """Put a message into the mailbox of an actor of this node, from itself; from any thread."""
        if threading.get_ident() != self._thread:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the node has ended, and with it all mailboxes
                self.loop.call_soon_threadsafe(self.post, pid, message, cause)
            return
        span = self.turns.new_span()
        trace, parent = (cause.trace or span, cause.span) if cause is not None else (span, 0)
        self.deliver(pid, (message, pid, trace, span, parent, 0, self.now()))
        self.wake()

    def state_of(self, name: str) -> Any:
        """The state of an actor, to look at between turns (tests, debuggers)."""
        return self.cells[name].actor.state

    def record_turns(self, recorder: FlightRecorder) -> None:
        """Keep the last turns from now on, on a node that was made without a recorder."""
        self.recorder = recorder
        self.record = recorder.record

    def add_observer(self, observer: Callable[[Turn], None]) -> None:
        """Let `observer` see every turn as well, after those who see it already."""
        if self.observe is not None and not self._observers:
            self._observers.append(self.observe)
        self._observers.append(observer)
        self._observe_with(self._observers)

    def remove_observer(self, observer: Callable[[Turn], None]) -> None:
        """Let it see no more turns, once the present visit is over; no error if it sees none."""
        if observer in self._observers:
            self._observers.remove(observer)
            self._observe_with(self._observers)

    def _observe_with(self, observers: list[Callable[[Turn], None]]) -> None:
        """Set `observe` to those, without a loop where there is one at most."""
        observing = tuple(observers)

        def observe(turn: Turn) -> None:
            for observer in observing:
                observer(turn)

        self.observe = observe if len(observing) > 1 else observing[0] if observing else None

    # Delivery -------------------------------------------------------------------------------------------------------

    def deliver(self, to: PID, delivery: Delivery) -> None:
        """Put a message into a mailbox of this node, or say why not."""
        cell = self.cells.get(to.name)
        if cell is None:
            self.dead_letter(delivery, to, "no such actor")
            return
        if to.incarnation not in (0, self.identity.incarnation):
            self.dead_letter(delivery, to, "its node has started anew")
            return
        message = delivery[0]
        if cell.crashes and cell.is_poison(message):
            self.refused("poison", str(delivery[1]), f"{tag_of(type(message))} has crashed {to.name} twice")
            self.dead_letter(delivery, to, "poison")
            return
        if len(cell.queue) >= cell.bound and message.overflow is not Overflow.NEVER and delivery[5] not in cell.asks:
            self._overflow(cell, delivery)
            return
        cell.queue.append(delivery)
        self.schedule(cell)

    def _overflow(self, cell: Cell, delivery: Delivery) -> None:
        """A mailbox is full: do what the message's type says."""
        message, sender, trace, span, _, _, _ = delivery
        if sender.node != self.identity.node:
            detail = f"{tag_of(type(message))}: the mailbox of {cell.name} is full, {cell.bound} messages wait in it"
            self.refused("flood", sender.node, detail)
        self.dead_letter(delivery, cell.pid, "busy")
        if message.overflow is Overflow.REFUSE and not is_ask(span):
            busy = Busy(message_type=tag_of(type(message)))
            self.turns.transmit(cell.pid, sender, busy, trace, span)

    def dead_letter(self, delivery: Delivery, to: PID, reason: str) -> None:
        """A message reaches nobody: count it, say it, and tell an asker."""
        message, sender, trace, span, _, _, _ = delivery
        kind = reason.partition(":")[0]
        self.dead_letters[kind] += 1
        if self.log.isEnabledFor(logging.DEBUG):
            self.log.debug("dead letter: %s from %s to %s: %s", tag_of(type(message)), sender, to, reason)
        if is_ask(span):
            self.turns.refuse_ask(to, sender, span, trace, reason)

    def refused(self, reason: str, peer: str, detail: str) -> None:
        """Bad input was turned away: count it; the log's filter bounds how often it is said."""
        self.refusals[reason] += 1
        self.log.warning("refused (%s) from %s: %s", reason, peer, detail, extra={"limited_by": reason})

    # Turning --------------------------------------------------------------------------------------------------------

    def schedule(self, cell: Cell) -> None:
        """Let an actor have a visit."""
        if not cell.scheduled and not cell.ended and cell.queue:
            cell.scheduled = True
            self.run_queue.append(cell)
        if not self._pump_scheduled:
            self.wake()

    def wake(self) -> None:
        """See to it that the run queue is looked at."""
        if self.run_queue and not self._pump_scheduled:
            self._pump_scheduled = True
            self.clock.call_soon(self._pump)

    def _pump(self) -> None:
        """Run the turns that `wake` has put off."""
        self._pump_scheduled = False
        self.run_turns()

    def run_turns(self) -> None:
        """Run turns until there are none, or enough for now."""
        run_queue = self.run_queue
        visit = self.turns.visit
        left = TURNS_PER_PUMP
        while run_queue and left > 0 and not self.failure:
            if self.choose is None:
                cell = run_queue.popleft()
                left -= 1 if cell.ended else visit(cell)
            else:
                index = self.choose(run_queue)
                cell = run_queue[index]
                del run_queue[index]
                left -= 1 if cell.ended else visit(cell, 1)
            if cell.queue and not cell.ended:
                run_queue.append(cell)
            else:
                cell.scheduled = False
        if run_queue and not self.failure:
            self.wake()

    # The end --------------------------------------------------------------------------------------------------------

    def crashed(self, cell: Cell, turn: Turn, summary: str) -> None:
        """An actor's handler raised: write it down."""
        where = ""
        if self._crash_reports is not None:
            turns = self.recorder.turns(actor=cell.name) if self.recorder is not None else []
            where = self._crash_reports.write(turn, turns, cell.actor.state)
        self.log.error(
            "%s failed on %s from %s: %s%s",
            cell.name,
            tag_of(type(turn.message)),
            turn.sender,
            summary,
            f"; report: {where}" if where else "",
            extra={"traceback": turn.error, "actor": cell.name, "trace": turn.trace},
        )

    def fail(self, reason: str) -> None:
        """This node cannot go on: no more turns; whoever runs the process ends it."""
        if self.failure:
            return
        self.failure = reason
        self.log.critical("node %s fails: %s", self.identity.node, reason)
        if self.on_failure is not None:
            self.on_failure(reason)

    def kill(self) -> None:
        """End without a word, as kill -9 does: no more turns, nothing is sent. For simulated crashes."""
        self.failure = self.failure or "killed"

    async def stop(self, deadline_seconds: float = 10.0) -> None:
        """End the node: actors that handle Terminate finish first, then all end, last spawned first."""
        deadline = self.now() + deadline_seconds
        self.stopping = True
        if not self.failure:
            await self._terminate(deadline)
        for cell in reversed(list(self.roots.values())):
            self.lifecycle.remove(cell, "node stopped")
        self.durability.stop()
        self.peers.stop()
        await self.transport.close(max(0.0, min(LINGER_SECONDS, deadline - self.now())))

    async def _terminate(self, deadline: float) -> None:
        """Ask those who can to finish, and wait for them until the deadline."""
        asked = [cell for cell in self.roots.values() if Terminate in cell.handlers]
        message = Terminate(deadline_seconds=deadline - self.now())
        for cell in reversed(asked):
            span = self.turns.new_span()
            first = bool(cell.queue) and type(cell.queue[0][0]) is Started
            cell.queue.insert(int(first), (message, cell.pid, span, span, 0, 0, self.now()))
            self.schedule(cell)
        finished = asyncio.Event()

        def look() -> None:
            if all(self.cells.get(cell.name) is not cell for cell in asked) or self.now() >= deadline or self.failure:
                finished.set()
            else:
                self.clock.call_at(self.now() + 0.01, look)

        look()
        await finished.wait()
