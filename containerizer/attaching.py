"""The turns of streams and sessions: who reads what a container prints, who writes what it reads, whose it is.

The conversation is told in :mod:`containerizer.streaming`. Streams live as long as those who hold them and this actor;
whoever is attached when it ends sees its link break, and attaches again.
"""

from __future__ import annotations

import logging
from typing import Final

from containerizer.errors import InvalidSpec
from containerizer.events import InputWritten, OutputArrived, StreamOver
from containerizer.messages import Refused
from containerizer.spec import validate_window
from containerizer.state import AttachedStream, Phase
from containerizer.streaming import (
    AttachInput,
    AttachOutput,
    Detach,
    Input,
    InputAttached,
    InputEnded,
    InputTaken,
    Output,
    OutputAttached,
    OutputTaken,
    SetWindow,
    StreamEnded,
    WindowSet,
)
from containerizer.turns import Containerizer
from runtime.actor import receive
from runtime.message import Exited, Message
from runtime.pid import PID

_log = logging.getLogger(__name__)

INPUT_CREDIT_BYTES: Final = 256 * 1024
"""What a writer may have under way: four pipes full, so that the command need not wait while a credit travels."""

NOBODY_READS: Final = "nobody reads it any more"
"""Why a writer's stream has ended when it did not end it: the command has closed its input, or is gone."""


