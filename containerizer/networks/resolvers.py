"""Names inside a network of its own: the files by which programs find hosts, and themselves.

A resolver that listens on the host's loopback is out of reach there. That of systemd keeps a second file, with the name
servers that it asks itself (`man 8 systemd-resolved.service`, "/etc/resolv.conf").
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CONFIGURATION: Final = "/etc/resolv.conf"
UPSTREAM: Final = "/run/systemd/resolve/resolv.conf"
HOSTS: Final = "/etc/hosts"


def find_resolvers(files: Sequence[str] = (CONFIGURATION, UPSTREAM)) -> str:
    """The first of these files that names a server which can be reached from another network; empty for none."""
    return next((file for file in files if _reaches_out(file)), "")


def _reaches_out(file: str) -> bool:
    try:
        text = Path(file).read_text(errors="replace")
    except OSError:
        return False
    servers = [line.split()[1] for line in text.splitlines() if line.startswith("nameserver") and len(line.split()) > 1]
    return any(not _is_loopback(server) for server in servers)


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return True


def hosts_file(address: str, hostname: str) -> str:
    """Text of an /etc/hosts: loopback, and the container by its name."""
    short, dot, _ = hostname.partition(".")
    names = f"{hostname} {short}" if dot else hostname
    return f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{names}\n"
