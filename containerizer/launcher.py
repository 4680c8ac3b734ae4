"""Starts containers through the zygote, and the zygote when there is none.

The containerizer's end of the conversation in :mod:`containerizer.zygote`. All of it runs on the event loop: nothing
blocks, nothing forks. A launch passes the plan in a memory file and a control socket whose other end stays here. By
that an init knows that its containerizer lives: one that dies half-way takes the half-made container with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import marshal
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from containerizer import bare, held, init, zygote
from containerizer.errors import ContainerizerError, LauncherError
from containerizer.plan import LaunchPlan
from containerizer.processes import Process, command_of, raise_descriptor_limit, start_time_of

CONCURRENT_LAUNCHES: Final = 16
"""Launches under way at once: enough to keep the zygote busy, few enough not to run out of descriptors."""

START_TIMEOUT_SECONDS: Final = 10.0
"""For a zygote to come up: it takes a twentieth of a second on an idle machine."""

REPLY_TIMEOUT_SECONDS: Final = 60.0
"""For one answer of the zygote or an init, on a machine that is very busy."""

SOCKET_NAME: Final = "zygote.sock"


class CommandError(ContainerizerError):
    """The container was made, and its command could not be executed."""


class Launcher:
    """One zygote's client. `directory` is the runtime directory; it must exist and be this user's alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, directory: Path) -> None:
        self._loop = loop
        self._directory = directory
        self._socket: socket.socket | None = None
        self._connecting = asyncio.Lock()
        self._slots = asyncio.Semaphore(CONCURRENT_LAUNCHES)
        self._replies: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._last_request = 0
        self.zygote_pid = 0

    async def launch(
        self, plan: LaunchPlan, files: Sequence[int], created: Callable[[Process], Awaitable[None]]
    ) -> tuple[Process, int, dict[str, int]]:
        """Start a container; returns its process, the pidfd of its init, and by name our ends of its standard files
        where the plan has made some (:class:`containerizer.steps.LinuxKernel`). The caller owns the descriptors.

        files    descriptors of status file, standard input, output and error; still the caller's
        created  awaited when the init exists, and waits if its plan does: what it raises undoes the container
        Raises :class:`CommandError` or :class:`LauncherError`; nothing of the container is left then.
        """
        async with self._slots:
            own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with own:
                own.setblocking(False)
                with theirs:
                    pid, pidfd = await self._clone(plan, [theirs.fileno(), *files])
                try:
                    # A dead init's number is nobody else's as long as its parent has not buried it; 0 if it has.
                    process = Process(pid=pid, start_time=start_time_of(pid) or 0, whole=plan.whole)
                    await created(process)
                    if plan.waits:
                        # The socket is new: there is room for a word.
                        own.send(init.GO)
                    command, numbers, ends = await self._hear_of_life(own)
                except BaseException:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    await self._gone(pidfd)
                    os.close(pidfd)
                    raise
            kept = tuple((name, number) for name, number in numbers.items() if name in init.KEPT)
            return msgspec.structs.replace(process, command=command_of(pid, command), ends=kept), pidfd, ends

    async def _hear_of_life(self, control: socket.socket) -> tuple[int, dict[str, int], dict[str, int]]:
        """When the init has carried out its plan: the command's process id as the container sees it, and what the init
        calls the ends of the standard files, and what they are called here."""
        received: list[int] = []
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_SECONDS):
                answer, received = await self._receive_with_files(control)
        except TimeoutError:
            raise LauncherError(f"the container's init said nothing for {REPLY_TIMEOUT_SECONDS:.0f} s") from None
        except ConnectionError:
            answer = b""
        if not answer:
            raise LauncherError("the container's init ended before its command ran: it was killed, or the zygote was")
        said = json.loads(answer)
        if "error" not in said:
            return int(said["command"]), said["ends"], dict(zip(said["ends"], received, strict=True))
        if said["step"] == init.START:
            raise CommandError(f"the command cannot be executed: {said['error']}")
        raise LauncherError(f"{said['step']} failed: {said['error']}")

    async def _receive_with_files(self, control: socket.socket) -> tuple[bytes, list[int]]:
        readable = asyncio.Event()
        self._loop.add_reader(control.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(control.fileno())
        return bare.receive_with_files(control, init.CONTROL_BYTES, init.ENDS)

    async def _gone(self, pidfd: int) -> None:
        """Wait for a killed init to be gone; it holds nothing that could keep it."""
        ended = asyncio.Event()
        self._loop.add_reader(pidfd, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), REPLY_TIMEOUT_SECONDS)
        finally:
            self._loop.remove_reader(pidfd)

    async def _clone(self, plan: LaunchPlan, files: list[int]) -> tuple[int, int]:
        plan_file = held.open_memory("plan")
        opened = [plan_file]
        try:
            held.write(plan_file, plan.encode())
            if plan.cgroup:
                opened.append(held.open_file(plan.cgroup, os.O_DIRECTORY | os.O_PATH))
            if plan.joined:
                opened.append(os.pidfd_open(plan.joined_process))
            request = {
                "flags": plan.flags,
                "cgroup": bool(plan.cgroup),
                "join": plan.join_flags,
                "waits": plan.waits,
                "setgroups": "deny" if plan.single_user else "",
                "uid_map": plan.uid_map,
                "gid_map": plan.gid_map,
            }
            said, received = await self._request("launch", request, [plan_file, *files, *opened[1:]])
        finally:
            for descriptor in opened:
                held.close(descriptor)
        if "error" in said:
            raise LauncherError(_explain(said))
        return int(said["pid"]), received[0]

    async def _request(
        self, operation: str, fields: dict[str, Any], descriptors: list[int]
    ) -> tuple[dict[str, Any], list[int]]:
        connection = await self._connect()
        self._last_request += 1
        number = self._last_request
        answered: asyncio.Future[tuple[dict[str, Any], list[int]]] = self._loop.create_future()
        self._replies[number] = answered
        data = marshal.dumps({"op": operation, "n": number, **fields})
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_SECONDS):
                # A packet goes whole or not at all; the queue is short, and the zygote drains it.
                while True:
                    try:
                        socket.send_fds(connection, [data], descriptors)
                        break
                    except BlockingIOError:
                        await asyncio.sleep(0.001)
                return await answered
        except TimeoutError:
            raise LauncherError(f"the zygote said nothing for {REPLY_TIMEOUT_SECONDS:.0f} s") from None
        except ConnectionError:
            self._disconnected(connection)
            raise LauncherError("the zygote went away while it was asked to launch") from None
        finally:
            self._replies.pop(number, None)

    async def _connect(self) -> socket.socket:
        """The connection to a zygote of our version, started if there is none."""
        async with self._connecting:
            if self._socket is not None:
                return self._socket
            for started in (False, True):
                if started:
                    await self._start_zygote()
                connection = self._dial()
                if connection is None:
                    continue
                said = await self._greet(connection)
                if said is not None and said["version"] == zygote.VERSION:
                    self.zygote_pid = said["pid"]
                    self._socket = connection
                    self._loop.add_reader(connection, self._receive, connection)
                    return connection
                if said is not None:
                    await self._stop_zygote(connection, said["pid"])
                connection.close()
            raise LauncherError(f"no zygote answers at {self._directory / SOCKET_NAME}: see zygote.log beside it")

    def _dial(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setblocking(False)
        try:
            connection.connect(str(self._directory / SOCKET_NAME))
        except (ConnectionRefusedError, FileNotFoundError):
            connection.close()
            return None
        except OSError:
            connection.close()
            raise
        return connection

    async def _greet(self, connection: socket.socket) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                await self._loop.sock_sendall(connection, marshal.dumps({"op": "hello"}))
                answer = await self._loop.sock_recv(connection, zygote.REQUEST_BYTES)
        except ConnectionError:
            return None
        except TimeoutError:
            connection.close()
            raise LauncherError(
                f"the zygote at {self._directory / SOCKET_NAME} does not answer: is it stopped? (kill -CONT or kill it)"
            ) from None
        said: dict[str, Any] | None = bare.load(answer) if answer else None
        return said

    async def _stop_zygote(self, connection: socket.socket, pid: int) -> None:
        """End a zygote; its containers go on. Returns when it is gone, so that its lock is free."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            connection.send(marshal.dumps({"op": "stop"}))
            await self._gone(pidfd)
        finally:
            os.close(pidfd)

    async def _start_zygote(self) -> None:
        """Start a zygote and wait until it listens; the started process has left its own child behind by then."""
        with (self._directory / "zygote.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                zygote.PROGRAM,
                str(self._directory),
                str(raise_descriptor_limit()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.defpath},
                start_new_session=True,
            )
        try:
            code = await asyncio.wait_for(process.wait(), START_TIMEOUT_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            code = errno.ETIMEDOUT
        if code:
            raise LauncherError(f"the zygote did not start: see {self._directory / 'zygote.log'}")

    def _receive(self, connection: socket.socket) -> None:
        try:
            data, descriptors = bare.receive_with_files(connection, zygote.REQUEST_BYTES, 1)
        except BlockingIOError:
            return
        except ConnectionError:
            data, descriptors = b"", []
        if not data:
            self._disconnected(connection)
            return
        said = bare.load(data)
        answered = self._replies.get(said.get("n", 0))
        if answered is not None and not answered.done():
            answered.set_result((said, descriptors))
            return
        # Nobody waits any more.
        for descriptor in descriptors:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)

    def _disconnected(self, connection: socket.socket) -> None:
        """The zygote is gone: what it was asked fails, and the next launch starts another."""
        if connection is not self._socket:
            return
        self._loop.remove_reader(connection)
        connection.close()
        self._socket = None
        for answered in self._replies.values():
            if not answered.done():
                answered.set_exception(LauncherError("the zygote was killed while it was asked to launch"))

    def close(self, *, stop_zygote: bool) -> None:
        """Leave the zygote to its containers, or tell it to stop when there are none."""
        connection = self._socket
        if stop_zygote:
            connection = connection or self._dial()
            if connection is not None:
                connection.send(marshal.dumps({"op": "stop"}))
        if self._socket is not None:
            self._disconnected(self._socket)
        elif connection is not None:
            connection.close()


def _explain(said: dict[str, Any]) -> str:
    if said["errno"] == errno.EPERM:
        return f"the kernel forbids these namespaces ({said['error']}): run as root, or with --isolation=plain"
    return f"no process could be made: {said['error']}"
