"""The hugetlb controller: huge pages, by size (cgroup-v2.rst, "HugeTLB")."""

from __future__ import annotations

from typing import Final

from containerizer.cgroups2 import File
from containerizer.spec import Limits

CONTROLLER: Final = "hugetlb"


def wants(limits: Limits) -> bool:
    """Whether anything is asked of this controller."""
    return bool(limits.hugetlb_bytes)


def files(limits: Limits) -> list[File]:
    """Control files to write; sizes are named as the kernel does (``2MB``, ``1GB``)."""
    return [(f"hugetlb.{size}.max", str(amount)) for size, amount in limits.hugetlb_bytes]
