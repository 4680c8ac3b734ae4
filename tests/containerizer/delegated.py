"""Tests of a containerizer that is not root and has a cgroup: `test_rootless.py` has them run by such a user."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer.cgroups2 import Cgroup
from containerizer.messages import Describe, HostCapabilities, Update, Updated, Usage, UsageReport
from containerizer.spec import Limits

pytestmark = pytest.mark.cgroup2

Real = Callable[..., Any]

HAD = {"posix/usage", "disk/du", "cgroups/core", "cgroups/cpu", "cgroups/mem", "cgroups/pids", "linux/seccomp"}
NEEDS_ROOT = {
    *("disk/quota", "cgroups/devices", "filesystem/linux", "linux/capabilities", "linux/masked_paths", "volumes/linux"),
    *(f"namespaces/{name}" for name in ("mount", "pid", "ipc", "uts", "net", "user", "cgroup")),
}
NOT_ASKED_FOR = {"volumes/linux", "namespaces/net", "namespaces/user"}

MIB = 1 << 20


@pytest.fixture
def machine(real: Real, caplog: pytest.LogCaptureFixture) -> Any:
    made = real("auto")
    made.attach()
    return made


def test_nobody_here_is_root(machine: Any) -> None:
    assert os.geteuid() != 0
    assert not machine.ask(Describe(), HostCapabilities).root


def test_what_is_missing_is_named_once_and_for_each_container(machine: Any, caplog: pytest.LogCaptureFixture) -> None:
    host = machine.ask(Describe(), HostCapabilities)
    assert set(host.isolators) >= HAD
    missing = Counter(lack.what for lack in host.missing)
    assert set(missing) >= NEEDS_ROOT
    assert set(missing.values()) == {1}
    assert not set(missing) & set(host.isolators)
    assert all(lack.reason and lack.mend for lack in host.missing if lack.what in NEEDS_ROOT)
    warned = [record.getMessage() for record in caplog.get_records("setup") if "cannot be had" in record.getMessage()]
    assert sum("the containerizer is not root (start it as root)" in text for text in warned) == 1
    launched = machine.launch("c1", "sleep 600", limits=Limits(disk_bytes=MIB))
    assert launched.isolation == "plain"
    assert set(launched.not_isolated) >= NEEDS_ROOT - NOT_ASKED_FOR
    assert not set(launched.not_isolated) & (HAD | NOT_ASKED_FOR)


def test_it_stands_aside_in_its_own_cgroup(machine: Any) -> None:
    """A cgroup whose children have controllers may have no processes: ours are in one beside the tree."""
    tree = Path(machine.state.host.cgroup_root)
    (own,) = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    assert Path(own).name == "kaon-daemons"
    assert Path(own).parent.name == tree.parent.name
    assert not (tree.parent / "cgroup.procs").read_text()


def test_a_container_s_whole_life(machine: Any, left: Callable[[Any], list[str]]) -> None:
    machine.launch("c1", "setsid sleep 600 & sleep 600", limits=Limits(cpus=1.0, memory_bytes=64 * MIB, pids=9))
    cgroup = Cgroup(Path(machine.state.host.cgroup_root)).child("c1")
    machine.until(lambda: len(cgroup.leaf.read("cgroup.procs").split()) == 4, "all processes in their cgroup")
    machine.ask(Update(container_id="c1", limits=Limits(cpus=0.5, memory_bytes=96 * MIB, pids=9)), Updated)
    assert [cgroup.read(name) for name in ("cpu.weight", "memory.max", "pids.max")] == ["50", str(96 * MIB), "10"]
    machine.restart()
    machine.attach()
    assert machine.recover(("c1",)).alive == ("c1",)
    (usage,) = machine.ask(Usage(containers=("c1",)), UsageReport).usages
    assert usage.memory_bytes > 0
    assert usage.processes == 3
    machine.destroy("c1")
    machine.collect("c1")
    assert not cgroup.exists()
    assert left(machine) == []
