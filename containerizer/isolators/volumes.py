"""Volumes: files of the host, of the sandbox, of memory, and secrets (Mesos: `volume/{host_path,sandbox_path,secret}`).

A path inside is absolute, or in the sandbox. Places to mount on are made where they are missing; on the host's own root
only in the sandbox, because there they would stay.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from containerizer import linux
from containerizer.errors import InvalidSpec, Unsupported
from containerizer.host import Host
from containerizer.isolator import Container, Isolator
from containerizer.isolators.namespaces import MountNamespace
from containerizer.messages import Missing
from containerizer.plan import LaunchPlan
from containerizer.spec import ContainerSpec, Namespace, RootKind, Volume, VolumeKind


class Volumes(Isolator):
    """All kinds of volumes."""

    name = "volumes/linux"

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """It needs mounts that stay inside."""
        lack = MountNamespace.probe(host)
        return None if lack is None else Missing(what=cls.name, reason=lack.reason, mend=lack.mend)

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """Whether there are any."""
        return bool(spec.volumes)

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """In the order in which they are given: a later one may lie in an earlier one."""
        for number, volume in enumerate(container.spec.volumes):
            if Namespace.MOUNT not in plan.namespaces:
                raise Unsupported("volumes need a mount namespace: do not leave it out of namespaces")
            target = self._target(container, plan, volume)
            if volume.kind is VolumeKind.HOST_PATH:
                if not Path(volume.source).exists():
                    raise InvalidSpec(f"volume {volume.path}: {volume.source} is not there on this host")
                plan.mounts.append(("bind", "", volume.source, plan.root, target, volume.read_only))
            elif volume.kind is VolumeKind.SANDBOX_PATH:
                self._share_sandbox(container, plan, volume, target)
            else:
                self._from_memory(container, plan, volume, target, number)

    def _target(self, container: Container, plan: LaunchPlan, volume: Volume) -> str:
        """Where it appears, as the container names it."""
        sandbox = plan.sandbox or container.spec.sandbox
        if not volume.path.startswith("/"):
            return f"{sandbox}/{volume.path}"
        inside = PurePosixPath(volume.path).is_relative_to(sandbox)
        on_host = container.spec.root.kind in {RootKind.HOST, RootKind.HOST_READ_ONLY} and not inside
        if on_host and not Path(volume.path).exists():
            raise InvalidSpec(
                f"volume {volume.path}: there is no such place on the host's root: make it, or use a path in the "
                f"sandbox, or a root file system of its own"
            )
        return volume.path

    def _share_sandbox(self, container: Container, plan: LaunchPlan, volume: Volume, target: str) -> None:
        """From the parent's sandbox for a nested container, else from its own; links in it are not followed."""
        owner = container if container.parent is None else container.parent
        base = Path(owner.spec.sandbox)
        path = base / volume.source
        if not path.exists() and not path.is_symlink():
            path.mkdir(parents=True)
        # The sandbox may be covered by now and shown in another place: there the source is looked for.
        shown = plan.inside(plan.sandbox) if owner is container and plan.sandbox else str(base)
        plan.mounts.append(("bind", shown, volume.source, plan.root, target, volume.read_only))

    def _from_memory(self, container: Container, plan: LaunchPlan, volume: Volume, target: str, number: int) -> None:
        """Made beside the tree and then put in its place, so that the place may be missing."""
        made = str(container.directory / f"volume-{number}")
        Path(made).mkdir(exist_ok=True)
        flags = linux.MS_NOSUID | linux.MS_NODEV
        user = container.user
        if volume.kind is VolumeKind.TMPFS:
            options = f"mode=1777,size={volume.size_bytes}"
            plan.mounts.append(("mount", "volume", made, "tmpfs", flags, options))
            plan.mounts.append(("bind", "", made, plan.root, target, volume.read_only))
            return
        size = max(len(volume.content.encode()), 4096) * 2
        plan.mounts.append(("mount", "secret", made, "tmpfs", flags | linux.MS_NOEXEC, f"mode=700,size={size}"))
        plan.mounts.append(("write_secret", f"{made}/content", volume.content, user.uid, user.gid))
        plan.mounts.append(("bind", "", f"{made}/content", plan.root, target, True))
