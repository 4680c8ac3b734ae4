"""Networks of containers' own after failures, kills, restarts and an administrator's hand: nothing is left or lost."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pyroute2 import IPRoute
from pyroute2.iproute.linux import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from containerizer.errors import ContainerizerError, NetworkError
from containerizer.isolator import Container, Isolator
from containerizer.messages import Launch, Launched, LaunchFailed
from containerizer.networks import Network, nat
from containerizer.networks.grants import Grants
from containerizer.plan import LaunchPlan
from containerizer.spec import PortMapping
from runtime.errors import ConfigurationError
from tests.containerizer.conversations import ask_tcp
from tests.containerizer.victims import Victims, end, recover

pytestmark = pytest.mark.root

Real = Callable[..., Any]
Left = Callable[[Any], list[str]]

PORT = PortMapping(host_port=8080, container_port=80)
CONNECTED: dict[str, Any] = {"network": "bridge", "ports": (PORT, msgspec.structs.replace(PORT, protocol="udp"))}

SERVE = """
import socket, sys
with socket.create_server(("", 80)) as server:
    print("serves", flush=True)
    while True:
        connection, _ = server.accept()
        connection.sendall(sys.argv[1].encode())
        connection.close()
"""


@pytest.fixture
def machine(network: Any, real: Real) -> Any:
    made = real("auto")
    made.attach()
    made.run("warm", "true")
    made.collect("warm")
    return made


def serve(machine: Any, container_id: str, **fields: Any) -> None:
    argv = (sys.executable, "-I", "-S", "-c", SERVE, container_id)
    machine.launch(container_id, argv=argv, **{**CONNECTED, **fields})
    machine.await_output(container_id, "serves")


def nft(*words: str) -> str:
    return subprocess.run(["/usr/sbin/nft", *words], check=True, capture_output=True, text=True).stdout


# Restarts -------------------------------------------------------------------------------------------------------------


def test_a_network_outlives_its_containerizer(machine: Any, network: Any, left: Left) -> None:
    serve(machine, "c1")
    machine.restart()
    machine.attach()
    machine.recover(("c1",))
    machine.settle()
    assert ask_tcp("127.0.0.1", 8080) == "c1"
    refused = machine.ask(Launch(spec=machine.spec("c2", "true", **CONNECTED)), LaunchFailed)
    assert refused.message == "host port 8080/tcp is taken: it leads to container c1"
    assert machine.run("c3", "echo $MESOS_CONTAINER_IP", network="bridge").exit_code == 0
    assert machine.output("c3") == "172.31.240.3\n", "an address that is taken is not given again"
    for container_id in ("c1", "c3"):
        if container_id in machine.state.containers:
            machine.destroy(container_id)
            machine.collect(container_id)
    assert left(machine) == []
    assert network.left(machine) == []


def test_what_has_ended_meanwhile_is_cleaned_up(machine: Any, network: Any, left: Left) -> None:
    serve(machine, "c1")
    pid = machine.state.containers["c1"].process.pid
    machine.forget()
    os.kill(pid, signal.SIGKILL)
    machine.wait_gone(pid)
    answer = recover(machine, "c1")
    assert answer.exited == ("c1",)
    end(machine, answer, "c1")
    machine.settle()
    assert left(machine) == []
    assert network.left(machine) == []


def test_other_flags_are_refused_while_somebody_is_connected_by_the_old_ones(machine: Any, network: Any) -> None:
    serve(machine, "c1")
    machine.forget()
    machine.config = {"network_subnet": "10.9.8.0/24"}
    with pytest.raises(ConfigurationError, match=r"c1 is connected to kaon0 by 172\.31\.240\.2, and the flags say"):
        machine.revive()
    machine.config = {}
    assert recover(machine, "c1").alive == ("c1",)
    assert ask_tcp("127.0.0.1", 8080) == "c1"


@pytest.mark.parametrize("flags", [{"network_subnet": "10.9.8.0/24"}, {"network_bridge": "kaon1"}], ids=list)
def test_other_flags_hold_when_nobody_is(machine: Any, network: Any, flags: dict[str, str]) -> None:
    serve(machine, "c1")
    pid = machine.state.containers["c1"].process.pid
    machine.forget()
    os.kill(pid, signal.SIGKILL)
    machine.wait_gone(pid)
    machine.config = flags
    answer = recover(machine, "c1")
    serve(machine, "c2", ports=(msgspec.structs.replace(PORT, host_port=8081),))
    assert ask_tcp("127.0.0.1", 8081) == "c2"
    machine.destroy("c2")
    machine.collect("c2")
    end(machine, answer, "c1")
    assert network.left(machine) == []


def test_what_is_no_containers_any_more_goes(machine: Any, network: Any) -> None:
    """A record that somebody has removed, and a cable and a port that are in no record."""
    serve(machine, "kept")
    other = (msgspec.structs.replace(PORT, host_port=8081),)
    serve(machine, "removed", ports=other)
    pid = machine.state.containers["removed"].process.pid
    machine.forget()
    (machine.runtime_directory / "containers" / "removed").unlink()
    os.kill(pid, signal.SIGKILL)
    machine.wait_gone(pid)
    with IPRoute() as route:
        master = socket.if_nametoindex("kaon0")
        route.link("add", ifname="stale", kind="veth", master=master, peer={"ifname": "stalepeer"})
    nft("add element ip kaon-kaon0 tcp_ports { 8082 : 172.31.240.9 . 80 }")
    recover(machine, "kept")
    machine.settle()
    assert nft("list", "map", "ip", "kaon-kaon0", "tcp_ports").count("172.31.240") == 1
    assert len(network.interfaces()) == 2, "the bridge, and the cable of the one that is kept"
    assert ask_tcp("127.0.0.1", 8080) == "kept"
    serve(machine, "next", ports=other)
    assert ask_tcp("127.0.0.1", 8081) == "next"


def test_records_that_a_crash_of_the_machine_has_emptied_are_none(tmp_path: Path) -> None:
    grants = Grants(tmp_path)
    kept = grants.add("kept", Network(), ())
    (tmp_path / ".networks" / "empty").touch()
    (tmp_path / ".networks" / ".new").write_text("half of")
    again = Grants(tmp_path)
    assert (list(again), again.get("kept")) == (["kept"], kept)
    (tmp_path / ".networks" / "kept").write_text("half of")
    with pytest.raises(ContainerizerError, match=r"kept: .*damaged.*remove the file once"):
        Grants(tmp_path)


# An administrator's hand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["launch", "restart", "end"])
def test_rules_that_were_flushed_come_back(machine: Any, network: Any, then: str) -> None:
    serve(machine, "c1")
    serve(machine, "c2", ports=(msgspec.structs.replace(PORT, host_port=8081),))
    nft("flush", "ruleset")
    if then == "launch":
        serve(machine, "c3", ports=(msgspec.structs.replace(PORT, host_port=8082),))
        assert ask_tcp("127.0.0.1", 8082) == "c3"
    elif then == "restart":
        machine.restart()
        machine.attach()
        machine.recover(("c1", "c2"))
        machine.settle()
    else:
        machine.destroy("c2")
    assert ask_tcp("127.0.0.1", 8080) == "c1"


def test_a_bridge_that_was_removed_comes_back(machine: Any, network: Any) -> None:
    serve(machine, "c1")
    with IPRoute() as route:
        route.link("del", index=socket.if_nametoindex("kaon0"))
    serve(machine, "c2", ports=(msgspec.structs.replace(PORT, host_port=8081),))
    assert ask_tcp("127.0.0.1", 8080) == "c1"
    assert ask_tcp("127.0.0.1", 8081) == "c2"


def test_a_bridge_that_was_removed_for_good(machine: Any, network: Any) -> None:
    serve(machine, "c1")
    with IPRoute() as route:
        route.link("del", index=socket.if_nametoindex("kaon0"))
    machine.destroy("c1")
    assert network.left(machine) == []


# Failures -------------------------------------------------------------------------------------------------------------


def own_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class FailingStep(Isolator):
    """Puts a step that fails at one place of a plan, or fails itself."""

    name = "test/failing"

    def __init__(self, place: str) -> None:
        self.place = place

    async def prepare(self, container: Container, plan: LaunchPlan) -> None:
        if self.place == "prepare":
            raise NetworkError("injected")
        if self.place in {"mounts", "settling", "privileges"}:
            getattr(plan, self.place).append(("write_file", "/nonexistent/injected", ""))

    async def isolate(self, container: Container) -> None:
        if self.place == "isolate":
            raise NetworkError("injected")


@pytest.mark.parametrize("place", ["prepare", "isolate", "mounts", "settling", "privileges"])
def test_a_launch_that_fails_elsewhere_leaves_nothing(machine: Any, network: Any, left: Left, place: str) -> None:
    machine.node.cells["containerizer"].actor.work.isolators.append(FailingStep(place))
    descriptors = own_descriptors()
    failed = machine.ask(Launch(spec=machine.spec("c1", "sleep 600", **CONNECTED)), LaunchFailed)
    assert "injected" in failed.message
    assert left(machine) == []
    assert network.left(machine) == []
    assert own_descriptors() == descriptors


@pytest.fixture
def fail_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Has the n-th request to the kernel, or run of `nft`, fail; the rest is done. Returns what has been asked."""
    asked: list[str] = []
    failing = 0

    def arm(at: int) -> list[str]:
        nonlocal failing
        failing = at
        asked.clear()
        return asked

    def count(what: str) -> bool:
        asked.append(what)
        return len(asked) == failing

    def wrap(name: str) -> None:
        real = getattr(AsyncIPRoute, name)

        async def request(self: Any, command: str, **fields: Any) -> Any:
            if count(f"{name} {command}"):
                raise NetlinkError(5, "injected")
            return await real(self, command, **fields)

        monkeypatch.setattr(AsyncIPRoute, name, request)

    for name in ("addr", "brport", "link", "route"):
        wrap(name)
    real_change = nat.change

    async def change(text: str, directory: Path, *options: str) -> None:
        if count("nft"):
            raise NetworkError("nft: injected")
        await real_change(text, directory, *options)

    monkeypatch.setattr(nat, "change", change)
    return arm


