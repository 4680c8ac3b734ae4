"""One reader of files, pipes and terminals, and one writer: what each does when there is credit, data or room.

All of it runs on an event loop, and tells by events. Nothing posts from within a turn: what a turn asks for is done in
the loop's next round.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from containerizer import inotify
from containerizer.attaching import NOBODY_READS
from containerizer.events import Event, InputWritten, OutputArrived, StreamOver
from containerizer.streaming import OutputSource

CHUNK_BYTES: Final = 64 * 1024
"""In one message: a pipe full."""

CHUNKS_A_ROUND: Final = 16
"""Read for one reader before the loop looks at the others."""


class Changes:
    """Files that are watched for writes, through one descriptor of the loop's, which is made when the first one is."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watch = -1
        self._callbacks: dict[int, list[Callable[[], None]]] = {}

    def watch(self, descriptor: int, changed: Callable[[], None]) -> int:
        """Call `changed` after each write to that file; returns a number for `unwatch`."""
        if self._watch < 0:
            self._watch = inotify.open_watch()
            self._loop.add_reader(self._watch, self._tell)
        number = inotify.watch_file(self._watch, descriptor)
        self._callbacks.setdefault(number, []).append(changed)
        return number

    def _tell(self) -> None:
        for number in inotify.read_watch(self._watch):
            for changed in tuple(self._callbacks.get(number, ())):
                changed()

    def unwatch(self, number: int, changed: Callable[[], None]) -> None:
        """Call it no more."""
        callbacks = self._callbacks[number]
        callbacks.remove(changed)
        if not callbacks:
            del self._callbacks[number]
            with suppress(OSError):  # its file system is gone, and the watch with it
                inotify.unwatch_file(self._watch, number)

    def close(self) -> None:
        """Watch nothing any more. Twice is once."""
        if self._watch >= 0:
            self._loop.remove_reader(self._watch)
            os.close(self._watch)
            self._watch = -1
            self._callbacks.clear()


class Source(Protocol):
    """Where a reader reads."""

    kind: OutputSource

    def begin(self, reader: Reader) -> None:
        """Be told of what comes. Raises `OSError`."""

    def pump(self, reader: Reader) -> bool:
        """Deliver one chunk within the reader's credit, which is above 0; False if nothing is there now."""

    def rest(self) -> None:
        """The reader has no credit."""

    def close(self) -> None:
        """Read no more."""


class Reader:
    """Somebody who is attached to a container's output.

    over  called once, when nothing is read for it any more
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stream: int,
        credit_bytes: int,
        post: Callable[[Event], None],
        over: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._stream = stream
        self.credit_bytes = credit_bytes
        self._post = post
        self._over = over
        self._sources: deque[Source] = deque()
        self._scheduled = False
        self._closed = False
        self.finished = False
        """Whether nothing more will be written where it reads."""

    def add(self, source: Source) -> None:
        """Before it begins."""
        self._sources.append(source)

    def begin(self, finished: bool) -> None:
        """Read, from the loop's next round on. finished: what is there is all there will be. Raises `OSError`."""
        self.finished = finished
        for source in self._sources:
            source.begin(self)
        self.schedule()

    def credit_more(self, size_bytes: int) -> None:
        """So much more may be delivered."""
        self.credit_bytes += size_bytes
        self.schedule()

    def finish(self) -> None:
        """Nothing more will be written."""
        self.finished = True
        self.schedule()

    def schedule(self) -> None:
        """Read in the loop's next round."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """A chunk of each source in turn, so that none waits for another's end."""
        self._scheduled = False
        idle = 0
        for _ in range(CHUNKS_A_ROUND):
            if self.credit_bytes <= 0 or not self._sources or idle > len(self._sources):
                break
            source = self._sources[0]
            self._sources.rotate(-1)
            idle = 0 if source.pump(self) else idle + 1
        else:
            self.schedule()
        if self.credit_bytes <= 0:
            for source in self._sources:
                source.rest()

    def deliver(self, kind: OutputSource, data: bytes, offset: int, skipped_bytes: int) -> None:
        """Bytes of a source."""
        self.credit_bytes -= len(data)
        self._post(
            OutputArrived(stream=self._stream, source=kind, data=data, offset=offset, skipped_bytes=skipped_bytes)
        )

    def source_over(self, source: Source) -> None:
        """Nothing more comes of it."""
        self._sources.remove(source)
        source.close()
        if not self._sources:
            self._post(StreamOver(stream=self._stream))
            self.close()

    def close(self) -> None:
        """Read no more. Twice is once."""
        if not self._closed:
            self._closed = True
            for source in self._sources:
                source.close()
            self._sources.clear()
            self._over()


