"""The sandboxes' files: read for tools, in a thread, and never anything outside a sandbox.

A sandbox is written by those whose tasks run there: every component of a path may be a link, or become one while it is
looked at. So the path is opened component by component, each relative to the directory before it and none through a
link (``O_NOFOLLOW``, open(2)), and only regular files are read.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final, TypeAlias

import msgspec

from actors.agent.constants import READ_BYTES, READ_TIMEOUT_SECONDS
from actors.agent.events import EdgeRefused, LocateSandbox, PrepareSandbox, SandboxLocated, SandboxPrepared
from actors.agent.names import AGENT_NAME
from actors.messages.operating import ReadSandbox, Refusal, SandboxChunk
from runtime.actor import Edge, State, receive
from runtime.effects import Request
from runtime.errors import KaonError
from runtime.message import AskFailed, EdgeFailed, Message, Overflow
from runtime.pid import PID

log = logging.getLogger("kaon.agent.files")

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
"""Without blocking: a named pipe without a writer would wait for one for ever."""


_LINK_ERRORS: Final = frozenset({errno.ELOOP, errno.ENOTDIR})
"""What O_NOFOLLOW says of a link: ENOTDIR together with O_DIRECTORY, also of files in a directory's place."""

_LARGEST_OFFSET: Final = 2**63 - 1 - READ_BYTES

_Answer: TypeAlias = Refusal | SandboxChunk | EdgeRefused | SandboxPrepared


class NotReadable(KaonError):
    """A path names nothing in a sandbox that may be read."""


class Outcome(Message, frozen=True, kw_only=True, tag="agent.Outcome"):
    """Files -> files: what a thread has found, for whoever waits."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    request: Request
    answer: _Answer


class Reading(msgspec.Struct, frozen=True):
    """Context of a question where a sandbox is."""

    request: Request
    question: ReadSandbox


class FilesState(State):
    """Nothing: files are on the disk."""


class Files(Edge[FilesState]):
    """Answers :class:`actors.messages.operating.ReadSandbox` to tools and prepares directories for its agent."""

    @receive(ReadSandbox)
    def read_sandbox(self, sender: PID, message: ReadSandbox) -> None:
        """Ask the agent where that is, and whether the sender may see it."""
        self.ask(
            PID(AGENT_NAME, self.pid.node),
            LocateSandbox(framework_id=message.framework_id, task_id=message.task_id, node=sender.node),
            self.located,
            Reading(self.request, message),
            READ_TIMEOUT_SECONDS,
        )

    def located(self, sender: PID, answer: Message, context: Reading) -> None:
        """Read there."""
        if isinstance(answer, SandboxLocated):
            work = functools.partial(_chunk, answer, context.question)
            self.start(_in_thread(context.request, work), "read")
        elif isinstance(answer, EdgeRefused):
            self.reply(Refusal(message=answer.message), context.request)
        elif isinstance(answer, AskFailed):
            self.reply(
                Refusal(message=f"the agent does not say where the sandbox is: {answer.reason}"), context.request
            )

    @receive(PrepareSandbox)
    def prepare_sandbox(self, sender: PID, message: PrepareSandbox) -> None:
        """Make the directories above a sandbox."""
        if sender.node == self.pid.node:
            self.start(_in_thread(self.request, functools.partial(prepare, message.path)), "prepare")

    @receive(Outcome)
    def outcome(self, sender: PID, message: Outcome) -> None:
        """Answer."""
        if sender == self.pid:
            self.reply(message.answer, message.request)

    @receive(EdgeFailed)
    def edge_failed(self, sender: PID, message: EdgeFailed) -> None:
        """A fault of ours in a thread: whoever waits is told by the end of its patience, and this actor goes on."""
        log.error("%s failed: %s", message.task, message.error)


async def _in_thread(request: Request, work: Callable[[], _Answer]) -> Outcome:
    return Outcome(request=request, answer=await asyncio.to_thread(work))


def prepare(path: str) -> SandboxPrepared | EdgeRefused:
    """Make the directories above `path`; says which cannot be made, and why."""
    try:
        Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        return EdgeRefused(message=f"{error.filename}: {error.strerror}")
    return SandboxPrepared()


def _chunk(sandbox: SandboxLocated, question: ReadSandbox) -> SandboxChunk | Refusal:
    try:
        data, offset, size = read_beneath(sandbox.path, question.path, question.offset, question.limit_bytes)
    except NotReadable as error:
        return Refusal(message=str(error))
    return SandboxChunk(offset=offset, data=data, size_bytes=size, ended=sandbox.ended and offset + len(data) >= size)


def read_beneath(directory: str, path: str, offset: int, limit_bytes: int) -> tuple[bytes, int, int]:
    """Read a regular file below `directory`, through no link.

    path    relative
    offset  in bytes; negative ones count from the file's end
    Returns the bytes, at most `READ_BYTES`, where they begin, and the file's size in bytes.
    Raises :class:`NotReadable`.
    """
    parts = path.split("/")
    if not path or "\0" in path or any(part in {"", ".", ".."} for part in parts):
        raise NotReadable(f"{path!r} is no path within a sandbox: write it like 'stdout' or 'results/part-1'")
    if limit_bytes <= 0:
        raise NotReadable(f"limit_bytes is {limit_bytes}: it must be above 0")
    descriptor = _open_beneath(directory, parts, path)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotReadable(f"{path!r} in the sandbox is no regular file")
        begin = offset if offset >= 0 else max(0, status.st_size + offset)
        data = os.pread(descriptor, min(limit_bytes, READ_BYTES), min(begin, _LARGEST_OFFSET))
    except OSError as error:
        raise NotReadable(f"{path!r} in the sandbox cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    return data, begin, max(status.st_size, begin + len(data) if data else 0)


def _open_beneath(directory: str, parts: Sequence[str], path: str) -> int:
    """A descriptor of the file, opened component by component."""
    try:
        held = os.open(directory, _DIRECTORY)
    except OSError as error:
        raise NotReadable(f"the sandbox is not there: {error.strerror}") from None
    for place, part in enumerate(parts):
        try:
            opened = os.open(part, _FILE if place == len(parts) - 1 else _DIRECTORY, dir_fd=held)
        except OSError as error:
            reason = "links are not followed" if error.errno in _LINK_ERRORS else error.strerror
            raise NotReadable(f"{path!r} in the sandbox cannot be read: {reason}") from None
        finally:
            os.close(held)
        held = opened
    return held
