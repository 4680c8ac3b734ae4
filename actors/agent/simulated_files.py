"""Sandboxes without a disk, for tests and the simulator: the twin of :mod:`actors.agent.files`."""

from __future__ import annotations

import msgspec

from actors.agent.constants import READ_BYTES, READ_TIMEOUT_SECONDS
from actors.agent.events import EdgeRefused, LocateSandbox, PrepareSandbox, SandboxLocated, SandboxPrepared
from actors.agent.files import Reading
from actors.agent.names import AGENT_NAME
from actors.messages.operating import ReadSandbox, Refusal, SandboxChunk
from runtime.actor import Actor, State, receive
from runtime.message import AskFailed, Message
from runtime.pid import PID


class SimulatedFilesState(State):
    """What is on the disk.

    directories  those above prepared sandboxes
    contents     path of a file: its bytes
    full         no directory can be made any more
    """

    directories: set[str] = msgspec.field(default_factory=set)
    contents: dict[str, bytes] = msgspec.field(default_factory=dict)
    full: bool = False


class SimulatedFiles(Actor[SimulatedFilesState]):
    """Same questions, same answers."""

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
            self.reply(self._chunk(answer, context.question), context.request)
        elif isinstance(answer, EdgeRefused):
            self.reply(Refusal(message=answer.message), context.request)
        elif isinstance(answer, AskFailed):
            self.reply(
                Refusal(message=f"the agent does not say where the sandbox is: {answer.reason}"), context.request
            )

    def _chunk(self, sandbox: SandboxLocated, question: ReadSandbox) -> SandboxChunk | Refusal:
        content = self.state.contents.get(f"{sandbox.path}/{question.path}")
        if content is None:
            return Refusal(message=f"{question.path!r} in the sandbox cannot be read: No such file or directory")
        begin = question.offset if question.offset >= 0 else max(0, len(content) + question.offset)
        data = content[begin : begin + min(question.limit_bytes, READ_BYTES)]
        return SandboxChunk(
            offset=begin,
            data=data,
            size_bytes=len(content),
            ended=sandbox.ended and begin + len(data) >= len(content),
        )

    @receive(PrepareSandbox)
    def prepare_sandbox(self, sender: PID, message: PrepareSandbox) -> None:
        """Make the directories above a sandbox."""
        directory = message.path.rpartition("/")[0]
        if self.state.full:
            self.reply(EdgeRefused(message=f"{directory}: No space left on device"))
            return
        self.state.directories.add(directory)
        self.reply(SandboxPrepared())
