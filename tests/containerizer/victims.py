"""Containerizers that are killed while they do something, for tests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

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
