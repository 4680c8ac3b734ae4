"""Asking actors from outside: for tools and tests, which are coroutines and no actors.

::

    outside = Outside.on(node)
    state = await outside.fetch_answer(PID("master", "tcp://127.0.0.1:5040"), GetMaster(), timeout_seconds=5)
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, ClassVar, Final

import msgspec

from runtime.actor import Edge, State, receive
from runtime.errors import NameTaken
from runtime.message import AskFailed, Message, Overflow
from runtime.node import Node
from runtime.pid import PID
from runtime.supervision import Supervision

GRACE_SECONDS: Final = 1.0
"""For the word that an ask has timed out; a node that has failed does not say it."""


class NoAnswer(Exception):
    """An ask from outside got no answer; the text says why."""


class _Fetch(Message, frozen=True, kw_only=True, tag="node.Fetch"):
    """To the outside actor, from itself: send the question kept under this key."""

    overflow: ClassVar[Overflow] = Overflow.NEVER
    local: ClassVar[bool] = True

    key: int


class _Key(msgspec.Struct, frozen=True):
    """Context of an ask: which question it was."""

    key: int


class _Question(msgspec.Struct):
    """A question on its way, and who waits for the answer."""

    to: PID
    message: Message
    timeout_seconds: float
    answer: asyncio.Future[Message]


class Outside(Edge[State]):
    """The actor that asks on behalf of code outside any actor."""

    def open(self) -> None:
        """Nothing is asked yet."""
        self._questions: dict[int, _Question] = {}
        self._keys = itertools.count(1)

    def close(self) -> None:
        """Nobody waits any more."""
        for question in self._questions.values():
            if not question.answer.done():
                question.answer.set_exception(NoAnswer("the node has stopped"))
        self._questions.clear()

    @classmethod
    def on(cls, node: Node, name: str = "outside") -> Outside:
        """The outside actor of a node, started if there is none."""
        if name not in node.cells:
            node.spawn(cls, name, State(), Supervision())
        actor = node.cells[name].actor
        if not isinstance(actor, Outside):
            raise NameTaken(f"node {node.identity.node} runs a {type(actor).__name__} called {name!r}: name another")
        return actor

    async def fetch_answer(self, to: PID, message: Message, timeout_seconds: float = 10.0) -> Any:
        """Ask an actor and wait for its answer. Raises :class:`NoAnswer`, also when this node ends meanwhile."""
        if self._detached:
            raise NoAnswer("the node has stopped")
        key = next(self._keys)
        question = _Question(to, message, timeout_seconds, self.loop.create_future())
        self._questions[key] = question
        self.post(_Fetch(key=key))
        try:
            async with asyncio.timeout(timeout_seconds + GRACE_SECONDS):
                return await question.answer
        except TimeoutError:
            raise NoAnswer("the node does not turn") from None
        finally:
            self._questions.pop(key, None)

    @receive(_Fetch)
    def fetch(self, sender: PID, message: _Fetch) -> None:
        """Send a question."""
        question = self._questions.get(message.key)
        if question is not None:
            self.ask(question.to, question.message, self.answered, _Key(message.key), question.timeout_seconds)

    def answered(self, sender: PID, answer: Message, context: _Key) -> None:
        """Hand an answer to whoever waits for it."""
        question = self._questions.get(context.key)
        if question is None or question.answer.done():
            return
        if isinstance(answer, AskFailed):
            question.answer.set_exception(NoAnswer(answer.reason))
        else:
            question.answer.set_result(answer)
