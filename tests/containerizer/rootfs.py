"""A small root file system made of the host's own programs and their libraries."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PROGRAMS = ("sh", "cat", "ls", "id", "touch", "sleep", "mkdir", "ln", "env", "hostname", "readlink", "pwd", "stat")


def build(root: Path) -> Path:
    """Fill `root`; returns it."""
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev", "usr"):
        (root / name).mkdir(parents=True)
    for name in PROGRAMS:
        program = Path(shutil.which(name) or f"/bin/{name}").resolve()
        copy(program, root / "bin" / name)
        for library in libraries_of(program):
            copy(library, root / library.relative_to("/"))
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    return root


def libraries_of(program: Path) -> list[Path]:
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [Path(word) for line in said.splitlines() for word in line.split() if word.startswith("/")]


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy(source.resolve(), target)
