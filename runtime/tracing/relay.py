"""Tracers ask each other: a node that only dials, as schedulers and containerizers do, is reached through its peer."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from runtime.actor import receive
from runtime.effects import Request
from runtime.message import AskFailed, Exited, Message
from runtime.pid import PID
from runtime.tracing import messages as m
from runtime.tracing.messages import RELAYS, TRACER, TracerAnswer
from runtime.tracing.tracer_base import TracerBase, question

ANSWER_SECONDS = 8.0
"""For a tracer to answer another, per hop that is left; a tool waits a little longer."""


class RelayedTap(msgspec.Struct):
    """A tap of another node: who gets its data here, and what it is called there."""

    subscriber: PID
    source: PID
    source_tap: int


class Pending(msgspec.Struct, frozen=True):
    """Context of a question that was passed on. tap: number here of the tap that it ends."""

    request: Request
    path: tuple[str, ...]
    tap: int = 0


class RelayingTracer(TracerBase):
    """The part of a tracer that passes questions and taps on."""

    relayed_taps: dict[int, RelayedTap]
    numbers: itertools.count[int]

    def open(self) -> None:
        """Nothing is passed on yet."""
        self.relayed_taps = {}
        self.numbers = itertools.count(1)

    @question(m.Relay)
    def relay(self, sender: PID, message: m.Relay) -> None:
        """Ask the next tracer on the way."""
        path = message.path
        if not path or len(path) > RELAYS:
            self.refuse(f"a relay has 1 to {RELAYS} nodes on its way, not {len(path)}")
            return
        if isinstance(message.question, m.StopTap):
            self.refuse("a tap is stopped where it was started, by its number there: ask for StopTap without a relay")
            return
        passed: Message = m.Relay(path=path[1:], question=message.question) if path[1:] else message.question
        self.ask(
            PID(TRACER, path[0]), passed, self.relayed, Pending(self.request, path), ANSWER_SECONDS + len(path) / 2
        )

    def relayed(self, sender: PID, answer: Any, context: Pending) -> None:
        """Pass an answer back; a tap that began gets a number of this node."""
        if isinstance(answer, AskFailed):
            answer = m.TracerRefused(reason=f"node {context.path[0]} does not answer: {answer.reason}")
        elif isinstance(answer, m.TapStarted):
            number = next(self.numbers)
            self.relayed_taps[number] = RelayedTap(context.request.sender, sender, answer.tap)
            self.link(context.request.sender)
            self.link(sender)
            answer = msgspec.structs.replace(answer, tap=number)
        elif not isinstance(answer, TracerAnswer):
            answer = m.TracerRefused(reason=f"node {context.path[0]} answers with {type(answer).__name__}")
        self.reply(answer, to=context.request)

    def stop_relayed(self, number: int) -> None:
        """Pass on the end of a tap of another node."""
        relayed = self.relayed_taps[number]
        context = Pending(self.request, (relayed.source.node,), number)
        self.ask(relayed.source, m.StopTap(tap=relayed.source_tap), self.relayed_ended, context, ANSWER_SECONDS)

    def relayed_ended(self, sender: PID, answer: Any, context: Pending) -> None:
        """Pass back how it ended."""
        self.relayed_taps.pop(context.tap, None)
        if isinstance(answer, m.TapEnded):
            self.reply(msgspec.structs.replace(answer, tap=context.tap), to=context.request)
        else:
            self.reply(m.TapEnded(tap=context.tap, reason="its node is gone", counts=m.Counts()), to=context.request)

    @receive(m.TapData)
    def tap_data(self, sender: PID, message: m.TapData) -> None:
        """Pass a chunk on."""
        for number, relayed in self._relayed_from(sender, message.tap):
            self.send(relayed.subscriber, msgspec.structs.replace(message, tap=number))

    @receive(m.TapEnded)
    def tap_ended(self, sender: PID, message: m.TapEnded) -> None:
        """Pass on that it is over."""
        for number, relayed in self._relayed_from(sender, message.tap):
            del self.relayed_taps[number]
            self.send(relayed.subscriber, msgspec.structs.replace(message, tap=number))

    def acknowledge_relayed(self, number: int, message: m.TapAck) -> None:
        """Pass on that a chunk has come."""
        relayed = self.relayed_taps[number]
        self.send(relayed.source, msgspec.structs.replace(message, tap=relayed.source_tap))

    def peer_exited(self, message: Exited) -> None:
        """A subscriber or a tracer is gone: end what ran between them."""
        for number, relayed in list(self.relayed_taps.items()):
            if relayed.subscriber == message.pid:
                del self.relayed_taps[number]
                self.send(relayed.source, m.StopTap(tap=relayed.source_tap))
            elif relayed.source == message.pid:
                del self.relayed_taps[number]
                ended = m.TapEnded(tap=number, reason=f"its node is gone: {message.reason}", counts=m.Counts())
                self.send(relayed.subscriber, ended)

    def _relayed_from(self, sender: PID, tap: int) -> list[tuple[int, RelayedTap]]:
        return [
            (number, relayed)
            for number, relayed in self.relayed_taps.items()
            if relayed.source == sender and relayed.source_tap == tap
        ]
