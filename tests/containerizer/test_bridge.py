"""Containers with a network of their own: what they reach, who reaches them, and by which port."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer.messages import Launch, Launched
from containerizer.spec import Namespace, PortMapping, Root, RootKind
from tests.containerizer.conversations import SERVE, ask_inside, ask_tcp, ask_udp, mapped, python, serve
from tests.containerizer.host_network import HOST, OUTSIDE

pytestmark = pytest.mark.root

Real = Callable[..., Any]

ALL_BUT_USER = tuple(namespace for namespace in Namespace if namespace is not Namespace.USER)


@pytest.fixture
def machine(network: Any, real: Real) -> Any:
    made = real("auto")
    made.attach()
    return made


# What it has ---------------------------------------------------------------------------------------------------------


def test_it_has_an_address_a_loopback_and_a_name(machine: Any) -> None:
    program = "echo $MESOS_CONTAINER_IP; hostname; getent ahostsv4 web; cat /proc/net/fib_trie; cat /etc/hosts"
    machine.run("c1", program, network="bridge", hostname="web")
    said = machine.output("c1")
    assert said.splitlines()[:2] == ["172.31.240.2", "web"]
    assert said.splitlines()[2].split()[:2] == ["172.31.240.2", "STREAM"]
    assert "172.31.240.2\tweb\n" in said
    assert "|-- 127.0.0.1\n" in said
    machine.run("c2", "ls /sys/class/net; cat /sys/class/net/eth0/address", network="bridge")
    assert machine.output("c2").split() == ["eth0", "lo", "02:4b:ac:1f:f0:03"], "neighbours know it by this"


def test_it_has_name_servers_that_it_can_reach(
    machine: Any,
    build_rootfs: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Any file of the host serves to see that the one that was chosen is shown."""
    chosen = "/etc/os-release"
    monkeypatch.setattr("containerizer.isolators.bridge.find_resolvers", lambda: chosen)
    own = Root(kind=RootKind.DIRECTORY, path=str(build_rootfs(machine.directory / "rootfs")))
    for number, root in enumerate((Root(), own, Root(kind=RootKind.HOST_READ_ONLY))):
        machine.run(f"c{number}", "cat /etc/resolv.conf /etc/hosts", network="bridge", hostname="web", root=root)
        assert machine.output(f"c{number}").startswith(f"{Path(chosen).read_text()}127.0.0.1\tlocalhost\n")
        assert f"172.31.240.{2 + number}\tweb\n" in machine.output(f"c{number}")
    assert "web" not in Path("/etc/hosts").read_text().split()
    monkeypatch.setattr("containerizer.isolators.bridge.find_resolvers", lambda: "")
    assert machine.run("none", "true", network="bridge").exit_code == 0
    assert "which containers on kaon0 cannot reach: they find no names" in caplog.text


def test_nested_containers_are_in_the_network_of_their_parent(machine: Any) -> None:
    machine.launch("pod", "sleep 600", network="bridge", ports=mapped((8080, 80)))
    machine.launch("pod.web", argv=python(SERVE, "web", "80"), environment=(("MESOS_CONTAINER_IP", "its parent's"),))
    machine.await_output("pod.web", "serves at")
    assert ask_tcp("127.0.0.1", 8080) == "web 172.31.240.1"
    machine.destroy("pod.web")
    assert machine.run("pod.look", "cat /etc/hosts", debug=True).exit_code == 0
    assert "172.31.240.2\t" in machine.output("pod.look")


def test_with_a_user_namespace(machine: Any) -> None:
    with socket.create_server((HOST, 7000)) as server:
        server.settimeout(10)
        program = ("bash", "-c", f"exec 3<>/dev/tcp/{HOST}/7000; cat <&3; id -u")
        machine.launch("c1", argv=program, network="bridge", namespaces=tuple(Namespace))
        connection, peer = server.accept()
        connection.sendall(b"welcome\n")
        connection.close()
    assert peer[0] == "172.31.240.2"
    assert machine.exit_of("c1").exit_code == 0
    assert machine.output("c1") == "welcome\n0\n"


def imported_by_a_containerizer() -> str:
    program = "import sys, actors.cli.containerizer; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_who_asks_for_no_network_has_none(machine: Any, network: Any) -> None:
    machine.run("c1", "true")
    machine.run("c2", "true", namespaces=ALL_BUT_USER)
    assert network.left(machine) == []
    assert "pyroute2" not in imported_by_a_containerizer()


# What it reaches, and who reaches it ----------------------------------------------------------------------------------


def test_it_reaches_its_neighbours_and_the_host_reaches_it(machine: Any) -> None:
    assert serve(machine, "c1") == "172.31.240.2"
    assert serve(machine, "c2") == "172.31.240.3"
    said = ask_inside(machine, "c3", "tcp:172.31.240.2:80", "udp:172.31.240.3:80", network="bridge")
    assert said == ["c1 172.31.240.4", "c2 172.31.240.4"]
    assert ask_tcp("172.31.240.2", 80) == "c1 172.31.240.1"


