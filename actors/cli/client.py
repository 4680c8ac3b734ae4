"""A tool as a node for the time of one command: it finds its cluster, asks, and hangs up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from actors.messages.operating import Question, Refusal
from actors.scheduler.cluster import Cluster, find_cluster
from runtime.clock import RealClock
from runtime.errors import KaonError
from runtime.message import Message
from runtime.node import Node
from runtime.pid import PID
from runtime.ref import NoAnswer, Outside
from runtime.transport.zeromq.transport import ZeroMQTransport

ANSWER_TIMEOUT_SECONDS: Final = 10.0
"""How long a tool waits for an answer."""

T = TypeVar("T")


class NoAnswerFrom(KaonError):
    """A peer is not there, or has not answered in time; asked again it may."""


class Tool:
    """A node for the time of one command."""

    def __init__(self, cluster: Cluster, name: str = "tool") -> None:
        """Dials nobody yet."""
        transport = ZeroMQTransport(cluster.key, insecure=cluster.key is None)
        loop = asyncio.get_running_loop()
        node_id = f"{cluster.principal}.{name}-{os.getpid()}-{os.urandom(3).hex()}"
        self.cluster = cluster
        self.node = Node(node_id, transport, RealClock(loop))
        self._outside = Outside.on(self.node)

    async def ask(self, question: Message, to: PID | None = None, timeout_seconds: float | None = None) -> Any:
        """Ask the master, or another actor. Raises :class:`NoAnswerFrom`, and :class:`KaonError` for a refusal."""
        target = to or self.cluster.masters[0]
        timeout = ANSWER_TIMEOUT_SECONDS if timeout_seconds is None else timeout_seconds
        try:
            answer = await self._outside.fetch_answer(target, question, timeout)
        except NoAnswer as error:
            raise NoAnswerFrom(self._unanswered(target, error)) from None
        if isinstance(answer, Refusal):
            raise KaonError(answer.message)
        return answer

    def _unanswered(self, pid: PID, why: NoAnswer) -> str:
        """What to tell the user, who knows processes rather than the actors in them; without the key in the address."""
        is_master = any(pid.node == master.node for master in self.cluster.masters)
        where = pid.node.partition("?")[0]
        if is_master:
            return f"the master at {where} does not answer: {why}; is it running? (`kaon up` starts one)"
        return f"the agent at {where} does not answer: {why}; `kaon agents` says how it is, its log why"

    async def close(self) -> None:
        """Hang up."""
        await self.node.stop(1.0)


def with_tool(cluster: Cluster, work: Callable[[Tool], Awaitable[T]]) -> T:
    """Run a coroutine with a tool node, and end it whatever happens."""

    async def main() -> T:
        tool = Tool(cluster)
        try:
            return await work(tool)
        finally:
            await tool.close()

    return asyncio.run(main())


def ask(cluster: Cluster, question: Question, to: PID | None = None) -> Any:
    """Ask one question."""
    return with_tool(cluster, lambda tool: tool.ask(question, to))


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command the options that name a cluster; it gets `cluster`."""

    def run(
        *args: Any, master: str | None, key: Path | None, work_dir: Path | None, insecure: bool, **given: Any
    ) -> Any:
        cluster = find_cluster(master, key, work_dir=work_dir, insecure=insecure)
        return command(*args, cluster=cluster, **given)

    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    run.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    path = click.Path(path_type=Path)
    decorated: Callable[..., Any] = click.option("--insecure", is_flag=True, help="Without encryption and keys.")(run)
    decorated = click.option(
        "--work-dir", type=path, metavar="DIR", help="Of the `kaon up` to talk to.  [env: KAON_WORK_DIR]"
    )(decorated)
    decorated = click.option("--key", type=path, metavar="FILE", help="Key file of yours.  [env: KAON_KEY]")(decorated)
    return click.option(
        "--master", metavar="ADDRESS", help="Where the master listens (tcp://host:5040).  [env: KAON_MASTER]"
    )(decorated)
