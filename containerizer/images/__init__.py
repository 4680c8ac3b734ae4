"""Root file systems from tarballs, each unpacked once and then shared read-only below overlays."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import Final

from containerizer.errors import InvalidSpec

_locks: dict[Path, asyncio.Lock] = {}

MAX_ENTRIES: Final = 2_000_000
"""Files in a tarball at most: one that has more is broken, or meant to fill the disk."""


async def unpack(archive: Path, directory: Path) -> Path:
    """The tree of a tarball (plain, gzip, bzip2 or xz), below `directory`, unpacked now if it is new or was changed.

    Owners, modes and links are kept. Raises :class:`InvalidSpec` for a file that is no tarball, and for an entry that
    would be written outside of the tree.
    """
    try:
        status = archive.stat()
    except OSError as error:
        raise InvalidSpec(f"root.path {archive} cannot be read: {error.strerror}") from None
    name = f"{archive}\0{status.st_size}\0{status.st_mtime_ns}"
    tree = directory / hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    async with _locks.setdefault(tree, asyncio.Lock()):
        if not tree.is_dir():
            await asyncio.to_thread(_unpack, archive, tree)
    return tree


def _unpack(archive: Path, tree: Path) -> None:
    """Beside its place first: what is in its place is whole."""
    tree.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=tree.parent, prefix=".new-"))
    try:
        with tarfile.open(archive) as tar:
            for number, member in enumerate(tar):
                if number >= MAX_ENTRIES:
                    raise InvalidSpec(f"{archive} has more than {MAX_ENTRIES} entries")
                _check(archive, new, member)
                tar.extract(member, new, numeric_owner=True, filter="fully_trusted")
        new.chmod(0o755)
        new.rename(tree)
    except tarfile.TarError as error:
        raise InvalidSpec(f"root.path {archive} is no tarball that can be read: {error}") from None
    finally:
        if new.exists():
            shutil.rmtree(new)


def _check(archive: Path, root: Path, member: tarfile.TarInfo) -> None:
    """Refuse an entry that leads out of the tree, by its name or by a link that was unpacked before it."""
    name = PurePosixPath(member.name)
    where = f"{archive}: entry {member.name!r}"
    if name.is_absolute() or ".." in name.parts:
        raise InvalidSpec(f"{where} is not below the root")
    if member.ischr() or member.isblk():
        raise InvalidSpec(f"{where} is a device: a container gets its devices from the agent")
    if name.parts and not (root / name).parent.resolve().is_relative_to(root):
        raise InvalidSpec(f"{where} lies behind a link that leads out of the root")
    if member.islnk():
        target = PurePosixPath(member.linkname)
        if target.is_absolute() or ".." in target.parts or not (root / target).resolve().is_relative_to(root):
            raise InvalidSpec(f"{where} is a hard link to something outside of the root")
