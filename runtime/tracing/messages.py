"""Questions to a node's tracer, and what it answers: taps, the flight recorder, crash reports, recordings.

Every question is an ask and is answered by its answer, or by :class:`TracerRefused`. The tracer of a node that a tool
cannot dial is reached through one that has a session with it: :class:`Relay`.

A tap's data comes in chunks, :class:`TapData`, to whoever started it; each is acknowledged with :class:`TapAck`. A
subscriber that does not keep up loses turns, which are counted; what is watched never waits. A tap ends with its
subscriber.
"""

from __future__ import annotations

from typing import ClassVar, Final, TypeAlias

import msgspec

from runtime.message import Message, Overflow
from runtime.pid import PID

TRACER: Final = "tracer"
"""The tracer's name on every node."""

RELAYS: Final = 4
"""Longest chain of tracers between a tool and a node."""


class TracerMessage(Message, frozen=True, kw_only=True, tag="tracer.{}".format):
    """Base of this conversation."""


class TracerAnswer(TracerMessage, frozen=True, kw_only=True):
    """Tracer -> whoever asked."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class Filter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Which turns are wanted: those that meet all that is given. An empty filter wants all.

    actor         its name, with ``*`` and ``?``
    message_type  of the message that was handled, likewise
    peer          ``name@node`` of the sender, or of one that the turn sends to, likewise
    fields        pairs of a field's name and value: the message or one that the turn sends has it, at any depth
    trace         id; 0 for any
    failed        only turns whose handler raised
    """

    actor: str = ""
    message_type: str = ""
    peer: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    trace: int = 0
    failed: bool = False

    def __str__(self) -> str:
        """For people: ``actor=master, task_id=t1``, or ``every turn``."""
        given = (("actor", self.actor), ("type", self.message_type), ("peer", self.peer), *self.fields)
        said = [f"{name}={value}" for name, value in given if value]
        if self.trace:
            said.append(f"trace={self.trace:016x}")
        if self.failed:
            said.append("failed")
        return ", ".join(said) or "every turn"


class Counts(msgspec.Struct, frozen=True, gc=False):
    """What became of the turns that a tap saw.

    seen      passed the filter
    sent      of these, handed on
    sampled   left out by sampling
    rate      dropped: more than so many per second
    volume    dropped: more bytes than so many per second
    queue     dropped: the subscriber, or the disk, did not keep up
    """

    seen: int = 0
    sent: int = 0
    sampled: int = 0
    rate: int = 0
    volume: int = 0
    queue: int = 0

    @property
    def dropped(self) -> int:
        """By a bound; sampling is no drop."""
        return self.rate + self.volume + self.queue


class StartTap(TracerMessage, frozen=True, kw_only=True):
    """Tool -> tracer: tell me of turns from now on. Answered by :class:`TapStarted`.

    sample            share of traces, 0 to 1; a trace is taken whole or not, on all nodes alike
    turns_per_second, bytes_per_second  bounds; what is beyond them is dropped and counted
    file              instead of a stream to the sender: a name in the node's trace directory
    """

    filter: Filter = Filter()
    sample: float = 1.0
    turns_per_second: float = 1_000.0
    bytes_per_second: float = 1_000_000.0
    file: str = ""


class TapStarted(TracerAnswer, frozen=True, kw_only=True):
    """It runs. path: of its file on the node, if it has one."""

    tap: int
    node: str
    path: str = ""


class StopTap(TracerMessage, frozen=True, kw_only=True):
    """Tool -> tracer: no more of it. Answered by :class:`TapEnded`."""

    tap: int


class TapEnded(TracerAnswer, frozen=True, kw_only=True):
    """A tap is over; also sent to its subscriber when something else has ended it."""

    tap: int
    reason: str
    counts: Counts


class TapData(TracerMessage, frozen=True, kw_only=True):
    """Tracer -> subscriber: whole records of a trace file, without a header.

    counts  so far
    """

    overflow: ClassVar[Overflow] = Overflow.DROP

    tap: int
    sequence: int
    records: bytes
    counts: Counts


class TapAck(TracerMessage, frozen=True, kw_only=True):
    """Subscriber -> tracer: every chunk up to this one has come."""

    overflow: ClassVar[Overflow] = Overflow.NEVER

    tap: int
    sequence: int


