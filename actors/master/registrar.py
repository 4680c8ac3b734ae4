"""The registrar: keeps the registry in a store, for as long as its master leads (Mesos: `src/master/registrar.cpp`).

One write is under way at a time; operations that come meanwhile wait and are written together. Every write is a
compare-and-swap under the epoch that the registrar took over with, so that a deposed one changes nothing. A store that
fails, or is taken over, fails the registrar and with it the process: what is in the store is the truth, and another
master reads it.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from actors.master.constants import REGISTRY_BUCKETS, REGISTRY_FETCH_SECONDS, REGISTRY_STORE_SECONDS
from actors.master.registry_operations import Refused, perform
from actors.messages.registry import (
    Applied,
    Apply,
    NotApplied,
    RecoverRegistry,
    RegisteredAgent,
    Registry,
    RegistryMessage,
    RegistryOperation,
    RegistryRecovered,
)
from runtime.actor import Edge, State, UnhandledMessage, receive
from runtime.effects import Request
from runtime.message import EdgeFailed, Message
from runtime.pid import PID
from runtime.store import ABSENT, Change, Store, StoreError

PREFIX: Final = "registry/agents/"
LEADER_KEY: Final = "registry/leader"
"""Says who took the registry over last; of two that try at the same time, one finds it changed."""


class Bucket(msgspec.Struct, frozen=True):
    """One entry of the store: those agents whose ids fall into it."""

    agents: tuple[RegisteredAgent, ...] = ()


class Waiting(msgspec.Struct, frozen=True):
    """An operation that waits for its write, and who waits for it."""

    request: Request
    operation: RegistryOperation


class RegistrarState(State):
    """All of it.

    open_store  opens the store; called once per life of the actor
    threaded    whether calls of the store may block, and run in a thread; False for one that is in memory
    writer      named in the store as the last that took over, for people
    epoch       of this registrar's writes; 0 before the registry was recovered
    agents      by id, with every operation that was taken up, written or being written
    buckets     ids of the agents in each bucket of the store
    versions    of the buckets that exist in the store
    queue       operations that wait for the write under way
    answers     what to say once the write under way is durable
    """

    open_store: Callable[[], Store]
    threaded: bool = True
    writer: str = ""
    epoch: int = 0
    agents: dict[str, RegisteredAgent] = msgspec.field(default_factory=dict)
    buckets: dict[int, dict[str, None]] = msgspec.field(default_factory=dict)
    versions: dict[int, int] = msgspec.field(default_factory=dict)
    queue: list[Waiting] = msgspec.field(default_factory=list)
    answers: list[tuple[Request, Message]] = msgspec.field(default_factory=list)
    storing: bool = False
    recovering: Request | None = None


class Fetched(RegistryMessage, frozen=True, kw_only=True):
    """To itself: what the store holds, and its versions, as pairs with the bucket's number."""

    epoch: int
    buckets: tuple[tuple[int, int, Bucket], ...]


class Stored(RegistryMessage, frozen=True, kw_only=True):
    """To itself: these buckets are durable, at these versions."""

    versions: tuple[tuple[int, int], ...]


def bucket_of(agent_id: str) -> int:
    """Where in the store an agent is; the same in every version of this program."""
    return zlib.crc32(agent_id.encode()) % REGISTRY_BUCKETS


def bucket_key(bucket: int) -> str:
    """Of a bucket in the store."""
    return f"{PREFIX}{bucket:03d}"


