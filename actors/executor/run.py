"""An executor as a program: started by the agent in a container, with what it must know in its environment.

KAON_AGENT_ENDPOINT    where the agent listens for executors: ``ipc:///path``, with ``?key=`` unless it is insecure
KAON_FRAMEWORK_ID, KAON_EXECUTOR_ID, KAON_CONTAINER_ID   who this is; the container's id is that of the node
KAON_EXECUTOR_SECRET   its key, ``public:secret``, 64 hexadecimal digits each; absent where the agent is insecure
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from actors.executor.executor import Executor
from actors.executor.state import ExecutorState
from runtime.clock import RealClock
from runtime.errors import ConfigurationError, KaonError
from runtime.message import Terminate
from runtime.node import Node
from runtime.pid import PID
from runtime.program import WHOLE_BUSINESS, watch_end
from runtime.tracing.crash import CrashReports
from runtime.tracing.recorder import FlightRecorder
from runtime.transport.zeromq.addresses import parse_address
from runtime.transport.zeromq.keys import NodeKey
from runtime.transport.zeromq.transport import ZeroMQTransport

S = TypeVar("S", bound=ExecutorState)

ENDPOINT_VARIABLE: Final = "KAON_AGENT_ENDPOINT"
FRAMEWORK_VARIABLE: Final = "KAON_FRAMEWORK_ID"
EXECUTOR_VARIABLE: Final = "KAON_EXECUTOR_ID"
CONTAINER_VARIABLE: Final = "KAON_CONTAINER_ID"
KEY_VARIABLE: Final = "KAON_EXECUTOR_SECRET"

STOP_SECONDS: Final = 2.0
"""For the last messages to leave."""

TERMINATE_SECONDS: Final = 5.0
"""From SIGTERM to the end: about as long as the container is given."""

_KEY_PAIR: Final = re.compile(r"([0-9a-f]{64}):([0-9a-f]{64})")


def executor_state(state: S, environment: MutableMapping[str, str]) -> tuple[S, NodeKey | None]:
    """Fill a state with what the agent has put into the environment, and take the key out of it.

    Raises :class:`ConfigurationError` that names what is missing or wrong.
    """
    names = (ENDPOINT_VARIABLE, FRAMEWORK_VARIABLE, EXECUTOR_VARIABLE, CONTAINER_VARIABLE)
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)} not set: an executor is started by an agent, for a task that names its command"
        )
    endpoint, framework_id, executor_id, container_id = (environment[name] for name in names)
    address = parse_address(endpoint)
    # What the executor starts itself has no use for the key.
    given = environment.pop(KEY_VARIABLE, "")
    key = None
    if given:
        pair = _KEY_PAIR.fullmatch(given)
        if pair is None:
            raise ConfigurationError(f"{KEY_VARIABLE} must be public:secret, 64 hexadecimal digits each")
        key = NodeKey(container_id, bytes.fromhex(pair[1]), bytes.fromhex(pair[2]), address.server_key)
    filled = msgspec.structs.replace(
        state,
        agent=PID("agent", endpoint),
        framework_id=framework_id,
        executor_id=executor_id,
        container_id=container_id,
    )
    return filled, key


async def serve_executor(executor_class: type[Executor[Any]], state: ExecutorState, key: NodeKey | None) -> str:
    """Run an executor on the running loop until it ends; returns why: ``stopped``, or ``failed: ...``."""
    loop = asyncio.get_running_loop()
    node = Node(
        state.container_id,
        ZeroMQTransport(key, insecure=key is None),
        RealClock(loop),
        recorder=FlightRecorder(),
        crash_reports=CrashReports(Path.cwd()),
    )
    try:
        pid = node.spawn(executor_class, "executor", state, WHOLE_BUSINESS)
        ended = watch_end(node, pid)
        loop.add_signal_handler(signal.SIGTERM, lambda: node.post(pid, Terminate(deadline_seconds=TERMINATE_SECONDS)))
        return await ended
    finally:
        await node.stop(STOP_SECONDS)


def run_executor(executor_class: type[Executor[S]], state: S) -> None:
    """Run an executor as this program, until it is told to end or its agent is gone for good; exits with status 1 and
    a line on standard error, which is a file of the sandbox, when it failed."""
    try:
        filled, key = executor_state(state, os.environ)
        reason = asyncio.run(serve_executor(executor_class, filled, key))
    except KaonError as error:
        reason = f"failed: {error}"
    if reason.startswith("failed: "):
        raise SystemExit(f"kaon: executor {reason}")
    sys.stdout.flush()