class Attaching(Containerizer):
    """A containerizer whose containers can be talked to."""

    def started(self) -> None:
        """Nobody is attached yet, and no session has lived on."""
        self.state.streams = {}
        for container in self.state.containers.values():
            container.owner = None
        super().started()

    @receive(AttachOutput)
    def attach_output(self, sender: PID, message: AttachOutput) -> None:
        """Somebody reads."""
        container = self.state.containers.get(message.container_id)
        if container is None or container.phase is Phase.LAUNCHING:
            self._refuse(message.container_id, f"no container {message.container_id!r} has run here")
        elif message.credit_bytes <= 0:
            self._refuse(message.container_id, f"credit_bytes is {message.credit_bytes}: it must be above 0")
        else:
            stream = self._add_stream(message.container_id, sender, writes=False)
            refusal = self.begin_output(stream, message)
            if self._holds(stream, refusal):
                self.reply(OutputAttached(container_id=message.container_id, stream=stream, tty=container.spec.tty))

    @receive(AttachInput)
    def attach_input(self, sender: PID, message: AttachInput) -> None:
        """Somebody writes: nobody else may meanwhile, or the two would write into each other's lines."""
        container = self.state.containers.get(message.container_id)
        others = [one for one in self.state.streams.values() if one.container_id == message.container_id and one.writes]
        if container is None or container.phase is not Phase.RUNNING:
            self._refuse(message.container_id, f"no container {message.container_id!r} runs here")
        elif not (container.spec.tty or container.spec.interactive):
            self._refuse(message.container_id, "it has neither a terminal nor a pipe for its input")
        elif others:
            self._refuse(message.container_id, f"its input is held by {others[0].pid}: one writes at a time")
        else:
            stream = self._add_stream(message.container_id, sender, writes=True)
            refusal = self.begin_input(stream, message.container_id)
            if self._holds(stream, refusal):
                answer = InputAttached(
                    container_id=message.container_id,
                    stream=stream,
                    credit_bytes=INPUT_CREDIT_BYTES,
                    tty=container.spec.tty,
                )
                self.reply(answer)

    def _add_stream(self, container_id: str, sender: PID, *, writes: bool) -> int:
        self.state.last_stream += 1
        self.state.streams[self.state.last_stream] = AttachedStream(
            container_id=container_id, pid=sender, writes=writes
        )
        self.link(sender)
        return self.state.last_stream

    def _holds(self, stream: int, refusal: str) -> bool:
        """Whether a stream has begun; if not, it never was."""
        if refusal:
            self._refuse(self.state.streams.pop(stream).container_id, refusal)
        return not refusal

    def _refuse(self, container_id: str, text: str) -> None:
        self.reply(Refused(container_id=container_id, message=text))

    @receive(SetWindow)
    def change_window(self, sender: PID, message: SetWindow) -> None:
        """A terminal gets another size."""
        container = self.state.containers.get(message.container_id)
        try:
            validate_window(message.rows, message.columns)
        except InvalidSpec as error:
            self._refuse(message.container_id, str(error))
            return
        if container is None or container.phase is not Phase.RUNNING:
            refusal = f"no container {message.container_id!r} runs here"
        elif not container.spec.tty:
            refusal = "it has no terminal"
        else:
            refusal = self.set_window(message.container_id, message.rows, message.columns)
        if refusal:
            self._refuse(message.container_id, refusal)
        else:
            self.reply(WindowSet(container_id=message.container_id))

    # Streams ----------------------------------------------------------------------------------------------------------

    @receive(OutputTaken)
    def output_taken(self, sender: PID, message: OutputTaken) -> None:
        """Read on."""
        if self._is_of(sender, message, message.stream, writes=False) and message.size_bytes > 0:
            self.credit_output(message.stream, message.size_bytes)

    @receive(Input)
    def take_input(self, sender: PID, message: Input) -> None:
        """Pass it on."""
        if self._is_of(sender, message, message.stream, writes=True) and message.data:
            self.write_input(message.stream, message.data)

    @receive(InputEnded)
    def input_ended(self, sender: PID, message: InputEnded) -> None:
        """Pass it on."""
        if self._is_of(sender, message, message.stream, writes=True):
            self.end_input(message.stream)

    @receive(Detach)
    def detach(self, sender: PID, message: Detach) -> None:
        """The stream is over for whoever held it."""
        if self._is_of(sender, message, message.stream):
            del self.state.streams[message.stream]
            self.end_stream(message.stream)

    def _is_of(self, sender: PID, message: Message, stream: int, *, writes: bool | None = None) -> bool:
        """Whether that stream is the sender's; one that has ended meanwhile is nobody's."""
        held = self.state.streams.get(stream)
        if held is None:
            return False
        if held.pid == sender and writes in {None, held.writes}:
            return True
        _log.warning("ignored %s from %s: stream %d is not theirs", type(message).__name__, sender, stream)
        return False

    @receive(OutputArrived)
    def output_arrived(self, sender: PID, message: OutputArrived) -> None:
        """Tell the reader."""
        held = self.state.streams.get(message.stream)
        if sender == self.pid and held is not None:
            chunk = Output(
                stream=message.stream,
                source=message.source,
                data=message.data,
                offset=message.offset,
                skipped_bytes=message.skipped_bytes,
            )
            self.send(held.pid, chunk)

    @receive(InputWritten)
    def input_written(self, sender: PID, message: InputWritten) -> None:
        """Tell the writer."""
        held = self.state.streams.get(message.stream)
        if sender == self.pid and held is not None:
            self.send(held.pid, InputTaken(stream=message.stream, size_bytes=message.size_bytes))

    @receive(StreamOver)
    def stream_over(self, sender: PID, message: StreamOver) -> None:
        """Tell whoever held it."""
        held = self.state.streams.pop(message.stream, None) if sender == self.pid else None
        if held is not None:
            self.end_stream(message.stream)
            self.send(held.pid, StreamEnded(stream=message.stream, reason=message.reason))

    # Sessions ---------------------------------------------------------------------------------------------------------

    @receive(Exited)
    def agent_gone(self, sender: PID, message: Exited) -> None:
        """Whoever is gone has detached, and takes along what was launched for its sessions."""
        super().agent_gone(sender, message)
        for stream, held in [*self.state.streams.items()]:
            if held.pid == message.pid:
                del self.state.streams[stream]
                self.end_stream(stream)
        owned = [one for one, container in self.state.containers.items() if container.owner == message.pid]
        if owned:
            _log.info("%s is gone (%s): destroying %s", message.pid, message.reason, ", ".join(owned))
        for container_id in owned:
            self.state.containers[container_id].owner = None
        self.abandon(owned)