def test_each_request_to_the_kernel_fails_once(
    machine: Any, network: Any, left: Left, fail_at: Callable[[int], list[str]]
) -> None:
    """While a container is made or, further on, taken away: a cleanup that fails is tried again."""
    failures = 0
    for at in itertools.count(1):
        asked = fail_at(at)
        answer = machine.answer(machine.begin(Launch(spec=machine.spec(f"c{at}", "sleep 600", **CONNECTED))))
        if isinstance(answer, LaunchFailed):
            failures += 1
            assert any(words in answer.message for words in ("Input/output error", "injected", "has no eth0"))
        else:
            assert isinstance(answer, Launched)
            machine.destroy(f"c{at}")
            machine.collect(f"c{at}")
        assert left(machine) == [], asked[: at + 1]
        assert network.left(machine) == [], asked[: at + 1]
        if len(asked) < at:
            break
    assert failures > 10
    assert {"link add", "link del", "addr add", "route add", "brport set", "nft"} <= set(asked)


# Kills ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def victims(machine: Any) -> Iterator[Victims]:
    made = Victims(machine)
    yield made
    made.close()


JSON_FIELDS: dict[str, Any] = {"network": "bridge", "ports": [msgspec.to_builtins(port) for port in CONNECTED["ports"]]}


def test_containerizer_killed_at_each_act_of_a_launch(machine: Any, network: Any, victims: Victims, left: Left) -> None:
    acts = []
    for at in itertools.count(1):
        name = f"c{at}"
        machine.forget()
        act = victims.kill_at(at, "launch", name, **JSON_FIELDS)
        answer = recover(machine, name)
        end(machine, answer, name)
        machine.settle()
        assert left(machine) == [], f"killed before act {at}, {act}"
        assert network.left(machine) == [], f"killed before act {at}, {act}"
        if act is None:
            break
        acts.append(act)
    assert answer.alive == (name,)
    assert "fork_exec" in acts
    assert acts.count("send") > 10, "requests to the kernel are among them"


