"""Programs that the kernel runs for what a cgroup's processes do: assembled, loaded, and bound to the cgroup.

A program is a list of instructions of eight bytes; the kernel checks it when it is loaded. It is bound to a directory
of the hierarchy and holds for everything in it and below: where several are met on the way up, each must allow. It
goes with the directory.

Sources: `include/uapi/linux/bpf.h`, `Documentation/bpf/standardization/instruction-set.rst`, `man 2 bpf`.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from containerizer import linux

LOAD_WORD: Final = 0x61
AND: Final = 0x54
RIGHT_SHIFT: Final = 0x74
MOVE: Final = 0xBC
MOVE_CONSTANT: Final = 0xB4
BIG_ENDIAN: Final = 0xDC
"""Turns a register's lowest bits, as many as the constant says, from the network's order into the host's."""
JUMP_UNEQUAL: Final = 0x56
JUMP_UNEQUAL_REGISTER: Final = 0x5E
JUMP_ABOVE: Final = 0x26
JUMP_BELOW: Final = 0xA6
EXIT: Final = 0x95

_PROG_LOAD: Final = 5
_PROG_ATTACH: Final = 8
_PROG_GET_FD_BY_ID: Final = 13
_PROG_QUERY: Final = 16
_ALLOW_MULTI: Final = 2
_REPLACE: Final = 4

_ATTRIBUTES_BYTES: Final = 128
"""Room for `union bpf_attr`; the kernel wants what it does not know to be zero."""

_PLACE_AT: Final = 68
_COUNT_AT: Final = 24
"""Where `expected_attach_type` is in the attributes of a load, and `prog_cnt` in those of a query."""

_MOST_PROGRAMS: Final = 64
"""`BPF_CGROUP_MAX_PROGS`: so many of one kind hold for one cgroup."""


class Hook(msgspec.Struct, frozen=True):
    """Where a program is called. kind: `enum bpf_prog_type`; place: `enum bpf_attach_type`."""

    kind: int
    place: int


DEVICE: Final = Hook(15, 6)
"""`BPF_PROG_TYPE_CGROUP_DEVICE`: a device is opened or made."""
BIND_4: Final = Hook(18, 8)
"""`BPF_PROG_TYPE_CGROUP_SOCK_ADDR`, `BPF_CGROUP_INET4_BIND`: a socket gets an address and a port."""
BIND_6: Final = Hook(18, 9)
"""The same of IPv6: `BPF_CGROUP_INET6_BIND`."""


def instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    """One instruction; `offset` of a jump counts from the next one."""
    return struct.pack("=BBhi", code, target | source << 4, offset, constant)


def answer(allowed: int) -> list[bytes]:
    """Instructions that end the program: 1 allows, 0 refuses."""
    return [instruction(MOVE_CONSTANT, 0, constant=allowed), instruction(EXIT)]


def load(hook: Hook, instructions: Sequence[bytes]) -> int:
    """A descriptor of the program, checked by the kernel; the caller's. Raises `OSError`."""
    code = b"".join(instructions)
    kept = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    head = struct.pack("=IIQQ", hook.kind, len(instructions), ctypes.addressof(kept), ctypes.addressof(licence))
    return linux.bpf(_PROG_LOAD, _attributes(head.ljust(_PLACE_AT, b"\0") + struct.pack("=I", hook.place)))


def attach(cgroup: int, hook: Hook, program: int, *, replaced: int = -1) -> None:
    """Bind everything in a cgroup (an open directory) to a loaded program, until it is removed. Raises `OSError`.

    replaced  a program of the cgroup's whose place it takes, in one step (Linux 5.6); otherwise both hold
    """
    flags = _ALLOW_MULTI if replaced < 0 else _ALLOW_MULTI | _REPLACE
    linux.bpf(_PROG_ATTACH, _attributes(struct.pack("=IIIII", cgroup, program, hook.place, flags, max(replaced, 0))))


def attached(cgroup: int, hook: Hook) -> list[int]:
    """Descriptors, the caller's, of the cgroup's own programs, not those of the cgroups that it is in. Raises
    `OSError`."""
    ids = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    head = struct.pack("=IIIIQI", cgroup, hook.place, 0, 0, ctypes.addressof(ids), _MOST_PROGRAMS)
    attributes = _attributes(head)
    linux.bpf(_PROG_QUERY, attributes)
    (count,) = struct.unpack_from("=I", attributes, _COUNT_AT)
    found: list[int] = []
    try:
        for number in ids[:count]:
            descriptor = linux.bpf(_PROG_GET_FD_BY_ID, _attributes(struct.pack("=I", number)))
            found.append(descriptor)
    except OSError:
        close_all(found)
        raise
    return found


def _attributes(head: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(head, _ATTRIBUTES_BYTES)


def close_all(descriptors: Sequence[int]) -> None:
    """Programs that are attached stay without them."""
    for descriptor in descriptors:
        os.close(descriptor)
