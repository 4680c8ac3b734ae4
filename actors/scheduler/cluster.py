"""How a scheduler's process finds its cluster: by argument, by environment, or in the work directory of `kaon up`."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Final

import msgspec

from runtime.errors import KaonError
from runtime.pid import PID
from runtime.transport.zeromq.addresses import parse_address
from runtime.transport.zeromq.keys import NodeKey, read_key

CLUSTER_FILE: Final = "cluster.toml"
"""Written by `kaon up` into its work directory: where its master is, and which key opens it."""


class Cluster(msgspec.Struct, frozen=True):
    """Where the masters are, and what proves to them who this is. key None: insecure."""

    masters: tuple[PID, ...]
    key: NodeKey | None

    @property
    def principal(self) -> str:
        """Name of the key's owner, with which node ids begin."""
        return self.key.principal if self.key is not None else "insecure"


def default_work_dir() -> Path:
    """Where `kaon up` keeps a cluster unless it is told otherwise: ``KAON_WORK_DIR``, or ``~/.kaon``."""
    return Path(os.environ.get("KAON_WORK_DIR") or Path.home() / ".kaon")


def find_cluster(
    master: str | None = None,
    key_file: Path | str | None = None,
    *,
    work_dir: Path | None = None,
    insecure: bool = False,
) -> Cluster:
    """Find the cluster: what is not given is looked for in ``KAON_MASTER`` and ``KAON_KEY``, then in the file that
    `kaon up` leaves in its work directory.

    master    one address (``tcp://10.0.0.1:5040``), or several with commas between them
    work_dir  of that `kaon up`; None for the default
    Raises :class:`KaonError` that says how to name one.
    """
    master = master or os.environ.get("KAON_MASTER")
    key_file = key_file or os.environ.get("KAON_KEY") or None
    if master is None or (key_file is None and not insecure):
        known = _running_here(master, work_dir or default_work_dir())
        master = master or str(known["master"])
        insecure = insecure or bool(known.get("insecure", False))
        key_file = key_file or str(known.get("key") or "") or None
    if key_file is None and not insecure:
        raise KaonError(f"no key for {master}: name its file, or say that the cluster is insecure")
    addresses = [part.strip() for part in master.split(",")]
    addresses = [part if "://" in part else f"tcp://{part}" for part in addresses]
    for address in addresses:
        parse_address(address)
    key = None if insecure or key_file is None else read_key(Path(key_file))
    return Cluster(tuple(PID("master", address) for address in addresses), key)


def _running_here(master: str | None, work_dir: Path) -> dict[str, object]:
    file = work_dir / CLUSTER_FILE
    try:
        known = tomllib.loads(file.read_text())
    except FileNotFoundError:
        missing = "no master is named" if master is None else f"no key for {master} is named"
        raise KaonError(
            f"{missing}, and no cluster runs in {file.parent}: start one with `kaon up`, or name one with --master and "
            "--key (KAON_MASTER and KAON_KEY in the environment)"
        ) from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise KaonError(f"{file} cannot be read: {error}") from None
    if "master" not in known:
        raise KaonError(f"{file} names no master: start the cluster again with `kaon up`")
    return known
