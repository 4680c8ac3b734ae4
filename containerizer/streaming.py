"""Attaching to a container: what it prints, and what it is told, as streams of messages.

The same conversation is held twice: between an agent's session and its containerizer, and between a tool and that
session, which passes on what it hears. Reading::

    reader                               containerizer
      AttachOutput(credit) ──────────────────►   any number of readers of files and of a terminal that is logged
            ◄───────────────────────────  OutputAttached(stream) | Refused
            ◄───────────────────────────  Output(data) ...         no more bytes than were credited
      OutputTaken(bytes) ────────────────────►   so many more
            ◄───────────────────────────  StreamEnded              once, after everything else

and writing::

    writer
      AttachInput ───────────────────────────►   one writer at a time
            ◄───────────────────────────  InputAttached(stream, credit) | Refused
      Input(data) ... ───────────────────────►   no more bytes than were credited
            ◄───────────────────────────  InputTaken(bytes)        the command's pipe or terminal has them
      InputEnded ────────────────────────────►   end of file; at a terminal, the key that says so
            ◄───────────────────────────  StreamEnded              once, when nobody can read it any more

Rules that both sides keep:

* Credit is all that bounds a stream, and bounds all of it: nothing else waits anywhere for a slow reader.
* What a command prints into files, or to a terminal that is logged, waits for no reader: readers follow the file. One
  that allows itself to be no further than `lag_bytes` behind is moved on, and told how much it has not seen.
* What is kept nowhere (an empty `stdout` in the spec) goes to one reader, all of it; the command waits for that one.
* What is typed and shown is secret: passwords are among it, and no trace has it.
* StreamEnded is not answered; Detach ends a stream without it. A reader or writer that is gone has detached.
"""

from __future__ import annotations

import enum
from typing import Annotated

from containerizer.messages import ContainerizerMessage
from runtime.message import SECRET


class OutputSource(enum.Enum):
    """Which of a command's outputs. All that a terminal shows is standard output."""

    STDOUT = "stdout"
    STDERR = "stderr"


class AttachOutput(ContainerizerMessage, frozen=True, kw_only=True):
    """Read what a container prints. Answered by :class:`OutputAttached` or :class:`containerizer.messages.Refused`.

    credit_bytes  how much may be sent before the first :class:`OutputTaken`
    stdout_offset, stderr_offset  where in the file to begin; negative: so many bytes before its end; None: at its end.
                  Of no meaning for what is kept nowhere
    lag_bytes     how far behind a file's end the reader may be before it is moved on; None: as far as it likes
    """

    container_id: str
    credit_bytes: int
    stdout_offset: int | None = None
    stderr_offset: int | None = None
    lag_bytes: int | None = None


class OutputAttached(ContainerizerMessage, frozen=True, kw_only=True):
    """Answer to :class:`AttachOutput`. stream: names it in what follows; tty: the container has a terminal."""

    container_id: str
    stream: int
    tty: bool = False


class Output(ContainerizerMessage, frozen=True, kw_only=True):
    """Bytes that a command has printed.

    offset         where they stand in the file; for what is kept nowhere, how many were sent before
    skipped_bytes  that lie before these and were not sent, because the reader was too far behind
    """

    stream: int
    source: OutputSource
    data: Annotated[bytes, SECRET]
    offset: int = 0
    skipped_bytes: int = 0


class OutputTaken(ContainerizerMessage, frozen=True, kw_only=True):
    """Reader -> containerizer: I am done with so many bytes, send as many more."""

    stream: int
    size_bytes: int


class AttachInput(ContainerizerMessage, frozen=True, kw_only=True):
    """Write what a container reads. Answered by :class:`InputAttached` or :class:`containerizer.messages.Refused`."""

    container_id: str


class InputAttached(ContainerizerMessage, frozen=True, kw_only=True):
    """Answer to :class:`AttachInput`. credit_bytes: how much may be sent before the first :class:`InputTaken`."""

    container_id: str
    stream: int
    credit_bytes: int
    tty: bool = False


class Input(ContainerizerMessage, frozen=True, kw_only=True):
    """Bytes for a command's standard input or terminal."""

    stream: int
    data: Annotated[bytes, SECRET]


class InputTaken(ContainerizerMessage, frozen=True, kw_only=True):
    """Containerizer -> writer: so many bytes are in the command's pipe or terminal, send as many more."""

    stream: int
    size_bytes: int


class InputEnded(ContainerizerMessage, frozen=True, kw_only=True):
    """Writer -> containerizer: nothing more comes. The command finds the end of its input behind what came before."""

    stream: int


class SetWindow(ContainerizerMessage, frozen=True, kw_only=True):
    """A container's terminal has another size, in characters: its programs get SIGWINCH.

    Answered by :class:`WindowSet`, or :class:`containerizer.messages.Refused`.
    """

    container_id: str
    rows: int
    columns: int


class WindowSet(ContainerizerMessage, frozen=True, kw_only=True):
    """The terminal has that size."""

    container_id: str


class Detach(ContainerizerMessage, frozen=True, kw_only=True):
    """Reader or writer -> containerizer: I am done with that stream. Not answered; what is under way is lost."""

    stream: int


class StreamEnded(ContainerizerMessage, frozen=True, kw_only=True):
    """Nothing more comes of that stream. reason: empty when all is well, else a sentence for the user."""

    stream: int
    reason: str = ""
