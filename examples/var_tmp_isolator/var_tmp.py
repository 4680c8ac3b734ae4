"""An isolator of one's own: each container has a /var/tmp of its own, empty, and gone with it.

Installed beside Kaon it is found by its entry point, and a containerizer that is started with
``--isolation=auto,example/private_var_tmp`` uses it after all others::

    [project.entry-points."kaon.isolators"]
    "example/private_var_tmp" = "var_tmp:PrivateVarTmp"
"""

from __future__ import annotations

from pathlib import Path

from containerizer.host import Host
from containerizer.isolator import Container, Isolator
from containerizer.isolators.namespaces import MountNamespace
from containerizer.messages import Missing
from containerizer.plan import LaunchPlan
from containerizer.spec import Namespace


class PrivateVarTmp(Isolator):
    """Covers the directory within the container's mount namespace: there is nothing to clean up."""

    name = "example/private_var_tmp"

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """It needs mounts that stay inside."""
        lack = MountNamespace.probe(host)
        return None if lack is None else Missing(what=cls.name, reason=lack.reason, mend=lack.mend)

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """One step of the plan, which the container's init does before its root is changed."""
        directory = plan.inside("/var/tmp")  # noqa: S108  the one that everybody shares otherwise
        if Namespace.MOUNT in plan.namespaces and (plan.root or Path(directory).is_dir()):
            plan.mounts.append(("cover", directory, "mode=1777", [], False))
