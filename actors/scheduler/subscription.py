"""A scheduler's way to the leading master: first at once, then again and again, and back when it is lost."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from actors.messages.scheduling import Call, Revive, Subscribe, Subscribed, Suppress
from actors.scheduler.state import SchedulerState, SubscribeAgain
from runtime.actor import Actor, receive
from runtime.errors import ActorError
from runtime.message import Exited
from runtime.pid import PID
from runtime.supervision import backoff

S = TypeVar("S", bound=SchedulerState)

SUBSCRIBE_BACKOFF_SECONDS: Final = 2.0
SUBSCRIBE_BACKOFF_MAX_SECONDS: Final = 60.0
"""Between two tries: random up to the first, doubling up to the second (Mesos: `src/sched/constants.hpp`)."""


class Subscriber(Actor[S]):
    """Keeps a scheduler subscribed to the leading master, and hears nobody else."""

    def disconnected(self) -> None:
        """The master is lost: all offers are void, tasks run on. The scheduler looks for it again by itself."""

    def started(self) -> None:
        """Look for the master. An author's own `started` calls this one."""
        self._subscribe()

    @property
    def framework_id(self) -> str:
        """Of the framework; empty before the master gave it."""
        return self.state.connection.framework_id or self.state.framework.framework_id

    @property
    def is_subscribed(self) -> bool:
        """Whether the leading master is there."""
        return self.state.connection.master is not None

    # Finding it -----------------------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        """Try one master, and set the time of the next try."""
        connection = self.state.connection
        masters = self.state.masters
        if not masters:
            raise ActorError("a scheduler needs to know where masters are: set `masters` of its state")
        target = masters[connection.target % len(masters)]
        if target not in connection.linked:
            connection.linked[target] = None
            self.link(target)
        framework = msgspec.structs.replace(self.state.framework, framework_id=self.framework_id)
        if connection.suppressed not in connection.announced:
            connection.announced.append(connection.suppressed)
        self.send(target, Subscribe(framework=framework, suppressed_roles=connection.suppressed))
        self._subscribe_later()

    def _subscribe_later(self) -> None:
        connection = self.state.connection
        delay = backoff(
            connection.attempt,
            factor=SUBSCRIBE_BACKOFF_SECONDS,
            maximum=SUBSCRIBE_BACKOFF_MAX_SECONDS,
            chance=self.random,
        )
        connection.retry_timer = self.after(delay, SubscribeAgain())

    @receive(SubscribeAgain)
    def _on_subscribe_again(self, sender: PID, message: SubscribeAgain) -> None:
        connection = self.state.connection
        if sender != self.pid or connection.master is not None:
            return
        connection.attempt += 1
        connection.target += 1
        self._subscribe()

    def _accept_master(self, sender: PID, message: Subscribed) -> bool:
        """Take `sender` as the leading master; False when nothing has changed by it."""
        connection = self.state.connection
        if connection.master == sender:
            return False
        if connection.master is not None:
            if message.master.epoch <= connection.epoch:
                connection.ignored += 1
                return False
            self._lose_master("another master leads")
        connection.master = sender
        connection.master_id = message.master.master_id
        connection.epoch = message.master.epoch
        connection.attempt = 0
        connection.trouble = ""
        if connection.retry_timer is not None:
            self.cancel(connection.retry_timer)
            connection.retry_timer = None
        self.link(sender)
        return True

    def _catch_up_suppression(self) -> None:
        """Say what `suppress` and `revive` could not while the subscription was on its way.

        Several may have been on their way, to several masters, and the one that answers says not which it has taken:
        it is told whatever one of them had otherwise.
        """
        connection = self.state.connection
        named = dict.fromkeys(role for roles in connection.announced for role in roles)
        wanted = tuple(role for role in named if role not in connection.suppressed)
        unwanted = tuple(
            role for role in connection.suppressed if any(role not in roles for roles in connection.announced)
        )
        if wanted:
            self._call(Revive(framework_id=self.framework_id, roles=wanted))
        if unwanted:
            self._call(Suppress(framework_id=self.framework_id, roles=unwanted))

    # Losing it ------------------------------------------------------------------------------------------------------

    @receive(Exited)
    def _on_exited(self, sender: PID, message: Exited) -> None:
        connection = self.state.connection
        connection.linked.pop(message.pid, None)
        if message.pid == connection.master:
            self._lose_master(message.reason)
            self._subscribe_later()
        elif connection.master is None:
            connection.trouble = message.reason

    def _lose_master(self, reason: str) -> None:
        connection = self.state.connection
        connection.master = None
        connection.offers.clear()
        connection.trouble = reason
        self.disconnected()

    # Talking to it --------------------------------------------------------------------------------------------------

    def _is_master(self, sender: PID) -> bool:
        """Whether a message comes from the leading master; others are counted and ignored."""
        if sender == self.state.connection.master:
            return True
        self.state.connection.ignored += 1
        return False

    def _call(self, call: Call) -> None:
        """Send a call to the leading master; nothing when there is none, for what it asked is void then."""
        if self.state.connection.master is not None:
            self.send(self.state.connection.master, call)
