"""Servers and those who ask them, in containers and outside: what tests of networks talk with."""

from __future__ import annotations

import socket
import sys
from typing import Any

from containerizer.spec import PortMapping

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


def serve(machine: Any, container_id: str, *pairs: tuple[int, int], **fields: Any) -> str:
    """Launch a server; returns its address."""
    program = python(SERVE, container_id, "80")
    machine.launch(container_id, argv=program, network="bridge", ports=mapped(*pairs), **fields)
    machine.await_output(container_id, "serves at")
    return str(machine.output(container_id).split()[2])


def ask_inside(machine: Any, container_id: str, *words: str, **fields: Any) -> list[str]:
    """Answers to what a container asks: protocol, address and port."""
    exited = machine.run(container_id, argv=python(ASK, *words), **fields)
    assert exited.exit_code == 0, machine.output(container_id, "stderr")
    return list(machine.output(container_id).splitlines())


def ask_tcp(address: str, port: int) -> str:
    """All that a server there says."""
    with socket.create_connection((address, port), 10) as connection:
        said = b""
        while piece := connection.recv(4096):
            said += piece
    return said.decode()


def ask_udp(address: str, port: int, text: str = "hello") -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(10)
        made.connect((address, port))
        made.send(text.encode())
        return made.recv(4096).decode()
