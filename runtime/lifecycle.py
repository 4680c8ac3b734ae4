"""Birth, end and restart of actors."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from runtime.actor import Edge
from runtime.effects import Spawn, Stop, Turn
from runtime.errors import ActorError, KaonError, NameTaken
from runtime.mailbox import Cell, is_ask
from runtime.message import Exited, Started
from runtime.pid import PID, is_actor_name
from runtime.supervision import Decision, Restart, Strategy, decide
from runtime.tracing.crash import without_secrets

if TYPE_CHECKING:
    from runtime.node import Node


class Lifecycle:
    """Starts actors, ends them, and does what their supervision says when they fail."""

    def __init__(self, node: Node) -> None:
        """Of one node."""
        self._node = node
        self._lives = 0

    # Birth ----------------------------------------------------------------------------------------------------------

    def spawn(self, effect: Spawn, parent: Cell | None) -> Cell:
        """Start an actor.

        Raises :class:`NameTaken`, or :class:`ActorError` for what can be no actor: that is whoever spawns at fault.
        A child that cannot begin (its journal, its edge) has failed, and its supervision decides; for an actor that
        the node itself supervises, what went wrong is raised here.
        """
        node = self._node
        if not is_actor_name(effect.name):
            raise ActorError(f"{effect.name!r} is no actor name: letters, digits and _.:()/#+=~- (255 at most)")
        if effect.name in node.cells:
            raise NameTaken(f"node {node.identity.node} already runs an actor called {effect.name!r}")
        pid = PID(effect.name, node.identity.node, node.identity.incarnation)
        cell = Cell(pid, effect.actor_class, effect.state, effect.supervision, parent)
        self._make(cell)
        node.cells[effect.name] = cell
        self._siblings(cell)[effect.name] = cell
        try:
            self._begin(cell)
        except Exception as error:  # whatever was raised: the supervision, or whoever spawned, decides
            if parent is None:
                self.remove(cell, f"failed: {error}")
                raise
            self._not_begun(cell, error)
        return cell

    def _siblings(self, cell: Cell) -> dict[str, Cell]:
        """The actors that the same parent spawned, in that order."""
        return self._node.roots if cell.parent is None else cell.parent.children

    def _make(self, cell: Cell) -> None:
        """A new life: the actor with the state that it starts with."""
        node = self._node
        self._lives += 1
        cell.life = self._lives
        seed = f"{node.seed}/{cell.name}/{cell.pid.incarnation}/{cell.life}"
        cell.actor = cell.actor_class(copy.deepcopy(cell.state), cell.pid, seed)

    def _begin(self, cell: Cell) -> None:
        """Let an actor recover, and give it its first message."""
        node = self._node
        actor = cell.actor
        actor.now = node.now()
        records = node.durability.open(cell)
        if records:
            actor.recover(records)
            if actor._outbox:
                raise ActorError(f"{cell.actor_class.__name__}.recover has effects; a recovery only rebuilds the state")
        if isinstance(actor, Edge):
            actor.attach(node)
            actor.open()
        cell.ended = cell.closed = False
        span = node.turns.new_span()
        cell.queue.appendleft((Started(), cell.pid, span, span, 0, 0, actor.now))
        node.schedule(cell)

    def _not_begun(self, cell: Cell, error: Exception) -> None:
        """An actor could not begin its life: it has failed."""
        known = isinstance(error, (KaonError, OSError))
        self._node.log.error("starting %s failed: %s", cell.name, error, exc_info=None if known else error)
        self.end(cell, f"failed: {type(error).__name__}: {error}", failed=True)

    # End ------------------------------------------------------------------------------------------------------------

    def stop(self, cell: Cell, effect: Stop) -> None:
        """Carry out a Stop: of the actor itself, or of a child of its."""
        if effect.name:
            child = cell.children.get(effect.name)
            if child is not None:
                self.end(child, effect.reason)
        else:
            self.end(cell, effect.reason)

    def end(self, cell: Cell, reason: str, *, failed: bool = False) -> None:
        """End an actor, its children before it, and let its supervision decide what follows."""
        if self._node.cells.get(cell.name) is cell:
            self._close(cell, reason)
            self._decide(cell, reason, failed=failed)

    def _close(self, cell: Cell, reason: str) -> None:
        """Nothing of the actor runs any more; those who watch it hear so."""
        cell.ended = True
        if not cell.closed:
            cell.closed = True
            for child in reversed(list(cell.children.values())):
                self.remove(child, f"parent {cell.name} ended")
            cell.clear()
            if isinstance(cell.actor, Edge):
                cell.actor.cancel_tasks()
                try:
                    cell.actor.close()
                except Exception:  # whatever an edge leaves behind, the others go on
                    self._node.log.exception("closing %s failed", cell.name)
        self._node.links.ended(cell, reason)

    def remove(self, cell: Cell, reason: str) -> None:
        """End an actor for good, whatever its supervision says."""
        node = self._node
        if node.cells.get(cell.name) is not cell:
            return
        if cell.restarting is not None:
            cell.restarting.cancel()
        self._close(cell, reason)
        del node.cells[cell.name]
        self._siblings(cell).pop(cell.name, None)
        node.durability.close(cell)
        while cell.queue:
            node.dead_letter(cell.queue.popleft(), cell.pid, f"actor ended: {reason}")
        node.wake()

    # Failure --------------------------------------------------------------------------------------------------------

    def fail(self, cell: Cell, turn: Turn) -> None:
        """A turn raised: its effects are void, the failure is written down, the supervision decides."""
        node = self._node
        actor = cell.actor
        actor._outbox = []
        turn.error = without_secrets(turn.error, turn.message, actor.state)
        if turn.sender != cell.pid:
            cell.remember_crash(turn.message)
        if node.record is not None:
            node.record(turn)
        if node.observe is not None:
            node.observe(turn)
        summary = turn.error.strip().rpartition("\n")[2]
        reason = f"failed: {summary}"
        node.crashed(cell, turn, summary)
        if is_ask(turn.span):
            node.turns.refuse_ask(cell.pid, turn.sender, turn.span, turn.trace, reason)
        cell.ended = True

        def end() -> None:
            self.end(cell, reason, failed=True)

        if not node.durability.hold(cell, end):
            end()

    def _decide(self, cell: Cell, reason: str, *, failed: bool) -> None:
        """Do what the supervision says."""
        node = self._node
        failed = failed or reason.startswith("failed: ")
        decision, delay = decide(cell.supervision, failed=failed, restarts=cell.restarts, now=node.now())
        if decision is Decision.RESTART and not node.stopping:
            cell.restarts.append(node.now())
            self._restart_later(cell, delay)
            if cell.supervision.strategy is Strategy.REST_FOR_ONE:
                self._restart_rest(cell, reason, delay)
            return
        self.remove(cell, reason)
        if decision is Decision.ESCALATE and not node.stopping:
            if cell.parent is None:
                node.fail(f"actor {cell.name} ended and may not be restarted again: {reason}")
            else:
                self.end(cell.parent, f"failed: child {cell.name} {reason}", failed=True)

    def _restart_rest(self, cell: Cell, reason: str, delay: float) -> None:
        """Siblings that came after a failed actor end and start again with it, in their order."""
        siblings = list(self._siblings(cell).values())
        later = siblings[siblings.index(cell) + 1 :]
        for sibling in reversed(later):
            if sibling.supervision.restart is Restart.TEMPORARY:
                self.remove(sibling, f"ended with {cell.name}: {reason}")
            else:
                self._close(sibling, f"restarted with {cell.name}: {reason}")
        for sibling in later:
            if sibling.supervision.restart is not Restart.TEMPORARY:
                self._restart_later(sibling, delay)

    def _restart_later(self, cell: Cell, delay: float) -> None:
        """Start an ended actor again in `delay` seconds; what waits in its mailbox waits on."""
        if cell.restarting is not None:
            cell.restarting.cancel()

        def restart() -> None:
            cell.restarting = None
            try:
                self._forget_last_life(cell)
                self._make(cell)
                self._begin(cell)
            except Exception as error:  # noqa: BLE001  an actor that cannot begin has failed, whatever was raised
                self._not_begun(cell, error)

        cell.restarting = self._node.clock.call_at(self._node.now() + delay, restart)

    def _forget_last_life(self, cell: Cell) -> None:
        """What the last life said to itself, asked or watched is nothing for the next; what others said waits on."""
        waiting = list(cell.queue)
        cell.queue.clear()
        for delivery in waiting:
            message, sender, _, _, _, answers, _ = delivery
            if sender == cell.pid or answers & 1 or type(message) is Exited:
                self._node.dead_letter(delivery, cell.pid, "actor restarted")
            else:
                self._node.deliver(cell.pid, delivery)
