"""Networks that cannot be had: what is taken, what is somebody else's, what is missing, and what is nonsense."""

from __future__ import annotations

import socket
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
from runtime.errors import ConfigurationError
from tests.containerizer.conversations import ask_tcp, ask_udp, mapped, serve

pytestmark = pytest.mark.root

Real = Callable[..., Any]


@pytest.fixture
def machine(network: Any, real: Real) -> Any:
    made = real("auto")
    made.attach()
    return made


# What is taken --------------------------------------------------------------------------------------------------------


def refusal(machine: Any, container_id: str, **fields: Any) -> str:
    failed = machine.ask(
        Launch(spec=machine.spec(container_id, "true", **{"network": "bridge", **fields})), LaunchFailed
    )
    assert failed.reason in {LaunchFailure.FAILED, LaunchFailure.UNSUPPORTED}
    return str(failed.message)


def test_a_port_that_is_taken_is_refused_by_name(machine: Any) -> None:
    serve(machine, "web", (8080, 80))
    assert refusal(machine, "c1", ports=mapped((9090, 80), (8080, 80))) == (
        "host port 8080/tcp is taken: it leads to container web"
    )
    with socket.create_server(("127.0.0.1", 9090)):
        said = refusal(machine, "c1", ports=mapped((9090, 80)))
        assert said == "host port 9090/tcp is taken: a process of this host is bound to it"
    assert ask_tcp("127.0.0.1", 8080) == "web 172.31.240.1", "what was refused has changed nothing"
    machine.destroy("web")
    serve(machine, "next", (8080, 80), (9090, 80))
    assert ask_udp("127.0.0.1", 8080) == "next 172.31.240.1"


def test_a_subnet_that_is_full(network: Any, real: Real) -> None:
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


def test_a_bridge_of_another_containerizer(machine: Any, real: Real) -> None:
    serve(machine, "c1", (8080, 80))
    other = real("auto")
    other.attach()
    assert f"kaon0 is the bridge of the containerizer of {machine.directory}/run-work: give" in refusal(other, "c1")
    assert ask_tcp("127.0.0.1", 8080) == "c1 172.31.240.1"
    third = real("auto", network_bridge="kaon1")
    third.attach()
    assert refusal(third, "c1") == (
        "the subnet 172.31.240.0/20 of containers overlaps with 172.31.240.0/20 of kaon0: give the containerizer "
        "another --network-subnet"
    )
    fourth = real("auto", network_bridge="kaon1", network_subnet="10.9.8.0/24")
    fourth.attach()
    serve(fourth, "c1", (8081, 80))
    assert ask_tcp("127.0.0.1", 8081) == "c1 10.9.8.1"
    assert ask_tcp("127.0.0.1", 8080) == "c1 172.31.240.1"


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


def test_when_nft_is_removed_later(machine: Any, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("containerizer.networks.nat.PROGRAM_PATH", "/nonexistent")
    failed = machine.ask(Launch(spec=machine.spec("c1", "true", network="bridge")), LaunchFailed)
    assert "nft is not installed any more" in failed.message
    assert network.left(machine) == []


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
