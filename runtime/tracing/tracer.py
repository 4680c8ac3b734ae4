"""The tracer: the actor of each node that tells of the others' turns. See `runtime.tracing.messages` for what it says.

It watches through `Node.add_observer` and reads the flight recorder; chunks of a tap go out between turns, so that the
recorder does not fill with them. Its own turns are in the recorder and in no tap.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from runtime.actor import receive
from runtime.effects import Request
from runtime.message import Exited, Message, Overflow
from runtime.node import Node
from runtime.pid import PID
from runtime.supervision import Restart, Supervision
from runtime.tracing import messages as m
from runtime.tracing.files import Header, TraceWriter
from runtime.tracing.filters import BadFilter, check_bounds
from runtime.tracing.messages import TRACER, TracerMessage
from runtime.tracing.reading import Reading
from runtime.tracing.recording import Recording
from runtime.tracing.sink import FileSink
from runtime.tracing.tap import Tap
from runtime.tracing.tracer_base import TracerState, question
from runtime.tracing.tracer_files import FilingTracer

FLUSH_SECONDS: Final = 0.05
"""From a turn to the chunk that it travels in."""

REPORT_SECONDS: Final = 1.0
"""Between two looks at whether subscribers know of all drops."""

MAX_TAPS: Final = 32

MAX_ANSWER_BYTES: Final = 6_000_000
"""Of the records in one answer: it must fit a message."""

RECORDING_BYTES: Final = 1024 * 1024 * 1024
"""Of a recording of a whole life."""

NEVER_FATAL: Final = Supervision(
    restart=Restart.PERMANENT, intensity=1_000_000, backoff_seconds=0.1, backoff_max_seconds=60.0
)
"""A tracer that fails, however often, must not end the process that it watches."""

CLOSE_SECONDS: Final = 2.0
"""For trace files to become whole when the process ends."""

_log = logging.getLogger("kaon.tracer")


class SinkEnded(TracerMessage, frozen=True, kw_only=True):
    """From the tracer to itself: the file of that tap is closed, or cannot be written."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    tap: int


