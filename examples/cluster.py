"""What the examples share: the options that name a cluster, and a look at its agents."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import click

from actors.messages.operating import AgentSummary, GetAgents
from actors.scheduler.cluster import Cluster
from runtime.clock import RealClock
from runtime.errors import KaonError
from runtime.node import Node
from runtime.ref import NoAnswer, Outside
from runtime.transport.zeromq.transport import ZeroMQTransport

ANSWER_SECONDS = 30.0
"""How long the master may take to answer before an example gives up."""


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options ``--master``, ``--key`` and ``--insecure``; without them it is the cluster that `kaon up` started."""
    command = click.option("--insecure", is_flag=True, help="The cluster has no encryption and no keys.")(command)
    command = click.option("--key", metavar="FILE", help="Your key file.  [env: KAON_KEY]")(command)
    return click.option("--master", metavar="ADDRESS", help="Such as tcp://10.0.0.1:5040.  [env: KAON_MASTER]")(command)


async def fetch_agents(cluster: Cluster) -> tuple[AgentSummary, ...]:
    """The active agents of a cluster. Raises :class:`KaonError` if no master answers."""
    node = Node(
        f"{cluster.principal}.example-{os.getpid()}-{os.urandom(3).hex()}",
        ZeroMQTransport(cluster.key, insecure=cluster.key is None),
        RealClock(asyncio.get_running_loop()),
    )
    try:
        return await _ask(Outside.on(node), cluster)
    finally:
        await node.stop(1.0)


async def _ask(outside: Outside, cluster: Cluster) -> tuple[AgentSummary, ...]:
    reason = ""
    deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        for master in cluster.masters:
            try:
                answer = await outside.fetch_answer(master, GetAgents(), timeout_seconds=5.0)
            except NoAnswer as error:
                if not reason:
                    click.echo(f"waiting for the master: {error}", err=True)
                reason = str(error)
                continue
            return tuple(agent for agent in answer.agents if agent.state == "active")
        await asyncio.sleep(0.5)
    where = ", ".join(master.node.partition("?")[0] for master in cluster.masters)
    raise KaonError(f"no master answers at {where}: {reason}; is it running? (`kaon up` starts one)")
