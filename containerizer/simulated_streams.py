"""Streams of the simulated containerizer: what commands print is kept in memory, and what they are told is theirs."""

from __future__ import annotations

import msgspec

from containerizer.attaching import INPUT_CREDIT_BYTES, NOBODY_READS, Attaching
from containerizer.events import InputWritten, OutputArrived, StreamOver
from containerizer.spec import ContainerSpec
from containerizer.state import ContainerizerConfig, ContainerizerState
from containerizer.streaming import AttachOutput, OutputSource

_CHUNK_BYTES = 64 * 1024


class Script(msgspec.Struct, frozen=True):
    """What a command does.

    seconds  it runs; infinite until it is killed
    status   it exits with, unless `number` is the signal that ends it
    printed, complained  on its standard output and error, at once
    copies   it prints what it is told until there is no more
    """

    seconds: float = 0.0
    status: int = 0
    number: int | None = None
    ignores_term: bool = False
    executable: bool = True
    printed: bytes = b""
    complained: bytes = b""
    copies: bool = False


class SimulatedReader(msgspec.Struct):
    """Somebody attached to a container's output. offsets: of what is to be sent next."""

    container_id: str
    credit_bytes: int
    offsets: dict[OutputSource, int]
    lag_bytes: int | None


class SimulatedOutput(msgspec.Struct):
    """What a container has printed, which outlives it as long as somebody reads.

    taken      of what is kept nowhere, so much has been read
    finished   nothing more comes
    """

    spec: ContainerSpec
    printed: dict[OutputSource, bytes]
    taken: dict[OutputSource, int] = msgspec.field(default_factory=dict)
    input_ended: bool = False
    finished: bool = False

    def is_kept(self, source: OutputSource) -> bool:
        """Whether there is a file."""
        return bool(self.spec.stdout if source is OutputSource.STDOUT else self.spec.stderr)


class SimulatedStreamsState(ContainerizerState):
    """What is printed and read, by container and by stream."""

    config: ContainerizerConfig = ContainerizerConfig(runtime_directory="/simulated")
    outputs: dict[str, SimulatedOutput] = msgspec.field(default_factory=dict)
    readers: dict[int, SimulatedReader] = msgspec.field(default_factory=dict)


class SimulatedStreams(Attaching):
    """The part of the simulated containerizer that prints and listens."""

    state: SimulatedStreamsState

    def started(self) -> None:
        """Nobody is attached yet."""
        self.state.readers = {}
        super().started()

    def script_of(self, container_id: str) -> Script:
        """What the command of a container does."""
        raise NotImplementedError

    def end_command(self, container_id: str) -> None:
        """It ends by itself."""
        raise NotImplementedError

    def print_first(self, spec: ContainerSpec, script: Script) -> None:
        """What a command says when it begins."""
        printed = {OutputSource.STDOUT: script.printed}
        if spec.tty:
            printed[OutputSource.STDOUT] += script.complained
        else:
            printed[OutputSource.STDERR] = script.complained
        self.state.outputs[spec.id] = SimulatedOutput(spec, printed)

    def finish_output(self, container_id: str) -> None:
        """Nothing of the container is left."""
        output = self.state.outputs.get(container_id)
        if output is not None:
            output.finished = True
            for stream, held in self.state.streams.items():
                if held.container_id == container_id and held.writes and not output.input_ended:
                    self.after(0.0, StreamOver(stream=stream, reason=NOBODY_READS))
            output.input_ended = True
            self._pump(container_id)

    def begin_output(self, stream: int, message: AttachOutput) -> str:
        """See the base."""
        output = self.state.outputs[message.container_id]
        given = {OutputSource.STDOUT: message.stdout_offset, OutputSource.STDERR: message.stderr_offset}
        offsets = {}
        for source, printed in output.printed.items():
            offset = given[source]
            if not output.is_kept(source):
                if any(reader.container_id == message.container_id for reader in self.state.readers.values()):
                    return "what it prints is kept nowhere, and somebody reads it already"
                offsets[source] = output.taken.get(source, 0)
            elif offset is None:
                offsets[source] = len(printed)
            else:
                offsets[source] = offset if offset >= 0 else max(0, len(printed) + offset)
        self.state.readers[stream] = SimulatedReader(
            message.container_id, message.credit_bytes, offsets, message.lag_bytes
        )
        self._pump(message.container_id)
        return ""

    def _pump(self, container_id: str) -> None:
        output = self.state.outputs[container_id]
        for stream, reader in [*self.state.readers.items()]:
            if reader.container_id == container_id:
                for source in reader.offsets:
                    self._read(stream, reader, output, source)
                if output.finished and all(len(output.printed[one]) <= at for one, at in reader.offsets.items()):
                    del self.state.readers[stream]
                    self.after(0.0, StreamOver(stream=stream))

    def _read(self, stream: int, reader: SimulatedReader, output: SimulatedOutput, source: OutputSource) -> None:
        printed = output.printed[source]
        while reader.credit_bytes > 0 and reader.offsets[source] < len(printed):
            offset, skipped = reader.offsets[source], 0
            if output.is_kept(source) and reader.lag_bytes is not None and len(printed) - offset > reader.lag_bytes:
                skipped = len(printed) - offset - reader.lag_bytes
                offset += skipped
            data = printed[offset : offset + min(reader.credit_bytes, _CHUNK_BYTES)]
            reader.credit_bytes -= len(data)
            reader.offsets[source] = output.taken[source] = offset + len(data)
            arrived = OutputArrived(stream=stream, source=source, data=data, offset=offset, skipped_bytes=skipped)
            self.after(0.0, arrived)

    def credit_output(self, stream: int, size_bytes: int) -> None:
        """See the base."""
        reader = self.state.readers.get(stream)
        if reader is not None:
            reader.credit_bytes += size_bytes
            self._pump(reader.container_id)

    def begin_input(self, stream: int, container_id: str) -> str:
        """See the base."""
        if self.state.outputs[container_id].input_ended:
            return "its input cannot be written: it has been closed"
        return ""

    def write_input(self, stream: int, data: bytes) -> None:
        """See the base. A pipe of endless size; only a command that copies does anything with it."""
        container_id = self.state.streams[stream].container_id
        if len(data) > INPUT_CREDIT_BYTES:
            self.after(0.0, StreamOver(stream=stream, reason="more was written than there was credit for"))
            return
        if self.script_of(container_id).copies:
            self.state.outputs[container_id].printed[OutputSource.STDOUT] += data
            self._pump(container_id)
        self.after(0.0, InputWritten(stream=stream, size_bytes=len(data)))

    def end_input(self, stream: int) -> None:
        """See the base."""
        container_id = self.state.streams[stream].container_id
        output = self.state.outputs[container_id]
        output.input_ended = not output.spec.tty
        self.after(0.0, StreamOver(stream=stream))
        if self.script_of(container_id).copies:
            self.end_command(container_id)

    def end_stream(self, stream: int) -> None:
        """See the base."""
        self.state.readers.pop(stream, None)

    def set_window(self, container_id: str, rows: int, columns: int) -> str:
        """See the base. Nobody looks at it."""
        return ""