class ReadOn(TracerMessage, frozen=True, kw_only=True):
    """From the tracer to itself: go on with what is read under this key."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    key: int


class Report(TracerMessage, frozen=True, kw_only=True):
    """From the tracer to itself: tell subscribers what they missed."""


class Tracer(FilingTracer):
    """See the module's docstring."""

    def open(self) -> None:
        """No taps yet."""
        super().open()
        self.taps: dict[int, Tap] = {}
        self._stopping: dict[int, tuple[Tap, Request | None]] = {}
        self._readings: dict[int, Reading] = {}
        self._reporting = False

    def close(self) -> None:
        """Take all hooks back and finish the files."""
        sinks: list[FileSink | Recording] = []
        for tap in self.taps.values():
            self.node.remove_observer(tap.observe)
            if tap.sink is not None:
                tap.to_file()
                tap.sink.close()
                sinks.append(tap.sink)
        sinks += self.finish_recordings()
        for sink in sinks:
            if not sink.join(CLOSE_SECONDS):
                _log.warning("a trace file was not finished within %.0f s: its end is missing", CLOSE_SECONDS)

    # Taps -------------------------------------------------------------------------------------------------------------

    @question(m.StartTap)
    def start_tap(self, sender: PID, message: m.StartTap) -> None:
        """Watch from now on."""
        check_bounds(message.sample, message.turns_per_second, message.bytes_per_second)
        if len(self.taps) >= MAX_TAPS:
            raise BadFilter(f"this node has {MAX_TAPS} taps already: end one first")
        number = next(self.numbers)
        tap = Tap(number, sender, message, self._woken)
        path = ""
        if message.file:
            tap.sink = self._sink(tap, self.directory.path(message.file))
            path = str(tap.sink.writer.path)
        self.taps[number] = tap
        self.node.add_observer(tap.observe)
        if not message.file:
            self.link(sender)
            self._report_later()
        _log.info("tap %d for %s on %s%s", number, sender, message.filter, f" to {path}" if path else "")
        self.reply(m.TapStarted(tap=number, node=self.pid.node, path=path))

    def _sink(self, tap: Tap, path: Path) -> FileSink:
        if any(each.sink is not None and each.sink.writer.path == path for each in self.taps.values()):
            raise BadFilter(f"another tap writes to {path}: give another name")
        number = tap.number
        header = Header(node=self.pid.node, incarnation=self.pid.incarnation, started=self.now)
        return FileSink(TraceWriter(path, header), lambda sink: self.post(SinkEnded(tap=number)))

    @question(m.StopTap)
    def stop_tap(self, sender: PID, message: m.StopTap) -> None:
        """Watch no more."""
        if message.tap in self.relayed_taps:
            self.stop_relayed(message.tap)
            return
        tap = self.taps.get(message.tap)
        if tap is None:
            raise BadFilter(f"there is no tap {message.tap} here; it may have ended by itself")
        self._end(tap, self.request)

    def _end(self, tap: Tap, request: Request | None, reason: str = "stopped") -> None:
        """End a tap; a file is finished first."""
        del self.taps[tap.number]
        self.node.remove_observer(tap.observe)
        if tap.sink is not None:
            tap.to_file()
            tap.sink.close()
            self._stopping[tap.number] = (tap, request)
            return
        self._send_chunks(tap)
        if request is not None:
            self.reply(m.TapEnded(tap=tap.number, reason=reason, counts=tap.counts), to=request)

    @receive(SinkEnded)
    def sink_ended(self, sender: PID, message: SinkEnded) -> None:
        """A file is closed: because its tap was stopped, or because it cannot be written."""
        if sender != self.pid:
            return
        tap, request = self._stopping.pop(message.tap, (self.taps.pop(message.tap, None), None))
        if tap is None:
            return
        self.node.remove_observer(tap.observe)
        reason = tap.error or (tap.sink.error if tap.sink else "") or "stopped"
        ended = m.TapEnded(tap=tap.number, reason=reason, counts=tap.counts)
        if request is not None:
            self.reply(ended, to=request)
        else:
            _log.warning("tap %d ends: %s", tap.number, reason)
            self.send(tap.subscriber, ended)

    @question(m.GetTaps)
    def get_taps(self, sender: PID, message: m.GetTaps) -> None:
        """Tell of all taps."""
        states = (
            m.TapState(
                tap.number, tap.subscriber, tap.filter, str(tap.sink.writer.path) if tap.sink else "", tap.counts
            )
            for tap in self.taps.values()
        )
        self.reply(m.Taps(taps=tuple(states)))

    @receive(m.TapAck)
    def tap_ack(self, sender: PID, message: m.TapAck) -> None:
        """The subscriber keeps up: go on."""
        tap = self.taps.get(message.tap)
        if tap is not None and tap.subscriber == sender:
            tap.acknowledged = max(tap.acknowledged, min(message.sequence, tap.sequence))
            self._send_chunks(tap)
        elif message.tap in self.relayed_taps and self.relayed_taps[message.tap].subscriber == sender:
            self.acknowledge_relayed(message.tap, message)

    @receive(Exited)
    def subscriber_gone(self, sender: PID, message: Exited) -> None:
        """Nobody watches any more."""
        for tap in [each for each in self.taps.values() if each.subscriber == message.pid and each.sink is None]:
            _log.info("tap %d ends: its subscriber is gone (%s)", tap.number, message.reason)
            self._end(tap, None)
        self.peer_exited(message)

    def _woken(self, tap: Tap) -> None:
        """A tap has something: hand it on shortly, with what comes until then."""
        self.node.clock.call_at(self.node.now() + FLUSH_SECONDS, lambda: self._flush(tap))

    def _flush(self, tap: Tap) -> None:
        """Between turns: hand on what a tap has."""
        if self.taps.get(tap.number) is not tap:
            return
        tap.slept()
        if tap.error:
            self._fail(tap)
        elif tap.sink is not None:
            tap.to_file()
        else:
            self._send_chunks(tap)
        self.node.wake()

    def _send_chunks(self, tap: Tap) -> None:
        """Send what the subscriber can take. Not as effects: the flight recorder must not keep the chunks."""
        while tap.is_waiting and tap.may_send:
            self._send_chunk(tap, tap.take())

    def _send_chunk(self, tap: Tap, records: bytes) -> None:
        tap.sequence += 1
        tap.told = tap.counts
        chunk = m.TapData(tap=tap.number, sequence=tap.sequence, records=records, counts=tap.told)
        self._tell(tap.subscriber, chunk)

    def _tell(self, to: PID, message: Message) -> None:
        self.node.turns.transmit(self.pid, to, message, self.node.turns.new_span(), 0)

    def _fail(self, tap: Tap) -> None:
        del self.taps[tap.number]
        self.node.remove_observer(tap.observe)
        if tap.sink is not None:
            tap.sink.close()
        self._tell(tap.subscriber, m.TapEnded(tap=tap.number, reason=tap.error, counts=tap.counts))

    def _report_later(self) -> None:
        if not self._reporting:
            self._reporting = True
            self.after(REPORT_SECONDS, Report())

    @receive(Report)
    def report(self, sender: PID, message: Report) -> None:
        """Subscribers hear of drops even when nothing else is sent to them."""
        self._reporting = False
        streams = [tap for tap in self.taps.values() if tap.sink is None]
        for tap in streams:
            if tap.counts != tap.told and tap.may_send:
                self._send_chunk(tap, b"")
        if streams:
            self._report_later()

    # The flight recorder ----------------------------------------------------------------------------------------------

    @question(m.GetTurns)
    def get_turns(self, sender: PID, message: m.GetTurns) -> None:
        """Read the flight recorder. The tracer's own turns are left out: they hold what it answered before."""
        recorder = self.node.recorder
        recorded = recorder.turns() if recorder is not None else []
        turns = [turn for turn in recorded if turn.actor.name != TRACER or turn.error]
        limit_bytes = max(0, min(message.limit_bytes, MAX_ANSWER_BYTES))
        key = next(self.numbers)
        self._readings[key] = Reading(self.request, message, turns, limit_bytes)
        self._read(key)

    @receive(ReadOn)
    def read_on(self, sender: PID, message: ReadOn) -> None:
        """Go on reading."""
        if sender == self.pid and message.key in self._readings:
            self._read(message.key)

    def _read(self, key: int) -> None:
        """Read a little, then let others have their turn, or answer."""
        reading = self._readings[key]
        if not reading.step():
            self.send(self.pid, ReadOn(key=key))
            return
        del self._readings[key]
        if self.node.recorder is not None:
            self.node.recorder.weigh(reading.size_bytes)
        answer = m.Turns(
            node=self.pid.node,
            incarnation=self.pid.incarnation,
            records=reading.records,
            left_out=reading.left_out,
            recorded=reading.recorded,
            since=reading.since,
            now=self.node.now(),
        )
        self.reply(answer, to=reading.request)

    @question(m.GetNode)
    def get_node(self, sender: PID, message: m.GetNode) -> None:
        """Tell of this node."""
        self.reply(
            m.NodeState(
                node=self.pid.node,
                incarnation=self.pid.incarnation,
                actors=tuple(self.node.cells),
                peers=tuple(dict.fromkeys(session.peer.node for session in self.node.peers.sessions)),
                now=self.node.now(),
            )
        )


def spawn_tracer(
    node: Node, work_dir: Path | None = None, *, operators: tuple[str, ...] = (), record: Sequence[str] = ()
) -> PID:
    """Give a node its tracer. Spawn it after the actors that are to be recorded from their first turn on.

    work_dir   trace files and recordings go to ``traces`` below it, crash reports are in ``crashes``; None: no files
    operators  see :class:`TracerState`
    record     actors to record from now on; raises :class:`KaonError` where that cannot be
    """
    state = TracerState(
        directory=str(work_dir / "traces") if work_dir is not None else "",
        crashes=str(work_dir / "crashes") if work_dir is not None else "",
        operators=operators,
    )
    pid = node.spawn(Tracer, TRACER, state, NEVER_FATAL)
    tracer = node.cells[TRACER].actor
    assert isinstance(tracer, Tracer)
    for actor in record:
        tracer.record(actor, f"{actor.replace('/', '_')}.recording", RECORDING_BYTES)
    return pid
