"""What there should not be when all containers of a machine are gone."""

from __future__ import annotations

import contextlib
import marshal
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def everything_left(machine: Any) -> list[str]:
    """Records, work directories, processes, cgroups, mounts; empty is as it should be."""
    directory = machine.runtime_directory
    machine.until(lambda: is_zygote_idle(machine), "an idle zygote")
    found = [f"record {path.name}" for path in (directory / "containers").iterdir()]
    found += [f"files {path}" for path in directory.with_name("run-work").glob("[!.]*")]
    found += [f"project of {path.name}" for path in directory.with_name("run-work").glob(".projects/*")]
    found += [f"process {pid}: {command}" for pid, command in processes_of(machine)]
    cgroups = Path(machine.state.host.cgroup_root or "/nonexistent")
    found += [f"cgroup {path.name}" for path in (cgroups.iterdir() if cgroups.is_dir() else ()) if path.is_dir()]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if str(machine.directory) in line]
    return found


def is_zygote_idle(machine: Any) -> bool:
    """Whether there is none, or one that answers: at its start it has an init rehearse, which is not left over."""
    pid = (machine.runtime_directory / "zygote.lock").read_text()
    if not pid:
        return False
    if machine.is_gone(int(pid)):
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(str(machine.runtime_directory / "zygote.sock"))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        connection.send(marshal.dumps({"op": "hello"}))
        return bool(connection.recv(1024))


def processes_of(machine: Any) -> Iterator[tuple[int, str]]:
    """Live processes that the machine has made, wherever they have got to, its zygote excepted.

    An init is a copy of the zygote and has its arguments, of which the runtime directory is one; a command has that
    directory in its environment.
    """
    wanted = os.fsencode(machine.runtime_directory)
    zygote = machine.zygote_pid()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) in {os.getpid(), zygote}:
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            command = (entry / "cmdline").read_bytes()
            if (wanted in command or wanted in (entry / "environ").read_bytes()) and not machine.is_gone(
                int(entry.name)
            ):
                yield int(entry.name), f"{(entry / 'comm').read_text().strip()}: {command!r}"
