"""Devices: a BPF program for each container that says which it may open and make (cgroup-v2.rst, "Device controller").

The program gets the kind of access, the kind of device and its numbers, and answers 1 or 0. It is a chain of
comparisons, one for each device that is allowed. A container in a container is bound by the programs of both.

Source: `include/uapi/linux/bpf.h` (`struct bpf_cgroup_dev_ctx`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from containerizer.cgroups2 import bpf
from containerizer.cgroups2.bpf import instruction
from containerizer.spec import Record

READ: Final = 2
WRITE: Final = 4
MAKE: Final = 1
"""`BPF_DEVCG_ACC_MKNOD`, `_READ`, `_WRITE`."""

BLOCK: Final = 1
CHARACTER: Final = 2
"""`BPF_DEVCG_DEV_BLOCK`, `_CHAR`."""

ANY: Final = -1


class Device(Record, frozen=True, kw_only=True):
    """One line of the list: kind, numbers (or ANY), and a sum of READ, WRITE, MAKE."""

    major: int
    minor: int
    kind: int = CHARACTER
    access: int = READ | WRITE | MAKE


DEFAULT: Final[tuple[Device, ...]] = (
    Device(major=ANY, minor=ANY, kind=CHARACTER, access=MAKE),
    Device(major=ANY, minor=ANY, kind=BLOCK, access=MAKE),
    Device(major=1, minor=3),  # null
    Device(major=1, minor=5),  # zero
    Device(major=1, minor=7),  # full
    Device(major=1, minor=8),  # random
    Device(major=1, minor=9),  # urandom
    Device(major=5, minor=0),  # tty
    Device(major=5, minor=1),  # console
    Device(major=5, minor=2),  # ptmx
    Device(major=136, minor=ANY),  # pts/*
    Device(major=10, minor=200),  # net/tun
)
"""What every container may use (Mesos: `isolators/cgroups2/controllers/devices.cpp`, and Docker's list)."""


def program(devices: Sequence[Device]) -> list[bytes]:
    """BPF instructions that allow these devices and no others."""
    code = [
        # r2: kind, r3: access, r4: major, r5: minor
        instruction(bpf.LOAD_WORD, 2, 1, 0),
        instruction(bpf.MOVE, 3, 2),
        instruction(bpf.AND, 2, constant=0xFFFF),
        instruction(bpf.RIGHT_SHIFT, 3, constant=16),
        instruction(bpf.LOAD_WORD, 4, 1, 4),
        instruction(bpf.LOAD_WORD, 5, 1, 8),
    ]
    for device in devices:
        code.extend(_allow(device))
    return code + bpf.answer(0)


def _allow(device: Device) -> list[bytes]:
    """Answer 1 if this device is meant, else go on behind."""
    tests: list[tuple[int, int, int]] = [(bpf.JUMP_UNEQUAL, 2, device.kind)]
    if device.major != ANY:
        tests.append((bpf.JUMP_UNEQUAL, 4, device.major))
    if device.minor != ANY:
        tests.append((bpf.JUMP_UNEQUAL, 5, device.minor))
    block: list[bytes] = []
    tail = [
        # Every access that is asked for must be among those that are allowed.
        instruction(bpf.MOVE, 6, 3),
        instruction(bpf.AND, 6, constant=device.access),
        instruction(bpf.JUMP_UNEQUAL_REGISTER, 6, 3, 2),
        *bpf.answer(1),
    ]
    for index, (operation, register, value) in enumerate(tests):
        behind = len(tests) - index - 1 + len(tail)
        block.append(instruction(operation, register, offset=behind, constant=value))
    return block + tail


def load(devices: Sequence[Device]) -> int:
    """A descriptor of the program for this list, to be attached often. Raises `OSError`."""
    return bpf.load(bpf.DEVICE, program(devices))


def attach(cgroup: int, loaded: int) -> None:
    """Bind everything in a cgroup (an open directory) to a loaded program, until it is removed. Raises `OSError`."""
    bpf.attach(cgroup, bpf.DEVICE, loaded)
