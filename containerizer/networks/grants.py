"""Which container has which address and which ports of the host: files, written before anybody has anything.

A directory beside those of the containers, with a file for each container that has a network of its own. A file is
there whole or not at all. After a crash of any kind what stands there is taken until its container is cleaned up.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from containerizer.errors import ContainerizerError
from containerizer.networks import Grant, Network
from containerizer.spec import PortMapping

DIRECTORY: Final = ".networks"
_NEW: Final = ".new"
"""A file that is being written; no container id begins with a dot."""

_KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class Grants:
    """All of one containerizer. parent: the directory that containers' directories are in.

    Raises :class:`ContainerizerError` for a file that cannot be read.
    """

    def __init__(self, parent: Path) -> None:
        self.parent = parent
        self._directory = parent / DIRECTORY
        self._grants: dict[str, Grant] = {}
        self._last = ""
        if self._directory.is_dir():
            for path in sorted(self._directory.iterdir()):
                text = path.read_bytes()
                if path.name == _NEW or not text:
                    # The machine ended before it was on the disk, and all containers with it.
                    path.unlink()
                    continue
                try:
                    self._grants[path.name] = msgspec.json.decode(text, type=Grant)
                except msgspec.MsgspecError as error:
                    raise ContainerizerError(
                        f"{path}: {error}. It was damaged, or written by another version: remove the file once "
                        f"nothing of that container runs"
                    ) from None
            self._remove_directory()

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._grants))

    def __len__(self) -> int:
        return len(self._grants)

    def get(self, container_id: str) -> Grant | None:
        """What it has; None for nothing."""
        return self._grants.get(container_id)

    def of_bridge(self, bridge: str) -> list[Grant]:
        """What is connected to that one."""
        return [grant for grant in self._grants.values() if grant.bridge == bridge]

    def add(self, container_id: str, network: Network, ports: tuple[PortMapping, ...]) -> Grant:
        """Choose a free address and write it down with these ports.

        Raises :class:`ContainerizerError` for a port that is taken, and when there is no address left.
        """
        for mapping in ports:
            self._check_free(mapping)
        taken = {grant.address for grant in self._grants.values()}
        address = next((one for one in network.candidates(self._last) if one not in taken), "")
        if not address:
            raise ContainerizerError(
                f"the subnet {network.subnet} of {network.bridge} is full: all of its {network.room} addresses are "
                f"taken; end a container, or give the agent's containerizer a larger --network-subnet"
            )
        grant = Grant(address=address, bridge=network.bridge, ports=ports)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        new = self._directory / _NEW
        new.write_bytes(msgspec.json.encode(grant))
        new.rename(self._directory / container_id)
        self._grants[container_id] = grant
        self._last = address
        return grant

    def _check_free(self, mapping: PortMapping) -> None:
        name = f"host port {mapping.host_port}/{mapping.protocol}"
        for container_id, grant in self._grants.items():
            if any((one.host_port, one.protocol) == (mapping.host_port, mapping.protocol) for one in grant.ports):
                raise ContainerizerError(f"{name} is taken: it leads to container {container_id}")
        with socket.socket(socket.AF_INET, _KINDS[mapping.protocol]) as tried:
            if mapping.protocol == "tcp":
                # Connections that linger from a listener that has gone are in nobody's way.
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("", mapping.host_port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise ContainerizerError(f"{name} is taken: a process of this host is bound to it") from None
                raise ContainerizerError(f"{name} cannot be had: {error.strerror}") from None

    def remove(self, container_id: str) -> None:
        """It has nothing any more."""
        self._grants.pop(container_id, None)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._directory / container_id)  # noqa: PTH108
        self._remove_directory()

    def _remove_directory(self) -> None:
        with contextlib.suppress(OSError):  # some have something, or nobody ever had
            self._directory.rmdir()
