"""Which control files are written for which limits, in which order; and what counters mean."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerizer.cgroups2 import Cgroup, cpu, cpuset, devices, hugetlb, io, memory, pids, ports, pressure
from containerizer.errors import ContainerizerError, KernelError
from containerizer.messages import Pressure
from containerizer.spec import UNLIMITED, Limits

MIB = 1 << 20


def test_cpu_request_is_a_weight_and_limit_a_quota() -> None:
    assert cpu.files(Limits(cpus=0.5, cpus_limit=2.0)) == [("cpu.weight", "50"), ("cpu.max", "200000 100000")]
    assert cpu.files(Limits(cpus=1.0)) == [("cpu.weight", "100"), ("cpu.max", "max 100000")]
    assert cpu.files(Limits(cpus=1.0, cpus_limit=UNLIMITED))[-1] == ("cpu.max", "max 100000")


def test_cpu_burst_is_written_once_its_quota_stands() -> None:
    written = cpu.files(Limits(cpus_limit=0.5, cpu_burst_seconds=0.02))
    assert written == [("cpu.max.burst", "0"), ("cpu.max", "50000 100000"), ("cpu.max.burst", "20000")]


@given(st.floats(min_value=0.0001, max_value=10_000))
def test_cpu_values_are_always_in_the_kernels_range(cores: float) -> None:
    files = dict(cpu.files(Limits(cpus=cores, cpus_limit=cores)))
    assert 1 <= int(files["cpu.weight"]) <= 10_000
    assert int(files["cpu.max"].split()[0]) >= 1_000


def test_memory_request_is_written_before_limit() -> None:
    files = memory.files(Limits(memory_bytes=64 * MIB, memory_limit_bytes=128 * MIB))
    assert files == [
        ("memory.oom.group", "1"),
        ("memory.low", str(64 * MIB)),
        ("memory.high", "max"),
        ("memory.max", str(128 * MIB)),
    ]


def test_memory_request_is_the_limit_where_none_is_given() -> None:
    assert dict(memory.files(Limits(memory_bytes=64 * MIB)))["memory.max"] == str(64 * MIB)
    assert dict(memory.files(Limits(memory_bytes=64 * MIB, memory_limit_bytes=UNLIMITED)))["memory.max"] == "max"


def test_memory_is_never_below_mesos_minimum() -> None:
    files = dict(memory.files(Limits(memory_bytes=1)))
    assert files["memory.low"] == files["memory.max"] == str(32 * MIB)


def test_swap_is_forbidden_only_when_asked() -> None:
    assert "memory.swap.max" not in dict(memory.files(Limits(memory_bytes=64 * MIB)))
    assert dict(memory.files(Limits(memory_bytes=64 * MIB, swap_bytes=0)))["memory.swap.max"] == "0"


def test_pids_leave_room_for_the_init() -> None:
    assert pids.files(Limits(pids=10)) == [("pids.max", "11")]
    assert pids.files(Limits()) == [("pids.max", "max")]


def test_io_limits_name_the_disk() -> None:
    limits = Limits(io_read_bytes_per_second=MIB, io_weight=200)
    assert io.files(limits, "8:0") == [("io.max", "8:0 rbps=1048576 wbps=max"), ("io.weight", "default 200")]


def test_cpuset_and_hugetlb() -> None:
    assert cpuset.files(Limits(cpuset_cpus="0-1")) == [("cpuset.cpus", "0-1"), ("cpuset.mems", "\n")]
    assert hugetlb.files(Limits(hugetlb_bytes=(("2MB", 4 * MIB),))) == [("hugetlb.2MB.max", "4194304")]


def fake(tmp_path: Path, **texts: str) -> Cgroup:
    for name, text in texts.items():
        (tmp_path / name.replace("__", ".")).write_text(text)
    return Cgroup(tmp_path)


def test_cpu_usage_is_in_seconds(tmp_path: Path) -> None:
    text = (
        "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 7\nnr_throttled 3\nthrottled_usec 5\n"
    )
    assert cpu.usage(fake(tmp_path, cpu__stat=text)) == {
        "cpu_user_seconds": 2.0,
        "cpu_system_seconds": 1.0,
        "cpu_periods": 7,
        "cpu_throttled_periods": 3,
        "cpu_throttled_seconds": 5e-6,
    }


def test_a_limit_that_was_only_hit_is_no_limitation(tmp_path: Path) -> None:
    cgroup = fake(tmp_path, memory__events="max 3\noom 0\noom_kill 0\n")
    assert memory.limitation(cgroup, "c1") is None


def test_a_kill_for_memory_is_reported_with_numbers(tmp_path: Path) -> None:
    cgroup = fake(
        tmp_path,
        memory__events="max 3\noom 1\noom_kill 2\n",
        memory__max=str(32 * MIB),
        memory__peak=str(31 * MIB),
        memory__current="4096",
    )
    found = memory.limitation(cgroup, "c1")
    assert found is not None
    assert (found.limit_value, found.peak_value, found.used_value, found.fatal) == (32 * MIB, 31 * MIB, 4096, True)
    assert "32.0 MiB" in found.message


def test_a_nested_containers_own_kill_is_not_its_parents(tmp_path: Path) -> None:
    cgroup = fake(tmp_path, memory__events="oom 1\noom_kill 1\n", memory__events__local="oom 0\noom_kill 0\n")
    assert memory.limitation(cgroup, "parent") is None


def test_a_limit_below_use_is_refused(tmp_path: Path) -> None:
    cgroup = fake(tmp_path, memory__current=str(100 * MIB))
    with pytest.raises(ContainerizerError, match="are in use"):
        memory.check_room(cgroup, Limits(memory_bytes=64 * MIB))
    memory.check_room(cgroup, Limits(memory_bytes=128 * MIB))


def test_pressure_is_read() -> None:
    text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=2000000\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=1000000"
    assert pressure.parse(text) == Pressure(some_percent=1.5, full_percent=0.25, some_seconds=2.0, full_seconds=1.0)


def test_io_usage_sums_disks(tmp_path: Path) -> None:
    cgroup = fake(tmp_path, io__stat="8:0 rbytes=1 wbytes=2 rios=3\n8:16 rbytes=10 wbytes=20 rios=1\n")
    assert io.usage(cgroup) == {"io_read_bytes": 11, "io_write_bytes": 22}


def test_a_write_that_fails_names_file_value_and_mend(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"cpu\.max.*'1 2'.*subtree_control"):
        Cgroup(tmp_path).write("cpu.max", "1 2")


def test_nested_cgroups_lie_in_their_parents() -> None:
    assert Cgroup(Path("/sys")).child("pod.web").leaf.path == Path("/sys/pod/web/.leaf")


class Machine:
    """Runs the few BPF instructions that our programs use, as the kernel's interpreter would."""

    def __init__(self, code: list[bytes]) -> None:
        self.code = [struct.unpack("=BBhi", one) for one in code]

    def run(self, context: dict[int, int]) -> int:
        """context: words by their offset."""
        registers = [0] * 11
        at = 0
        while True:
            operation, ends, offset, constant = self.code[at]
            target, source = ends & 15, ends >> 4
            at += 1
            match operation:
                case 0x61:
                    registers[target] = context[offset]
                case 0x54:
                    registers[target] &= constant
                case 0x74:
                    registers[target] >>= constant
                case 0xBC:
                    registers[target] = registers[source]
                case 0xB4:
                    registers[target] = constant
                case 0x56:
                    at += offset if registers[target] != constant else 0
                case 0x26:
                    at += offset if registers[target] > constant else 0
                case 0xA6:
                    at += offset if registers[target] < constant else 0
                case 0xDC:
                    assert constant == 16
                    registers[target] = socket.ntohs(registers[target] & 0xFFFF)
                case 0x5E:
                    at += offset if registers[target] != registers[source] else 0
                case 0x95:
                    return registers[0]
                case _:
                    raise AssertionError(f"instruction {operation:#x}")


