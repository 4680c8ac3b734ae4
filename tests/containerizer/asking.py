"""An actor in the part of the agent, or of somebody else who asks a containerizer."""

from __future__ import annotations

from collections import deque

import msgspec

from containerizer.messages import ContainerizerMessage
from runtime.actor import Actor, receive
from runtime.message import Message
from runtime.pid import PID

ANSWER_SECONDS = 60.0
"""For any answer, real or virtual."""


class Order(ContainerizerMessage, frozen=True, kw_only=True):
    """Makes the agent ask the next question in its queue."""


class _Number(msgspec.Struct):
    number: int


class TestAgent(Actor[msgspec.Struct]):
    """Asks what it is told to, and keeps all that it hears."""

    __test__ = False

    def __init__(self, state: msgspec.Struct, pid: PID, seed: str) -> None:
        super().__init__(state, pid, seed)
        self.orders: deque[tuple[int, PID, Message, bool]] = deque()
        self.answers: dict[int, Message] = {}
        self.heard: list[Message] = []
        self.leaving = False

    @receive(Order)
    def order(self, sender: PID, message: Order) -> None:
        while self.orders:
            number, to, question, is_ask = self.orders.popleft()
            if is_ask:
                self.ask(to, question, self.answered, _Number(number), timeout_seconds=ANSWER_SECONDS)
            else:
                self.send(to, question)
        if self.leaving:
            self.stop()

    def answered(self, sender: PID, answer: Message, context: _Number) -> None:
        self.answers[context.number] = answer

    def unhandled(self, sender: PID, message: Message) -> None:
        self.heard.append(message)
