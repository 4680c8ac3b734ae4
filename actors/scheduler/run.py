"""A scheduler as a program: a node of its own, until the scheduler ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from actors.scheduler.cluster import Cluster, find_cluster
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import Interrupt, SchedulerState
from runtime.clock import RealClock
from runtime.effects import Turn
from runtime.errors import KaonError
from runtime.journal import JournalStore
from runtime.journal_file import FileJournalStore
from runtime.journal_memory import MemoryJournalStore
from runtime.message import Message, Terminate
from runtime.node import Node
from runtime.pid import PID
from runtime.program import WHOLE_BUSINESS, watch_end
from runtime.tracing.crash import CrashReports
from runtime.tracing.recorder import FlightRecorder
from runtime.tracing.tracer import spawn_tracer
from runtime.transport.zeromq.transport import ZeroMQTransport

S = TypeVar("S", bound=SchedulerState)

SAY_AGAIN_SECONDS: Final = 10.0
"""Between two lines that say the same."""

STOP_SECONDS: Final = 5.0
"""For the last messages to leave."""

TERMINATE_SECONDS: Final = 30.0
"""From SIGTERM to the end, if the scheduler needs it."""


class SchedulerFailed(KaonError):
    """The scheduler ended otherwise than by `finish` or `stop`; the text says why."""


async def serve_scheduler(
    scheduler_class: type[Scheduler[S]],
    state: S,
    cluster: Cluster,
    *,
    work_dir: Path | str | None = None,
    watch: Callable[[S], None] | None = None,
    say: Callable[[str], None] | None = None,
    inbox: asyncio.Queue[Message] | None = None,
) -> S:
    """Run a scheduler on the running loop until it ends; returns its final state.

    cluster   where the masters are; see :func:`actors.scheduler.cluster.find_cluster`
    work_dir  of this framework: its journal, if the scheduler has `records`, and crash reports. None keeps the journal
              in memory
    watch     called with the state after each turn of the scheduler: to show progress, not to change anything
    say       gets lines about the connection, for people
    inbox     what is put there goes to the scheduler, from itself: `Interrupt`, `Terminate`, an author's own messages
    Raises :class:`SchedulerFailed`, and :class:`KaonError` when it cannot be started.
    """
    name = "scheduler"
    loop = asyncio.get_running_loop()
    clock = RealClock(loop)
    folder = Path(work_dir) if work_dir is not None else None
    journals = _journals(scheduler_class, folder, clock, loop)
    node = Node(
        f"{cluster.principal}.{name}-{os.getpid()}-{os.urandom(3).hex()}",
        ZeroMQTransport(cluster.key, insecure=cluster.key is None),
        clock,
        journals=journals,
        recorder=FlightRecorder(),
        crash_reports=CrashReports(folder / "crashes") if folder is not None else None,
    )
    passing: asyncio.Task[None] | None = None
    try:
        given = msgspec.structs.replace(state, masters=state.masters or cluster.masters)
        pid = node.spawn(scheduler_class, name, given, WHOLE_BUSINESS)
        scheduler = cast(Scheduler[S], node.cells[name].actor)
        node.add_observer(_Watch(scheduler, watch, say).observe)
        spawn_tracer(node, folder)
        ended = watch_end(node, pid)
        if inbox is not None:
            passing = loop.create_task(_pass_on(inbox, node, pid, lives_on=folder is not None))
        reason = await ended
    finally:
        if passing is not None:
            passing.cancel()
        await node.stop(STOP_SECONDS)
    if reason.startswith("failed: "):
        raise SchedulerFailed(reason.removeprefix("failed: "))
    return scheduler.state


def run_scheduler(
    scheduler_class: type[Scheduler[S]],
    state: S,
    master: str | None = None,
    *,
    key_file: Path | str | None = None,
    insecure: bool = False,
    work_dir: Path | str | None = None,
    watch: Callable[[S], None] | None = None,
) -> S:
    """Run a scheduler as this program, until it ends; returns its final state.

    Without `master` and `key_file` it finds the cluster as the `kaon` command does: in ``KAON_MASTER`` and
    ``KAON_KEY``, or where `kaon up` left word. While no master is there it keeps trying, and says so on standard error.
    ^C calls `Scheduler.interrupted`, which tears the framework down; a second one ends the program at once. SIGTERM
    leaves a framework with `records` to its next life, and tears down one without. What a user can mend ends the
    program with a line on standard error and status 1 (SystemExit).
    """

    async def main() -> S:
        cluster = find_cluster(master, key_file, insecure=insecure)
        inbox = pass_on_signals()
        return await serve_scheduler(
            scheduler_class, state, cluster, work_dir=work_dir, watch=watch, say=say_on_stderr, inbox=inbox
        )

    try:
        return asyncio.run(main())
    except KaonError as error:
        raise SystemExit(f"kaon: {error}") from None


def pass_on_signals() -> asyncio.Queue[Message]:
    """Make ^C and SIGTERM messages in an inbox for `serve_scheduler`; a second ^C ends the process at once."""
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def interrupt() -> None:
        seen.append(signal.SIGINT)
        if len(seen) > 1:
            os._exit(130)
        say_on_stderr("ending the framework; ^C again to leave at once")
        inbox.put_nowait(Interrupt())

    def terminate() -> None:
        inbox.put_nowait(Terminate(deadline_seconds=TERMINATE_SECONDS))

    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, terminate)
    return inbox


async def _pass_on(inbox: asyncio.Queue[Message], node: Node, pid: PID, *, lives_on: bool) -> None:
    """Hand on what is put into the inbox. A journal in memory has no next life: then the end is a teardown."""
    while True:
        message = await inbox.get()
        node.post(pid, Interrupt() if isinstance(message, Terminate) and not lives_on else message)


def say_on_stderr(line: str) -> None:
    """A line for the user, beside what the program itself prints."""
    sys.stderr.write(f"kaon: {line}\n")
    sys.stderr.flush()


def _journals(
    scheduler_class: type[Scheduler[Any]], folder: Path | None, clock: RealClock, loop: asyncio.AbstractEventLoop
) -> JournalStore | None:
    if scheduler_class.records is None:
        return None
    if folder is None:
        return MemoryJournalStore(clock)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileJournalStore(folder / "journal", loop.call_soon_threadsafe)


class _Watch:
    """Looks on after each turn, for whoever shows progress, and tells how the connection is."""

    def __init__(
        self, scheduler: Scheduler[S], watch: Callable[[S], None] | None, say: Callable[[str], None] | None
    ) -> None:
        self._scheduler = scheduler
        self._watch: Any = watch
        self._tell = say
        self._said = ""
        self._said_at = 0.0
        self._was_subscribed = False

    def observe(self, turn: Turn) -> None:
        """After a turn of any actor of the node."""
        if turn.actor != self._scheduler.pid:
            return
        if self._watch is not None:
            self._watch(self._scheduler.state)
        if self._tell is not None:
            self._narrate(turn.ended)

    def _narrate(self, now: float) -> None:
        connection = self._scheduler.state.connection
        if connection.master is not None:
            if not self._was_subscribed:
                self._say(f"subscribed as framework {connection.framework_id}", now)
            self._was_subscribed = True
        elif connection.trouble:
            masters = ", ".join(pid.node.partition("?")[0] for pid in self._scheduler.state.masters)
            lost = "lost the master" if self._was_subscribed else "no master yet"
            self._was_subscribed = False
            self._say(f"{lost} at {masters} ({connection.trouble}); trying again", now)

    def _say(self, line: str, now: float) -> None:
        if line == self._said and now - self._said_at < SAY_AGAIN_SECONDS:
            return
        self._said, self._said_at = line, now
        assert self._tell is not None
        self._tell(line)
