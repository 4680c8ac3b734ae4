"""Actors and messages of the messaging benchmark: both ends of each measure run real turns."""

from __future__ import annotations

import asyncio
import time

import msgspec

from runtime.actor import Actor, State, receive
from runtime.message import Message
from runtime.pid import PID

WINDOW = 16_384
"""Messages on their way at most, in the one-way measures."""

GRANT = 16
"""Messages that one credit allows: so many leave in one turn of the source, and so many turns of the sink earn it."""

BATCH = 1_000
"""Messages that a driver gives to the workers of its own node before it waits for them."""


class BenchMessage(Message, frozen=True, kw_only=True, tag="bench.{}".format):
    """Base of what is sent here."""


class Update(BenchMessage, frozen=True, kw_only=True):
    """What is measured: the size of its encoding is set by `data`."""

    number: int
    task_id: str
    state: str
    data: str = ""


class Ready(BenchMessage, frozen=True, kw_only=True):
    """Source -> sink: there is a session."""


class Begin(BenchMessage, frozen=True, kw_only=True):
    """To the sink, from outside: let `count` messages come."""

    count: int


class Credit(BenchMessage, frozen=True, kw_only=True):
    """Sink -> source: GRANT more may come."""


class Ping(BenchMessage, frozen=True, kw_only=True):
    """To the echo: send it back."""

    data: str


class Pong(BenchMessage, frozen=True, kw_only=True):
    """From the echo."""

    data: str


class Work(BenchMessage, frozen=True, kw_only=True):
    """To a worker of the same node."""


class Last(BenchMessage, frozen=True, kw_only=True):
    """To a worker: the last of a batch."""


class Done(BenchMessage, frozen=True, kw_only=True):
    """From a worker: it has persisted, or a batch is done."""


class Record(msgspec.Struct, frozen=True, gc=False, tag=True):
    """What a worker persists: about 100 bytes."""

    number: int
    data: str


def filler(size_bytes: int) -> str:
    """What makes an Update encode to `size_bytes`."""
    data = "x" * size_bytes
    while len(encoded := msgspec.msgpack.encode(update(65_536, data))) > size_bytes:
        data = data[len(encoded) - size_bytes :]
    return data


def update(number: int, data: str) -> Update:
    """One message."""
    return Update(number=number, task_id="task-0001", state="TASK_RUNNING", data=data)


class SourceState(State):
    sink: PID
    data: str
    number: int = 0


class Source(Actor[SourceState]):
    """Sends as much as it has credit for, GRANT messages in the turn of each credit."""

    def started(self) -> None:
        self.send(self.state.sink, Ready())

    @receive(Credit)
    def credit(self, sender: PID, message: Credit) -> None:
        state = self.state
        for _ in range(GRANT):
            state.number += 1
            self.send(state.sink, update(state.number, state.data))


class SinkState(State):
    expected: int = 0
    until: int = -1
    sources: list[PID] = msgspec.field(default_factory=list)


class Sink(Actor[SinkState]):
    """Counts Updates and gives credit. What comes out of order, twice or not at all fails the run."""

    ready: asyncio.Event
    finished: asyncio.Event

    @receive(Ready)
    def greet(self, sender: PID, message: Ready) -> None:
        self.state.sources.append(sender)
        self.ready.set()

    @receive(Begin)
    def begin(self, sender: PID, message: Begin) -> None:
        state = self.state
        state.until = state.expected + message.count
        for _ in range(min(WINDOW, message.count) // GRANT):
            self.send(state.sources[0], Credit())

    @receive(Update)
    def update(self, sender: PID, message: Update) -> None:
        state = self.state
        state.expected += 1
        assert message.number == state.expected, "a message was lost, doubled or overtaken"
        if not state.expected % GRANT and state.expected + WINDOW <= state.until:
            self.send(sender, Credit())
        if state.expected == state.until:
            self.finished.set()


class Counter(Actor[SinkState]):
    """Counts Updates from anybody, whatever their number."""

    ready: asyncio.Event
    finished: asyncio.Event

    @receive(Begin)
    def begin(self, sender: PID, message: Begin) -> None:
        self.state.until = self.state.expected + message.count

    @receive(Update)
    def update(self, sender: PID, message: Update) -> None:
        state = self.state
        state.expected += 1
        if state.expected == state.until:
            self.finished.set()


class EchoState(State):
    pass


class Echo(Actor[EchoState]):
    """Sends pings back."""

    @receive(Ping)
    def ping(self, sender: PID, message: Ping) -> None:
        self.send(sender, Pong(data=message.data))


class PingerState(State):
    echo: PID
    left: int
    data: str
    seconds: list[float] = msgspec.field(default_factory=list)


class Pinger(Actor[PingerState]):
    """Plays ping-pong and notes how long each round took."""

    finished: asyncio.Event
    sent_at = 0.0

    @receive(Begin)
    def begin(self, sender: PID, message: Begin) -> None:
        self.serve()

    @receive(Pong)
    def pong(self, sender: PID, message: Pong) -> None:
        self.state.seconds.append(time.perf_counter() - self.sent_at)
        self.state.left -= 1
        if self.state.left:
            self.serve()
        else:
            self.finished.set()

    def serve(self) -> None:
        self.sent_at = time.perf_counter()
        self.send(self.state.echo, Ping(data=self.state.data))


class DriverState(State):
    workers: list[PID]
    rounds: int
    waiting: int = 0


class Driver(Actor[DriverState]):
    """Gives work to workers of its node, 1,000 messages a batch, the next when a batch is done."""

    finished: asyncio.Event

    @receive(Begin)
    def begin(self, sender: PID, message: Begin) -> None:
        self.give()

    @receive(Done)
    def done(self, sender: PID, message: Done) -> None:
        self.give()

    def give(self) -> None:
        state = self.state
        if state.rounds == 0:
            self.finished.set()
            return
        state.rounds -= 1
        work = Work()
        workers = state.workers * (BATCH // len(state.workers))
        for worker in workers[:-1]:
            self.send(worker, work)
        self.send(workers[-1], Last())


class Worker(Actor[EchoState]):
    """Has turns without effects."""

    @receive(Work)
    def work(self, sender: PID, message: Work) -> None:
        pass

    @receive(Last)
    def last(self, sender: PID, message: Last) -> None:
        self.send(sender, Done())


class PersistingDriver(Actor[DriverState]):
    """Gives 100 messages to a worker that persists, then the next 100 when all are done."""

    finished: asyncio.Event

    @receive(Begin)
    def begin(self, sender: PID, message: Begin) -> None:
        self.next()

    @receive(Done)
    def done(self, sender: PID, message: Done) -> None:
        self.state.waiting -= 1
        if not self.state.waiting:
            self.next()

    def next(self) -> None:
        state = self.state
        if state.rounds == 0:
            self.finished.set()
            return
        state.rounds -= 1
        state.waiting = 100
        work = Work()
        for _ in range(100):
            self.send(state.workers[0], work)


class PersistingWorker(Actor[SinkState]):
    """Persists a record and answers: the answer waits until the record is on disk."""

    records = Record

    @receive(Work)
    def work(self, sender: PID, message: Work) -> None:
        self.state.expected += 1
        self.persist(Record(number=self.state.expected, data="x" * 80))
        self.send(sender, Done())
