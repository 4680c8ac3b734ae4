"""Containerizers that are killed for real, each in a process of its own.

Reads orders, a line of JSON each, and for each forks a child that does one of `OPERATIONS` with a containerizer and is
killed before its act number `at`. Answers with a line: the name of that act, or null when there were fewer acts.
Forked from a process with one thread that has imported everything, a victim costs a hundredth of a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyroute2.iproute.linux  # noqa: F401  once, for all victims that speak netlink

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from containerizer.messages import (  # noqa: E402
    Collected,
    ContainerizerMessage,
    Launch,
    Launched,
    Recover,
    Update,
)
from containerizer.spec import Limits, PortMapping  # noqa: E402


def load(name: str) -> Any:
    """A module beside this one; test folders are no packages."""
    specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


crash_hook = load("crash_hook")
harness = load("harness")


class Victim(harness.RealHarness):  # type: ignore[misc, name-defined, unused-ignore]
    """A containerizer in a directory that outlives it."""

    def __init__(self, directory: str, isolation: list[str], elsewhere: str) -> None:
        harness.Harness.__init__(self)
        self.elsewhere = Path(elsewhere) if elsewhere else None
        self.directory = Path(directory)
        self.isolation = tuple(isolation)
        self.config: dict[str, Any] = {}
        self.loop = asyncio.new_event_loop()


def launch(victim: Any, container_id: str, **fields: Any) -> None:
    if "ports" in fields:
        fields["ports"] = msgspec.convert(fields["ports"], tuple[PortMapping, ...])
    victim.ask(Launch(spec=victim.spec(container_id, "echo ran > ran; exec sleep 600", **fields)), Launched)


def destroy(victim: Any, container_id: str) -> None:
    victim.destroy(container_id)


def collect(victim: Any, container_id: str) -> None:
    victim.exit_of(container_id)
    victim.tell(Collected(container_id=container_id))
    victim.until(lambda: container_id not in victim.state.containers, "forgetting")


def update(victim: Any, container_id: str) -> None:
    limits = Limits(memory_bytes=64 << 20, port_ranges=((31000, 31000),))
    victim.ask(Update(container_id=container_id, limits=limits), ContainerizerMessage)


def launch_limited(victim: Any, container_id: str) -> None:
    launch(victim, container_id, limits=Limits(disk_bytes=1 << 20))


def limit_disk(victim: Any, container_id: str) -> None:
    victim.ask(Update(container_id=container_id, limits=Limits(disk_bytes=1 << 20)), ContainerizerMessage)


def recover(victim: Any, container_id: str) -> None:
    victim.ask(Recover(containers=()), ContainerizerMessage)


OPERATIONS: dict[str, Callable[..., None]] = {
    "launch": launch,
    "launch_limited": launch_limited,
    "limit_disk": limit_disk,
    "destroy": destroy,
    "collect": collect,
    "update": update,
    "recover": recover,
}
"""What can be interrupted; `start`, which is not here, is to come up and find what there is."""


def be_victim(order: dict[str, Any], report: int) -> None:
    """Live until the act; returns if there is none of that number."""
    acts = 0
    counted = False
    # Threads act, too, and one that does at the very end must not be half-way to its death by then.
    one_at_a_time = threading.Lock()

    def before_act(name: str) -> None:
        nonlocal acts
        with one_at_a_time:
            acts += counted
            if counted and acts == order["at"]:
                os.write(report, name.encode())
                crash_hook.die()

    victim = Victim(order["directory"], order["isolation"], order["elsewhere"])
    # Before there are threads: they keep what they begin with.
    threading.setprofile(crash_hook.install(before_act))
    counted = order["operation"] == "start"
    victim._start()
    victim.attach()
    if order["operation"] == "start":
        victim.settle()
    if order["operation"] != "start":
        counted = True
        OPERATIONS[order["operation"]](victim, order["container"], **order["fields"])
    with one_at_a_time:
        counted = False
    sys.setprofile(None)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    be_victim(order, writer)
                code = 0
            except BaseException:  # noqa: BLE001  nothing may return into the frames of its parent
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            name = file.read().decode()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"act": name or None, "status": status}), flush=True)


if __name__ == "__main__":
    main()
