"""A session of a tool at a task: this terminal's keyboard and screen at one end, a container at the other.

What is read here and what is written here may block for ever (a pipe that nobody empties, a terminal that is held), so
both are done by threads that end with the process, and both within the credit that the other side gives: the node goes
on turning, and neither end makes the other's memory grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Final

import msgspec

from actors.messages.operating import Refusal
from actors.messages.sessions import AttachTask, OpenSession, SessionEnded, SessionOpened
from containerizer.messages import Refused
from containerizer.streaming import (
    Detach,
    Input,
    InputEnded,
    InputTaken,
    Output,
    OutputSource,
    OutputTaken,
    SetWindow,
    StreamEnded,
    WindowSet,
)
from runtime.actor import Edge, State, receive
from runtime.message import SECRET, AskFailed, Exited, Message, Overflow
from runtime.pid import PID

CREDIT_BYTES: Final = 512 * 1024
"""Of output that may be on its way: what a megabyte a second needs over half a second of distance."""

LAG_BYTES: Final = 256 * 1024
"""How far behind a task's output a terminal may be before it is moved on: a hundred screens."""

OPEN_TIMEOUT_SECONDS: Final = 60.0
"""For a command to run, on an agent that is very busy."""

WINDOW_TIMEOUT_SECONDS: Final = 10.0

READ_BYTES: Final = 32 * 1024

DETACH_KEYS: Final = b"\x10\x11"
"""^P ^Q, one after the other, leave a task's terminal (as Docker's)."""

BROKEN_PIPE: Final = 128 + signal.SIGPIPE


class _Event(Message, frozen=True, kw_only=True, tag="cli.Session{}".format):
    """From the threads and signals of this process to the client."""

    overflow: ClassVar[Overflow] = Overflow.NEVER
    local: ClassVar[bool] = True


class Typed(_Event, frozen=True, kw_only=True):
    """Read here; empty at the end."""

    data: Annotated[bytes, SECRET]


class Shown(_Event, frozen=True, kw_only=True):
    """Written here, or not: then nobody reads it any more."""

    size_bytes: int
    failed: bool = False


class Resized(_Event, frozen=True, kw_only=True):
    """This terminal has another size."""


class Interrupted(_Event, frozen=True, kw_only=True):
    """This process was sent a signal."""

    number: int


class SessionResult(msgspec.Struct, frozen=True):
    """How a session ended. status: for this process to exit with; error: a sentence, if something went wrong."""

    status: int
    error: str = ""