def test_containerizer_killed_at_each_act_of_a_destroy(
    machine: Any, network: Any, victims: Victims, left: Left
) -> None:
    for at in itertools.count(1):
        name = f"c{at}"
        machine.launch(name, "sleep 600", **CONNECTED)
        machine.forget()
        act = victims.kill_at(at, "destroy", name)
        answer = recover(machine, name)
        assert not answer.lost, f"killed before act {at}, {act}"
        end(machine, answer, name)
        machine.settle()
        assert left(machine) == [], f"killed before act {at}, {act}"
        assert network.left(machine) == [], f"killed before act {at}, {act}"
        if act is None:
            break
    assert at > 10


def test_containerizer_killed_at_each_act_of_its_start(
    machine: Any, network: Any, victims: Victims, left: Left
) -> None:
    """With one that goes on, and one of which only its network is left."""
    serve(machine, "runs")
    for at in itertools.count(1):
        serve(machine, "gone", ports=())
        pid = machine.state.containers["gone"].process.pid
        machine.forget()
        os.kill(pid, signal.SIGKILL)
        machine.wait_gone(pid)
        act = victims.kill_at(at, "start")
        answer = recover(machine, "runs")
        assert answer.alive == ("runs",), f"killed before act {at}, {act}"
        machine.settle()
        assert ask_tcp("127.0.0.1", 8080) == "runs", f"killed before act {at}, {act}"
        assert len(network.interfaces()) == 2
        if act is None:
            break
    machine.destroy("runs")
    machine.collect("runs")
    assert left(machine) == []
    assert network.left(machine) == []
