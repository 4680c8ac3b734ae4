"""Limits under a real kernel, asserted by the cgroup's own counters."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer.cgroups2 import Cgroup
from containerizer.messages import (
    Limit,
    Limitation,
    Refused,
    Update,
    Updated,
    Usage,
    UsageReport,
)
from containerizer.spec import Limits

pytestmark = pytest.mark.cgroup2

MIB = 1 << 20

PYTHON = sys.executable if os.geteuid() == 0 else "/usr/bin/python3"
"""One that its user can execute: the tests' own may lie where only root can look."""

BURN = "while :; do :; done"


@pytest.fixture
def machine(real: Callable[..., Any]) -> Any:
    made = real("auto")
    made.attach()
    return made


def cgroup_of(machine: Any, container_id: str) -> Cgroup:
    return Cgroup(Path(machine.state.host.cgroup_root)).child(container_id)


def usage_of(machine: Any, container_id: str) -> Any:
    (usage,) = machine.ask(Usage(containers=(container_id,)), UsageReport).usages
    return usage


def python(program: str) -> tuple[str, ...]:
    return (PYTHON, "-I", "-S", "-c", program)


def test_a_container_is_born_in_its_cgroup(machine: Any) -> None:
    launched = machine.launch("c1", argv=("sleep", "600"))
    cgroup = cgroup_of(machine, "c1")
    assert str(launched.process_id) in cgroup.leaf.read("cgroup.procs").split()
    assert usage_of(machine, "c1").processes == 1


def test_nothing_is_left_of_a_destroyed_container(machine: Any) -> None:
    machine.launch("c1", "setsid sleep 600 & (setsid sleep 600 &) ; sleep 600")
    cgroup = cgroup_of(machine, "c1")
    machine.destroy("c1")
    assert not cgroup.exists()


def test_the_tree_goes_with_the_containerizer(machine: Any) -> None:
    machine.run("c1", "true")
    root = Path(machine.state.host.cgroup_root)
    assert root.is_dir()
    machine.stop()
    assert not root.exists()


def test_a_cpu_ceiling_throttles(machine: Any) -> None:
    machine.launch("c1", BURN, limits=Limits(cpus_limit=0.2))
    cgroup = cgroup_of(machine, "c1")
    machine.until(lambda: cgroup.read_table("cpu.stat")["nr_periods"] >= 5, "a beginning")
    before = cgroup.read_table("cpu.stat")
    machine.until(lambda: cgroup.read_table("cpu.stat")["nr_periods"] >= before["nr_periods"] + 40, "forty periods")
    after = cgroup.read_table("cpu.stat")
    periods = after["nr_periods"] - before["nr_periods"]
    used_seconds = (after["usage_usec"] - before["usage_usec"]) / 1e6
    assert used_seconds / (periods * 0.1) == pytest.approx(0.2, rel=0.15)
    assert after["nr_throttled"] > before["nr_throttled"]
    assert usage_of(machine, "c1").cpu_throttled_periods >= after["nr_throttled"]


def test_weights_share_a_core(machine: Any) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    machine.launch("small", BURN, limits=Limits(cpus=1.0))
    machine.launch("large", BURN, limits=Limits(cpus=3.0))
    small, large = (cgroup_of(machine, name) for name in ("small", "large"))
    start = [one.read_table("cpu.stat")["usage_usec"] for one in (small, large)]

    def used() -> list[int]:
        now = [one.read_table("cpu.stat")["usage_usec"] for one in (small, large)]
        return [after - before for after, before in zip(now, start, strict=True)]

    machine.until(lambda: sum(used()) > 4_000_000, "four seconds of work")
    few, many = used()
    assert 3 * 0.85 <= many / few <= 3 * 1.15


def test_too_much_memory_is_a_kill_that_is_reported_with_numbers(machine: Any) -> None:
    machine.launch("neighbour", "sleep 600", limits=Limits(memory_bytes=32 * MIB))
    greedy = python(f"x = bytearray({100 * MIB}); import time; time.sleep(600)")
    machine.launch("greedy", argv=greedy, limits=Limits(memory_bytes=32 * MIB, swap_bytes=0))
    limitation = machine.limitation_of("greedy")
    assert limitation.limit is Limit.MEMORY
    assert limitation.fatal
    assert limitation.limit_value == 32 * MIB
    assert 16 * MIB < limitation.peak_value <= 32 * MIB
    exited = machine.exit_of("greedy")
    assert exited.signal == 9
    assert exited.limitation == limitation
    assert not machine.exits("neighbour")


def test_all_processes_of_a_container_die_together(machine: Any) -> None:
    program = f"sleep 600 & {PYTHON} -I -S -c 'x = bytearray({100 * MIB})'; sleep 600"
    machine.launch("c1", program, limits=Limits(memory_bytes=32 * MIB, swap_bytes=0))
    assert machine.exit_of("c1").limitation.limit is Limit.MEMORY


def test_a_refused_fork_is_reported_and_the_container_goes_on(machine: Any) -> None:
    # A shell that cannot fork ends: here it is one of its own, and the container's command goes on.
    program = "(for i in 1 2 3 4 5 6 7 8 9; do sleep 600 & done); exec sleep 600"
    machine.launch("c1", program, limits=Limits(pids=5))
    limitation = machine.limitation_of("c1")
    assert (limitation.limit, limitation.fatal, limitation.limit_value) == (Limit.PIDS, False, 5)
    assert int(cgroup_of(machine, "c1").read("pids.current")) <= 6