class Keyboard(threading.Thread):
    """Reads standard input, no more than it may."""

    def __init__(self, credit_bytes: int, typed: Callable[[bytes], None]) -> None:
        super().__init__(name="keyboard", daemon=True)
        self._credit_bytes = credit_bytes
        self._typed = typed
        self._changed = threading.Condition()
        self._closed = threading.Event()

    def run(self) -> None:
        """Until the end of the input, or of the session."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._credit_bytes > 0 or self._closed.is_set())
                if self._closed.is_set():
                    return
                size = min(self._credit_bytes, READ_BYTES)
            try:
                data = os.read(0, size)
            except OSError:
                # EIO: this terminal is gone.
                data = b""
            if self._closed.is_set():
                return
            with self._changed:
                self._credit_bytes -= len(data)
            self._typed(data)
            if not data:
                return

    def credit(self, size_bytes: int) -> None:
        """So much more may be read."""
        with self._changed:
            self._credit_bytes += size_bytes
            self._changed.notify()

    def close(self) -> None:
        """Read no more; a read under way ends with the process."""
        self._closed.set()
        with self._changed:
            self._changed.notify()


class Screen(threading.Thread):
    """Writes standard output and error, in order."""

    def __init__(self, shown: Callable[[int, bool], None]) -> None:
        super().__init__(name="screen", daemon=True)
        self._shown = shown
        self._queue: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()

    def write(self, descriptor: int, data: bytes) -> None:
        """In its turn."""
        self._queue.put((descriptor, data))

    def run(self) -> None:
        """For ever."""
        while True:
            descriptor, data = self._queue.get()
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(descriptor, view) :]
            except OSError:
                self._shown(len(data), True)
                return
            self._shown(len(data), False)


class ClientState(State):
    """One session.

    agent      the actor that opens it
    session    the actor that holds it, once it is open
    unshown_bytes  taken from the session and not yet written here
    ended      its last word
    before     of the keys that leave a task's terminal, what has been typed of them
    """

    agent: PID
    question: OpenSession | AttachTask
    session: PID | None = None
    opened: SessionOpened | None = None
    input_over: bool = False
    unshown_bytes: int = 0
    ended: SessionEnded | None = None
    before: bytes = b""


class Client(Edge[ClientState]):
    """The tool's end of :mod:`actors.messages.sessions`."""

    result: asyncio.Future[SessionResult]
    on_open: Callable[[SessionOpened], None]

    def open(self) -> None:
        """Threads that wait for nothing yet."""
        self.result = self.loop.create_future()
        self.on_open = lambda _: None
        self._keyboard: Keyboard | None = None
        self._screen = Screen(lambda size, failed: self.post(Shown(size_bytes=size, failed=failed)))
        self._screen.start()

    def close(self) -> None:
        """The threads end with the process."""
        if self._keyboard is not None:
            self._keyboard.close()

    def started(self) -> None:
        """Ask for the session."""
        self.ask(self.state.agent, self.state.question, self.answered, timeout_seconds=OPEN_TIMEOUT_SECONDS)

    def answered(self, sender: PID, answer: Message, context: None) -> None:
        """It is open, or why not."""
        if isinstance(answer, SessionOpened):
            self.state.session, self.state.opened = sender, answer
            self.link(sender)
            self.on_open(answer)
            self._tell_window()
            if answer.input:
                self._keyboard = Keyboard(answer.input_credit_bytes, lambda data: self.post(Typed(data=data)))
                self._keyboard.start()
        elif isinstance(answer, SessionEnded):
            self._finish(answer.exit_code or 1, answer.message)
        elif isinstance(answer, Refusal):
            self._finish(1, answer.message)
        else:
            why = answer.reason if isinstance(answer, AskFailed) else str(answer)
            where = self.state.agent.node.partition("?")[0]
            self._finish(1, f"the agent at {where} does not answer: {why}; `kaon agents` says how it is, its log why")

    def _finish(self, status: int, error: str = "") -> None:
        if not self.result.done():
            self.result.set_result(SessionResult(status, error))

    # From the session -------------------------------------------------------------------------------------------------

    @receive(Output)
    def show(self, sender: PID, message: Output) -> None:
        """Write it here."""
        if sender != self.state.session:
            return
        if message.skipped_bytes:
            text = f"\r\nkaon: {message.skipped_bytes} bytes are not shown: they came too fast\r\n".encode()
            self.state.unshown_bytes += len(text)
            self._screen.write(2, text)
        self.state.unshown_bytes += len(message.data)
        self._screen.write(1 if message.source is OutputSource.STDOUT else 2, message.data)

    @receive(InputTaken)
    def taken(self, sender: PID, message: InputTaken) -> None:
        """Read on."""
        if sender == self.state.session and self._keyboard is not None:
            self._keyboard.credit(message.size_bytes)

    @receive(StreamEnded)
    def stream_ended(self, sender: PID, message: StreamEnded) -> None:
        """Nobody reads what is typed; the output's end is followed by the session's."""
        opened = self.state.opened
        if sender == self.state.session and opened is not None and message.stream == opened.input:
            self.state.input_over = True
            if self._keyboard is not None:
                self._keyboard.close()

    @receive(SessionEnded)
    def session_ended(self, sender: PID, message: SessionEnded) -> None:
        """Over, once everything is written here."""
        if sender == self.state.session:
            self.state.ended = message
            self._finish_when_shown()

    @receive(Exited)
    def session_broke(self, sender: PID, message: Exited) -> None:
        """Without a last word."""
        if self.state.ended is None:
            self._finish(1, f"the session broke: {message.reason}")

    def _finish_when_shown(self) -> None:
        ended = self.state.ended
        if ended is None or self.state.unshown_bytes:
            return
        if ended.signal is not None:
            self._finish(128 + ended.signal, ended.message)
        elif ended.exit_code is not None:
            self._finish(ended.exit_code, ended.message)
        else:
            is_attached = isinstance(self.state.question, AttachTask) and ended.message == "the task has ended"
            self._finish(0 if is_attached else 1, "" if is_attached else ended.message)

    # From here --------------------------------------------------------------------------------------------------------

    @receive(Typed)
    def typed(self, sender: PID, message: Typed) -> None:
        """Send it on."""
        opened, session = self.state.opened, self.state.session
        if opened is None or session is None or self.state.input_over:
            return
        if not message.data:
            self.state.input_over = True
            self.send(session, InputEnded(stream=opened.input))
            return
        if opened.tty and isinstance(self.state.question, AttachTask) and self._leaves(message.data):
            self.send(session, Detach(stream=opened.output))
            self._finish(0, "")
            return
        self.send(session, Input(stream=opened.input, data=message.data))

    def _leaves(self, data: bytes) -> bool:
        keys = self.state.before + data
        self.state.before = keys[-1:] if keys[-1:] == DETACH_KEYS[:1] else b""
        return DETACH_KEYS in keys

    @receive(Shown)
    def shown(self, sender: PID, message: Shown) -> None:
        """Ask for more."""
        if message.failed:
            self._finish(BROKEN_PIPE)
            return
        self.state.unshown_bytes -= message.size_bytes
        if self.state.session is not None and self.state.opened is not None:
            self.send(self.state.session, OutputTaken(stream=self.state.opened.output, size_bytes=message.size_bytes))
        self._finish_when_shown()

    @receive(Resized)
    def resized(self, sender: PID, message: Resized) -> None:
        """Tell the other terminal."""
        self._tell_window()

    def _tell_window(self) -> None:
        opened, session, size = self.state.opened, self.state.session, window_size()
        if session is not None and opened is not None and opened.tty and opened.input and size is not None:
            window = SetWindow(container_id=opened.container_id, rows=size[0], columns=size[1])
            self.ask(session, window, self.window_set, timeout_seconds=WINDOW_TIMEOUT_SECONDS)

    def window_set(self, sender: PID, answer: WindowSet | Refused | AskFailed, context: None) -> None:
        """A command that has just ended has no terminal: nothing to say."""

    @receive(Interrupted)
    def interrupted(self, sender: PID, message: Interrupted) -> None:
        """Leave; the session ends with this process."""
        self._finish(128 + message.number)