@given(
    kind=st.sampled_from([devices.BLOCK, devices.CHARACTER]),
    access=st.integers(min_value=1, max_value=7),
    major=st.sampled_from([1, 5, 8, 10, 136, 195]),
    minor=st.integers(min_value=0, max_value=20) | st.just(200),
)
def test_the_device_program_says_what_its_list_says(kind: int, access: int, major: int, minor: int) -> None:
    allowed = any(
        device.kind == kind
        and device.major in {major, devices.ANY}
        and device.minor in {minor, devices.ANY}
        and access & device.access == access
        for device in devices.DEFAULT
    )
    context = {0: kind | access << 16, 4: major, 8: minor}
    assert Machine(devices.program(devices.DEFAULT)).run(context) == int(allowed)


PORTS = st.integers(min_value=0, max_value=65_535)


@given(
    ranges=st.lists(st.tuples(PORTS, PORTS).map(lambda ends: (max(min(ends), 1), max(ends)))),
    port=PORTS | st.integers(min_value=0, max_value=3),
)
def test_the_program_of_ports_says_what_its_list_says(ranges: list[tuple[int, int]], port: int) -> None:
    allowed = port == 0 or any(first <= port <= last for first, last in ranges)
    assert Machine(ports.program(ranges)).run({24: socket.htons(port)}) == int(allowed)
