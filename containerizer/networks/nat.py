"""Addresses translated by the kernel's packet filter, through the program `nft` (`man 8 nft`).

A table for each bridge. Ports of the host are elements of two maps, so the rules are as many for a thousand containers
as for one, and a port comes and goes by itself. Every change is one transaction: it is done whole or not at all.

What the rules do:

- a connection to any address of this host, from outside, from the host itself or from a container, goes on to the
  container that has its port;
- what a container sends elsewhere leaves with this host's address;
- what comes from the host's loopback, or from a container, by way of a port of the host has the bridge's address as its
  source: the answer has to come back the same way;
- nothing else is passed on to a container, and what comes from one cannot pretend to be the host's loopback, nor have
  it as its destination (CVE-2020-8558).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from containerizer.errors import NetworkError
from containerizer.networks import Grant, Network

PROGRAM: Final = "nft"
PROGRAM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where it is looked for: a daemon's own PATH may leave out what only root runs."""

CHECK: Final = "--check"

TIMEOUT_SECONDS: Final = 30.0
"""For one transaction, which takes a hundredth of a second."""

_LOCK_SECONDS: Final = 0.002
"""Between two looks at a lock that a killed containerizer's `nft` still holds."""


def find_program() -> str:
    """The path of `nft`; empty where it is not installed."""
    return shutil.which(PROGRAM, path=PROGRAM_PATH) or ""


def table_of(bridge: str) -> str:
    """Its name; that of the bridge alone could be a word of the language."""
    return f"kaon-{bridge}"


def whole_table(network: Network, grants: Iterable[Grant]) -> str:
    """Text that puts the table in the place of what is there, with the ports of these containers."""
    own = list(grants)
    bridge, subnet, table = network.bridge, network.subnet, table_of(network.bridge)
    onwards = "\n".join(
        f"        fib daddr type local dnat ip addr . port to {protocol} dport map @{protocol}_ports"
        for protocol in ("tcp", "udp")
    )
    return f"""{_fresh(bridge)}
table ip {table} {{
    map tcp_ports {{ type inet_service : ipv4_addr . inet_service; }}
    map udp_ports {{ type inet_service : ipv4_addr . inet_service; }}
    chain unpretending {{
        type filter hook prerouting priority -300; policy accept;
        iifname "{bridge}" ip daddr 127.0.0.0/8 drop
        iifname "{bridge}" ip saddr != {subnet} drop
    }}
    chain arriving {{
        type nat hook prerouting priority -100; policy accept;
{onwards}
    }}
    chain calling {{
        type nat hook output priority -100; policy accept;
{onwards}
    }}
    chain passing {{
        type filter hook forward priority 0; policy accept;
        oifname != "{bridge}" accept
        iifname "{bridge}" accept
        ct state established,related accept
        ct status dnat accept
        drop
    }}
    chain leaving {{
        type nat hook postrouting priority 100; policy accept;
        ip saddr {subnet} oifname != "{bridge}" masquerade
        oifname "{bridge}" ct status dnat ip saddr {{ 127.0.0.0/8, {subnet} }} masquerade
    }}
}}
{"".join(added_ports(grant) for grant in own)}"""


def no_table(bridge: str) -> str:
    """Text that takes the table away, also where there is none."""
    return _fresh(bridge)


def _fresh(bridge: str) -> str:
    # Only what is there can be deleted, and what is there can be added.
    return f"add table ip {table_of(bridge)}\ndelete table ip {table_of(bridge)}\n"


def added_ports(grant: Grant) -> str:
    """Text that leads a container's ports to it."""
    return "".join(
        f"add element ip {table_of(grant.bridge)} {mapping.protocol}_ports "
        f"{{ {mapping.host_port} : {grant.address} . {mapping.container_port} }}\n"
        for mapping in grant.ports
    )


def removed_ports(grant: Grant) -> str:
    """Text that leads them nowhere, also where they did not lead to it yet."""
    return added_ports(grant) + "".join(
        f"delete element ip {table_of(grant.bridge)} {mapping.protocol}_ports {{ {mapping.host_port} }}\n"
        for mapping in grant.ports
    )


async def change(text: str, directory: Path, *options: str) -> None:
    """Have `nft` do what a text says, all of it or nothing.

    options    of `nft`: `CHECK` to have the kernel look at the text, and change nothing
    directory  of this containerizer: locked by `nft` itself until it ends, so that what a containerizer had begun when
               it was killed comes before what its successor does
    Raises :class:`NetworkError` with what `nft` says.

    No process is forked here: asyncio's subprocesses are started by `vfork`, of which no lock can be left behind.
    """
    if not text:
        return
    # A file, not a pipe: half of a text could be a valid one.
    file = os.memfd_create(PROGRAM, os.MFD_CLOEXEC)
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode())
        os.lseek(file, 0, os.SEEK_SET)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await _take(lock)
            await _run(file, lock, options)
    except TimeoutError:
        raise NetworkError(f"nft has not ended after {TIMEOUT_SECONDS:.0f} s") from None
    finally:
        os.close(lock)
        os.close(file)


async def _take(lock: int) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(_LOCK_SECONDS)
        else:
            return


async def _run(file: int, lock: int, options: tuple[str, ...]) -> None:
    program = find_program()
    if not program:
        raise NetworkError(f"{PROGRAM} is not installed any more: install Debian's package nftables")
    process = await asyncio.create_subprocess_exec(
        *(program, *options, "-f", "-"),
        stdin=file,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=(lock,),
    )
    try:
        _, said = await process.communicate()
    except BaseException:
        process.kill()
        raise
    if process.returncode:
        lines = [line for line in said.decode(errors="replace").splitlines() if "Error" in line]
        text = lines[0].partition("Error: ")[2] if lines else f"it ended with {process.returncode}"
        raise NetworkError(
            f"nft cannot change the packet filter: {text}; it takes a kernel with nf_tables, its NAT and fib "
            f"(CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_FIB_IPV4)"
        )
