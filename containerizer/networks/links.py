"""The bridge and the cables to it, by netlink (`man 7 rtnetlink`).

A cable is a pair of interfaces (`man 4 veth`): one end is a port of the bridge, the other is born in the container's
network. It goes when either end does, so the end of a container takes it along; the host's end is removed all the same,
because the kernel takes its time with a network that nobody is in any more.

pyroute2 speaks netlink. It is imported when the first container asks for a network: nobody else pays for it. Its own
way into other network namespaces forks, and is not used: see :func:`connect`.

Everything here blocks, for the kernel does what it is asked within the call, and takes some hundredth of a second for
an interface: callers give it a thread.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import ipaddress
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec

from containerizer import linux
from containerizer.errors import ContainerizerError, NetworkError
from containerizer.networks import INSIDE, Grant, Network, hardware_address, owner_mark
from containerizer.processes import start_time_of

_LIBRARY: Final = "pyroute2"
_ALIAS: Final = "kaon containers of "
"""How the description of a bridge of ours begins; the containerizer's directory follows."""

_DUMPS: Final = 10
"""How often a list is asked for that changed while it was read (`NLM_F_DUMP_INTR`)."""

_SYSCTLS: Final = Path("/proc/sys/net")


class Link(msgspec.Struct, frozen=True):
    """An interface of this host. hardware: its Ethernet address; alias: its description; master: of its bridge."""

    index: int
    name: str
    kind: str
    hardware: str
    alias: str
    master: int


def has_library() -> bool:
    """Whether pyroute2 is installed; does not import it."""
    return importlib.util.find_spec(_LIBRARY) is not None


def exists(name: str) -> bool:
    """Whether there is an interface of that name."""
    return _index_of(name) != 0