def test_it_reaches_what_the_host_reaches_with_the_address_of_the_host(machine: Any, network: Any) -> None:
    program = (
        "import socket\nthere = ('192.0.2.2', 7000)\nmade = socket.create_connection(there, 10)\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hello', there)\n"
        "print(made.recv(100).decode())"
    )
    with (
        network.outside(socket.create_server, ("", 7000)) as server,
        network.outside(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind(("", 7000))
        machine.launch("c1", argv=python(program), network="bridge")
        server.settimeout(10)
        datagrams.settimeout(10)
        connection, peer = server.accept()
        assert datagrams.recvfrom(100)[1][0] == peer[0] == HOST
        with connection:
            connection.send(b"welcome")
        assert machine.exit_of("c1").exit_code == 0
    assert machine.output("c1") == "welcome\n"


@pytest.mark.parametrize("bridged", ["0", "1"], ids=["past the filter", "through the filter"])
def test_a_port_of_the_host_leads_in_from_everywhere(machine: Any, network: Any, bridged: str) -> None:
    """bridged: whether what passes a bridge goes through the packet filter, too, as other container engines want it."""
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if switch.exists():
        switch.write_text(bridged)
    serve(machine, "c1", (8080, 80), (8081, 80))
    for ask in (ask_tcp, ask_udp):
        assert network.outside(ask, HOST, 8080) == f"c1 {OUTSIDE}", "who asks is seen"
        assert network.outside(ask, HOST, 8081) == f"c1 {OUTSIDE}"
        assert ask(HOST, 8080) == f"c1 {HOST}"
        assert ask("172.31.240.1", 8080) == "c1 172.31.240.1"
        assert ask("127.0.0.1", 8080) == "c1 172.31.240.1"
    words = [f"{kind}:{address}:8080" for kind in ("tcp", "udp") for address in (HOST, "172.31.240.1")]
    assert ask_inside(machine, "c1.itself", *words) == ["c1 172.31.240.1"] * 4
    assert ask_inside(machine, "c2", *words, network="bridge") == ["c1 172.31.240.1"] * 4


def test_ports_that_are_not_led_in_are_out_of_reach_from_outside(machine: Any, network: Any) -> None:
    """Even for a machine that knows the way; what comes second by the door proves that what came first did not."""
    address = serve(machine, "c1", (8080, 80))

    def call() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.sendto(b"past the door", (address, 80))
            made.sendto(b"by the door", (HOST, 8080))

    network.outside(call)
    machine.await_output("c1", "by the door")
    assert "past the door" not in machine.output("c1")


def test_who_keeps_sending_is_led_to_whoever_is_there(machine: Any, network: Any) -> None:
    """Datagrams from one port to one port, before, between and after containers: the kernel sees one conversation."""

    def open_client() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(10)
        made.bind(("", 4000))
        return made

    def ask(client: socket.socket) -> str:
        client.sendto(b"hello", (HOST, 5300))
        return client.recv(100).decode()

    with network.outside(open_client) as outside, open_client() as inside:
        for client in (outside, inside):
            client.sendto(b"anybody there?", (HOST, 5300))
        for container_id in ("c1", "c2"):
            serve(machine, container_id, (5300, 80))
            assert ask(outside) == f"{container_id} {OUTSIDE}"
            assert ask(inside) == f"{container_id} {HOST}"
            machine.destroy(container_id)
            for client in (outside, inside):
                client.sendto(b"anybody there?", (HOST, 5300))


def test_protocols_have_ports_of_their_own(machine: Any) -> None:
    ports = (
        PortMapping(host_port=5300, container_port=80, protocol="udp"),
        PortMapping(host_port=5300, container_port=81, protocol="tcp"),
    )
    machine.launch("c1", argv=python(SERVE, "c1", "80"), network="bridge", ports=ports)
    machine.await_output("c1", "serves at")
    assert ask_udp("127.0.0.1", 5300) == "c1 172.31.240.1"
    with pytest.raises(ConnectionRefusedError):
        ask_tcp("127.0.0.1", 5300)


def test_fifty_at_once(machine: Any, network: Any, left: Callable[[Any], list[str]]) -> None:
    """Each has an address of its own, and a port; some are asked, all are gone without a trace."""
    ids = [f"c{number}" for number in range(50)]
    numbers = [
        machine.begin(
            Launch(
                spec=machine.spec(
                    one, argv=python(SERVE, one, "80"), network="bridge", ports=mapped((8000 + number, 80))
                )
            )
        )
        for number, one in enumerate(ids)
    ]
    for number in numbers:
        assert isinstance(machine.answer(number), Launched)
    for one in ids:
        machine.await_output(one, "serves at")
    assert len({machine.output(one) for one in ids}) == 50
    assert ask_tcp("127.0.0.1", 8000) == "c0 172.31.240.1"
    assert ask_udp(HOST, 8049) == f"c49 {HOST}"
    machine.destroy_all(ids)
    for one in ids:
        machine.collect(one)
    assert left(machine) == []
    assert network.left(machine) == []