class GetTaps(TracerMessage, frozen=True, kw_only=True):
    """Which taps are there? Answered by :class:`Taps`."""


class TapState(msgspec.Struct, frozen=True, gc=False):
    """One tap."""

    tap: int
    subscriber: PID
    filter: Filter
    path: str
    counts: Counts


class Taps(TracerAnswer, frozen=True, kw_only=True):
    """All taps of a node."""

    taps: tuple[TapState, ...]


class GetTurns(TracerMessage, frozen=True, kw_only=True):
    """What does the flight recorder hold? Answered by :class:`Turns`: the newest that match, within the limits."""

    filter: Filter = Filter()
    limit: int = 10_000
    limit_bytes: int = 4_000_000


class Turns(TracerAnswer, frozen=True, kw_only=True):
    """Turns of a flight recorder, oldest first, as records of a trace file.

    left_out  how many more match
    recorded  turns that the recorder holds, matching or not; `since` is when the oldest began
    now       the node's clock
    """

    node: str
    incarnation: int
    records: bytes
    left_out: int = 0
    recorded: int = 0
    since: float = 0.0
    now: float = 0.0


class GetNode(TracerMessage, frozen=True, kw_only=True):
    """Who are you, and with whom do you have sessions? Answered by :class:`NodeState`."""


class NodeState(TracerAnswer, frozen=True, kw_only=True):
    """A node as its tracer knows it. peers: ids of the nodes that it has sessions with."""

    node: str
    incarnation: int
    actors: tuple[str, ...]
    peers: tuple[str, ...]
    now: float


class GetCrashes(TracerMessage, frozen=True, kw_only=True):
    """Which crash reports are there, newest first? Answered by :class:`Crashes`."""

    limit: int = 20


class CrashFile(msgspec.Struct, frozen=True, gc=False):
    """One report: its file's name, when it was written (seconds since the epoch), whose crash, on what, and the error's
    last line."""

    name: str
    at: float
    actor: str
    message_type: str
    error: str


class Crashes(TracerAnswer, frozen=True, kw_only=True):
    """Crash reports of a node."""

    crashes: tuple[CrashFile, ...]


class GetCrash(TracerMessage, frozen=True, kw_only=True):
    """One report. Answered by :class:`Crash`."""

    name: str


class Crash(TracerAnswer, frozen=True, kw_only=True):
    """A report: its JSON."""

    report: bytes


class StartRecording(TracerMessage, frozen=True, kw_only=True):
    """Record all that an actor receives from now on, into a file of that name in the node's trace directory.

    Answered by :class:`RecordingStarted`. It ends with :class:`StopRecording`, with the actor, or at `limit_bytes`.
    """

    actor: str
    file: str = ""
    limit_bytes: int = 256 * 1024 * 1024


class RecordingStarted(TracerAnswer, frozen=True, kw_only=True):
    """It runs, into the file at `path` on the node."""

    node: str
    path: str


class StopRecording(TracerMessage, frozen=True, kw_only=True):
    """No more of it. Answered by :class:`RecordingEnded`."""

    actor: str


class RecordingEnded(TracerAnswer, frozen=True, kw_only=True):
    """A recording is whole: so many turns."""

    path: str
    turns: int
    size_bytes: int
    reason: str


class ReadTraceFile(TracerMessage, frozen=True, kw_only=True):
    """Bytes of a file in the node's trace directory, from `offset`. Answered by :class:`TraceFileChunk`."""

    file: str
    offset: int = 0
    limit_bytes: int = 1_000_000


class TraceFileChunk(TracerAnswer, frozen=True, kw_only=True):
    """The bytes; `size_bytes` is that of the file."""

    data: bytes
    size_bytes: int


class TracerRefused(TracerAnswer, frozen=True, kw_only=True):
    """It cannot be done: a sentence for the user."""

    reason: str


Question: TypeAlias = (
    StartTap
    | StopTap
    | GetTaps
    | GetTurns
    | GetNode
    | GetCrashes
    | GetCrash
    | StartRecording
    | StopRecording
    | ReadTraceFile
)


class Relay(TracerMessage, frozen=True, kw_only=True):
    """Tool -> tracer: put a question to the tracer of a node that you have a session with; its answer comes back.

    path  ids of the nodes on the way, the last one is asked; the data of a tap comes back the same way
    """

    path: tuple[str, ...]
    question: Question
