"""Ways out of a network of its own, tried from inside; see `test_escapes.py`."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.containerizer.conversations import python

pytestmark = pytest.mark.root

Real = Callable[..., Any]


@pytest.fixture
def machine(network: Any, real: Real) -> Any:
    made = real("auto")
    made.attach()
    return made


FRAMES = """
import fcntl, socket, struct, sys
def address(text): return socket.inet_aton(text)
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
def frame(source, target, text):
    datagram = struct.pack("!HHHH", 4000, 7000, 8 + len(text), 0) + text
    fields = (0x45, 0, 20 + len(datagram), 1, 0, 64, 17)
    head = struct.pack("!BBHHHBBH", *fields, 0) + address(source) + address(target)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return bridge + own + b"\\x08\\x00" + head + datagram
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
    own = fcntl.ioctl(asked, 0x8927, b"eth0".ljust(40, b"\\0"))[18:24]
    # The answer to this tells the kernel who the bridge is.
    asked.sendto(b"first", ("172.31.240.1", 7000))
    asked.settimeout(10)
    asked.recv(10)
(found,) = [line.split()[3] for line in open("/proc/net/arp") if line.startswith("172.31.240.1 ")]
bridge = bytes.fromhex(found.replace(":", ""))
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
    wire.bind(("eth0", 0))
    wire.send(frame("172.31.240.2", "127.0.0.1", b"to the loopback"))
    wire.send(frame("127.0.0.1", "172.31.240.1", b"from the loopback"))
    wire.send(frame("192.0.2.77", "172.31.240.1", b"from somewhere else"))
    wire.send(frame("172.31.240.2", "172.31.240.1", b"last"))
"""
"""Datagrams that no honest kernel sends, by one who may write frames."""


def test_pretending_to_be_the_hosts_loopback(machine: Any) -> None:
    """A way from there into containers must not be one from containers to there (CVE-2020-8558). What comes last proves
    that what was sent before it has not come."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.settimeout(10)
        server.bind(("", 7000))
        machine.launch("escape", argv=python(FRAMES), network="bridge", capabilities=("CAP_NET_RAW",))
        heard, peer = server.recvfrom(100)
        server.sendto(b"welcome", peer)
        said = [heard, server.recv(100)]
    assert machine.exit_of("escape").exit_code == 0, machine.output("escape", "stderr")
    assert said == [b"first", b"last"]


def test_reaching_a_service_of_the_hosts_loopback(machine: Any) -> None:
    with socket.create_server(("127.0.0.1", 7000)):
        program = "import socket; socket.create_connection(('{}', 7000), 5); print('ESCAPED')"
        for number, address in enumerate(("127.0.0.1", "172.31.240.1", "192.0.2.1")):
            machine.run(f"escape{number}", argv=python(program.format(address)), network="bridge")
            assert "Connection refused" in machine.output(f"escape{number}", "stderr")


def test_changing_the_network_that_it_was_given(machine: Any) -> None:
    """RTM_DELLINK of its first interface; the kernel answers with an error (`man 7 netlink`)."""
    program = (
        "import os, socket, struct\n"
        "made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n"
        "made.send(struct.pack('=IHHIIBxHiII', 32, 17, 5, 1, 0, 0, 0, 2, 0, 0))\n"
        "print(os.strerror(-struct.unpack_from('=i', made.recv(1000), 16)[0]))"
    )
    machine.run("escape", argv=python(program), network="bridge")
    assert machine.output("escape") == "Operation not permitted\n"
