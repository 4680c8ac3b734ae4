"""How the trace commands find the tracers of a cluster: the masters', the agents', and those behind them."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from actors.cli.client import Tool
from actors.messages.operating import GetAgents
from runtime.actor import receive
from runtime.errors import KaonError
from runtime.pid import PID
from runtime.ref import NoAnswer, Outside
from runtime.tracing import messages as m
from runtime.tracing.messages import TRACER

ANSWER_SECONDS: Final = 10.0
FIND_SECONDS: Final = 2.0
"""For a node to say who it is: one of another version may not know the question."""

ASKED_AT_ONCE: Final = 16
"""Nodes that are asked at the same time: a tool must not flood its cluster."""

NO_TRACER: Final = "no such actor"
"""What is said of a node without a tracer: a tool, or a framework that has none."""

T = TypeVar("T")


class Reached(msgspec.Struct, frozen=True):
    """A node whose tracer answers.

    tracer  that the tool asks
    path    of relays from there; empty for that tracer itself
    relay   id of the node that the tool asks: this one, or the first on the way to it
    """

    node: str
    incarnation: int
    tracer: PID
    path: tuple[str, ...] = ()
    relay: str = ""
    actors: tuple[str, ...] = ()


class Listener(Outside):
    """Asks tracers, and gets what their taps say."""

    def open(self) -> None:
        """Nothing has come."""
        super().open()
        self.heard: asyncio.Queue[tuple[PID, m.TapData | m.TapEnded]] = asyncio.Queue()

    @receive(m.TapData)
    def tap_data(self, sender: PID, message: m.TapData) -> None:
        """Keep a chunk, and ask for the next."""
        self.heard.put_nowait((sender, message))
        self.send(sender, m.TapAck(tap=message.tap, sequence=message.sequence))

    @receive(m.TapEnded)
    def tap_ended(self, sender: PID, message: m.TapEnded) -> None:
        """Keep the news."""
        self.heard.put_nowait((sender, message))


class Tracers:
    """The tracers of a cluster, or of those of its nodes that are wanted.

    problems  nodes that could not be asked, and why: for the user
    """

    def __init__(self, tool: Tool) -> None:
        """Nobody is asked yet."""
        self._tool = tool
        self._listener = Listener.on(tool.node, "listener")
        assert isinstance(self._listener, Listener)
        self.heard = self._listener.heard
        self.reached: list[Reached] = []
        self.problems: list[str] = []
        self._slots = asyncio.Semaphore(ASKED_AT_ONCE)

    async def find(self, pattern: str = "") -> list[Reached]:
        """Look for all nodes whose id matches `pattern` (``*``, ``?``). Raises :class:`KaonError` if none answers."""
        seen: dict[str, Reached] = {}
        homes: dict[str, str] = {}
        addresses = [*(master.node for master in self._tool.cluster.masters), *await self._agents(pattern)]
        ahead: list[tuple[str, tuple[str, ...]]] = [(address, ()) for address in dict.fromkeys(addresses)]
        while ahead:
            states = await self._each(ahead, self._state)
            found: list[tuple[str, tuple[str, ...]]] = []
            for (address, path), state in zip(ahead, states, strict=True):
                if state is None or state.node in seen:
                    continue
                home = homes.setdefault(address, state.node)
                seen[state.node] = Reached(
                    state.node, state.incarnation, PID(TRACER, address), path, home, state.actors
                )
                if len(path) < m.RELAYS:
                    found += [(address, (*path, peer)) for peer in state.peers if peer != self._tool.node.identity.node]
            ahead = []
            for address, path in found:
                if path[-1] not in seen and path[-1] not in {known[1][-1] for known in ahead}:
                    ahead.append((address, path))
        self.reached = [each for each in seen.values() if not pattern or fnmatch.fnmatchcase(each.node, pattern)]
        if not self.reached:
            known = ", ".join(seen) or "no node answers"
            raise KaonError(f"no node of the cluster matches {pattern!r}: {known}" if pattern else self._why_none())
        return self.reached

    def _why_none(self) -> str:
        return "no node of the cluster can be asked: " + ("; ".join(self.problems) or "no reason was given")

    async def _agents(self, pattern: str) -> list[str]:
        """Addresses of the agents that the master can reach; who wants all nodes is told of the others."""
        try:
            answer = await self._tool.ask(GetAgents())
        except KaonError as error:
            self.problems.append(str(error))
            return []
        away = [agent for agent in answer.agents if agent.state != "active" and not pattern]
        self.problems += [
            f"agent {agent.info.agent_id} on {agent.info.hostname} is {agent.state}: not asked" for agent in away
        ]
        return [agent.info.address for agent in answer.agents if agent.state == "active" and agent.info.address]

    async def _state(self, place: tuple[str, tuple[str, ...]]) -> m.NodeState | None:
        address, path = place
        answer = await self._fetch(PID(TRACER, address), path, m.GetNode(), FIND_SECONDS)
        if isinstance(answer, m.NodeState):
            return answer
        name = path[-1] if path else f"the node at {address.partition('?')[0]}"
        if NO_TRACER not in str(answer):
            self.problems.append(f"{name}: {answer}")
        return None

    async def ask(self, reached: Reached, question: m.Question) -> Any:
        """Ask one tracer. Raises :class:`KaonError` for a refusal and for no answer."""
        answer = await self._fetch(reached.tracer, reached.path, question)
        if isinstance(answer, str):
            raise KaonError(f"{reached.node}: {answer}")
        return answer

    async def ask_all(self, question: m.Question) -> list[tuple[Reached, Any]]:
        """Ask all; nodes that do not answer are among the problems, and not in the result."""

        async def one(reached: Reached) -> tuple[Reached, Any] | None:
            try:
                return reached, await self.ask(reached, question)
            except KaonError as error:
                self.problems.append(str(error))
                return None

        return [each for each in await self._each(self.reached, one) if each is not None]

    async def stop(self, reached: Reached, tap: int) -> m.TapEnded:
        """End a tap, by its number at the tracer that the tool talks to."""
        answer = await self._fetch(reached.tracer, (), m.StopTap(tap=tap))
        if isinstance(answer, m.TapEnded):
            return answer
        return m.TapEnded(tap=tap, reason=str(answer), counts=m.Counts())

    async def _fetch(
        self, tracer: PID, path: tuple[str, ...], question: m.Question, seconds: float = ANSWER_SECONDS
    ) -> Any:
        """The answer, or a text that says why there is none."""
        asked = m.Relay(path=path, question=question) if path else question
        try:
            answer = await self._listener.fetch_answer(tracer, asked, seconds + len(path))
        except NoAnswer as error:
            return f"no answer within {seconds:g} s" if str(error) == "timeout" else str(error)
        return answer.reason if isinstance(answer, m.TracerRefused) else answer

    async def _each(self, places: Sequence[Any], work: Callable[[Any], Awaitable[T]]) -> list[T]:
        async def bounded(place: Any) -> T:
            async with self._slots:
                return await work(place)

        return list(await asyncio.gather(*map(bounded, places)))


async def find_tracers(tool: Tool, pattern: str = "") -> Tracers:
    """The tracers of the nodes whose ids match. Raises :class:`KaonError` when there are none."""
    found = Tracers(tool)
    await found.find(pattern)
    return found
