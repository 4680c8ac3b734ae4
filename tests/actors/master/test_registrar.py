"""The registrar: batches, compare-and-swap, fencing; in turns where the store answers when the test says so."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from actors.master.registrar import (
    PREFIX,
    Fetched,
    RegistrarActor,
    RegistrarState,
    Stored,
    bucket_key,
    bucket_of,
    fetch,
    read,
)
from actors.messages.records import AgentInfo
from actors.messages.registry import (
    AdmitAgent,
    Applied,
    Apply,
    MarkUnreachable,
    NotApplied,
    RecoverRegistry,
    RegistryRecovered,
    RemoveAgent,
)
from allocator.resources import Resources
from runtime.actor import UnhandledMessage
from runtime.effects import Effect, Reply, Send, Stop
from runtime.message import EdgeFailed
from runtime.pid import PID
from runtime.store import Change, MemoryStore, StoreConflict, StoreError, StoreFenced
from runtime.testing import make, turn

MASTER = PID("master", "test", 1)


def info(agent_id: str) -> AgentInfo:
    return AgentInfo(hostname="h", resources=Resources.parse("cpus:1"), agent_id=agent_id)


def admit(agent_id: str) -> Apply:
    return Apply(operation=AdmitAgent(agent=info(agent_id)))


def registrar_on(store: MemoryStore) -> RegistrarActor:
    """A registrar that has recovered the registry."""
    actor: RegistrarActor = make(RegistrarActor, RegistrarState(open_store=lambda: store, threaded=False), "registrar")
    actor.open()
    (to_itself,) = turn(actor, RecoverRegistry(), sender=MASTER)
    assert isinstance(to_itself, Send)
    assert isinstance(to_itself.message, Fetched)
    turn(actor, to_itself.message, sender=actor.pid)
    return actor


def answers(effects: Sequence[Effect]) -> list[tuple[int, str]]:
    """Span of each request that is answered, and with what."""
    return [(effect.request.span, type(effect.message).__name__) for effect in effects if isinstance(effect, Reply)]


def only_stored(effects: Sequence[Effect]) -> Stored:
    (stored,) = [effect.message for effect in effects if isinstance(effect, Send)]
    assert isinstance(stored, Stored)
    return stored


def test_nothing_is_answered_before_the_write_is_durable() -> None:
    store = MemoryStore()
    registrar = registrar_on(store)
    effects = turn(registrar, admit("a"), sender=MASTER, span=3)
    assert answers(effects) == []
    stored = only_stored(effects)
    assert answers(turn(registrar, stored, sender=registrar.pid)) == [(3, "Applied")]


def test_operations_that_come_during_a_write_go_into_one_batch() -> None:
    store = MemoryStore()
    registrar = registrar_on(store)
    stored = only_stored(turn(registrar, admit("a"), sender=MASTER, span=3))
    assert turn(registrar, admit("b"), sender=MASTER, span=5) == []
    assert turn(registrar, Apply(operation=MarkUnreachable(agent_id="b", since=1.0)), sender=MASTER, span=7) == []
    assert turn(registrar, admit("a"), sender=MASTER, span=9) == []
    effects = turn(registrar, stored, sender=registrar.pid)
    assert answers(effects) == [(3, "Applied")]
    batch = only_stored(effects)
    assert answers(turn(registrar, batch, sender=registrar.pid)) == [
        (5, "Applied"),
        (7, "Applied"),
        (9, "NotApplied"),
    ]
    (recovered,) = [agent for agent in registry(store) if agent[0] == "b"]
    assert recovered == ("b", 1.0)


def registry(store: MemoryStore) -> list[tuple[str, float | None]]:
    return [(agent.info.agent_id, agent.unreachable_since) for _, _, bucket in read(store) for agent in bucket.agents]


def test_operation_that_changes_nothing_is_answered_without_a_write() -> None:
    store = MemoryStore()
    registrar = registrar_on(store)
    effects = turn(registrar, Apply(operation=RemoveAgent(agent_id="x")), sender=MASTER, span=3)
    assert answers(effects) == [(3, "NotApplied")]
    assert store.keys(PREFIX) == []


def test_only_the_bucket_of_a_changed_agent_is_written() -> None:
    store = MemoryStore()
    registrar = registrar_on(store)
    for agent_id in ("a", "b"):
        turn(registrar, only_stored(turn(registrar, admit(agent_id), sender=MASTER)), sender=registrar.pid)
    before = {key: store.get(key) for key in store.keys(PREFIX)}
    unreachable = Apply(operation=MarkUnreachable(agent_id="a", since=1.0))
    turn(registrar, only_stored(turn(registrar, unreachable, sender=MASTER)), sender=registrar.pid)
    changed = {key for key in before if store.get(key) != before[key]}
    assert bucket_of("a") != bucket_of("b")
    assert changed == {bucket_key(bucket_of("a"))}


def test_successor_reads_what_was_written_and_fences_the_predecessor() -> None:
    store = MemoryStore()
    first = registrar_on(store)
    turn(first, only_stored(turn(first, admit("a"), sender=MASTER)), sender=first.pid)
    second = registrar_on(store)
    assert list(second.state.agents) == ["a"]
    assert second.state.epoch == first.state.epoch + 1
    with pytest.raises(StoreFenced):
        turn(first, admit("b"), sender=MASTER)


def test_entry_that_somebody_else_has_changed_ends_the_registrar() -> None:
    store = MemoryStore()
    registrar = registrar_on(store)
    turn(registrar, only_stored(turn(registrar, admit("a"), sender=MASTER)), sender=registrar.pid)
    store.commit([Change(bucket_key(bucket_of("a")), b"\x80")], registrar.state.epoch)
    with pytest.raises(StoreConflict):
        turn(registrar, Apply(operation=RemoveAgent(agent_id="a")), sender=MASTER)


def test_of_two_that_take_over_at_once_one_fails() -> None:
    class Racing(MemoryStore):
        """Another registrar takes over between this one's look at the epoch and its write."""

        raced = False

        def epoch(self) -> int:
            epoch = super().epoch()
            if not self.raced:
                self.raced = True
                fetch(self, "the other")
            return epoch

    with pytest.raises(StoreConflict):
        fetch(Racing(), "this one")