class FileSource:
    """A file that others write: read from `offset` on, and again when it has grown.

    offset     negative: before its end; None: its end
    lag_bytes  how far behind its end to be at most; None: any
    The descriptor is this object's.
    """

    def __init__(
        self, kind: OutputSource, descriptor: int, offset: int | None, lag_bytes: int | None, changes: Changes
    ) -> None:
        self.kind = kind
        self._descriptor = descriptor
        size = os.fstat(descriptor).st_size
        self._offset = size if offset is None else offset if offset >= 0 else max(0, size + offset)
        self._lag_bytes = lag_bytes
        self._skipped_bytes = 0
        self._changes = changes
        self._watched: tuple[int, Callable[[], None]] | None = None

    def begin(self, reader: Reader) -> None:
        """Watch it."""
        if not reader.finished:
            self._watched = (self._changes.watch(self._descriptor, reader.schedule), reader.schedule)

    def pump(self, reader: Reader) -> bool:
        """See the protocol."""
        size = os.fstat(self._descriptor).st_size
        if size < self._offset:
            # It was truncated by whoever writes it: what is there now is new.
            self._offset = 0
        if self._lag_bytes is not None and size - self._offset > self._lag_bytes:
            self._skipped_bytes += size - self._offset - self._lag_bytes
            self._offset = size - self._lag_bytes
        data = os.pread(self._descriptor, min(CHUNK_BYTES, reader.credit_bytes), self._offset)
        if data:
            skipped, self._skipped_bytes = self._skipped_bytes, 0
            reader.deliver(self.kind, data, self._offset, skipped)
            self._offset += len(data)
        elif reader.finished:
            reader.source_over(self)
        return bool(data)

    def rest(self) -> None:
        """Changes are cheap to hear of."""

    def close(self) -> None:
        """See the protocol."""
        if self._watched is not None:
            self._changes.unwatch(*self._watched)
            self._watched = None
        os.close(self._descriptor)


class PipeSource:
    """A pipe, or a terminal, that nobody else reads. The descriptor stays its owner's, and does not block."""

    def __init__(self, loop: asyncio.AbstractEventLoop, kind: OutputSource, descriptor: int) -> None:
        self._loop = loop
        self.kind = kind
        self._descriptor = descriptor
        self._offset = 0
        self._waits = False

    def begin(self, reader: Reader) -> None:
        """It waits when it has been found empty."""

    def pump(self, reader: Reader) -> bool:
        """See the protocol."""
        try:
            data = os.read(self._descriptor, min(CHUNK_BYTES, reader.credit_bytes))
        except BlockingIOError:
            if reader.finished:
                # Somebody outside the container holds the other end, and will not be waited for.
                reader.source_over(self)
            elif not self._waits:
                self._waits = True
                self._loop.add_reader(self._descriptor, reader.schedule)
            return False
        except OSError:
            # EIO: a terminal's last process is gone.
            data = b""
        if data:
            reader.deliver(self.kind, data, self._offset, 0)
            self._offset += len(data)
        else:
            reader.source_over(self)
        return bool(data)

    def rest(self) -> None:
        """See the protocol."""
        if self._waits:
            self._waits = False
            self._loop.remove_reader(self._descriptor)

    def close(self) -> None:
        """See the protocol."""
        self.rest()


class Writer:
    """Somebody who is attached to a container's input. The descriptor is its owner's, and does not block.

    limit_bytes  how much may wait here: what the writer was given as credit
    watched      a pipe's end: it tells when nobody holds the other one
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stream: int,
        descriptor: int,
        limit_bytes: int,
        post: Callable[[Event], None],
        *,
        watched: bool,
    ) -> None:
        self._loop = loop
        self._stream = stream
        self._descriptor = descriptor
        self._watched = watched
        if watched:
            # Never readable: what wakes this is the error that a pipe without a reader is.
            loop.add_reader(descriptor, self.finish, NOBODY_READS)
        self._limit_bytes = limit_bytes
        self._post = post
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self.at_line_start = True
        """Whether what was written last ends a line: within one, ^D only sends what there is of it."""
        self._last: Callable[[], None] | None = None
        self._waits = False
        self._closed = False

    def write(self, data: bytes) -> None:
        """In order, as there is room."""
        if self._closed or self._last is not None:
            return
        if self._queued_bytes + len(data) > self._limit_bytes:
            self._loop.call_soon(self.finish, "more was written than there was credit for")
            return
        self.at_line_start = data.endswith((b"\n", b"\r"))
        self._queue.append(data)
        self._queued_bytes += len(data)
        self._loop.call_soon(self._flush)

    def then(self, last: Callable[[], None]) -> None:
        """Call `last` behind what was written, which ends the stream."""
        if not self._closed and self._last is None:
            self._last = last
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._closed:
            return
        written = 0
        while self._queue:
            try:
                count = os.write(self._descriptor, self._queue[0])
            except BlockingIOError:
                break
            except OSError:
                # EPIPE, EIO: nobody can read it any more.
                self.finish(NOBODY_READS)
                return
            written += count
            first = self._queue.popleft()
            if count < len(first):
                self._queue.appendleft(first[count:])
        self._wait(bool(self._queue))
        if written:
            self._queued_bytes -= written
            self._post(InputWritten(stream=self._stream, size_bytes=written))
        if not self._queue and self._last is not None:
            self.finish("")
            self._last()

    def _wait(self, wanted: bool) -> None:
        if wanted and not self._waits:
            self._loop.add_writer(self._descriptor, self._flush)
        elif self._waits and not wanted:
            self._loop.remove_writer(self._descriptor)
        self._waits = wanted

    def finish(self, reason: str) -> None:
        """Write no more, and say so."""
        if not self._closed:
            self.close()
            self._post(StreamOver(stream=self._stream, reason=reason))

    def close(self) -> None:
        """Write no more. Twice is once."""
        if not self._closed:
            self._wait(False)
            if self._watched:
                self._loop.remove_reader(self._descriptor)
            self._closed = True
            self._queue.clear()
