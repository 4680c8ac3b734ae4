"""Disk limits that a file system keeps, asserted by its own counters, on real XFS and ext4 with project quotas."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer import linux
from containerizer.messages import (
    Describe,
    HostCapabilities,
    Launch,
    LaunchFailed,
    LaunchFailure,
    Limit,
    Limitation,
    Refused,
    Update,
    Updated,
    Usage,
    UsageReport,
)
from containerizer.projects import parse_range
from containerizer.spec import Limits
from runtime.errors import ConfigurationError

Real = Callable[..., Any]
Left = Callable[[Any], list[str]]

pytestmark = [pytest.mark.cgroup2, pytest.mark.root]

MIB = 1 << 20
BLOCK = 64 * 1024
"""More than a file system refuses at once."""

REFUSED = {"ext4": errno.EDQUOT, "xfs": errno.ENOSPC}

FILL = """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
for number in range(9):
    file = os.open(f"file{number}", os.O_WRONLY | os.O_CREAT)
    written = 0
    try:
        while True:
            written += os.write(file, bytes(16384))
    except OSError as error:
        os.close(file)
        os.write(3, b"%d %d\\n" % (error.errno, written))
    signal.pause()
"""
"""Fills what there is, says so, and does it again at each signal. Its words go where no quota counts them."""


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, quota_disk: Callable[[str], Any]) -> Any:
    return quota_disk(request.param)


@pytest.fixture
def machine(disk: Any, real: Real) -> Any:
    made = real("auto", elsewhere=disk.path)
    made.attach()
    return made


def fill(machine: Any, container_id: str, **fields: Any) -> None:
    """A container that fills its sandbox, and has done so."""
    said = machine.directory / f"{container_id}.said"
    script = f"exec {sys.executable} -I -S -c '{FILL}' 3>{said}"
    machine.launch(container_id, script, **fields)
    machine.until(lambda: said.exists() and said.read_text(), "the end of all room")


def said(machine: Any, container_id: str) -> list[list[int]]:
    """Error and bytes written of each file, so far."""
    lines = (machine.directory / f"{container_id}.said").read_text().splitlines()
    return [[int(word) for word in line.split()] for line in lines]


def fill_again(machine: Any, container_id: str) -> None:
    before = len(said(machine, container_id))
    machine.kill(container_id, 10)
    machine.until(lambda: len(said(machine, container_id)) > before, "another end")


def limitations(machine: Any, container_id: str) -> list[Limitation]:
    heard = machine.agent.heard
    return [one for one in heard if isinstance(one, Limitation) and one.container_id == container_id]


def test_what_is_too_much_is_refused_and_told_once(machine: Any, disk: Any) -> None:
    fill(machine, "c1", limits=Limits(disk_bytes=2 * MIB))
    told = machine.limitation_of("c1")
    assert (told.limit, told.fatal, told.limit_value) == (Limit.DISK, False, 2 * MIB)
    project = disk.project_of("c1")
    quota = disk.quota(project)
    assert quota.limit_bytes == 2 * MIB
    assert 2 * MIB - BLOCK < quota.used_bytes <= 2 * MIB
    assert said(machine, "c1")[0][0] == REFUSED[disk.kind]
    fill_again(machine, "c1")
    (usage,) = machine.ask(Usage(containers=("c1",)), UsageReport).usages
    assert usage.disk_bytes == disk.quota(project).used_bytes
    assert len(limitations(machine, "c1")) == 1
    assert not machine.exits("c1")
