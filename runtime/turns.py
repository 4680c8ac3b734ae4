"""The hot path: take a message from a mailbox, run its handler, carry out the effects."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from runtime.actor import Delivery, UnhandledMessage
from runtime.constants import TURNS_PER_VISIT
from runtime.effects import After, Ask, Cancel, Effect, Link, Reply, Send, Spawn, Stop, Turn
from runtime.mailbox import Cell, PendingAsk
from runtime.message import AskFailed, Message
from runtime.pid import PID
from runtime.tracing.recorder import idle_turn
from runtime.transport.protocol import Envelope

if TYPE_CHECKING:
    from runtime.node import Node


class Turns:
    """Runs the turns of a node's actors, one at a time, each to its end."""

    def __init__(self, node: Node, first_span: int) -> None:
        """`first_span` is even; spans of this node count up from it, the odd ones for asks."""
        self._node = node
        self.new_span = itertools.count(first_span, 2).__next__
        self.total = 0
        # What every turn needs, one look-up away.
        self._cells = node.cells
        self._run_queue = node.run_queue
        self._routes = node.peers.routes
        self._ticks, self._epoch, self._stands = node.clock.ticks, node.clock.epoch, node.clock.stands
        self._own = node.identity.node
        self._incarnation = node.identity.incarnation

    # One visit ------------------------------------------------------------------------------------------------------

    def visit(self, cell: Cell, limit: int = TURNS_PER_VISIT) -> int:
        """Run up to `limit` turns of one actor; returns how many."""
        node = self._node
        queue = cell.queue
        if not queue:
            return 0
        actor, handlers, pid = cell.actor, cell.handlers, cell.pid
        ticks, epoch, stands = self._ticks, self._epoch, self._stands
        record, observe = node.record, node.observe
        next_delivery = queue.popleft
        kind, handler = None, None  # of the message before: mailboxes hold runs of one type
        started = ticks() + epoch
        count = 0
        for count in range(1, limit + 1):  # noqa: B007  how many it were is counted behind the loop
            delivery = next_delivery()
            message, sender, trace, span, parent, answers, received = delivery
            actor.now = started
            actor._delivery = delivery
            try:
                if answers and answers & 1:
                    self._answer(cell, delivery)
                else:
                    if type(message) is not kind:
                        kind = type(message)
                        handler = handlers.get(kind)
                    if handler is not None:
                        handler(actor, sender, message)
                    else:
                        actor.unhandled(sender, message)
                effects = actor._outbox
                ended = started if stands else ticks() + epoch
                if effects:
                    actor._outbox = []
                    turn = Turn(pid, sender, message, trace, span, parent, received, started, ended, effects)
                    if cell.journal is None:
                        self.apply(cell, turn)
                    else:
                        node.durability.apply(cell, turn)
                elif observe is None:
                    if record is not None:
                        record((pid, delivery, started, ended))
                    if cell.ended or not queue:
                        break
                    started = ended
                    continue
                else:
                    turn = idle_turn(pid, delivery, started, ended)
            except UnhandledMessage:
                actor._outbox = []
                ended = ticks() + epoch
                turn = idle_turn(pid, delivery, started, ended)
                node.dead_letter(delivery, pid, "unhandled")
            except Exception:  # noqa: BLE001  a failed turn is the supervisor's business, whatever was raised
                turn = idle_turn(pid, delivery, started, ticks() + epoch)
                turn.error = traceback.format_exc()
                node.lifecycle.fail(cell, turn)
                break
            if record is not None:
                record(turn)
            if observe is not None:
                observe(turn)
            if cell.ended or not queue:
                break
            started = ended
        self.total += count
        cell.turns += count
        return count

    def _answer(self, cell: Cell, delivery: Delivery) -> None:
        """Go on with an ask: the method that it named gets the answer. Whoever was not asked cannot answer."""
        message, sender, _, span, _, answers, _ = delivery
        pending = cell.asks.get(answers)
        if pending is None:
            if type(message) is not AskFailed:
                self._node.dead_letter(delivery, cell.pid, "late answer")
        elif not self._node.peers.is_same_node(pending.to.node, sender.node):
            self._node.dead_letter(delivery, cell.pid, "answer of another node")
        else:
            del cell.asks[answers]
            pending.timeout.cancel()
            cell.answered = (span, pending)
            getattr(cell.actor, pending.then)(sender, message, pending.context)

    # Effects --------------------------------------------------------------------------------------------------------

    def apply(self, cell: Cell, turn: Turn) -> None:
        """Carry out a turn's effects, in order."""
        new_span = self.new_span
        parent = turn.span
        for effect in turn.effects:
            if type(effect) is Send:
                to = effect.to
                span = new_span()
                trace = turn.trace or span
                if to.node != self._own:
                    route = self._routes.get(to.node)
                    if route is None or (to.incarnation and to.incarnation != route.incarnation):
                        posted = (to.name, cell.name, trace, span, parent, effect.message)
                        self._node.peers.send(to, cell.pid, posted)
                    else:
                        route.envelopes += 1
                        route.send((to.name, cell.name, trace, span, parent, effect.message))
                    continue
                delivery = (effect.message, cell.pid, trace, span, parent, 0, turn.ended)
                target = self._cells.get(to.name)
                if (
                    target is not None
                    and len(target.queue) < target.bound
                    and not target.crashes
                    and (to.incarnation == self._incarnation or not to.incarnation)
                ):
                    target.queue.append(delivery)
                    if not target.scheduled and not target.ended:
                        target.scheduled = True
                        self._run_queue.append(target)
                else:
                    self._node.deliver(to, delivery)
            else:
                self.apply_other(cell, turn, effect)

    def carry_out(self, cell: Cell, turn: Turn) -> None:
        """Carry out effects that were held; what cannot be done fails the actor, as it does in a turn."""
        try:
            self.apply(cell, turn)
        except Exception:  # noqa: BLE001  as for a turn: whatever was raised is the supervisor's business
            turn.error = traceback.format_exc()
            self._node.lifecycle.fail(cell, turn)

    def apply_other(self, cell: Cell, turn: Turn, effect: Effect) -> None:
        """Everything but Send. Of what was held while its actor ended, only words to others are left."""
        if type(effect) is Reply:
            request = effect.request
            self._transmit(cell, turn, request.sender, effect.message, self.new_span(), request.span)
        elif type(effect) is Ask:
            self._ask(cell, turn, effect)
        elif type(effect) is Stop:
            self._node.lifecycle.stop(cell, effect)
        elif cell.closed:
            return
        elif type(effect) is After:
            self._set_timer(cell, turn, effect)
        elif type(effect) is Cancel:
            timer = cell.timers.pop(effect.timer, None)
            if timer is not None:
                timer.cancel()
        elif type(effect) is Link:
            self._node.links.link(cell, effect.pid)
        elif type(effect) is Spawn:
            self._node.lifecycle.spawn(effect, cell)

    def _ask(self, cell: Cell, turn: Turn, effect: Ask) -> None:
        """Send a question, and wait for its answer."""
        span = self.new_span() | 1
        if not cell.closed:
            timeout = self._node.clock.call_at(
                turn.ended + effect.timeout_seconds, lambda: self.fail_ask(cell, span, effect.to, "timeout")
            )
            cell.asks[span] = PendingAsk(effect.to, effect.then, effect.context, timeout, turn.trace)
        self._transmit(cell, turn, effect.to, effect.message, span, 0)

    def _transmit(self, cell: Cell, turn: Turn, to: PID, message: Message, span: int, answers: int) -> None:
        """Send one message with its place in the trace."""
        trace = turn.trace or span
        if to.node == self._node.identity.node:
            self._node.deliver(to, (message, cell.pid, trace, span, turn.span, answers, turn.ended))
        else:
            envelope = Envelope(to.name, cell.name, trace, span, turn.span, message, answers)
            self._node.peers.send(to, cell.pid, envelope)

    def _set_timer(self, cell: Cell, turn: Turn, effect: After) -> None:
        """Arm a timer. One that is armed again by what it led to begins a new trace: a heartbeat is no long story."""
        timer, message = effect.timer, effect.message
        kind, fired = type(message), cell.fired
        repeats = kind is type(turn.message) or fired.get(kind) == turn.trace
        trace, parent = (0, 0) if repeats else (turn.trace, turn.span)

        def fire() -> None:
            cell.timers.pop(timer, None)
            span = self.new_span()
            fired[kind] = trace or span
            self._node.deliver(cell.pid, (message, cell.pid, trace or span, span, parent, 0, self._node.now()))

        cell.timers[timer] = self._node.clock.call_at(turn.ended + max(0.0, effect.delay_seconds), fire)

    def transmit(self, by: PID, to: PID, message: Message, trace: int, parent: int) -> None:
        """Send what the runtime itself says about a message, in the name of the actor `by`."""
        node = self._node
        span = self.new_span()
        if to.node == node.identity.node:
            node.deliver(to, (message, by, trace, span, parent, 0, node.now()))
        else:
            node.peers.answer(to, by, Envelope(to.name, by.name, trace, span, parent, message))

    def refuse_ask(self, by: PID, sender: PID, span: int, trace: int, reason: str) -> None:
        """Tell whoever sent an ask that no answer will come."""
        node = self._node
        message = AskFailed(reason=reason)
        if sender.node == node.identity.node:
            node.deliver(sender, (message, by, trace, self.new_span(), span, span, node.now()))
        else:
            envelope = Envelope(sender.name, by.name, trace, self.new_span(), span, message, span)
            node.peers.answer(sender, by, envelope)

    def fail_asks(self, to: Callable[[PID], bool], reason: str) -> None:
        """Nobody there will answer."""
        for cell in list(self._node.cells.values()):
            for span in [span for span, pending in cell.asks.items() if to(pending.to)]:
                self.fail_ask(cell, span, cell.asks[span].to, reason)

    def fail_ask(self, cell: Cell, span: int, to: PID, reason: str) -> None:
        """Give an ask that waits :class:`AskFailed`; nothing if it waits no more."""
        if span not in cell.asks:
            return
        message = AskFailed(reason=reason)
        trace = cell.asks[span].trace or span
        self._node.deliver(cell.pid, (message, to, trace, self.new_span(), span, span, self._node.now()))
