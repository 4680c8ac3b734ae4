"""An allocator driven turn by turn: its messages and timers run on virtual time, what it tells the master is kept."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from allocator import messages as m
from allocator.actor import Allocator
from allocator.ledger import Ledger
from allocator.resources import Resources
from allocator.state import AllocatorState
from runtime import testing
from runtime.effects import After, Cancel, Reply, Send
from runtime.message import Message
from runtime.pid import PID

MASTER = PID("master", "test", 1)

# How long an example takes says something about the machine and what else runs on it, nothing about the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


class Driver:
    """A master's side of the conversation with one allocator."""

    def __init__(self, policy: str = "drf", seed: str = "test", **settings: Any) -> None:
        state = AllocatorState(master=MASTER, policy=policy, ledger=Ledger(**settings))
        self.actor: Allocator = testing.make(Allocator, state, name="allocator", seed=seed)
        self.now = 1_000.0
        self.inbox: list[Message] = []
        self.answers: list[Message] = []
        self.turns = 0
        self._mail: deque[Message] = deque()
        self._timers: list[tuple[float, int, Message]] = []
        self._cancelled: set[int] = set()
        self._take(testing.start(self.actor, now=self.now))

    @property
    def ledger(self) -> Ledger:
        return self.actor.state.ledger

    def _take(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Send) and effect.to == self.actor.pid:
                self._mail.append(effect.message)
            elif isinstance(effect, Send):
                assert effect.to == MASTER
                self.inbox.append(effect.message)
            elif isinstance(effect, After):
                heapq.heappush(self._timers, (self.now + effect.delay_seconds, effect.timer, effect.message))
            elif isinstance(effect, Cancel):
                self._cancelled.add(effect.timer)
            elif isinstance(effect, Reply):
                self.answers.append(effect.message)

    def post(self, *messages: Message) -> None:
        """Put messages into the mailbox without running anything."""
        self._mail.extend(messages)

    def step(self) -> bool:
        """One turn, if there is a message."""
        if not self._mail:
            return False
        self.turns += 1
        self._take(testing.turn(self.actor, self._mail.popleft(), sender=MASTER, now=self.now))
        return True

    def settle(self) -> None:
        while self.step():
            pass

    def tell(self, *messages: Message) -> list[m.Allocation]:
        """Say something, let everything happen that follows now; the allocations that came of it."""
        self.post(*messages)
        self.settle()
        return self.take()

    def ask(self, question: Message) -> Any:
        self.tell(question)
        return self.answers.pop()

    def take(self) -> list[m.Allocation]:
        """Allocations that have arrived, once."""
        taken = [a for message in self.inbox if isinstance(message, m.Allocated) for a in message.allocations]
        self.inbox = [message for message in self.inbox if not isinstance(message, m.Allocated)]
        return taken

    def advance(self, seconds: float) -> list[m.Allocation]:
        """Let time pass; the allocations that came of it."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end + 1e-9:
            at, timer, message = heapq.heappop(self._timers)
            self.now = max(self.now, at)
            if timer not in self._cancelled:
                self._mail.append(message)
                self.settle()
        self.now = end
        self.settle()
        return self.take()

    def batch(self) -> list[m.Allocation]:
        """The next batch."""
        return self.advance(self.actor.state.interval_seconds)

    # What masters say often ------------------------------------------------------------------------------------------

    def agent(self, agent_id: str, total: str, **more: Any) -> list[m.Allocation]:
        return self.tell(m.AddAgent(agent_id=agent_id, hostname=f"host-{agent_id}", total=res(total), **more))

    def framework(self, framework_id: str, *roles: str, **more: Any) -> list[m.Allocation]:
        return self.tell(m.AddFramework(framework_id=framework_id, roles=roles or ("*",), **more))

    def accept(self, allocation: m.Allocation, used: str, refuse_seconds: float | None = None) -> list[m.Allocation]:
        used_resources = res(used)
        return self.tell(
            m.Settle(
                allocation_id=allocation.allocation_id,
                used=used_resources,
                returned=allocation.resources - used_resources,
                refuse_seconds=refuse_seconds,
            )
        )

    def decline(self, allocation: m.Allocation, refuse_seconds: float | None = 0.0) -> list[m.Allocation]:
        return self.tell(
            m.Settle(
                allocation_id=allocation.allocation_id, returned=allocation.resources, refuse_seconds=refuse_seconds
            )
        )


def res(text: str) -> Resources:
    return Resources.parse(text)


@pytest.fixture(name="res")
def _res() -> Callable[[str], Resources]:
    return res


@pytest.fixture
def driver() -> Callable[..., Driver]:
    """Makes drivers: ``driver("priority", minimum=())``."""
    return Driver


def given(allocations: list[m.Allocation]) -> dict[str, list[str]]:
    """Per framework, what it was offered, as text."""
    offers: dict[str, list[str]] = {}
    for allocation in allocations:
        offers.setdefault(allocation.framework_id, []).append(f"{allocation.agent_id} {allocation.resources}")
    return {framework_id: sorted(texts) for framework_id, texts in sorted(offers.items())}


@pytest.fixture(name="given")
def _given() -> Callable[[list[m.Allocation]], dict[str, list[str]]]:
    return given
