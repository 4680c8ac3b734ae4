"""Streams on a real machine: files that are followed, pipes and terminals that are read and written.

Everything runs on the event loop and in small portions: as much as there is credit for. A terminal that is logged is
copied into its file as fast as it comes, and readers follow the file; so there is one place, the disk, where output
waits for a reader, and no buffer that could grow or overflow.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from containerizer import linux, terminals
from containerizer.attaching import INPUT_CREDIT_BYTES, NOBODY_READS
from containerizer.errors import InvalidSpec
from containerizer.events import Event
from containerizer.init import CLOSE_INPUT
from containerizer.spec import ContainerSpec
from containerizer.standard import open_log, open_output
from containerizer.stream_ends import CHUNK_BYTES, Changes, FileSource, PipeSource, Reader, Writer
from containerizer.streaming import AttachOutput, OutputSource

_log = logging.getLogger(__name__)

LAST_CHUNKS: Final = 1024
"""Read of a terminal whose processes are gone, at most; the kernel keeps a few of them, unless somebody outside of the
container has got hold of it."""


class Ends:
    """The containerizer's side of one container's standard files.

    descriptors  by name: ``terminal``, ``input``, ``output``, ``error``, ``log``; those that are missing it has not
    pidfd        of its init, which holds copies of two of them; -1 once it is gone
    lost         why there is no terminal or input although there should be
    finished     nothing of the container runs any more: what is there to read is all there will be
    unlogged_bytes  of a terminal's output, for which the log's disk had no room
    """

    def __init__(self, spec: ContainerSpec, descriptors: dict[str, int], pidfd: int = -1, lost: str = "") -> None:
        self.spec = spec
        self.descriptors = descriptors
        self.pidfd = pidfd
        self.lost = lost
        self.finished = False
        self.unlogged_bytes = 0
        self.writer: Writer | None = None
        self.readers: set[int] = set()
        for name in ("terminal", "input", "output", "error"):
            if name in descriptors:
                os.set_blocking(descriptors[name], False)

    @property
    def is_logged(self) -> bool:
        """Whether a terminal's output goes into a file."""
        return self.spec.tty and bool(self.spec.stdout)

    def close(self, name: str) -> None:
        """Close one, if it is there."""
        descriptor = self.descriptors.pop(name, -1)
        if descriptor >= 0:
            os.close(descriptor)


