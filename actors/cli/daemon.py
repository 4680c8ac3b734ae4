"""A node as a process: the frame that every daemon of Kaon shares.

Logs to standard error, journals under the work directory, an HTTP endpoint with health and metrics, an orderly end on
SIGTERM and SIGINT within a deadline, and exit status 1 when the node fails, so that the supervisor starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

import actors.messages.why  # noqa: F401  every daemon knows the question, and says at once that it has no answer
from runtime.clock import RealClock
from runtime.errors import KaonError
from runtime.journal_file import FileJournalStore
from runtime.logs import setup_logs
from runtime.node import Node
from runtime.process import Notifier, become_daemon, tune_collector
from runtime.supervision import Restart, Supervision
from runtime.tracing.crash import CrashReports
from runtime.tracing.recorder import FlightRecorder
from runtime.tracing.tracer import spawn_tracer
from runtime.transport.zeromq.keys import AuthorisedKeys, NodeKey
from runtime.transport.zeromq.transport import ZeroMQTransport

STOP_DEADLINE_SECONDS: Final = 20.0
"""From SIGTERM to the end of the process; a second signal ends it at once."""

EXIT_FAILED: Final = 1
"""The node failed: start it again."""

EXIT_CONFIGURATION: Final = 78
"""It cannot start as it is configured (sysexits.h, EX_CONFIG): starting it again is of no use."""

_log = logging.getLogger("kaon.daemon")


class DaemonSettings(msgspec.Struct, kw_only=True):
    """What every daemon is told.

    node_id    of its node
    work_dir   its own directory: journals, crash reports; made if missing, mode 0700
    key        proves who it is; None: insecure
    key_directory  public keys of those who may connect to it; None: only holders of its own key
    operators  principals that may look into it (`runtime.tracing`); none: everybody who may connect
    http_host, http_port  of the HTTP endpoint; port 0 chooses one, None serves none
    log_format, log_level  see `runtime.logs`
    """

    node_id: str
    work_dir: Path
    key: NodeKey | None = None
    key_directory: Path | None = None
    operators: tuple[str, ...] = ()
    http_host: str = "127.0.0.1"
    http_port: int | None = None
    log_format: str = "text"
    log_level: str = "info"


class Daemon:
    """A node that runs until it is told to stop, or fails."""

    def __init__(self, settings: DaemonSettings, notifier: Notifier) -> None:
        """Make the node. Raises :class:`KaonError` when it cannot be made as it is configured."""
        self._notifier = notifier
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._signals = 0
        self._ended = asyncio.Event()
        try:
            settings.work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            text = f"{settings.work_dir} cannot be used: {error.strerror}; choose another with --work-dir"
            raise KaonError(text) from None
        authorised = AuthorisedKeys(settings.key, settings.key_directory) if settings.key is not None else None
        self.transport = ZeroMQTransport(settings.key, authorised, insecure=settings.key is None)
        self.node = Node(
            settings.node_id,
            self.transport,
            RealClock(self._loop),
            journals=FileJournalStore(settings.work_dir / "journals", self._loop.call_soon_threadsafe),
            recorder=FlightRecorder(),
            crash_reports=CrashReports(settings.work_dir / "crashes"),
        )
        self.node.on_failure = lambda reason: self._ended.set()
        if settings.key is None:
            _log.warning("--insecure: no encryption and no authentication, everybody who can connect may do everything")

    def serve_http(self) -> str:
        """Start the HTTP endpoint; returns its URL, empty where none is wanted."""
        settings = self._settings
        if settings.http_port is None:
            return ""
        # aiohttp takes a third of a daemon's start: only those that serve pay for it.
        from runtime.http import EndpointState, HttpEndpoint

        state = EndpointState(host=settings.http_host, port=settings.http_port)
        self.node.spawn(HttpEndpoint, "http", state, Supervision(restart=Restart.PERMANENT))
        actor = self.node.cells["http"].actor
        assert isinstance(actor, HttpEndpoint)
        return actor.url

    async def run(self) -> int:
        """Run until SIGTERM, SIGINT or a failure; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop)
        spawn_tracer(self.node, self._settings.work_dir, operators=self._settings.operators)
        tune_collector()
        self._notifier.ready()
        await self._ended.wait()
        self._notifier.stopping()
        await self.node.stop(STOP_DEADLINE_SECONDS)
        return EXIT_FAILED if self.node.failure else 0

    def end(self) -> None:
        """Stop, as its actors want it: an end like that by SIGTERM."""
        self._ended.set()

    def _stop(self) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(EXIT_FAILED)
        self._ended.set()


def run_daemon(settings: DaemonSettings, compose: Callable[[Daemon], None]) -> None:
    """Run a daemon as this process, and exit with its status. `compose` spawns its actors."""
    setup_logs(form=settings.log_format, level=settings.log_level, node=settings.node_id)
    notifier = become_daemon(settings.node_id)

    async def main() -> int:
        daemon = Daemon(settings, notifier)
        try:
            compose(daemon)
        except BaseException:
            await daemon.node.stop(0.0)
            raise
        return await daemon.run()

    try:
        status = asyncio.run(main())
    except (KaonError, OSError) as error:
        print(f"kaon: {error}", file=sys.stderr)
        status = EXIT_CONFIGURATION
    with contextlib.suppress(ValueError):
        sys.stdout.flush()
    sys.exit(status)
