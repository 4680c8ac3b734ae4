"""Actors to be watched: a shop whose orders travel over two nodes, and one who asks tracers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from runtime.actor import Actor, State, receive
from runtime.faults import DROP, PASS, Parcel, Verdict
from runtime.message import SECRET, Message, Secret
from runtime.node import Node
from runtime.pid import PID
from runtime.testing import World
from runtime.tracing.messages import TRACER, TapAck, TapData
from runtime.tracing.tracer import spawn_tracer


class Line(msgspec.Struct, frozen=True):
    task_id: str
    token: Secret = ""


class Order(Message, frozen=True, kw_only=True, tag="shop.Order"):
    framework_id: str = ""
    lines: tuple[Line, ...] = ()
    password: Secret = ""
    environment: Annotated[tuple[tuple[str, str], ...], SECRET] = ()


class Pack(Message, frozen=True, kw_only=True, tag="shop.Pack"):
    line: Line


class Packed(Message, frozen=True, kw_only=True, tag="shop.Packed"):
    task_id: str
    weight: float


class Break(Message, frozen=True, kw_only=True, tag="shop.Break"):
    pass


class ShopState(State):
    store: PID
    orders: int = 0
    packed: dict[str, float] = msgspec.field(default_factory=dict)
    last_password: Secret = ""


class Since(msgspec.Struct, frozen=True):
    at: float


class Shop(Actor[ShopState]):
    @receive(Order)
    def order(self, sender: PID, message: Order) -> None:
        self.state.orders += 1
        self.state.last_password = message.password
        for line in message.lines:
            self.ask(self.state.store, Pack(line=line), self.packed, Since(self.now))

    def packed(self, sender: PID, answer: Any, context: Since) -> None:
        if isinstance(answer, Packed):
            self.state.packed[answer.task_id] = answer.weight + self.random.random() + self.now - context.at

    @receive(Break)
    def break_down(self, sender: PID, message: Break) -> None:
        raise ValueError("the till is empty")


class StoreState(State):
    packed: int = 0


class Store(Actor[StoreState]):
    @receive(Pack)
    def pack(self, sender: PID, message: Pack) -> None:
        self.state.packed += 1
        self.reply(Packed(task_id=message.line.task_id, weight=1.0))


class AskerState(State):
    pass


class Say(Message, frozen=True, kw_only=True, tag="shop.Say"):
    to: PID
    message: Any


class Asker(Actor[AskerState]):
    """Asks tracers what a test tells it to, and keeps what comes."""

    def __init__(self, state: AskerState, pid: PID, seed: str) -> None:
        super().__init__(state, pid, seed)
        self.answers: list[Any] = []
        self.heard: list[Any] = []

    @receive(Say)
    def say(self, sender: PID, message: Say) -> None:
        self.ask(message.to, message.message, self.answered)

    def answered(self, sender: PID, answer: Any, context: None) -> None:
        self.answers.append(answer)

    @receive(TapData)
    def data(self, sender: PID, message: TapData) -> None:
        self.heard.append(message)
        self.send(sender, TapAck(tap=message.tap, sequence=message.sequence))

    def unhandled(self, sender: PID, message: Message) -> None:
        self.heard.append(message)


class Mall:
    """A shop on node ``front``, its store on ``back``, one who asks on ``desk``, all with tracers."""

    def __init__(self, world: World, work_dir: Path | None) -> None:
        self.world = world
        self.back = world.node("back", listen="simulated://back")
        self.back.spawn(Store, "store", StoreState())
        self.front = world.node("front", listen="simulated://front")
        self.shop = self.front.spawn(Shop, "shop", ShopState(store=PID("store", "simulated://back")))
        self.desk = world.node("desk")
        self.desk.spawn(Asker, "asker", AskerState())
        for node in (self.front, self.back):
            spawn_tracer(node, work_dir / node.identity.node if work_dir else None)
        world.settle()

    @property
    def asker(self) -> Asker:
        actor = self.desk.cells["asker"].actor
        assert isinstance(actor, Asker)
        return actor

    def ask(self, message: Message, node: str = "front") -> Any:
        """Ask the tracer of a node."""
        before = len(self.asker.answers)
        self.desk.post(self.desk.pid("asker"), Say(to=PID(TRACER, f"simulated://{node}"), message=message))
        self.world.run(1.0)
        (answer,) = self.asker.answers[before:]
        return answer

    def say(self, message: Message, node: str = "front") -> Say:
        """What makes the asker ask."""
        return Say(to=PID(TRACER, f"simulated://{node}"), message=message)

    def hold_acks(self, parcel: Parcel) -> Verdict:
        """A fault: the tracers hear nothing of what has come."""
        return DROP if isinstance(parcel.envelope.body, TapAck) else PASS

    def order(self, *task_ids: str, framework_id: str = "f1") -> None:
        """Have the shop take an order."""
        lines = tuple(Line(task_id, token="hunter2-token") for task_id in task_ids)
        self.front.post(self.shop, Order(framework_id=framework_id, lines=lines, password="hunter2"))
        self.world.run(1.0)

    def node(self, name: str) -> Node:
        return self.world.nodes[name]