def window_size() -> tuple[int, int] | None:
    """Rows and columns of this terminal; None where there is none."""
    for descriptor in range(3):
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(descriptor)
            if size.lines > 0 and size.columns > 0:
                return size.lines, size.columns
    return None


@contextlib.contextmanager
def raw_terminal() -> Iterator[Callable[[], None]]:
    """Gives what makes each key of this terminal go on at once and unchanged; back to what it was on every way out."""
    saved: list[Any] = []

    def enter() -> None:
        if sys.stdin.isatty() and not saved:
            saved.append(termios.tcgetattr(0))
            tty.setraw(0, termios.TCSADRAIN)

    try:
        yield enter
    finally:
        if saved:
            with contextlib.suppress(termios.error):  # EIO: the terminal itself is gone
                termios.tcsetattr(0, termios.TCSADRAIN, saved[0])


async def hold(client: Client, opened: Callable[[SessionOpened], None]) -> SessionResult:
    """Wait for a session's end; signals of this process end it too. opened: called when it begins."""
    loop = asyncio.get_running_loop()
    client.on_open = opened
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, client.post, Interrupted(number=number))
    loop.add_signal_handler(signal.SIGWINCH, client.post, Resized())
    try:
        return await client.result
    finally:
        for number in (*numbers, signal.SIGWINCH):
            loop.remove_signal_handler(number)
