"""The files of a tracer: recordings that it makes, and files that it hands out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import ClassVar, Final, TypeAlias

from runtime.actor import receive
from runtime.effects import Request
from runtime.errors import KaonError
from runtime.message import Message, Overflow
from runtime.pid import PID
from runtime.tracing import messages as m
from runtime.tracing.directory import TraceDirectory
from runtime.tracing.messages import TracerAnswer, TracerMessage, TracerRefused
from runtime.tracing.recording import CannotRecord, Recording
from runtime.tracing.relay import RelayingTracer
from runtime.tracing.tracer_base import question

MAX_RECORDINGS: Final = 8

Read: TypeAlias = Callable[[], TracerAnswer]

_log = logging.getLogger("kaon.tracer")


class RecordingClosed(TracerMessage, frozen=True, kw_only=True):
    """From the tracer to itself: the recording of that actor is whole."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    actor: str


class Fetched(TracerMessage, frozen=True, kw_only=True):
    """From the tracer to itself: the answer kept under this key has been read from the disk."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    key: int


class FilingTracer(RelayingTracer):
    """The part of a tracer that writes recordings and reads files."""

    def open(self) -> None:
        """No recordings yet."""
        super().open()
        self.directory = TraceDirectory(self.state.directory, self.state.crashes)
        self.recordings: dict[str, Recording] = {}
        self._closing: dict[str, tuple[Recording, Request]] = {}
        self._fetched: dict[int, tuple[Request, TracerAnswer]] = {}

    # Recordings -------------------------------------------------------------------------------------------------------

    @question(m.StartRecording)
    def start_recording(self, sender: PID, message: m.StartRecording) -> None:
        """Record an actor from here on."""
        name = message.file or f"{message.actor.replace('/', '_')}-{self.now:.0f}.recording"
        recording = self.record(message.actor, name, message.limit_bytes)
        self.reply(m.RecordingStarted(node=self.pid.node, path=str(recording.path)))

    def record(self, actor: str, file: str, limit_bytes: int) -> Recording:
        """Begin a recording; also called before the first turn, for one of a whole life. Raises :class:`KaonError`."""
        cell = self.node.cells.get(actor)
        if cell is None or cell.ended:
            names = ", ".join(self.node.cells)
            raise CannotRecord(f"no actor is called {actor!r} here; there are {names}")
        if actor in self.recordings:
            raise CannotRecord(f"{actor} is being recorded already, to {self.recordings[actor].path}")
        if len(self.recordings) >= MAX_RECORDINGS:
            raise CannotRecord(f"this node makes {MAX_RECORDINGS} recordings already: end one first")

        def closed() -> None:
            self.post(RecordingClosed(actor=actor))

        recording = Recording(cell, self.directory.path(file), self.node.now(), limit_bytes, closed)
        self.recordings[actor] = recording
        self.node.add_observer(recording.observe)
        _log.info("recording %s to %s", actor, recording.path)
        return recording

    @question(m.StopRecording)
    def stop_recording(self, sender: PID, message: m.StopRecording) -> None:
        """Record no more; the answer comes when the file is whole."""
        recording = self.recordings.pop(message.actor, None)
        if recording is None:
            recorded = ", ".join(self.recordings) or "nothing"
            raise CannotRecord(f"{message.actor!r} is not being recorded here; {recorded} is")
        self.node.remove_observer(recording.observe)
        if recording.ended and recording.join(0.0):
            self.reply(_ended(recording))
            return
        self._closing[message.actor] = (recording, self.request)
        recording.end("stopped")

    @receive(RecordingClosed)
    def recording_closed(self, sender: PID, message: RecordingClosed) -> None:
        """A file is whole: because it was asked for, or because the recording ended by itself."""
        if sender != self.pid:
            return
        recording, request = self._closing.pop(message.actor, (None, None))
        if recording is not None and request is not None:
            self.reply(_ended(recording), to=request)
            return
        finished = self.recordings.get(message.actor)
        if finished is not None and finished.ended:
            _log.warning("the recording of %s has ended after %d turns: %s", *_summary(message.actor, finished))

    def finish_recordings(self) -> list[Recording]:
        """End all of them, as the node does."""
        for recording in self.recordings.values():
            self.node.remove_observer(recording.observe)
            recording.end("the node stopped")
        return list(self.recordings.values())

    # Files ------------------------------------------------------------------------------------------------------------

    @question(m.GetCrashes)
    def get_crashes(self, sender: PID, message: m.GetCrashes) -> None:
        """List crash reports."""
        self._fetch(lambda: m.Crashes(crashes=self.directory.crashes(message.limit)))

    @question(m.GetCrash)
    def get_crash(self, sender: PID, message: m.GetCrash) -> None:
        """Hand out a crash report."""
        self._fetch(lambda: m.Crash(report=self.directory.crash(message.name)))

    @question(m.ReadTraceFile)
    def read_trace_file(self, sender: PID, message: m.ReadTraceFile) -> None:
        """Hand out bytes of a file."""

        def read() -> TracerAnswer:
            data, size = self.directory.read(message.file, message.offset, message.limit_bytes)
            return m.TraceFileChunk(data=data, size_bytes=size)

        self._fetch(read)

    def _fetch(self, read: Read) -> None:
        """Answer this turn's question with what a thread reads from the disk."""
        key, request = next(self.numbers), self.request

        async def fetched() -> Message:
            try:
                answer = await asyncio.to_thread(read)
            except (KaonError, OSError) as error:
                answer = TracerRefused(reason=str(error))
            self._fetched[key] = (request, answer)
            return Fetched(key=key)

        self.start(fetched(), "read a file")

    @receive(Fetched)
    def fetched(self, sender: PID, message: Fetched) -> None:
        """Answer."""
        request, answer = self._fetched.pop(message.key, (None, None))
        if request is not None and answer is not None:
            self.reply(answer, to=request)


def _ended(recording: Recording) -> m.RecordingEnded:
    return m.RecordingEnded(
        path=str(recording.path), turns=recording.turns, size_bytes=recording.size_bytes, reason=recording.ended
    )


def _summary(actor: str, recording: Recording) -> tuple[str, int, str]:
    return actor, recording.turns, recording.ended
