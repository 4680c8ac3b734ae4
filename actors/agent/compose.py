"""An agent on a node: which actors it is made of, and in which order they start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from actors.agent.agent import Agent
from actors.agent.files import Files, FilesState
from actors.agent.keys import Keys, KeysState
from actors.agent.names import AGENT_NAME, FILES_NAME, KEYS_NAME, SESSIONS_NAME
from actors.agent.sessions import Sessions, SessionsState
from actors.agent.simulated_files import SimulatedFiles, SimulatedFilesState
from actors.agent.state import AgentSettings, AgentState
from runtime.actor import Edge, State, receive
from runtime.message import Exited
from runtime.node import Node
from runtime.pid import PID
from runtime.supervision import Restart, Supervision

_EXECUTOR_SOCKET_MODE: Final = 0o666

END_NAME: Final = "agent-end"

_RESTARTED: Final = Supervision(restart=Restart.TRANSIENT)
"""A failure is mended by the journal, three times a minute; an end that was wanted is one."""


def spawn_agent(node: Node, settings: AgentSettings, on_end: Callable[[], None] | None = None) -> PID:
    """Start an agent and its edges on `node`, which needs a journal store; returns the agent's pid.

    The node's own address for tools, if it has one, is `settings.address`, and listened at by the caller.
    `settings.executor_address` is listened at here.
    on_end  called, on the node's loop, when the agent has ended by itself: drained, refused or removed
    Raises :class:`runtime.errors.KaonError` when an address or the journal cannot be used.
    """
    if settings.executor_address:
        address = node.listen(settings.executor_address)
        settings = msgspec.structs.replace(settings, executor_address=address)
        if address.startswith("ipc://") and settings.public_key:
            # Executors may run as any user; their key is what lets them in.
            Path(address.removeprefix("ipc://")).chmod(_EXECUTOR_SOCKET_MODE)
    node.spawn(Files, FILES_NAME, FilesState(), Supervision(restart=Restart.PERMANENT))
    node.spawn(Sessions, SESSIONS_NAME, SessionsState(), Supervision(restart=Restart.PERMANENT))
    if settings.key_directory:
        node.spawn(Keys, KEYS_NAME, KeysState(directory=settings.key_directory), Supervision(restart=Restart.PERMANENT))
    agent = node.spawn(Agent, AGENT_NAME, AgentState(settings=settings), _RESTARTED)
    if on_end is not None:
        node.spawn(AgentEnd, END_NAME, AgentEndState(agent=agent))
        end = node.cells[END_NAME].actor
        assert isinstance(end, AgentEnd)
        end.on_end = on_end
    return agent


def spawn_simulated_agent(node: Node, settings: AgentSettings) -> PID:
    """Start an agent without a disk, for simulated nodes; the rest is the same."""
    if settings.executor_address:
        node.listen(settings.executor_address)
    node.spawn(SimulatedFiles, FILES_NAME, SimulatedFilesState(), Supervision(restart=Restart.PERMANENT))
    node.spawn(Sessions, SESSIONS_NAME, SessionsState(), Supervision(restart=Restart.PERMANENT))
    return node.spawn(Agent, AGENT_NAME, AgentState(settings=settings), _RESTARTED)


class AgentEndState(State):
    """Whose end is awaited."""

    agent: PID


class AgentEnd(Edge[AgentEndState]):
    """Tells the process when its agent is no more: then nothing keeps it running."""

    on_end: Callable[[], None]

    def started(self) -> None:
        """Watch."""
        self.link(self.state.agent)

    @receive(Exited)
    def exited(self, sender: PID, message: Exited) -> None:
        """A failed agent is started again by its supervision; one that stopped is not."""
        if message.reason.startswith("failed"):
            self.link(self.state.agent)
        else:
            self.on_end()
