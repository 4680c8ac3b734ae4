"""Containers with a network of their own: what they reach, who reaches them, and by which port."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from containerizer.spec import PortMapping

pytestmark = pytest.mark.root

Real = Callable[..., Any]

SERVE = """
import os, socket, sys, threading
me, port = sys.argv[1], int(sys.argv[2])
tcp = socket.create_server(("", port))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", port))
def answer():
    while True:
        text, peer = udp.recvfrom(4096)
        print("heard", text.decode(), "of", peer[0], flush=True)
        udp.sendto(f"{me} {peer[0]}".encode(), peer)
threading.Thread(target=answer, daemon=True).start()
print("serves at", os.environ["MESOS_CONTAINER_IP"], flush=True)
while True:
    connection, peer = tcp.accept()
    connection.sendall(f"{me} {peer[0]}".encode())
    connection.close()
"""
"""A server that says its name and whom it sees, by TCP and UDP."""

ASK = """
import socket, sys
for word in sys.argv[1:]:
    kind, address, port = word.split(":")
    with socket.socket(socket.AF_INET, {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[kind]) as made:
        made.settimeout(10)
        made.connect((address, int(port)))
        if kind == "udp":
            made.send(b"hello")
        print(made.recv(4096).decode(), flush=True)
"""


def python(program: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", program, *arguments)


def mapped(*pairs: tuple[int, int]) -> tuple[PortMapping, ...]:
    return tuple(
        PortMapping(host_port=host, container_port=inside, protocol=protocol)
        for host, inside in pairs
        for protocol in ("tcp", "udp")
    )


@pytest.fixture
def machine(network: Any, real: Real) -> Any:
    made = real("auto")
    made.attach()
    return made


def serve(machine: Any, container_id: str, *pairs: tuple[int, int], **fields: Any) -> str:
    """Launch a server; returns its address."""
    program = python(SERVE, container_id, "80")
    machine.launch(container_id, argv=program, network="bridge", ports=mapped(*pairs), **fields)
    machine.await_output(container_id, "serves at")
    return str(machine.output(container_id).split()[2])


def ask_inside(machine: Any, container_id: str, *words: str, **fields: Any) -> list[str]:
    exited = machine.run(container_id, argv=python(ASK, *words), **fields)
    assert exited.exit_code == 0, machine.output(container_id, "stderr")
    return list(machine.output(container_id).splitlines())


def test_it_reaches_its_neighbours_and_what_the_host_reaches(machine: Any, network: Any, wires: Any) -> None:
    assert serve(machine, "c1") == "172.31.240.2"
    assert serve(machine, "c2") == "172.31.240.3"
    said = ask_inside(machine, "c3", "tcp:172.31.240.2:80", "udp:172.31.240.3:80", network="bridge")
    assert said == ["c1 172.31.240.4", "c2 172.31.240.4"]
    assert wires.ask_tcp("172.31.240.2", 80) == "c1 172.31.240.1"


def test_a_port_of_the_host_leads_in(machine: Any, network: Any, wires: Any) -> None:
    serve(machine, "c1", (8080, 80))
    for ask in (wires.ask_tcp, wires.ask_udp):
        assert network.outside(ask, wires.HOST, 8080) == f"c1 {wires.OUTSIDE}", "who asks is seen"
        assert ask(wires.HOST, 8080) == f"c1 {wires.HOST}"
        assert ask("127.0.0.1", 8080) == "c1 172.31.240.1"
