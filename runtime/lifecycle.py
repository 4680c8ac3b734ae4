"""Birth, end and restart of actors."""

from __future__ import annotations

import copy
import traceback
from typing import TYPE_CHECKING, Any

from runtime.actor import Actor, Edge
from runtime.effects import Spawn, Stop, Turn
from runtime.errors import ActorError, KaonError, NameTaken
from runtime.mailbox import Cell, is_ask
from runtime.message import Started
from runtime.pid import PID, is_actor_name
from runtime.supervision import Decision, Strategy, decide

if TYPE_CHECKING:
    from runtime.node import Node


class Lifecycle:
    """Starts actors, ends them, and does what their supervision says when they fail."""

    def __init__(self, node: Node) -> None:
        """Of one node."""
        self._node = node

    # Birth ----------------------------------------------------------------------------------------------------------

    def spawn(self, effect: Spawn, parent: Cell | None) -> Cell:
        """Start an actor. Raises :class:`NameTaken` or :class:`ActorError`, and what its journal or edge raises."""
        node = self._node
        if not is_actor_name(effect.name):
            raise ActorError(f"{effect.name!r} is no actor name: letters, digits and _.:()/#+=~- (255 at most)")
        if effect.name in node.cells:
            raise NameTaken(f"node {node.identity.node} already runs an actor called {effect.name!r}")
        pid = PID(effect.name, node.identity.node, node.identity.incarnation)
        cell = Cell(pid, effect.actor_class, effect.state, effect.supervision, parent)
        node.cells[effect.name] = cell
        siblings = node.roots if parent is None else parent.children
        siblings[effect.name] = cell
        try:
            self._begin(cell)
        except Exception:
            del node.cells[effect.name]
            del siblings[effect.name]
            raise
        return cell

    def _begin(self, cell: Cell) -> None:
        """Make the actor of a cell, let it recover, and give it its first message."""
        node = self._node
        seed = f"{node.seed}/{cell.name}/{cell.pid.incarnation}/{cell.life}"
        actor: Actor[Any] = cell.actor_class(copy.deepcopy(cell.state), cell.pid, seed)
        actor.now = node.now()
        cell.actor = actor
        records = node.durability.open(cell)
        if records:
            actor.recover(records)
            if actor._outbox:
                raise ActorError(f"{cell.actor_class.__name__}.recover has effects; a recovery only rebuilds the state")
        if isinstance(actor, Edge):
            actor.attach(node)
            actor.open()
        cell.ended = False
        span = node.turns.new_span()
        cell.queue.appendleft((Started(), cell.pid, span, span, 0, 0, actor.now))
        node.schedule(cell)

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
        if cell.name not in self._node.cells or self._node.cells[cell.name] is not cell:
            return
        if not cell.ended:
            cell.ended = True
            self._close(cell)
        self._node.links.ended(cell, reason)
        self._decide(cell, reason, failed=failed)

    def _close(self, cell: Cell) -> None:
        """Nothing of the actor runs any more."""
        for child in reversed(list(cell.children.values())):
            self.remove(child, f"parent {cell.name} ended")
        cell.clear()
        if isinstance(cell.actor, Edge):
            cell.actor.cancel_tasks()
            try:
                cell.actor.close()
            except Exception:
                self._node.log.exception("closing %s failed", cell.name)

    def remove(self, cell: Cell, reason: str) -> None:
        """End an actor for good, whatever its supervision says."""
        node = self._node
        if node.cells.get(cell.name) is not cell:
            return
        if cell.restarting is not None:
            cell.restarting.cancel()
        if not cell.ended:
            cell.ended = True
            self._close(cell)
            node.links.ended(cell, reason)
        del node.cells[cell.name]
        siblings = node.roots if cell.parent is None else cell.parent.children
        siblings.pop(cell.name, None)
        node.durability.close(cell)
        while cell.queue:
            node.dead_letter(cell.queue.popleft(), cell.pid, reason)
        node.wake()

    # Failure --------------------------------------------------------------------------------------------------------

    def fail(self, cell: Cell, turn: Turn) -> None:
        """A handler raised: its effects are void, the failure is written down, the supervision decides."""
        node = self._node
        cell.actor._outbox = []
        cell.remember_crash(turn.message)
        if node.record is not None:
            node.record(turn)
        if node.observe is not None:
            node.observe(turn)
        summary = turn.error.strip().rpartition("\n")[2]
        node.crashed(cell, turn, summary)
        if is_ask(turn.span):
            node.turns.refuse_ask(cell.pid, turn.sender, turn.span, turn.trace, f"failed: {summary}")
        cell.ended = True
        self._close(cell)
        reason = f"failed: {summary}"
        ending = Turn(
            cell.pid,
            turn.sender,
            turn.message,
            turn.trace,
            turn.span,
            turn.parent,
            turn.received,
            turn.started,
            turn.ended,
            [Stop("", reason)],
            turn.error,
        )
        if not node.durability.hold(cell, ending):
            self.end(cell, reason, failed=True)

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
        siblings = self._node.roots if cell.parent is None else cell.parent.children
        names = list(siblings)
        later = [siblings[name] for name in names[names.index(cell.name) + 1 :]]
        for sibling in reversed(later):
            if not sibling.ended:
                sibling.ended = True
                self._close(sibling)
                self._node.links.ended(sibling, f"restarted with {cell.name}: {reason}")
        for sibling in later:
            self._restart_later(sibling, delay)

    def _restart_later(self, cell: Cell, delay: float) -> None:
        """Start an ended actor again in `delay` seconds; what waits in its mailbox waits on."""
        if cell.restarting is not None:
            cell.restarting.cancel()

        def restart() -> None:
            cell.restarting = None
            cell.life += 1
            try:
                self._begin(cell)
            except (KaonError, OSError) as error:
                self._node.log.error("restarting %s failed: %s", cell.name, error)
                self.end(cell, f"failed: {error}", failed=True)
            except Exception:
                text = traceback.format_exc().strip().rpartition("\n")[2]
                self._node.log.exception("restarting %s failed", cell.name)
                self.end(cell, f"failed: {text}", failed=True)

        cell.restarting = self._node.clock.call_at(self._node.now() + delay, restart)