class Streams:
    """All streams of one containerizer. post: puts an event into its mailbox."""

    def __init__(self, loop: asyncio.AbstractEventLoop, post: Callable[[Event], None]) -> None:
        self._loop = loop
        self._post = post
        self._ends: dict[str, Ends] = {}
        self._readers: dict[int, Reader] = {}
        self._writers: dict[int, tuple[str, Writer]] = {}
        self._changes = Changes(loop)

    # Containers -------------------------------------------------------------------------------------------------------

    def adopt(self, spec: ContainerSpec, descriptors: dict[str, int], pidfd: int) -> None:
        """A container has been launched; the descriptors are ours from now on, the pidfd is not."""
        ends = self._ends[spec.id] = Ends(spec, descriptors, pidfd)
        if "terminal" in descriptors and ends.is_logged:
            self._loop.add_reader(descriptors["terminal"], self._copy, ends)

    def recover(self, spec: ContainerSpec, kept: tuple[tuple[str, int], ...], pidfd: int) -> None:
        """A container was found alive: get back what its init holds for us."""
        descriptors: dict[str, int] = {}
        lost = ""
        try:
            for name, number in kept:
                descriptors[name] = linux.copy_descriptor(pidfd, number)
        except OSError as error:
            lost = f"an earlier containerizer had it, and the kernel does not give it back ({error.strerror})"
            _log.warning("the terminal or input of container %s is out of reach: %s", spec.id, lost)
        if spec.tty and spec.stdout and not lost:
            with suppress(OSError):  # the sandbox is gone: the terminal is read all the same, or its command would stop
                descriptors["log"] = open_log(spec)
        self.adopt(spec, descriptors, pidfd)
        self._ends[spec.id].lost = lost

    def recover_ended(self, spec: ContainerSpec) -> None:
        """A container was found dead: its files may still be read."""
        self._ends[spec.id] = Ends(spec, {})
        self._ends[spec.id].finished = True

    def forget_process(self, container_id: str) -> None:
        """The init is gone, and its pidfd will be another's."""
        ends = self._ends.get(container_id)
        if ends is not None:
            ends.pidfd = -1

    def finish(self, container_id: str) -> None:
        """Nothing of the container is left: what it printed is complete, and nobody reads what is written."""
        ends = self._ends.get(container_id)
        if ends is None or ends.finished:
            return
        if ends.is_logged and "terminal" in ends.descriptors:
            for _ in range(LAST_CHUNKS):
                if not self._copy(ends):
                    break
        if ends.unlogged_bytes:
            _log.error("%d bytes of container %s's terminal are not in its log", ends.unlogged_bytes, container_id)
        ends.finished = True
        if ends.writer is not None:
            ends.writer.finish(NOBODY_READS)
        ends.close("input")
        ends.close("log")
        for stream in tuple(ends.readers):
            self._readers[stream].finish()

    def forget(self, container_id: str) -> None:
        """Nobody attaches to it any more; readers that are attached read on."""
        ends = self._ends.get(container_id)
        if ends is not None and not ends.readers:
            self._close(ends)
        self._ends.pop(container_id, None)

    def _close(self, ends: Ends) -> None:
        if "terminal" in ends.descriptors:
            self._loop.remove_reader(ends.descriptors["terminal"])
        for name in tuple(ends.descriptors):
            ends.close(name)

    def close(self) -> None:
        """Let go of everything; containers go on."""
        for stream in (*self._readers, *self._writers):
            self.end(stream)
        for ends in self._ends.values():
            self._close(ends)
        self._ends.clear()
        self._changes.close()

    def _copy(self, ends: Ends) -> bool:
        """From a terminal into its log; whether there was anything."""
        terminal = ends.descriptors["terminal"]
        try:
            data = os.read(terminal, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            # EIO: its last process is gone, the init among them.
            data = b""
        if not data:
            self._loop.remove_reader(terminal)
            return False
        self._log_output(ends, data)
        return True

    def _log_output(self, ends: Ends, data: bytes) -> None:
        """What a full disk has no room for is lost to the log, and counted; the command goes on."""
        reason = "there is no room"
        written = 0
        try:
            written = os.write(ends.descriptors.get("log", -1), data)
        except OSError as error:
            reason = error.strerror or str(error)
        if written < len(data):
            if not ends.unlogged_bytes:
                _log.warning("the terminal of container %s is not logged any more: %s", ends.spec.id, reason)
            ends.unlogged_bytes += len(data) - written

    # Reading ----------------------------------------------------------------------------------------------------------

    def attach_output(self, stream: int, message: AttachOutput) -> str:
        """Begin to read for a stream; why not, or empty."""
        ends = self._ends[message.container_id]
        reader = Reader(self._loop, stream, message.credit_bytes, self._post, lambda: self._reader_over(ends, stream))
        try:
            self._add_sources(reader, ends, message)
            reader.begin(ends.finished)
        except (InvalidSpec, OSError) as error:
            reader.close()
            return str(error)
        self._readers[stream] = reader
        ends.readers.add(stream)
        return ""

    def _add_sources(self, reader: Reader, ends: Ends, message: AttachOutput) -> None:
        spec = ends.spec
        kinds = [(OutputSource.STDOUT, spec.stdout, "terminal" if spec.tty else "output", message.stdout_offset)]
        if not spec.tty and not (spec.stderr and spec.stderr == spec.stdout):
            kinds.append((OutputSource.STDERR, spec.stderr, "error", message.stderr_offset))
        for kind, name, end, offset in kinds:
            if name:
                descriptor = open_output(spec, name)
                reader.add(FileSource(kind, descriptor, offset, message.lag_bytes, self._changes))
            elif end in ends.descriptors:
                if ends.readers:
                    raise InvalidSpec("what it prints is kept nowhere, and somebody reads it already")
                reader.add(PipeSource(self._loop, kind, ends.descriptors[end]))
            else:
                raise InvalidSpec(f"its output cannot be read: {ends.lost or 'an earlier containerizer had it'}")

    def _reader_over(self, ends: Ends, stream: int) -> None:
        self._readers.pop(stream, None)
        ends.readers.discard(stream)
        if not ends.readers and self._ends.get(ends.spec.id) is not ends:
            self._close(ends)

    def credit(self, stream: int, size_bytes: int) -> None:
        """So much more may be read."""
        reader = self._readers.get(stream)
        if reader is not None:
            reader.credit_more(size_bytes)

    # Writing ----------------------------------------------------------------------------------------------------------

    def attach_input(self, stream: int, container_id: str) -> str:
        """Let a stream write; why not, or empty."""
        ends = self._ends[container_id]
        descriptor = ends.descriptors.get("terminal" if ends.spec.tty else "input", -1)
        if descriptor < 0:
            return f"its input cannot be written: {ends.lost or 'it has been closed'}"
        ends.writer = Writer(self._loop, stream, descriptor, INPUT_CREDIT_BYTES, self._post, watched=not ends.spec.tty)
        self._writers[stream] = (container_id, ends.writer)
        return ""

    def write(self, stream: int, data: bytes) -> None:
        """Write, in order."""
        if stream in self._writers:
            self._writers[stream][1].write(data)

    def end_input(self, stream: int) -> None:
        """Close the pipe behind what was written, ours and the init's end of it; press ^D at a terminal."""
        container_id, writer = self._writers.get(stream, ("", None))
        if writer is None:
            return
        ends = self._ends[container_id]
        if ends.spec.tty:
            writer.write(terminals.END_OF_FILE if writer.at_line_start else 2 * terminals.END_OF_FILE)
            writer.then(lambda: None)
        else:
            writer.then(lambda: self._close_input(ends))

    def _close_input(self, ends: Ends) -> None:
        ends.close("input")
        if ends.pidfd >= 0:
            with suppress(ProcessLookupError):
                linux.queue_signal(ends.pidfd, CLOSE_INPUT)

    def end(self, stream: int) -> None:
        """Nobody holds that stream any more."""
        reader = self._readers.get(stream)
        if reader is not None:
            reader.close()
        container_id, writer = self._writers.pop(stream, ("", None))
        if writer is not None:
            writer.close()
            ends = self._ends.get(container_id)
            if ends is not None and ends.writer is writer:
                ends.writer = None

    def set_window(self, container_id: str, rows: int, columns: int) -> str:
        """Give a terminal another size; why not, or empty."""
        ends = self._ends[container_id]
        if "terminal" not in ends.descriptors:
            return f"its terminal is out of reach: {ends.lost}"
        terminals.set_window_size(ends.descriptors["terminal"], rows, columns)
        return ""
