"""Devices: a BPF program for each container that says which it may open and make (cgroup-v2.rst, "Device controller").

The program gets the kind of access, the kind of device and its numbers, and answers 1 or 0. It is a chain of
comparisons, one for each device that is allowed. A container in a container is bound by the programs of both.

Sources: `include/uapi/linux/bpf.h` (`struct bpf_cgroup_dev_ctx`), `Documentation/bpf/standardization/`.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Final

from containerizer import linux
from containerizer.spec import Record

READ: Final = 2
WRITE: Final = 4
MAKE: Final = 1
"""`BPF_DEVCG_ACC_MKNOD`, `_READ`, `_WRITE`."""

BLOCK: Final = 1
CHARACTER: Final = 2
"""`BPF_DEVCG_DEV_BLOCK`, `_CHAR`."""

ANY: Final = -1

_PROG_LOAD: Final = 5
_PROG_ATTACH: Final = 8
_PROG_TYPE_CGROUP_DEVICE: Final = 15
_CGROUP_DEVICE: Final = 6
_ALLOW_MULTI: Final = 2

_ATTRIBUTES_BYTES: Final = 128
"""Room for `union bpf_attr`; the kernel wants what it does not know to be zero."""

_LOAD_WORD: Final = 0x61
_AND: Final = 0x54
_RIGHT_SHIFT: Final = 0x74
_MOVE: Final = 0xBC
_MOVE_CONSTANT: Final = 0xB4
_JUMP_UNEQUAL: Final = 0x56
_JUMP_UNEQUAL_REGISTER: Final = 0x5E
_EXIT: Final = 0x95


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


def program(devices: Sequence[Device]) -> bytes:
    """BPF instructions that allow these devices and no others."""
    code = [
        # r2: kind, r3: access, r4: major, r5: minor
        _instruction(_LOAD_WORD, 2, 1, 0),
        _instruction(_MOVE, 3, 2),
        _instruction(_AND, 2, constant=0xFFFF),
        _instruction(_RIGHT_SHIFT, 3, constant=16),
        _instruction(_LOAD_WORD, 4, 1, 4),
        _instruction(_LOAD_WORD, 5, 1, 8),
    ]
    for device in devices:
        code.extend(_allow(device))
    code.append(_instruction(_MOVE_CONSTANT, 0, constant=0))
    code.append(_instruction(_EXIT))
    return b"".join(code)


def _allow(device: Device) -> list[bytes]:
    """Answer 1 if this device is meant, else go on behind."""
    tests: list[tuple[int, int, int]] = [(_JUMP_UNEQUAL, 2, device.kind)]
    if device.major != ANY:
        tests.append((_JUMP_UNEQUAL, 4, device.major))
    if device.minor != ANY:
        tests.append((_JUMP_UNEQUAL, 5, device.minor))
    block: list[bytes] = []
    tail = [
        # Every access that is asked for must be among those that are allowed.
        _instruction(_MOVE, 6, 3),
        _instruction(_AND, 6, constant=device.access),
        _instruction(_JUMP_UNEQUAL_REGISTER, 6, 3, 2),
        _instruction(_MOVE_CONSTANT, 0, constant=1),
        _instruction(_EXIT),
    ]
    for index, (operation, register, value) in enumerate(tests):
        behind = len(tests) - index - 1 + len(tail)
        block.append(_instruction(operation, register, offset=behind, constant=value))
    return block + tail


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    return struct.pack("=BBhi", code, target | source << 4, offset, constant)


def load(devices: Sequence[Device]) -> int:
    """A descriptor of the program for this list, checked by the kernel once and attached often. Raises `OSError`."""
    code = program(devices)
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "=IIQQ", _PROG_TYPE_CGROUP_DEVICE, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(licence)
    )
    return linux.bpf(_PROG_LOAD, attributes.ljust(_ATTRIBUTES_BYTES, b"\0"))


def attach(cgroup: int, loaded: int) -> None:
    """Bind everything in a cgroup (an open directory) to a loaded program, until it is removed. Raises `OSError`."""
    attributes = struct.pack("=IIII", cgroup, loaded, _CGROUP_DEVICE, _ALLOW_MULTI)
    linux.bpf(_PROG_ATTACH, attributes.ljust(_ATTRIBUTES_BYTES, b"\0"))
