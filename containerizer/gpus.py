"""GPUs of this host, as NVIDIA's management library (NVML) tells of them, and the device files that go with them.

The library belongs to the driver: where there is none there are no GPUs, and the reason says so. Numbers of device
files are read off /dev: that of `nvidia-uvm` differs from boot to boot.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from containerizer.errors import ContainerizerError
from containerizer.spec import Record
from runtime.errors import ConfigurationError

ALL: Final = "all"
NONE: Final = "none"

COMMON: Final = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
"""Device files without which no GPU can be used, whichever it is (`nvidia-container-cli`, and Mesos's `gpu/nvidia`)."""

REQUIRED: Final = "nvidiactl"
"""The one of them that the driver always makes; the others come with a module that may not be loaded."""

INSIDE: Final = "/usr/local/nvidia"
"""Where the driver's files are in a root of its own, as in Mesos (`isolators/gpu/volume.cpp`)."""

_LIBRARIES: Final = re.compile(
    r"lib(cuda|cudadebugger|nvcuvid|nvidia-(ml|cfg|encode|fbc|gpucomp|ngx|nvvm|opencl|opticalflow|ptxjitcompiler))\.so\.\d"
)
_PROGRAMS: Final = ("nvidia-smi", "nvidia-debugdump", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server")


class Gpu(Record, frozen=True, kw_only=True):
    """One GPU. uuid: of the board; minor: of ``/dev/nvidia<minor>``."""

    uuid: str
    minor: int
    name: str = ""
    memory_bytes: int = 0


class Nvml(Protocol):
    """What is asked of the library (`pynvml` of nvidia-ml-py), by its names."""

    @property
    def NVMLError(self) -> type[Exception]: ...  # noqa: N802, D102
    def nvmlInit(self) -> None: ...  # noqa: N802, D102
    def nvmlShutdown(self) -> None: ...  # noqa: N802, D102
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802, D102
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...  # noqa: N802, D102
    def nvmlDeviceGetUUID(self, handle: Any) -> str | bytes: ...  # noqa: N802, D102
    def nvmlDeviceGetMinorNumber(self, handle: Any) -> int: ...  # noqa: N802, D102
    def nvmlDeviceGetName(self, handle: Any) -> str | bytes: ...  # noqa: N802, D102
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...  # noqa: N802, D102


class Found(msgspec.Struct, frozen=True):
    """The GPUs there are; without any, why."""

    gpus: tuple[Gpu, ...] = ()
    reason: str = ""


def find_gpus(nvml: Nvml | None = None) -> Found:
    """Ask the library, in the order of its indices. nvml: by default the driver's own."""
    if nvml is None:
        try:
            import pynvml  # only where somebody looks for GPUs: it loads the driver's library
        except ImportError:
            return Found(reason="nvidia-ml-py is not installed")
        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Found(reason=f"NVIDIA's driver cannot be asked: {error}")
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        found = tuple(
            Gpu(
                uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
                minor=nvml.nvmlDeviceGetMinorNumber(handle),
                name=_text(nvml.nvmlDeviceGetName(handle)),
                memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
            )
            for handle in handles
        )
    except nvml.NVMLError as error:
        return Found(reason=f"NVIDIA's driver cannot tell of its GPUs: {error}")
    finally:
        nvml.nvmlShutdown()
    return Found(found, "" if found else "the driver knows of no GPU")


def choose_gpus(found: Found, wanted: Sequence[str]) -> Found:
    """Those that may be granted: ``all``, ``none``, or minor numbers and UUIDs.

    Raises :class:`ConfigurationError` for one that is not there.
    """
    if not wanted or list(wanted) == [ALL]:
        return found
    if list(wanted) == [NONE]:
        return Found(reason="they are switched off by --gpu-devices=none")
    by_name = {name: gpu for gpu in found.gpus for name in (str(gpu.minor), gpu.uuid)}
    for name in wanted:
        if name not in by_name:
            known = ", ".join(f"{gpu.minor} ({gpu.uuid})" for gpu in found.gpus) or f"none: {found.reason}"
            raise ConfigurationError(f"--gpu-devices: there is no GPU {name!r} on this host; there are: {known}")
    chosen = {by_name[name].uuid for name in wanted}
    return Found(tuple(gpu for gpu in found.gpus if gpu.uuid in chosen))


class DeviceFile(msgspec.Struct, frozen=True):
    """A file below /dev, by name and numbers."""

    name: str
    major: int
    minor: int


def device_files(gpus: Sequence[Gpu], directory: Path) -> list[DeviceFile]:
    """Those of /dev that a container needs for these GPUs.

    Raises :class:`ContainerizerError` when one of them is missing.
    """
    files = []
    for name in (*(f"nvidia{gpu.minor}" for gpu in gpus), *COMMON):
        path = directory / name
        try:
            status = path.stat()
        except OSError as error:
            if name in COMMON and name != REQUIRED:
                continue
            raise ContainerizerError(f"{path}: {error.strerror}; `nvidia-modprobe -c 0 -u` makes it") from None
        if not stat.S_ISCHR(status.st_mode):
            raise ContainerizerError(f"{path} is no device: another program has made it")
        files.append(DeviceFile(name, os.major(status.st_rdev), os.minor(status.st_rdev)))
    return files


def driver_files(listing: str, programs: Sequence[Path] = ()) -> list[tuple[str, str]]:
    """The driver's libraries in the output of ``ldconfig -p``, and its programs: paths on the host and inside.

    A root file system of its own has none that would fit the host's driver.
    """
    files: dict[str, str] = {}
    for line in listing.splitlines():
        name, arrow, path = line.partition(" => ")
        library, _, architecture = name.strip().partition(" ")
        if arrow and _LIBRARIES.match(library) and ("x86-64" in architecture or "AArch64" in architecture):
            files.setdefault(f"{INSIDE}/lib64/{library}", path.strip())
    files.update({f"{INSIDE}/bin/{program.name}": str(program) for program in programs})
    return [(source, target) for target, source in files.items()]


def driver_programs(path: str) -> list[Path]:
    """The driver's programs that are found on a PATH."""
    directories = [Path(part) for part in path.split(":") if part]
    found = []
    for name in _PROGRAMS:
        places = (directory / name for directory in directories)
        there = next((place for place in places if place.is_file()), None)
        if there is not None:
            found.append(there)
    return found


def _text(said: str | bytes) -> str:
    return said.decode() if isinstance(said, bytes) else said
