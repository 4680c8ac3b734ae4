"""Networks of containers' own: one bridge on this host, a subnet behind it, and ports of the host that lead there.

`links` speaks netlink, `nat` has the kernel's packet filter translate addresses, `grants` remembers who has which
address and which port, `resolvers` finds name servers that can be reached from inside. What is done with them for a
container is the isolator's: :mod:`containerizer.isolators.bridge`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

from containerizer.spec import PortMapping, Record
from runtime.errors import ConfigurationError

DEFAULT_BRIDGE: Final = "kaon0"
DEFAULT_SUBNET: Final = "172.31.240.0/20"
"""Four thousand addresses of those that are nobody's on the Internet (RFC 1918)."""

INSIDE: Final = "eth0"
"""What a container's end is called."""

_LONGEST_PREFIX: Final = 30
"""Two addresses: the bridge's and a container's."""

_UNFIT: Final = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
"""This host, loopback, one wire's own, groups and what is reserved (RFC 6890)."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
"""The kernel allows 15 bytes and more characters than are good for it (`dev_valid_name`, `net/core/dev.c`)."""


class Grant(Record, frozen=True, kw_only=True):
    """What a container has. bridge: that it is connected to."""

    address: str
    bridge: str
    ports: tuple[PortMapping, ...] = ()


class Network(Record, frozen=True, kw_only=True):
    """What the flags say.

    bridge  its name
    subnet  of containers' addresses, as ``172.31.240.0/20``; the bridge has the first
    """

    bridge: str = DEFAULT_BRIDGE
    subnet: str = DEFAULT_SUBNET

    @property
    def addresses(self) -> ipaddress.IPv4Network:
        """The subnet."""
        return ipaddress.IPv4Network(self.subnet)

    @property
    def gateway(self) -> str:
        """The bridge's address, by which containers reach everything else."""
        return str(self.addresses[1])

    @property
    def room(self) -> int:
        """How many containers there are addresses for."""
        return self.addresses.num_addresses - 3

    def holds(self, grant: Grant) -> bool:
        """Whether it could have been granted here."""
        return grant.bridge == self.bridge and ipaddress.IPv4Address(grant.address) in self.addresses

    def candidates(self, after: str) -> Iterator[str]:
        """Every address for a container once, beginning behind `after`: an address rests before it is used again."""
        first, last = int(self.addresses[2]), int(self.addresses[-2])
        start = int(ipaddress.IPv4Address(after)) + 1 if after else first
        start = start if first <= start <= last else first
        for number in chain(range(start, last + 1), range(first, start)):
            yield str(ipaddress.IPv4Address(number))


def read_network(bridge: str, subnet: str) -> Network:
    """The network that the flags describe. Raises :class:`ConfigurationError`, which says what is wrong with them."""
    if not _NAME.fullmatch(bridge):
        raise ConfigurationError(
            f"--network-bridge is {bridge!r}: the name of an interface has 1 to 15 letters, digits, '.', '_' and '-'"
        )
    try:
        addresses = ipaddress.IPv4Network(subnet)
    except ValueError as error:
        raise ConfigurationError(
            f"--network-subnet is {subnet!r}: {error}; write an IPv4 subnet, such as {DEFAULT_SUBNET}"
        ) from None
    if addresses.prefixlen > _LONGEST_PREFIX:
        raise ConfigurationError(
            f"--network-subnet is {subnet!r}: it has no room for a bridge and a container: /{_LONGEST_PREFIX} at most"
        )
    if any(addresses.overlaps(ipaddress.IPv4Network(unfit)) for unfit in _UNFIT):
        raise ConfigurationError(
            f"--network-subnet is {subnet!r}: hosts cannot have such addresses; take a private subnet, such as "
            f"{DEFAULT_SUBNET}"
        )
    return Network(bridge=bridge, subnet=str(addresses))


def hardware_address(seed: bytes) -> str:
    """An Ethernet address made of five bytes: one that is administered locally, and no group's."""
    return ":".join(f"{byte:02x}" for byte in b"\x02" + seed[:5])


def owner_mark(owner: str) -> str:
    """The Ethernet address of a bridge that belongs to the containerizer of that directory: it is there from the
    moment the bridge is, so one that was killed right then knows its own again."""
    return hardware_address(hashlib.sha256(owner.encode()).digest())


def host_end(owner: str, address: str) -> str:
    """The name of a container's cable where it ends on the host: no other containerizer has one of that name, whatever
    addresses it has been told to give."""
    return f"kaon{hashlib.sha256(f'{owner} {address}'.encode()).hexdigest()[:10]}"
