"""Trace files are written by a thread, so that a slow disk keeps no actor waiting; what it cannot take is refused."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from runtime.tracing.files import TraceWriter

QUEUE_BYTES: Final = 32 * 1024 * 1024
"""Of records that wait for the disk."""


class FileSink:
    """A trace file and its thread.

    error  why the file could not be written; empty while it can
    """

    def __init__(self, writer: TraceWriter, ended: Callable[[FileSink], None], queue_bytes: int = QUEUE_BYTES) -> None:
        """`ended` is called once, on the thread, when the file is closed: after `close`, or when writing failed."""
        self.writer = writer
        self.error = ""
        self.size_bytes = 0
        self._ended = ended
        self._queue_bytes = queue_bytes
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"trace {writer.path.name}", daemon=True)
        self._thread.start()

    def put(self, records: bytes) -> bool:
        """Queue whole records; False when too much waits, or the file is closed: they are not written."""
        with self._changed:
            if self._closing or self.error or self._waiting_bytes + len(records) > self._queue_bytes:
                return False
            self._waiting.append(records)
            self._waiting_bytes += len(records)
            self._changed.notify()
        return True

    def close(self) -> None:
        """Write what waits, then end; returns at once."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the end; whether it has come."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (records := self._next()) is not None:
                self.writer.write(records)
                self.size_bytes += len(records)
        except OSError as error:
            self.error = f"{self.writer.path} cannot be written: {error.strerror}"
        finally:
            self.writer.close()
            self._ended(self)

    def _next(self) -> bytes | None:
        """Everything that waits; None when it is over."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            if not self._waiting:
                return None
            records = b"".join(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            return records
