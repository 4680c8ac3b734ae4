"""Actors that do what a test tells them, on nodes of a world whose turns are all kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from runtime.actor import Actor, State, receive
from runtime.effects import Request, Turn
from runtime.message import AskFailed, Exited, Message, Overflow
from runtime.node import Node
from runtime.pid import PID
from runtime.supervision import Restart, Supervision
from runtime.testing import World

FOREVER = Supervision(restart=Restart.PERMANENT, backoff_seconds=1.0)


class Do(Message, frozen=True, kw_only=True, tag="puppet.Do"):
    """From a test: let a puppet call `act` with itself."""

    local: ClassVar[bool] = True
    overflow: ClassVar[Overflow] = Overflow.NEVER

    act: Any


class Note(Message, frozen=True, kw_only=True, tag="puppet.Note"):
    """Something to say."""

    text: str


class Ping(Message, frozen=True, kw_only=True, tag="puppet.Ping"):
    """May be dropped when a mailbox is full."""

    overflow: ClassVar[Overflow] = Overflow.DROP

    text: str


class Order(Message, frozen=True, kw_only=True, tag="puppet.Order"):
    """Is always let in."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    text: str


class Question(Message, frozen=True, kw_only=True, tag="puppet.Question"):
    """Answered at once, or kept for later."""

    text: str
    later: bool = False


class Fatal(Message, frozen=True, kw_only=True, tag="puppet.Fatal"):
    """Whoever gets it fails."""

    text: str = ""


class Unknown(Message, frozen=True, kw_only=True, tag="puppet.Unknown"):
    """No puppet handles it."""


class Kept(msgspec.Struct, frozen=True, tag=True):
    """What puppets persist."""

    text: str


class Context(msgspec.Struct, frozen=True):
    """Of a puppet's asks."""

    text: str


class PuppetState(State):
    notes: list[str] = msgspec.field(default_factory=list)
    kept: list[str] = msgspec.field(default_factory=list)
    answers: list[str] = msgspec.field(default_factory=list)
    requests: list[Request] = msgspec.field(default_factory=list)


class Puppet(Actor[PuppetState]):
    """Does what it is told, and notes what it hears."""

    @receive(Do)
    def do(self, sender: PID, message: Do) -> None:
        message.act(self)

    @receive(Note)
    def note(self, sender: PID, message: Note) -> None:
        self.state.notes.append(message.text)

    @receive(Ping)
    def ping(self, sender: PID, message: Ping) -> None:
        self.state.notes.append(message.text)

    @receive(Order)
    def order(self, sender: PID, message: Order) -> None:
        self.state.notes.append(message.text)

    @receive(Exited)
    def exited(self, sender: PID, message: Exited) -> None:
        self.state.notes.append(f"{message.pid.name}: {message.reason}")

    @receive(Question)
    def question(self, sender: PID, message: Question) -> None:
        if message.later:
            self.state.requests.append(self.request)
        else:
            self.reply(Note(text=f"re {message.text}"))

    @receive(Fatal)
    def fatal(self, sender: PID, message: Fatal) -> None:
        self.send(sender, Note(text="never said"))
        raise ValueError(message.text or "fatal")

    def answered(self, sender: PID, answer: Message, context: Context | None) -> None:
        said = answer.reason if isinstance(answer, AskFailed) else getattr(answer, "text", "")
        self.state.answers.append(f"{context.text}: {said}" if context else said)


class Keeper(Puppet):
    """A puppet with a journal."""

    records = Kept

    def recover(self, records: Sequence[msgspec.Struct]) -> None:
        self.state.kept = [record.text for record in records if isinstance(record, Kept)]

    def keep(self, text: str) -> None:
        self.persist(Kept(text=text))
        self.state.kept.append(text)


class Small(Puppet):
    """A puppet with room for two messages."""

    mailbox_messages = 2


class Stage(World):
    """A world that keeps every turn, and tells puppets what to do."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.turns: list[Turn] = []

    def node(self, node_id: str = "n1", listen: str = "") -> Node:
        node = super().node(node_id, listen or f"simulated://{node_id}")
        node.observe = self.turns.append
        return node

    def puppet(
        self,
        node: Node,
        name: str,
        actor_class: type[Puppet] = Puppet,
        supervision: Supervision | None = None,
    ) -> PID:
        pid = node.spawn(actor_class, name, PuppetState(), supervision)
        self.settle()
        return pid

    def tell(self, pid: PID, *acts: Callable[[Any], object]) -> None:
        """Have a puppet act, one turn for each act, and let follow what follows."""
        for act in acts:
            self.nodes[pid.node].post(pid, Do(act=act))
        self.settle()

    def state(self, pid: PID) -> PuppetState:
        state: PuppetState = self.nodes[pid.node].state_of(pid.name)
        return state

    def notes(self, pid: PID) -> list[str]:
        return self.state(pid).notes

    def heard(self, name: str) -> list[str]:
        """The notes that every life of an actor heard."""
        notes = [turn.message for turn in self.turns if turn.actor.name == name and not turn.error]
        return [message.text for message in notes if isinstance(message, (Note, Ping, Order))]

    def lives(self, pid: PID) -> bool:
        return pid.name in self.nodes[pid.node].cells


def at(node_id: str, name: str) -> PID:
    """An actor of a node that is to be dialled."""
    return PID(name, f"simulated://{node_id}")
