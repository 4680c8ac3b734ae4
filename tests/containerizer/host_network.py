"""A network that stands for this machine's, so that tests change none that anybody uses.

The test's thread leaves the machine's network for one of its own, and what it starts comes along. There is a second one
outside of it, with a cable in between::

    outside 192.0.2.2 ---- 192.0.2.1 "host" ---- bridge ---- containers
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pyroute2 import IPRoute

from containerizer import linux

T = TypeVar("T")

HOST, OUTSIDE = "192.0.2.1", "192.0.2.2"
"""Of a subnet for documentation (RFC 5737)."""

CABLE = "outward"


class HostNetwork:
    """See the module. Socket calls that a test makes are the host's; those by `outside` are another machine's."""

    def __init__(self) -> None:
        self._own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        linux.unshare(linux.CLONE_NEWNET)
        self._outside = in_thread(enter_new_network)
        with IPRoute() as route:
            peer = {"ifname": "inward", "net_ns_fd": self._outside}
            route.link("add", ifname=CABLE, kind="veth", peer=peer)
            raise_link(route, "lo")
            raise_link(route, CABLE, HOST)
        self.outside(raise_outside)
        self._first = {name for _, name in socket.if_nameindex()}

    def outside(self, does: Callable[..., T], *arguments: Any) -> T:
        """What it returns when it is done outside; a socket that it makes stays there."""

        def work() -> T:
            linux.set_namespaces(self._outside, linux.CLONE_NEWNET)
            return does(*arguments)

        return in_thread(work)

    def interfaces(self) -> set[str]:
        """Of the host, without those that it had to begin with."""
        return {name for _, name in socket.if_nameindex()} - self._first

    def left(self, machine: Any) -> list[str]:
        """What there should not be when no container has a network of its own."""
        found = [f"interface {name}" for name in sorted(self.interfaces())]
        found += [f"filter {line}" for line in tables().splitlines() if "kaon" in line]
        grants = Path(machine.runtime_directory).with_name("run-work") / ".networks"
        return [*found, *([f"grants {grants}"] if grants.exists() else [])]

    def close(self) -> None:
        linux.set_namespaces(self._own, linux.CLONE_NEWNET)
        os.close(self._own)
        os.close(self._outside)


@contextlib.contextmanager
def host_network() -> Iterator[HostNetwork]:
    made = HostNetwork()
    try:
        yield made
    finally:
        made.close()


def in_thread(does: Callable[[], T]) -> T:
    """In a thread that ends with it: where it has gone, nobody has to come back from."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(does())
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def enter_new_network() -> int:
    linux.unshare(linux.CLONE_NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def raise_outside() -> None:
    with IPRoute() as route:
        raise_link(route, "lo")
        raise_link(route, "inward", OUTSIDE)
        # As another machine of the same wire might, which is not to be helped by it.
        route.route("add", dst="172.31.240.0/20", gateway=HOST)


def raise_link(route: Any, name: str, address: str = "") -> None:
    (index,) = route.link_lookup(ifname=name)
    route.link("set", index=index, state="up")
    if address:
        route.addr("add", index=index, address=address, prefixlen=24)


# What there is --------------------------------------------------------------------------------------------------------


def tables() -> str:
    return subprocess.run(["/usr/sbin/nft", "list", "tables"], check=True, capture_output=True, text=True).stdout


def ports_of(protocol: str, bridge: str = "kaon0") -> str:
    command = ["/usr/sbin/nft", "list", "map", "ip", f"kaon-{bridge}", f"{protocol}_ports"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
