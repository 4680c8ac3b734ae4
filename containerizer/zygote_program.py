"""Becomes a zygote: ``python -I -S zygote_program.py RUNTIME_DIRECTORY DESCRIPTORS``, see :mod:`containerizer.zygote`.

A file of its own, because Python compiles the one that it is given each time, and what that takes of memory would be
copied into every container; what is imported has been compiled before.
"""

# ruff: noqa: PTH100, PTH120
# pathlib would cost every container a megabyte.
from __future__ import annotations

import os
import sys

# The directory of the package: -I keeps it off the path, and last in line it shadows nothing.
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from containerizer import zygote

zygote.main(sys.argv[1], int(sys.argv[2]))
