"""A tool at a task: commands run beside it (`kaon exec`), and its own input and output (`kaon attach`).

The tool asks the actor ``sessions`` of the task's agent; the answer comes from an actor that lives for this session,
and with it the tool talks as :mod:`containerizer.streaming` tells::

    tool                                 agent
      OpenSession | AttachTask ──────────────►   sessions
            ◄───────────────────────────  SessionOpened(streams) | Refusal
            ◄──── Output, InputTaken, StreamEnded; OutputTaken, Input, InputEnded, SetWindow ────►
            ◄───────────────────────────  SessionEnded

* A command of a session lives as long as the session: it is destroyed, with all its processes, when the tool detaches
  or its connection breaks, when agent or containerizer end, and when the task does. The task is none the wiser.
* SessionEnded comes once, after all output was sent. A session whose actor ends without it has broken.
* Executors have no sessions.
"""

from __future__ import annotations

from actors.messages.operating import Answer, Question


class OpenSession(Question, frozen=True, kw_only=True):
    """Run a command in the container of a task: in its namespaces, its limits, its sandbox.

    Answered by :class:`SessionOpened` once the command runs, by :class:`SessionEnded` with the shell's status 127 if it
    cannot be executed, or by :class:`actors.messages.operating.Refusal`.

    argv         program and arguments
    environment  on top of the task's own
    user         empty for the task's
    tty          a terminal of so many `rows` and `columns`, otherwise pipes
    input        whether anything will be written to it
    credit_bytes of output that may be sent before the first :class:`containerizer.streaming.OutputTaken`
    """

    framework_id: str
    task_id: str
    argv: tuple[str, ...]
    credit_bytes: int
    environment: tuple[tuple[str, str], ...] = ()
    user: str = ""
    tty: bool = False
    rows: int = 24
    columns: int = 80
    input: bool = False


class AttachTask(Question, frozen=True, kw_only=True):
    """Read what a task prints and, with `input`, write what it reads. Answered as :class:`OpenSession` is.

    offset     in bytes, of standard output and error, where to begin; negative: from their end; None: at their end
    lag_bytes  as in :class:`containerizer.streaming.AttachOutput`
    """

    framework_id: str
    task_id: str
    credit_bytes: int
    input: bool = False
    offset: int | None = None
    lag_bytes: int | None = None


class SessionOpened(Answer, frozen=True, kw_only=True):
    """The session's actor -> tool: it has begun.

    output  the stream that is read
    input   the stream that is written; 0 for none, and `input_refusal` says why if one was wanted
    input_credit_bytes  as in :class:`containerizer.streaming.InputAttached`
    tty     there is a terminal at the other end
    """

    container_id: str
    output: int
    input: int = 0
    input_credit_bytes: int = 0
    input_refusal: str = ""
    tty: bool = False


class SessionEnded(Answer, frozen=True, kw_only=True):
    """The session's actor -> tool: the last word.

    exit_code  of the session's command; None if a signal ended it, if it is not known, or if there was none
    signal     that ended it
    message    a sentence for the user when it did not end by itself
    """

    exit_code: int | None = None
    signal: int | None = None
    message: str = ""