class RegistrarActor(Edge[RegistrarState]):
    """See the module's docstring."""

    _store: Store

    def open(self) -> None:
        """Open the store; raises :class:`runtime.store.StoreError`."""
        self._store = self.state.open_store()

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    # Recovery --------------------------------------------------------------------------------------------------------

    @receive(RecoverRegistry)
    def recover_registry(self, sender: PID, message: RecoverRegistry) -> None:
        """Take over, and read all of it."""
        self._check_local(sender, message)
        self.state.recovering = self.request
        store, writer = self._store, self.state.writer
        self._run(lambda: fetch(store, writer), REGISTRY_FETCH_SECONDS, "reading the registry")

    @receive(Fetched)
    def fetched(self, sender: PID, message: Fetched) -> None:
        """Answer with it."""
        self._check_local(sender, message)
        state = self.state
        assert state.recovering is not None
        state.epoch = message.epoch
        state.agents = {agent.info.agent_id: agent for _, _, bucket in message.buckets for agent in bucket.agents}
        state.versions = {number: version for number, version, _ in message.buckets}
        state.buckets = {
            number: {agent.info.agent_id: None for agent in bucket.agents} for number, _, bucket in message.buckets
        }
        registry = Registry(agents=tuple(state.agents.values()))
        self.reply(RegistryRecovered(registry=registry, epoch=state.epoch), state.recovering)
        state.recovering = None

    # Operations ------------------------------------------------------------------------------------------------------

    @receive(Apply)
    def apply(self, sender: PID, message: Apply) -> None:
        """Queue an operation; Applied or NotApplied is sent after the next write."""
        self._check_local(sender, message)
        if not self.state.epoch:
            self.reply(NotApplied(reason="the registry has not been recovered yet"))
            return
        self.state.queue.append(Waiting(self.request, message.operation))
        if not self.state.storing:
            self._write()

    @receive(Stored)
    def stored(self, sender: PID, message: Stored) -> None:
        """A batch is durable: say so, and write the next."""
        self._check_local(sender, message)
        self.state.versions.update(message.versions)
        self.state.storing = False
        self._answer()
        if self.state.queue:
            self._write()

    @receive(EdgeFailed)
    def failed(self, sender: PID, message: EdgeFailed) -> None:
        """The store cannot be read or written: the end, of the master's process too. It is no bug: no crash report."""
        self._check_local(sender, message)
        self.stop(reason=f"failed: {message.task}: {message.error}")

    def _write(self) -> None:
        """Take up all that waits, and write the buckets that it touches in one transaction."""
        state = self.state
        queue, state.queue = state.queue, []
        touched: dict[int, None] = {}
        for waiting in queue:
            changes = perform(state.agents, waiting.operation)
            if isinstance(changes, Refused):
                state.answers.append((waiting.request, NotApplied(reason=changes.reason)))
                continue
            # In place and before it is durable: nobody else reads this, and a failed write ends the actor.
            touched |= dict.fromkeys(self._take(changes))
            state.answers.append((waiting.request, Applied()))
        if not touched:
            self._answer()
            return
        numbers = list(touched)
        changes_to_store = [
            Change(bucket_key(number), self._encoded(number), state.versions.get(number, ABSENT)) for number in numbers
        ]
        state.storing = True
        store, epoch = self._store, state.epoch

        def commit() -> Stored:
            return Stored(versions=tuple(zip(numbers, store.commit(changes_to_store, epoch), strict=True)))

        self._run(commit, REGISTRY_STORE_SECONDS, "writing the registry")

    def _take(self, changes: Mapping[str, RegisteredAgent | None]) -> list[int]:
        """Make changes; returns the buckets that they are in."""
        state = self.state
        touched = []
        for agent_id, entry in changes.items():
            number = bucket_of(agent_id)
            touched.append(number)
            members = state.buckets.setdefault(number, {})
            if entry is None:
                state.agents.pop(agent_id, None)
                members.pop(agent_id, None)
            else:
                state.agents[agent_id] = entry
                members[agent_id] = None
        return touched

    def _encoded(self, number: int) -> bytes:
        agents = self.state.agents
        members = self.state.buckets[number]
        return msgspec.msgpack.encode(Bucket(agents=tuple(agents[agent_id] for agent_id in members)))

    def _answer(self) -> None:
        answers, self.state.answers = self.state.answers, []
        for request, message in answers:
            self.reply(message, request)

    def _check_local(self, sender: PID, message: Message) -> None:
        """The registry is changed by the master of this node, and by nobody else who can reach it."""
        if sender.node != self.pid.node:
            raise UnhandledMessage(f"{sender} is no master of this registrar: {type(message).__name__} is ignored")

    def _run(self, work: Callable[[], Message], limit_seconds: float, task: str) -> None:
        """Call the store, in a thread if it may block; what `work` returns comes to this actor."""
        if self.state.threaded:
            self.start(asyncio.wait_for(asyncio.to_thread(work), limit_seconds), task)
        else:
            self.send(self.pid, work())

    def metrics(self) -> dict[str, float]:
        """Under Mesos's names."""
        return {"registrar/queued_operations": float(len(self.state.queue))}


def fetch(store: Store, writer: str) -> Fetched:
    """Take the registry over under a new epoch and read it.

    Raises `StoreConflict` or `StoreFenced` when another takes it over at the same time, and what `read` raises.
    """
    leader = store.get(LEADER_KEY)
    epoch = store.epoch() + 1
    store.cas(LEADER_KEY, writer.encode(), ABSENT if leader is None else leader.version, epoch)
    return Fetched(epoch=epoch, buckets=tuple(read(store)))


def read(store: Store) -> Iterator[tuple[int, int, Bucket]]:
    """Number, version and content of each entry; raises `StoreError` for one that cannot be read."""
    for key in store.keys(PREFIX):
        entry = store.get(key)
        if entry is None:
            continue
        try:
            number = int(key.removeprefix(PREFIX))
            bucket = msgspec.msgpack.decode(entry.value, type=Bucket)
        except (ValueError, msgspec.MsgspecError) as error:
            raise StoreError(f"{key} is no entry of a registry: {error}; restore the store from a copy") from error
        yield number, entry.version, bucket
