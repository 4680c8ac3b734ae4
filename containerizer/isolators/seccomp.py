"""Which system calls a container may make: profiles in Docker's JSON form, compiled to BPF (`man 2 seccomp`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from containerizer.errors import InvalidSpec
from containerizer.host import Host
from containerizer.isolator import Container, Isolator
from containerizer.isolators.capabilities import NAMES
from containerizer.messages import Missing
from containerizer.plan import LaunchPlan
from containerizer.seccomp import Profile, compile_profile, read_profile
from containerizer.seccomp.tables import TABLES

UNCONFINED: Final = "unconfined"
DEFAULT: Final = "default"

DEFAULT_PROFILE: Final = Path(__file__).parent.parent / "seccomp" / "default.json"


class Seccomp(Isolator):
    """Filters the calls of the whole container; a profile of its own those of the command alone."""

    name = "linux/seccomp"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._compiled: dict[tuple[str, int, int], str] = {}

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """The numbers of calls must be known, and the kernel must take filters."""
        if os.uname().machine not in TABLES:
            return Missing(what=cls.name, reason=f"system calls of {os.uname().machine} are not known here")
        if not Path("/proc/sys/kernel/seccomp").exists():
            return Missing(what=cls.name, reason="this kernel was built without CONFIG_SECCOMP_FILTER")
        return None

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """The default one binds the init too, which needs nothing that it forbids; others may forbid it to wait."""
        wanted = container.spec.seccomp or DEFAULT
        if wanted == UNCONFINED:
            return
        capabilities = plan.capabilities if plan.capabilities is not None else (1 << len(NAMES)) - 1
        if wanted == DEFAULT:
            plan.privileges.append(("filter_calls", self._compile(DEFAULT_PROFILE, capabilities)))
        else:
            plan.last_steps.append(("filter_calls", self._compile(Path(wanted), capabilities)))

    def _compile(self, path: Path, capabilities: int) -> str:
        """Hexadecimal BPF, kept: a profile is large and the same for most containers."""
        try:
            key = (str(path), path.stat().st_mtime_ns, capabilities)
            if key not in self._compiled:
                profile: Profile = read_profile(path.read_bytes(), str(path))
                machine = os.uname().machine
                names = {name for number, name in enumerate(NAMES) if capabilities >> number & 1}
                self._compiled[key] = compile_profile(profile, machine, names).hex()
        except OSError as error:
            raise InvalidSpec(f"seccomp profile {path} cannot be read: {error.strerror}") from None
        return self._compiled[key]
