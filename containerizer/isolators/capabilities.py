"""Capabilities: root's power in forty pieces, of which a container gets few (`man 7 capabilities`)."""

from __future__ import annotations

import functools
from typing import Final

from containerizer.errors import InvalidSpec
from containerizer.host import Host
from containerizer.isolator import Container, Isolator
from containerizer.messages import Missing
from containerizer.plan import LaunchPlan

NAMES: Final = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
"""By number (`include/uapi/linux/capability.h`)."""

DEFAULT: Final = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "SETFCAP"),
    *("NET_BIND_SERVICE", "SYS_CHROOT"),
)
"""For root in a container: Docker's list without MKNOD, AUDIT_WRITE and NET_RAW, for the network may be the host's."""


class Capabilities(Isolator):
    """Bounds what the container may ever have, and gives its user that."""

    name = "linux/capabilities"

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """Taking capabilities away takes CAP_SETPCAP."""
        if not host.root:
            return Missing(what=cls.name, reason="the containerizer is not root", mend="start it as root")
        return None

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """Root gets the default or what the spec says; another user only what the spec says."""
        wanted = container.spec.capabilities
        bounding = mask_of(DEFAULT if wanted is None else wanted)
        plan.capabilities = bounding if wanted is not None or container.user.uid == 0 else 0
        plan.privileges.append(("limit_capabilities", bounding))


@functools.lru_cache(maxsize=64)
def mask_of(names: tuple[str, ...]) -> int:
    """A bit for each name; with or without ``CAP_``. Raises :class:`InvalidSpec` for an unknown one."""
    mask = 0
    for name in names:
        short = name.upper().removeprefix("CAP_")
        if short not in NAMES:
            raise InvalidSpec(f"capability {name!r} is unknown: see capabilities(7) for the names")
        mask |= 1 << NAMES.index(short)
    return mask
