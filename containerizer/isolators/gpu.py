"""GPUs, granted one by one (Mesos: `gpu/nvidia`).

A container gets whole GPUs: their device files in its /dev, their numbers in its device program, their names in its
environment. Without that program a container could make a device file for any of them, so there are no GPUs where it
cannot be had. A container nested in another sees GPUs of its parent's, which it shares with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Final

from containerizer.errors import ContainerizerError, InvalidSpec
from containerizer.gpus import INSIDE, Gpu, device_files, driver_files, driver_programs
from containerizer.host import Host
from containerizer.isolator import Container, Isolator
from containerizer.isolators.cgroups import Devices
from containerizer.messages import Missing
from containerizer.plan import LaunchPlan
from containerizer.spec import ContainerSpec, RootKind

GRANTS: Final = ".gpus"
"""Directory beside those of the containers, with a file for each container that has any: UUIDs, in JSON."""

DEVICES: Final = Path("/dev")
LDCONFIG: Final = "/sbin/ldconfig"
PROGRAM_PATH: Final = "/usr/bin:/usr/local/bin:/usr/local/nvidia/bin"
"""Where the driver's programs are looked for."""


class NvidiaGpus(Isolator):
    """Which container has which GPU."""

    name = "gpu/nvidia"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._granted: dict[str, tuple[str, ...]] = {}
        self._driver: list[tuple[str, str]] | None = None

    @classmethod
    def applies(cls, host: Host) -> bool:
        """Whether there is a GPU."""
        return bool(host.gpus.gpus)

    @classmethod
    def probe(cls, host: Host) -> Missing | None:
        """It needs the driver, and control over devices."""
        if not host.gpus.gpus:
            return Missing(what=cls.name, reason=host.gpus.reason, mend="install NVIDIA's driver")
        lack = Devices.probe(host)
        return None if lack is None else Missing(what=cls.name, reason=lack.reason, mend=lack.mend)

    @classmethod
    def wants(cls, spec: ContainerSpec) -> bool:
        """Whether any is asked for."""
        return spec.gpus > 0

    @classmethod
    def demanded(cls, spec: ContainerSpec) -> str:
        """GPUs, if any are asked for."""
        return f"gpus is {spec.gpus}, and this agent grants none" if spec.gpus else ""

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        """Choose, write down, and have the others give access."""
        count = container.spec.gpus
        if not count:
            return
        gpus = self._of_parent(container) if container.parent is not None else self._free(count)
        uuids = tuple(gpu.uuid for gpu in gpus)
        if container.parent is None:
            self._write(container, uuids)
        plan.devices.extend((file.name, file.major, file.minor) for file in device_files(gpus, DEVICES))
        # CUDA numbers GPUs by speed unless told otherwise, and everything else by their place on the bus.
        plan.environment.update(NVIDIA_VISIBLE_DEVICES=",".join(uuids), CUDA_DEVICE_ORDER="PCI_BUS_ID")
        root = container.spec.root
        if root.kind in {RootKind.DIRECTORY, RootKind.ARCHIVE} and not root.read_only:
            plan.shown.extend(await self._driver_files())
            own = dict(container.spec.environment).get("LD_LIBRARY_PATH", "")
            plan.environment["LD_LIBRARY_PATH"] = f"{own}:{INSIDE}/lib64".lstrip(":")

    def _free(self, count: int) -> list[Gpu]:
        taken = {uuid for uuids in self._granted.values() for uuid in uuids}
        free = [gpu for gpu in self.host.gpus.gpus if gpu.uuid not in taken]
        if len(free) < count:
            have = len(self.host.gpus.gpus)
            raise ContainerizerError(f"{count} GPUs are wanted, and of the {have} of this host {len(free)} are free")
        return free[:count]

    def _of_parent(self, container: Container) -> list[Gpu]:
        owner = container
        while owner.parent is not None:
            owner = owner.parent
        uuids = self._granted.get(owner.id, ())
        if container.spec.gpus > len(uuids):
            raise InvalidSpec(
                f"gpus is {container.spec.gpus}: a nested container sees those of {owner.id}, which has {len(uuids)}"
            )
        return [gpu for gpu in self.host.gpus.gpus if gpu.uuid in uuids][: container.spec.gpus]

    async def _driver_files(self) -> list[tuple[str, str]]:
        if self._driver is None:
            listing = await asyncio.create_subprocess_exec(LDCONFIG, "-p", stdout=asyncio.subprocess.PIPE)
            said, _ = await listing.communicate()
            self._driver = driver_files(said.decode(), driver_programs(PROGRAM_PATH))
        return self._driver

    def _write(self, container: Container, uuids: tuple[str, ...]) -> None:
        """Before anybody has them: after a crash they are taken."""
        self._granted[container.id] = uuids
        file = self._file(container)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.write_text(json.dumps(uuids))

    def _file(self, container: Container) -> Path:
        return container.directory.parent / GRANTS / container.id

    def recover(self, container: Container) -> None:
        """It has what was written down."""
        with contextlib.suppress(FileNotFoundError):
            self._granted[container.id] = tuple(json.loads(self._file(container).read_text()))

    async def cleanup(self, container: Container) -> None:
        """They are free again."""
        self._granted.pop(container.id, None)
        file = self._file(container)
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others have some, or nobody ever had
            file.parent.rmdir()


__all__ = ["GRANTS", "NvidiaGpus"]
