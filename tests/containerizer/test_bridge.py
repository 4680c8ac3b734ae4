"""Containers with a network of their own: what they reach, who reaches them, and by which port."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from containerizer.errors import Unsupported
from containerizer.host import survey
from containerizer.isolators import choose
from containerizer.messages import Describe, HostCapabilities, Launch, LaunchFailed, LaunchFailure
from containerizer.networks import read_network
from containerizer.networks.resolvers import find_resolvers
from containerizer.spec import Namespace, PortMapping, Root, RootKind
from runtime.errors import ConfigurationError

pytestmark = pytest.mark.root

Real = Callable[..., Any]

ALL_BUT_USER = tuple(namespace for namespace in Namespace if namespace is not Namespace.USER)

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


HARDWARE = """
import fcntl, socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
    print(fcntl.ioctl(made, 0x8927, b"eth0".ljust(40, b"\\0"))[18:24].hex(":"))
"""
"""Its Ethernet address (SIOCGIFHWADDR, `man 7 netdevice`)."""


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
    """Answers to what a container asks: protocol, address and port."""
    exited = machine.run(container_id, argv=python(ASK, *words), **fields)
    assert exited.exit_code == 0, machine.output(container_id, "stderr")
    return list(machine.output(container_id).splitlines())


# What it has ---------------------------------------------------------------------------------------------------------


def test_it_has_an_address_a_loopback_and_a_name(machine: Any) -> None:
    program = "echo $MESOS_CONTAINER_IP; hostname; getent ahostsv4 web; cat /proc/net/fib_trie; cat /etc/hosts"
    machine.run("c1", program, network="bridge", hostname="web")
    said = machine.output("c1")
    assert said.splitlines()[:2] == ["172.31.240.2", "web"]
    assert said.splitlines()[2].split()[:2] == ["172.31.240.2", "STREAM"]
    assert "172.31.240.2\tweb web\n" in said
    assert "|-- 127.0.0.1\n" in said
    machine.run("c2", argv=python(HARDWARE), network="bridge")
    assert machine.output("c2") == "02:4b:ac:1f:f0:03\n", "by which neighbours tell it from a predecessor"


def test_it_resolves_names_as_the_host_does(machine: Any, build_rootfs: Callable[[Path], Path]) -> None:
    root = Root(kind=RootKind.DIRECTORY, path=str(build_rootfs(machine.directory / "rootfs")))
    for number, fields in enumerate(({}, {"root": root}, {"root": Root(kind=RootKind.HOST_READ_ONLY)})):
        machine.run(f"c{number}", "cat /etc/resolv.conf; cat /etc/hosts", network="bridge", hostname="web", **fields)
        said = machine.output(f"c{number}")
        assert Path("/etc/resolv.conf").read_text() in said
        assert "\tweb web\n" in said
    assert "web" not in Path("/etc/hosts").read_text().split()


def test_resolvers_that_cannot_be_reached_are_replaced_or_told_of(
    machine: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upstream = machine.directory / "upstream"
    upstream.write_text("nameserver 192.0.2.53\n")
    monkeypatch.setattr("containerizer.isolators.bridge.find_resolvers", lambda: str(upstream))
    machine.run("c1", "cat /etc/resolv.conf", network="bridge")
    assert machine.output("c1") == "nameserver 192.0.2.53\n"
    monkeypatch.setattr("containerizer.isolators.bridge.find_resolvers", lambda: "")
    assert machine.run("c2", "true", network="bridge").exit_code == 0
    assert "which containers on kaon0 cannot reach: they find no names" in caplog.text


def test_nested_containers_are_in_the_network_of_their_parent(machine: Any, wires: Any) -> None:
    machine.launch("pod", "sleep 600", network="bridge", ports=mapped((8080, 80)))
    machine.launch("pod.web", argv=python(SERVE, "web", "80"), environment=(("MESOS_CONTAINER_IP", "its parent's"),))
    machine.await_output("pod.web", "serves at")
    assert wires.ask_tcp("127.0.0.1", 8080) == "web 172.31.240.1"
    machine.destroy("pod.web")
    assert machine.run("pod.look", "cat /etc/hosts", debug=True).exit_code == 0
    assert "172.31.240.2\t" in machine.output("pod.look")


def test_with_a_user_namespace(machine: Any, wires: Any) -> None:
    with socket.create_server((wires.HOST, 7000)) as server:
        server.settimeout(10)
        program = ("bash", "-c", f"exec 3<>/dev/tcp/{wires.HOST}/7000; cat <&3; id -u")
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


def test_it_reaches_its_neighbours_and_the_host_reaches_it(machine: Any, wires: Any) -> None:
    assert serve(machine, "c1") == "172.31.240.2"
    assert serve(machine, "c2") == "172.31.240.3"
    said = ask_inside(machine, "c3", "tcp:172.31.240.2:80", "udp:172.31.240.3:80", network="bridge")
    assert said == ["c1 172.31.240.4", "c2 172.31.240.4"]
    assert wires.ask_tcp("172.31.240.2", 80) == "c1 172.31.240.1"


def test_it_reaches_what_the_host_reaches_with_the_address_of_the_host(machine: Any, network: Any, wires: Any) -> None:
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
        assert datagrams.recvfrom(100)[1][0] == peer[0] == wires.HOST
        with connection:
            connection.send(b"welcome")
        assert machine.exit_of("c1").exit_code == 0
    assert machine.output("c1") == "welcome\n"


@pytest.mark.parametrize("bridged", ["0", "1"], ids=["past the filter", "through the filter"])
def test_a_port_of_the_host_leads_in_from_everywhere(machine: Any, network: Any, wires: Any, bridged: str) -> None:
    """bridged: whether what passes a bridge goes through the packet filter, too, as other container engines want it."""
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if switch.exists():
        switch.write_text(bridged)
    serve(machine, "c1", (8080, 80), (8081, 80))
    for ask in (wires.ask_tcp, wires.ask_udp):
        assert network.outside(ask, wires.HOST, 8080) == f"c1 {wires.OUTSIDE}", "who asks is seen"
        assert network.outside(ask, wires.HOST, 8081) == f"c1 {wires.OUTSIDE}"
        assert ask(wires.HOST, 8080) == f"c1 {wires.HOST}"
        assert ask("172.31.240.1", 8080) == "c1 172.31.240.1"
        assert ask("127.0.0.1", 8080) == "c1 172.31.240.1"
    words = [f"{kind}:{address}:8080" for kind in ("tcp", "udp") for address in (wires.HOST, "172.31.240.1")]
    assert ask_inside(machine, "c1.itself", *words) == ["c1 172.31.240.1"] * 4
    assert ask_inside(machine, "c2", *words, network="bridge") == ["c1 172.31.240.1"] * 4


def test_ports_that_are_not_led_in_are_out_of_reach_from_outside(machine: Any, network: Any, wires: Any) -> None:
    """Even for a machine that knows the way; what comes second by the door proves that what came first did not."""
    address = serve(machine, "c1", (8080, 80))

    def call() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.sendto(b"past the door", (address, 80))
            made.sendto(b"by the door", (wires.HOST, 8080))

    network.outside(call)
    machine.await_output("c1", "by the door")
    assert "past the door" not in machine.output("c1")


def test_protocols_have_ports_of_their_own(machine: Any, wires: Any) -> None:
    ports = (
        PortMapping(host_port=5300, container_port=80, protocol="udp"),
        PortMapping(host_port=5300, container_port=81, protocol="tcp"),
    )
    machine.launch("c1", argv=python(SERVE, "c1", "80"), network="bridge", ports=ports)
    machine.await_output("c1", "serves at")
    assert wires.ask_udp("127.0.0.1", 5300) == "c1 172.31.240.1"
    with pytest.raises(ConnectionRefusedError):
        wires.ask_tcp("127.0.0.1", 5300)


# What is taken --------------------------------------------------------------------------------------------------------


def refusal(machine: Any, container_id: str, **fields: Any) -> str:
    failed = machine.ask(
        Launch(spec=machine.spec(container_id, "true", **{"network": "bridge", **fields})), LaunchFailed
    )
    assert failed.reason in {LaunchFailure.FAILED, LaunchFailure.UNSUPPORTED}
    return str(failed.message)


def test_a_port_that_is_taken_is_refused_by_name(machine: Any, wires: Any) -> None:
    serve(machine, "web", (8080, 80))
    assert refusal(machine, "c1", ports=mapped((9090, 80), (8080, 80))) == (
        "host port 8080/tcp is taken: it leads to container web"
    )
    with socket.create_server(("127.0.0.1", 9090)):
        said = refusal(machine, "c1", ports=mapped((9090, 80)))
        assert said == "host port 9090/tcp is taken: a process of this host is bound to it"
    assert wires.ask_tcp("127.0.0.1", 8080) == "web 172.31.240.1", "what was refused has changed nothing"
    machine.destroy("web")
    serve(machine, "next", (8080, 80), (9090, 80))
    assert wires.ask_udp("127.0.0.1", 8080) == "next 172.31.240.1"


def test_a_subnet_that_is_full(network: Any, wires: Any, real: Real) -> None:
    machine = real("auto", network_subnet="10.9.8.0/30")
    machine.attach()
    machine.launch("c1", "sleep 600", network="bridge")
    assert "the subnet 10.9.8.0/30 of kaon0 is full: all of its 1 addresses are taken" in refusal(machine, "c2")
    machine.destroy("c1")
    assert machine.run("c2", "echo $MESOS_CONTAINER_IP", network="bridge").exit_code == 0
    assert machine.output("c2") == "10.9.8.2\n"


def test_an_address_rests_before_it_is_used_again(machine: Any) -> None:
    machine.launch("first", "sleep 600", network="bridge")
    for number in (3, 4):
        machine.run(f"c{number}", "echo $MESOS_CONTAINER_IP", network="bridge")
        assert machine.output(f"c{number}") == f"172.31.240.{number}\n"
        machine.collect(f"c{number}")


def test_a_name_that_is_something_elses(machine: Any, network: Any) -> None:
    with IPRoute() as route:
        route.link("add", ifname="kaon0", kind="veth", peer={"ifname": "kaon0peer"})
        said = refusal(machine, "c1")
        assert said.startswith(
            "kaon0 is the name of an interface that is no bridge (veth): give the containerizer another"
        )
        route.link("del", index=socket.if_nametoindex("kaon0"))
        route.link("add", ifname="kaon0", kind="bridge")
        assert "kaon0 is a bridge that somebody else has made: give the" in refusal(machine, "c1")
        assert network.interfaces() == {"kaon0"}, "what is not ours stays"
        route.link("del", index=socket.if_nametoindex("kaon0"))
    assert machine.run("c2", "true", network="bridge").exit_code == 0


def test_a_bridge_of_another_containerizer(machine: Any, wires: Any, real: Real) -> None:
    serve(machine, "c1", (8080, 80))
    other = real("auto")
    other.attach()
    assert f"kaon0 is the bridge of the containerizer of {machine.directory}/run-work: give" in refusal(other, "c1")
    assert wires.ask_tcp("127.0.0.1", 8080) == "c1 172.31.240.1"
    third = real("auto", network_bridge="kaon1")
    third.attach()
    assert refusal(third, "c1") == (
        "the subnet 172.31.240.0/20 of containers overlaps with 172.31.240.0/20 of kaon0: give the containerizer "
        "another --network-subnet"
    )
    fourth = real("auto", network_bridge="kaon1", network_subnet="10.9.8.0/24")
    fourth.attach()
    serve(fourth, "c1", (8081, 80))
    assert wires.ask_tcp("127.0.0.1", 8081) == "c1 10.9.8.1"
    assert wires.ask_tcp("127.0.0.1", 8080) == "c1 172.31.240.1"


def test_a_bridge_of_a_containerizer_that_is_gone_for_good(machine: Any, network: Any) -> None:
    with IPRoute() as route:
        route.link("add", ifname="kaon0", kind="bridge", address="02:00:00:00:00:01")
        index = socket.if_nametoindex("kaon0")
        route.link("set", index=index, IFLA_IFALIAS="kaon containers of /nonexistent/run-work")
        route.addr("add", index=index, address="172.31.240.1", prefixlen=20)
        route.link("add", ifname="kvold", kind="veth", master=index, peer={"ifname": "kvpeer"})
    assert machine.run("c1", "true", network="bridge").exit_code == 0
    machine.until(lambda: network.left(machine) == [], "an end of all of it")


# Where it cannot be had -----------------------------------------------------------------------------------------------


def test_without_nft(network: Any, real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("containerizer.networks.nat.PROGRAM_PATH", "/nonexistent")
    machine = real("auto")
    machine.attach()
    lack = next(one for one in machine.ask(Describe(), HostCapabilities).missing if one.what == "network/bridge")
    assert (lack.reason, lack.mend) == ("nft is not installed", "install Debian's package nftables")
    said = refusal(machine, "c1")
    assert said == (
        "network is 'bridge', and this agent has none: nft is not installed; install Debian's package nftables"
    )
    assert machine.run("c2", "true").exit_code == 0
    with pytest.raises(Unsupported, match="network/bridge cannot be had here: nft is not installed"):
        choose(survey(), ["auto", "network/bridge"])


def test_when_nft_is_removed_later(machine: Any, wires: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("containerizer.networks.nat.PROGRAM_PATH", "/nonexistent")
    monkeypatch.setattr("containerizer.lifecycle.CLEANUP_SECONDS", 0.0)
    failed = machine.ask(Launch(spec=machine.spec("c1", "true", network="bridge")), LaunchFailed)
    assert "nft is not installed any more" in failed.message


def test_without_a_network_namespace(network: Any, real: Real) -> None:
    machine = real("plain", "network/bridge")
    machine.attach()
    assert "network/bridge needs namespaces/net: name it in --isolation, too" in refusal(machine, "c1")


@pytest.mark.parametrize(
    ("bridge", "subnet", "words"),
    [
        ("kaon0", "nonsense", "--network-subnet is 'nonsense': .*write an IPv4 subnet, such as 172"),
        ("kaon0", "10.1.2.3/16", "has host bits set"),
        ("kaon0", "fd00::/64", "write an IPv4 subnet"),
        ("kaon0", "10.1.2.0/31", "no room for a bridge and a container"),
        ("kaon0", "127.0.0.0/8", "hosts cannot have such addresses"),
        ("kaon0", "224.0.0.0/8", "hosts cannot have such addresses"),
        ("kaon0", "0.0.0.0/0", "hosts cannot have such addresses"),
        ("", "10.1.0.0/16", "--network-bridge is ''"),
        ("a/b", "10.1.0.0/16", "--network-bridge is 'a/b': the name of an interface has 1 to 15 letters"),
        ("sixteen-letters-", "10.1.0.0/16", "1 to 15 letters"),
        ('k"; flush', "10.1.0.0/16", "1 to 15 letters"),
    ],
)
def test_flags_that_are_nonsense(bridge: str, subnet: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_network(bridge, subnet)


def test_every_address_is_a_candidate_once() -> None:
    network = read_network("kaon0", "10.0.0.0/29")
    assert network.gateway == "10.0.0.1"
    assert list(network.candidates("")) == [f"10.0.0.{number}" for number in (2, 3, 4, 5, 6)]
    assert list(network.candidates("10.0.0.4")) == [f"10.0.0.{number}" for number in (5, 6, 2, 3, 4)]
    assert list(network.candidates("10.0.0.6")) == list(network.candidates(""))
    assert network.room == 5
    assert next(read_network("kaon0", "10.0.0.0/8").candidates("10.255.255.254")) == "10.0.0.2"


def test_resolvers_are_looked_for(tmp_path: Path) -> None:
    stub, upstream = tmp_path / "stub", tmp_path / "upstream"
    stub.write_text("# nameserver 192.0.2.1\nnameserver 127.0.0.53\nnameserver ::1\noptions edns0\n")
    assert find_resolvers((str(stub), str(upstream))) == ""
    upstream.write_text("nameserver 192.0.2.1\n")
    assert find_resolvers((str(stub), str(upstream))) == str(upstream)
    stub.write_text("nameserver 127.0.0.53\nnameserver fe80::1%eth0\n")
    assert find_resolvers((str(stub), str(upstream))) == str(stub)