def test_entry_that_cannot_be_read_is_named() -> None:
    store = MemoryStore()
    store.put(bucket_key(7), b"garbage", 1)
    with pytest.raises(StoreError, match=r"registry/agents/007 .* restore the store"):
        list(read(store))


def test_failure_of_the_store_ends_the_registrar() -> None:
    registrar = registrar_on(MemoryStore())
    failed = EdgeFailed(task="writing the registry", error="StoreError: registry.sqlite: disk is full")
    effects = turn(registrar, failed, sender=registrar.pid)
    assert effects == [Stop("", "failed: writing the registry: StoreError: registry.sqlite: disk is full")]


def test_nobody_from_another_node_can_change_the_registry() -> None:
    registrar = registrar_on(MemoryStore())
    stranger = PID("master", "elsewhere", 1)
    for message in (admit("a"), RecoverRegistry(), Stored(versions=())):
        with pytest.raises(UnhandledMessage):
            turn(registrar, message, sender=stranger)
    assert registrar.state.agents == {}


def test_operation_before_the_recovery_is_refused() -> None:
    actor = make(RegistrarActor, RegistrarState(open_store=MemoryStore, threaded=False), "registrar")
    (reply,) = turn(actor, admit("a"), sender=MASTER)
    assert isinstance(reply, Reply)
    assert reply.message == NotApplied(reason="the registry has not been recovered yet")


def test_recovery_answers_with_the_registry_and_its_epoch() -> None:
    store = MemoryStore()
    first = registrar_on(store)
    turn(first, only_stored(turn(first, admit("a"), sender=MASTER)), sender=first.pid)
    actor = make(RegistrarActor, RegistrarState(open_store=lambda: store, threaded=False), "registrar")
    actor.open()
    (fetched,) = turn(actor, RecoverRegistry(), sender=MASTER, span=11)
    assert isinstance(fetched, Send)
    (reply,) = turn(actor, fetched.message, sender=actor.pid, span=13)
    assert isinstance(reply, Reply)
    assert reply.request.span == 11
    assert isinstance(reply.message, RegistryRecovered)
    assert reply.message.epoch == 2
    assert [agent.info for agent in reply.message.registry.agents] == [info("a")]


def test_a_thousand_admissions_take_two_writes() -> None:
    class Counting(MemoryStore):
        commits = 0

        def commit(self, changes: Sequence[Change], epoch: int) -> list[int]:
            self.commits += 1
            return super().commit(changes, epoch)

    store = Counting()
    registrar = registrar_on(store)
    before = store.commits
    stored = only_stored(turn(registrar, admit("a0"), sender=MASTER))
    for number in range(1, 1_000):
        turn(registrar, admit(f"a{number}"), sender=MASTER)
    effects = turn(registrar, stored, sender=registrar.pid)
    done = turn(registrar, only_stored(effects), sender=registrar.pid)
    assert sum(isinstance(effect, Reply) and effect.message == Applied() for effect in (*effects, *done)) == 1_000
    assert store.commits - before == 2


def test_agent_that_leaves_is_written_as_well() -> None:
    store = MemoryStore()
    registrar = registrar_on(store)
    for operation in (AdmitAgent(agent=info("a")), RemoveAgent(agent_id="a")):
        turn(registrar, only_stored(turn(registrar, Apply(operation=operation), sender=MASTER)), sender=registrar.pid)
    assert registry(store) == []