def _index_of(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def library(name: str) -> Any:
    """A module of pyroute2."""
    return importlib.import_module(f"{_LIBRARY}.{name}")


@contextlib.contextmanager
def netlink(doing: str, kind: Callable[..., Any]) -> Iterator[Any]:
    """A netlink socket of that class; the kernel's errors become :class:`NetworkError` with what was being done."""
    made = kind()
    try:
        yield made
    except library("netlink.exceptions").NetlinkError as error:
        raise NetworkError(f"{doing}: {os.strerror(error.code)}") from None
    finally:
        made.close()


@contextlib.contextmanager
def _netlink(doing: str) -> Iterator[Any]:
    """The same for interfaces, addresses and routes."""
    module = library("iproute.linux")
    # No groups: what else changes on this host is of no interest.
    with netlink(doing, lambda: module.IPRoute(groups=0)) as route:
        yield route


# The bridge -----------------------------------------------------------------------------------------------------------


def is_ours(bridge: str, owner: str) -> bool:
    """Whether there is no such interface, or it is the bridge of this containerizer: then all that goes with the name
    is ours to take away."""
    with _netlink(f"look at {bridge}") as route:
        found = _find(route, bridge)
    return found is None or _is_bridge_of(found, owner)


def raise_bridge(network: Network, owner: str) -> None:
    """Make the bridge, or what is missing of it.

    Raises :class:`ContainerizerError` when the name or the addresses are somebody else's.
    """
    name = network.bridge
    with _netlink(f"make the bridge {name}") as route:
        found = _find(route, name)
        if found is not None and not _is_bridge_of(found, owner):
            if not _is_deserted(found):
                raise ContainerizerError(_complaint(found))
            _remove(route, found)
            found = None
        if found is None:
            _check_addresses(route, network)
            route.link("add", ifname=name, kind="bridge", address=owner_mark(owner))
        index = _index_of(name)
        route.link("set", index=index, state="up", IFLA_IFALIAS=f"{_ALIAS}{owner}")
        _set_address(route, index, network)
    _set_sysctls(name)


def _is_bridge_of(link: Link, owner: str) -> bool:
    return link.kind == "bridge" and link.hardware == owner_mark(owner)


def _is_deserted(link: Link) -> bool:
    """Whether it belonged to a containerizer whose directory is gone, and so are its containers."""
    owner = link.alias.removeprefix(_ALIAS)
    return link.kind == "bridge" and owner != link.alias and not Path(owner).exists()


def _complaint(link: Link) -> str:
    mend = "give the containerizer another --network-bridge"
    if link.kind != "bridge":
        return (
            f"{link.name} is the name of an interface that is no bridge{f' ({link.kind})' if link.kind else ''}: {mend}"
        )
    if link.alias.startswith(_ALIAS):
        other = link.alias.removeprefix(_ALIAS)
        return f"{link.name} is the bridge of the containerizer of {other}: {mend}, and another --network-subnet"
    return f"{link.name} is a bridge that somebody else has made: {mend}, or remove it (ip link delete {link.name})"


def _check_addresses(route: Any, network: Network) -> None:
    """A subnet that this host is connected to already would be cut in two."""
    for message in _dump(route.addr):
        address = message.get("address")
        if message["family"] != socket.AF_INET or not address:
            continue
        other = ipaddress.IPv4Network(f"{address}/{message['prefixlen']}", strict=False)
        if other.overlaps(network.addresses):
            name = socket.if_indextoname(message["index"])
            raise ContainerizerError(
                f"the subnet {network.subnet} of containers overlaps with {other} of {name}: give the containerizer "
                f"another --network-subnet"
            )


def _set_address(route: Any, index: int, network: Network) -> None:
    """The first of the subnet, and no others: with other flags there were others."""
    wanted = (network.gateway, network.addresses.prefixlen)
    present = {
        (message.get("address"), message["prefixlen"])
        for message in _dump(route.addr)
        if message["index"] == index and message["family"] == socket.AF_INET
    }
    for address, prefix in present - {wanted}:
        route.addr("del", index=index, address=address, prefixlen=prefix)
    if wanted not in present:
        route.addr("add", index=index, address=wanted[0], prefixlen=wanted[1])


def _set_sysctls(bridge: str) -> None:
    """What the bridge must let through (`Documentation/networking/ip-sysctl.rst`).

    From 127.0.0.1 of the host to a container leads a way only with `route_localnet`; the rules of
    :mod:`containerizer.networks.nat` see to it that none leads back. IPv6 would connect containers with the host past
    all rules.
    """
    wanted = {
        "ipv4/ip_forward": "1",
        f"ipv4/conf/{bridge}/route_localnet": "1",
        f"ipv6/conf/{bridge}/disable_ipv6": "1",
    }
    for name, value in wanted.items():
        path = _SYSCTLS / name
        try:
            # A change of the first sets others back to their defaults: it comes first, and only if it is one.
            if path.read_text().strip() != value:
                path.write_text(value)
        except FileNotFoundError:
            # A kernel without IPv6 needs none of it.
            continue
        except OSError as error:
            raise NetworkError(f"{path} <- {value}: {error.strerror}") from None


def remove_bridge(bridge: str) -> None:
    """With all that is connected to it; no error if it is not there."""
    with _netlink(f"remove the bridge {bridge}") as route:
        found = _find(route, bridge)
        if found is not None:
            _remove(route, found)


def _remove(route: Any, bridge: Link) -> None:
    for link in _links(route):
        if link.master == bridge.index:
            _delete(route, link.index)
    _delete(route, bridge.index)


# Cables ---------------------------------------------------------------------------------------------------------------


def connect(network: Network, grant: Grant, name: str, container_id: str, process_id: int, start_time: int) -> None:
    """Lay a cable from the bridge into the network of a process, which waits. name: of the host's end.

    Raises :class:`ContainerizerError`, also when the process is gone.
    """
    namespace = _open_network(process_id, start_time)
    try:
        with _netlink(f"connect container {container_id} to {network.bridge}") as route:
            bridge = _index_of(network.bridge)
            if not bridge:
                raise NetworkError(f"the bridge {network.bridge} has gone: somebody has removed it")
            # Its address says which one it is, so that neighbours that remember a predecessor are not led astray.
            hardware = hardware_address(b"\x4b" + ipaddress.IPv4Address(grant.address).packed)
            peer = {"ifname": INSIDE, "address": hardware, "net_ns_fd": namespace}
            route.link("add", ifname=name, kind="veth", state="up", master=bridge, peer=peer)
            index = _index_of(name)
            route.link("set", index=index, IFLA_IFALIAS=f"{_ALIAS}{container_id}")
            # A container that calls itself by a port of the host is answered through the port it has called by.
            route.brport("set", index=index, mode=1)
        # A thread can be in another network than its process. Nothing has to find the way back from there: this one
        # ends with what it does.
        with ThreadPoolExecutor(1, "inside") as inside:
            inside.submit(_configure, namespace, network, grant, container_id).result()
    finally:
        os.close(namespace)


def _open_network(process_id: int, start_time: int) -> int:
    """The network namespace of a process. If the number is the same process's afterwards, it was so before."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        namespace = os.open(f"/proc/{process_id}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if start_time_of(process_id) == start_time:
            return namespace
        os.close(namespace)
    raise ContainerizerError("the container's init was killed before it was connected to its network")


def _configure(namespace: int, network: Network, grant: Grant, container_id: str) -> None:
    """Go to a network and give its end of the cable an address."""
    try:
        linux.set_namespaces(namespace, linux.CLONE_NEWNET)
    except OSError as error:
        raise NetworkError(f"enter the network of container {container_id}: {error.strerror}") from None
    with _netlink(f"give {grant.address} to container {container_id}") as route:
        index = _index_of(INSIDE)
        if not index:
            raise NetworkError(f"container {container_id} has no {INSIDE}: the kernel has not moved it there")
        route.addr("add", index=index, address=grant.address, prefixlen=network.addresses.prefixlen)
        route.link("set", index=index, state="up")
        route.route("add", dst="default", gateway=network.gateway)


def disconnect(names: Iterable[str]) -> None:
    """Take cables away, by their ends on the host; no error for those that are not there."""
    present = [name for name in names if exists(name)]
    if present:
        with _netlink(f"remove {', '.join(present)}") as route:
            for name in present:
                _delete(route, _index_of(name))


def reconnect(bridge: str, names: set[str]) -> list[str]:
    """Have the bridge hold these cables, where they are there, and no others; returns those that were taken away."""
    strangers = []
    with _netlink(f"look after {bridge}") as route:
        index = _index_of(bridge)
        for link in _links(route):
            if link.name in names and link.master != index:
                route.link("set", index=link.index, master=index)
                route.brport("set", index=link.index, mode=1)
            elif link.name not in names and link.master == index:
                strangers.append(link.name)
                _delete(route, link.index)
    return strangers


# What the kernel says -------------------------------------------------------------------------------------------------


def _find(route: Any, name: str) -> Link | None:
    return next((link for link in _links(route) if link.name == name), None)


def _links(route: Any) -> list[Link]:
    return [
        Link(
            index=message["index"],
            name=message.get("ifname") or "",
            kind=message.get(("linkinfo", "kind")) or "",
            hardware=message.get("address") or "",
            alias=message.get("ifalias") or "",
            master=message.get("master") or 0,
        )
        for message in _dump(route.link)
    ]


def _dump(method: Any) -> list[Any]:
    """A list, asked for again when it has changed meanwhile."""
    interrupted = library("netlink.exceptions").NetlinkDumpInterrupted
    for _ in range(_DUMPS):
        try:
            return list(method("dump"))
        except interrupted:
            continue
    raise NetworkError("this host's interfaces change faster than they can be listed")


def _delete(route: Any, index: int) -> None:
    """Remove an interface that may be gone already, with the network that its other end was in."""
    error_type = library("netlink.exceptions").NetlinkError
    try:
        if index:
            route.link("del", index=index)
    except error_type as error:
        if error.code != errno.ENODEV:
            raise
