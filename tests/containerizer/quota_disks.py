"""Real file systems with project quotas, each in a file, on a loop device."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from containerizer import linux, projects

MKFS = {
    "ext4": ("/usr/sbin/mkfs.ext4", "-q", "-O", "project,quota", "-E", "quotatype=prjquota"),
    "xfs": ("/usr/sbin/mkfs.xfs", "-q"),
}
SIZE_BYTES = 320 << 20
"""About the least that mkfs.xfs takes; the file is sparse."""

QUOTA_OFF = {"ext4": (0x800003 << 8 | 2, b""), "xfs": ((ord("X") << 8 | 2) << 8 | 2, (1 << 5).to_bytes(4, "little"))}
"""`Q_QUOTAOFF`, and `Q_XQUOTAOFF` of enforcement."""


class QuotaDisk:
    """One; `path` is where it is mounted."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.size_bytes = SIZE_BYTES
        self._directory = Path(tempfile.mkdtemp(dir="/tmp", prefix="kq-"))
        self._directory.chmod(0o755)
        image = self._directory / "image"
        with image.open("wb") as file:
            file.truncate(SIZE_BYTES)
        self.path = self._directory / "disk"
        self.path.mkdir()
        for command in ([*MKFS[kind], str(image)], ["mount", "-o", "loop,prjquota", str(image), str(self.path)]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr

    @contextlib.contextmanager
    def opened(self, name: str = "") -> Iterator[int]:
        descriptor = os.open(self.path / name, os.O_RDONLY | os.O_NONBLOCK)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def project_of(self, name: str) -> int:
        with self.opened(name) as descriptor:
            return projects.project_of(descriptor)

    def assign(self, name: str, project: int) -> None:
        with self.opened(name) as descriptor:
            projects.assign(descriptor, project)

    def quota(self, project: int) -> projects.Quota:
        with self.opened() as descriptor:
            return projects.read_quota(descriptor, project)

    def switch_off(self) -> None:
        with self.opened() as descriptor:
            command, data = QUOTA_OFF[self.kind]
            linux.control_quota(descriptor, command, 0, data)

    def close(self) -> None:
        subprocess.run(("umount", self.path), check=True)
        shutil.rmtree(self._directory)
