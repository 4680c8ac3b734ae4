"""A zygote that is killed, or whose inits are, at a point that the test has written down.

Takes the place of ``zygote_program.py`` and runs it as it is. The file ``crash`` in the runtime directory says who and
where: ``zygote 5`` kills the zygote before its fifth act since it was started, ``init 5`` each init before its fifth,
``command 5`` what an init has forked to become the command.
"""

# ruff: noqa: PTH100, PTH120, PTH123
# As in the zygote: no site-packages, and little of the standard library.
from __future__ import annotations

import os
import runpy
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

sys.path[:0] = [HERE, ROOT]

import crash_hook  # type: ignore[import-not-found, unused-ignore]  # noqa: E402


class Crash:
    """Counts the acts of one process, and starts anew in a clone of it."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._pid = os.getpid()
        self._role = "zygote"
        self._count = 0
        self._order = self._read_order()

    def _read_order(self) -> str:
        try:
            with open(self._file) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def _role_of_clone(self) -> str:
        if self._role == "zygote":
            # Its first fork, before it has its name, is the one by which it leaves whoever started it.
            return "init" if name_of_process() == "kaon-zygote" else "zygote"
        return "command"

    def before_act(self, name: str) -> None:
        """Die, or count."""
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            self._role = self._role_of_clone()
            self._count = 0
            if self._role != "command":  # which sees another tree of files than the init did when it was born
                self._order = self._read_order()
        self._count += 1
        if self._order == f"{self._role} {self._count}":
            os.write(2, f"{self._role} killed before {self._count}: {name}\n".encode())
            crash_hook.die()


def name_of_process() -> str:
    with open("/proc/self/comm") as file:
        return file.read().strip()


if __name__ == "__main__":
    crash_hook.install(Crash(sys.argv[1] + "/crash").before_act)
    runpy.run_path(f"{ROOT}/containerizer/zygote_program.py", run_name="__main__")
