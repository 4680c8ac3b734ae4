"""Containerizers that are killed while they do something, for tests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from containerizer.messages import Recover, Recovered

HERE = Path(__file__).parent


class Victims:
    """Makes containerizers that are killed; see `crash_victim.py`."""

    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self._program = subprocess.Popen(
            [sys.executable, HERE / "crash_victim.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def kill_at(self, at: int, operation: str, container_id: str = "", **fields: Any) -> str | None:
        """Have one do `operation` and die before its act number `at`; returns the act, None when there is no such.

        fields  of the spec of what is launched
        """
        order = {
            "directory": str(self._machine.directory),
            "isolation": self._machine.isolation,
            "elsewhere": str(self._machine.elsewhere or ""),
            "operation": operation,
            "container": container_id,
            "at": at,
            "fields": fields,
        }
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(order) + "\n")
        self._program.stdin.flush()
        said = json.loads(self._program.stdout.readline())
        assert said["status"] == (-signal.SIGKILL if said["act"] else 0), said
        return str(said["act"]) if said["act"] else None

    def close(self) -> None:
        self._program.communicate()


def recover(machine: Any, *known: str) -> Recovered:
    """A new containerizer in place of one that was killed, and what it says of the containers that its agent knows."""
    machine.revive()
    machine.attach()
    answer = machine.ask(Recover(containers=known), Recovered)
    assert isinstance(answer, Recovered)
    return answer


def end(machine: Any, answer: Recovered, container_id: str) -> None:
    """Bring a container that was found to its end, whatever it was found as."""
    if container_id in answer.alive:
        machine.destroy(container_id)
    if container_id in (*answer.alive, *answer.exited):
        machine.exit_of(container_id)
        machine.collect(container_id)
    machine.until(lambda: not machine.state.containers, "the end of all")
