"""What every Unix can do for a container: limits of its processes, its user, no new privileges."""

from __future__ import annotations

import resource

from containerizer.errors import InvalidSpec
from containerizer.isolator import Container, Isolator
from containerizer.plan import LaunchPlan


class Rlimits(Isolator):
    """Resource limits of the command (`man 2 setrlimit`); they do not bind the init, which must be able to write."""

    name = "posix/rlimits"

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """Check the names here, where an error says more than one from the kernel."""
        for limit in container.spec.rlimits:
            if not hasattr(resource, "RLIMIT_" + limit.name.upper()):
                known = sorted(name[7:].lower() for name in dir(resource) if name.startswith("RLIMIT_"))
                raise InvalidSpec(f"rlimit {limit.name!r} is unknown here: one of {', '.join(known)}")
            if limit.hard is not None and (limit.soft is None or limit.soft > limit.hard):
                raise InvalidSpec(f"rlimit {limit.name}: the soft limit is above the hard one ({limit.hard})")
            plan.last_steps.append(("set_rlimit", limit.name, limit.soft, limit.hard))