def test_a_fork_bomb_stays_in_its_container(machine: Any) -> None:
    machine.launch("bomb", "bomb() { bomb | bomb & }; bomb; sleep 600", limits=Limits(pids=20))
    machine.limitation_of("bomb")
    assert machine.run("other", "exit 0").exit_code == 0
    machine.destroy("bomb")
    assert not cgroup_of(machine, "bomb").exists()


def test_limits_change_on_a_live_container(machine: Any) -> None:
    machine.launch("c1", "sleep 600", limits=Limits(cpus=1.0, memory_bytes=64 * MIB))
    cgroup = cgroup_of(machine, "c1")
    assert cgroup.read("cpu.weight") == "100"
    machine.ask(Update(container_id="c1", limits=Limits(cpus=0.5, cpus_limit=1.0, memory_bytes=128 * MIB)), Updated)
    assert cgroup.read("cpu.weight") == "50"
    assert cgroup.read("cpu.max") == "100000 100000"
    assert cgroup.read("memory.max") == str(128 * MIB)
    assert cgroup.read("memory.low") == str(128 * MIB)


def test_a_limit_below_what_is_used_is_refused_and_nothing_changes(machine: Any) -> None:
    hold = python(f"x = b'x' * {80 * MIB}; print('held', flush=True); import time; time.sleep(600)")
    machine.launch("c1", argv=hold, limits=Limits(cpus=1.0, memory_bytes=128 * MIB, swap_bytes=0))
    machine.await_output("c1", "held")
    answer = machine.ask(Update(container_id="c1", limits=Limits(cpus=2.0, memory_bytes=40 * MIB)), Refused)
    assert "are in use" in answer.message
    cgroup = cgroup_of(machine, "c1")
    assert cgroup.read("cpu.weight") == "100"
    assert cgroup.read("memory.max") == str(128 * MIB)
    assert not [one for one in machine.agent.heard if isinstance(one, Limitation)]


def test_usage_has_the_kernels_counters(machine: Any) -> None:
    program = python("x = b'x' * (20 << 20); print('held', flush=True); import time; time.sleep(600)")
    machine.launch("c1", argv=program, limits=Limits(cpus=1.0, memory_bytes=64 * MIB))
    machine.await_output("c1", "held")
    usage = usage_of(machine, "c1")
    assert usage.memory_bytes >= 20 * MIB
    assert usage.memory_peak_bytes >= usage.memory_bytes
    assert usage.memory_anonymous_bytes >= 20 * MIB
    assert usage.cpu_user_seconds + usage.cpu_system_seconds > 0
    assert (usage.processes, usage.threads) == (1, 1)


@pytest.mark.root
def test_devices_other_than_the_usual_ones_are_refused(machine: Any) -> None:
    program = "mknod d c 1 3 && echo > d && echo null; mknod m c 1 1 && head -c 1 m; mknod b b 98 0 && head -c 1 b"
    machine.run("c1", program, capabilities=("MKNOD", "DAC_OVERRIDE"))
    assert machine.output("c1").split() == ["null"]
    assert machine.output("c1", "stderr").count("Operation not permitted") == 2


def test_a_nested_container_with_limits_of_its_own(machine: Any) -> None:
    machine.launch("pod", "sleep 600", limits=Limits(memory_bytes=256 * MIB))
    limits = Limits(memory_bytes=32 * MIB, swap_bytes=0)
    greedy = python(f"x = bytearray({100 * MIB})")
    machine.launch("pod.greedy", argv=greedy, shares_limits=False, limits=limits)
    assert machine.exit_of("pod.greedy").limitation.limit is Limit.MEMORY
    assert not machine.exits("pod")
    machine.launch("pod.next", "sleep 600")
    machine.destroy("pod")
    assert not cgroup_of(machine, "pod").exists()


def test_a_restarted_containerizer_reports_kills_for_memory_all_the_same(machine: Any) -> None:
    pipe = machine.directory / "sandboxes" / "c1" / "go"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    program = f"open('go').read(); x = bytearray({100 * MIB})"
    machine.launch("c1", argv=python(program), limits=Limits(memory_bytes=32 * MIB, swap_bytes=0))
    process = machine.state.containers["c1"].process
    machine.forget()
    pipe.write_text("go")
    machine.wait_gone(process.pid)
    machine.revive()
    machine.attach()
    assert machine.exit_of("c1").limitation.limit is Limit.MEMORY


def test_a_hundred_at_once(machine: Any, left: Callable[[Any], list[str]]) -> None:
    ids = [f"c{number}" for number in range(100)]
    limits = Limits(cpus=0.1, memory_bytes=32 * MIB, pids=10)
    machine.launch_all(ids, "sleep 600", limits=limits)
    root = Path(machine.state.host.cgroup_root)
    assert len([path for path in root.iterdir() if path.is_dir()]) == 100
    assert len(machine.ask(Usage(), UsageReport).usages) == 100
    machine.destroy_all(ids)
    for container_id in ids:
        machine.collect(container_id)
    assert left(machine) == []


def test_what_runs_without_a_record_is_ended_at_the_next_start(machine: Any) -> None:
    machine.launch("stranger", "sleep 600")
    machine.launch("known", "sleep 600")
    machine.launch("known.nested", "sleep 600")
    process = machine.state.containers["stranger"].process
    machine.forget()
    (machine.runtime_directory / "containers" / "stranger").unlink()
    machine.revive()
    machine.wait_gone(process.pid)
    assert set(machine.state.containers) == {"known", "known.nested"}
    assert not machine.is_gone(machine.state.containers["known.nested"].process.pid)
    machine.restart()
    assert not cgroup_of(machine, "stranger").exists()
