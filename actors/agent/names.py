"""Names of the actors on an agent's node."""

from __future__ import annotations

from typing import Final

AGENT_NAME: Final = "agent"
"""The agent itself; messages of master, executors and tools go to it."""

FILES_NAME: Final = "files"
"""Reads sandboxes for tools, and makes their directories (:mod:`actors.agent.files`)."""

KEYS_NAME: Final = "keys"
"""Makes the keys of executors (:mod:`actors.agent.keys`)."""

SESSIONS_NAME: Final = "sessions"
"""Opens sessions of tools at tasks (:mod:`actors.agent.sessions`)."""

SESSION_PREFIX: Final = "session/"
"""With a number behind it: one session."""

COMMAND_PREFIX: Final = "command/"
"""With a container id behind it: the executor of a command task."""
