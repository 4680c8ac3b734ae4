"""What every part of the tracer uses: its node, who may ask it, and how it says no."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

from runtime.actor import Edge, EdgeContext, State, receive
from runtime.errors import KaonError
from runtime.node import Node
from runtime.pid import PID
from runtime.tracing.messages import TracerMessage, TracerRefused

M = TypeVar("M", bound=TracerMessage)
T = TypeVar("T", bound="TracerBase")


class TracerState(State):
    """What a tracer is told.

    directory  of trace files and recordings; empty: none can be written here
    crashes    directory of crash reports; empty: there are none
    operators  principals that may ask, and nodes below them (``operator`` and ``operator.tool-1``); empty: everybody
               who may connect to the node
    """

    directory: str = ""
    crashes: str = ""
    operators: tuple[str, ...] = ()


class TracerBase(Edge[TracerState]):
    """An edge that knows its node, and not only a way to post to it."""

    node: Node

    def attach(self, context: EdgeContext) -> None:
        """Besides posting it needs the node's recorder and its turns."""
        super().attach(context)
        assert isinstance(context, Node)
        self.node = context

    def may_ask(self, sender: PID) -> bool:
        """Whether this sender may see what goes on here."""
        operators = self.state.operators
        return (
            not operators
            or sender.node == self.pid.node
            or any(sender.node == each or sender.node.startswith(f"{each}.") for each in operators)
        )

    def refuse(self, reason: str) -> None:
        """Answer this turn's question with no."""
        self.reply(TracerRefused(reason=reason))


def question(message_type: type[M]) -> Callable[[Callable[[T, PID, M], None]], Callable[[T, PID, M], None]]:
    """Mark the handler of a question: it may be asked by operators, and what a user can mend becomes a refusal.

    A handler raises before it has any effect.
    """

    def mark(method: Callable[[T, PID, M], None]) -> Callable[[T, PID, M], None]:
        @functools.wraps(method)
        def guarded(self: T, sender: PID, message: M) -> None:
            if not self.may_ask(sender):
                self.refuse(f"{sender.node} may not look into node {self.pid.node}: ask with an operator's key")
                return
            try:
                method(self, sender, message)
            except KaonError as error:
                self.refuse(str(error))
            except OSError as error:
                self.refuse(f"{error.filename or 'a file'} cannot be used: {error.strerror}")

        return receive(message_type)(guarded)

    return mark
