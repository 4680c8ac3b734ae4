"""Ports of the host's network: BPF programs that say which a socket may be bound to.

The program gets the address and the port that a process asks `bind` for, and answers 1 or 0, which is EPERM to the
process. Port 0 leaves the choice to the kernel and is allowed: what it chooses is nobody's resource. Sockets of TCP and
UDP are asked for alike.

Source: `include/uapi/linux/bpf.h` (`struct bpf_sock_addr`); called by `inet_bind_sk` and `inet6_bind_sk`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, TypeAlias

from containerizer.cgroups2 import bpf
from containerizer.cgroups2.bpf import instruction

Range: TypeAlias = tuple[int, int]
"""First and last port."""

EVERY: Final[tuple[Range, ...]] = ((1, 65_535),)

_PORT_AT: Final = 24
"""Of `user_port` in the context, in the network's order."""


def program(ranges: Sequence[Range]) -> list[bytes]:
    """BPF instructions that allow these ports and no others."""
    code = [
        # Register 2 has the port from here on.
        instruction(bpf.LOAD_WORD, 2, 1, _PORT_AT),
        instruction(bpf.BIG_ENDIAN, 2, constant=16),
        instruction(bpf.JUMP_UNEQUAL, 2, offset=2, constant=0),
        *bpf.answer(1),
    ]
    for first, last in ranges:
        code.append(instruction(bpf.JUMP_BELOW, 2, offset=3, constant=first))
        code.append(instruction(bpf.JUMP_ABOVE, 2, offset=2, constant=last))
        code.extend(bpf.answer(1))
    return code + bpf.answer(0)


def bind_only(cgroup: int, ranges: Sequence[Range] | None) -> None:
    """Have everything in a cgroup (an open directory) bind these ports and no others from now on; None: any.

    What is bound already stays so. Raises `OSError`.
    """
    for hook in (bpf.BIND_4, bpf.BIND_6):
        present = bpf.attached(cgroup, hook)
        loaded = -1
        try:
            if ranges is None and not present:
                continue
            loaded = bpf.load(hook, program(EVERY if ranges is None else ranges))
            bpf.attach(cgroup, hook, loaded, replaced=present[0] if present else -1)
        finally:
            bpf.close_all(present)
            if loaded >= 0:
                os.close(loaded)
