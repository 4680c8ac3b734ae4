"""File systems that benchmarks need and few machines have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

QUOTA_DISK_BYTES = 64 << 20


def mount_quota_disk(directory: Path) -> Path | None:
    """An ext4 with project quotas, where this kernel and its user can have one."""
    image, place = directory / "image", directory / "quota"
    image.write_bytes(bytes(QUOTA_DISK_BYTES))
    place.mkdir()
    make = ["mkfs.ext4", "-q", "-O", "project,quota", "-E", "quotatype=prjquota", str(image)]
    for command in (make, ["mount", "-o", "loop,prjquota", str(image), str(place)]):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            print(f"no disk quota is measured: {done.stderr.strip()}", file=sys.stderr)
            return None
    return place
