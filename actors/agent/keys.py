"""Keys of executors: one for each run, made when it is launched, good until it has ended.

The agent's node reads the directory of authorised keys while it runs (:mod:`runtime.transport.zeromq.keys`), so that a
file is all it takes to let an executor in, or to cut it off. The key's principal is the container's id, and so the only
node that its holder may be. Keys outlive the agent's process, as executors do.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from actors.agent.events import AuthoriseKey, EdgeRefused, KeyAuthorised, RevokeKey
from runtime.actor import Edge, State, receive
from runtime.effects import Request
from runtime.errors import ConfigurationError
from runtime.message import EdgeFailed, Message, Overflow
from runtime.pid import PID
from runtime.transport.zeromq.keys import AUTHORISED, make_key

log = logging.getLogger("kaon.agent.keys")

_MODE: Final = 0o600


class KeyOutcome(Message, frozen=True, kw_only=True, tag="agent.KeyOutcome"):
    """Keys -> keys: what a thread has done, for whoever waits."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    request: Request
    answer: KeyAuthorised | EdgeRefused


class KeysState(State):
    """directory: of the node's keys, with the folder of the authorised ones in it."""

    directory: str


class Keys(Edge[KeysState]):
    """Makes and revokes keys for the agent of its node, and for nobody else."""

    @receive(AuthoriseKey)
    def authorise_key(self, sender: PID, message: AuthoriseKey) -> None:
        """Make a key that its node accepts from now on."""
        if sender.node == self.pid.node:
            work = functools.partial(authorise, Path(self.state.directory), message.principal)
            self.start(_in_thread(self.request, work), "authorise")

    @receive(RevokeKey)
    def revoke_key(self, sender: PID, message: RevokeKey) -> None:
        """Cut its holder off."""
        if sender.node == self.pid.node:
            self.start(_revoke(Path(self.state.directory), message.principal), "revoke")

    @receive(KeyOutcome)
    def key_outcome(self, sender: PID, message: KeyOutcome) -> None:
        """Answer."""
        if sender == self.pid:
            self.reply(message.answer, message.request)

    @receive(EdgeFailed)
    def edge_failed(self, sender: PID, message: EdgeFailed) -> None:
        """A fault of ours in a thread: whoever waits is told by the end of its patience, and this actor goes on."""
        log.error("%s failed: %s", message.task, message.error)


async def _in_thread(request: Request, work: Callable[[], KeyAuthorised | EdgeRefused]) -> KeyOutcome:
    return KeyOutcome(request=request, answer=await asyncio.to_thread(work))


def authorise(directory: Path, principal: str) -> KeyAuthorised | EdgeRefused:
    """Make a key pair, and a file that lets it in. The secret half is written nowhere."""
    try:
        key = make_key(principal)
        folder = directory / AUTHORISED
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A name with a dot in front is no principal's: nobody sees the file before all of it is there.
        draft = folder / f".{principal}"
        draft.write_text(key.public.hex() + "\n", "ascii")
        draft.chmod(_MODE)
        draft.replace(folder / principal)
    except (ConfigurationError, OSError) as error:
        return EdgeRefused(message=str(error))
    return KeyAuthorised(key=f"{key.public.hex()}:{key.secret.hex()}")


async def _revoke(directory: Path, principal: str) -> None:
    try:
        await asyncio.to_thread((directory / AUTHORISED / principal).unlink, True)
    except OSError as error:
        log.warning("the key of %s cannot be removed: %s", principal, error)
