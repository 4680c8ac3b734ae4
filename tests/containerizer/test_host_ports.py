"""Ports of the host's network: a container binds those that it was given, and the kernel refuses the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containerizer.cgroups2 import bpf
from containerizer.errors import Unsupported
from containerizer.host import survey
from containerizer.isolators import choose
from containerizer.messages import Describe, HostCapabilities, Update, Updated
from containerizer.spec import Limits, Namespace

pytestmark = [pytest.mark.root, pytest.mark.cgroup2]

Real = Callable[..., Any]

ALL_BUT_USER = tuple(namespace for namespace in Namespace if namespace is not Namespace.USER)

TRY = """
import os, socket, sys, time
KINDS = {"tcp": (socket.AF_INET, socket.SOCK_STREAM), "udp": (socket.AF_INET, socket.SOCK_DGRAM),
         "tcp6": (socket.AF_INET6, socket.SOCK_STREAM), "udp6": (socket.AF_INET6, socket.SOCK_DGRAM)}
def attempt(word):
    kind, _, port = word.partition(":")
    with socket.socket(*KINDS[kind]) as made:
        if kind.endswith("6"):
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            made.bind(("", int(port)))
            print(word, "bound")
        except OSError as error:
            print(word, type(error).__name__)
for number, word in enumerate(sys.argv[1:]):
    if word == "wait":
        print("waiting", flush=True)
        while not os.path.exists(f"go{number}"):
            time.sleep(0.002)
    else:
        attempt(word)
sys.stdout.flush()
"""


def tries(*words: str) -> dict[str, Any]:
    return {"argv": (sys.executable, "-I", "-S", "-c", TRY, *words)}


def given(*ranges: tuple[int, int]) -> Limits:
    return Limits(port_ranges=ranges)


@pytest.fixture
def machine(real: Real) -> Any:
    made = real("auto", "network/ports")
    made.attach()
    return made


def say(machine: Any, container_id: str, *words: str, **fields: Any) -> dict[str, str]:
    """What became of each attempt."""
    exited = machine.run(container_id, **tries(*words), **fields)
    assert exited.exit_code == 0, machine.output(container_id, "stderr")
    return dict(line.split() for line in machine.output(container_id).splitlines())


def test_it_is_there_when_it_is_named_and_not_otherwise(machine: Any, real: Real) -> None:
    assert "network/ports" in machine.ask(Describe(), HostCapabilities).isolators
    other = real("auto")
    other.attach()
    capabilities = other.ask(Describe(), HostCapabilities)
    assert "network/ports" not in capabilities.isolators
    assert "network/ports" not in {lack.what for lack in capabilities.missing}
    assert say(other, "c1", "tcp:31000", limits=given()) == {"tcp:31000": "bound"}


def test_without_cgroups_it_cannot_be_had() -> None:
    with pytest.raises(Unsupported, match="network/ports cannot be had here: not looked for"):
        choose(survey(), ["auto", "network/ports"])


def test_the_ports_that_were_given_can_be_bound_and_no_others(machine: Any) -> None:
    words = [f"{kind}:{port}" for kind in ("tcp", "udp", "tcp6", "udp6") for port in (30999, 31000, 31002, 31003, 8080)]
    said = say(machine, "c1", *words, limits=given((31000, 31002), (8080, 8080)))
    bound = {word for word, outcome in said.items() if outcome == "bound"}
    assert bound == {word for word in words if word.partition(":")[2] in {"31000", "31002", "8080"}}
    assert {said[word] for word in said if word not in bound} == {"PermissionError"}


def test_the_last_and_the_first_port_there_is(machine: Any) -> None:
    said = say(machine, "c1", "tcp:65535", "tcp:65534", "udp:1", "udp:2", limits=given((1, 1), (65535, 65535)))
    assert [word for word, outcome in said.items() if outcome == "bound"] == ["tcp:65535", "udp:1"]


def test_a_port_that_the_kernel_chooses_is_nobodys(machine: Any) -> None:
    said = say(machine, "c1", "tcp:0", "udp6:0", "tcp:31000", limits=given())
    assert said == {"tcp:0": "bound", "udp6:0": "bound", "tcp:31000": "PermissionError"}


def test_who_was_given_no_list_binds_what_is_free(machine: Any) -> None:
    assert say(machine, "c1", "tcp:31000") == {"tcp:31000": "bound"}


def test_a_network_of_its_own_takes_nobodys_ports(machine: Any) -> None:
    said = say(machine, "c1", "tcp:31000", limits=given(), namespaces=ALL_BUT_USER)
    assert said == {"tcp:31000": "bound"}


def test_nested_containers_have_the_ports_of_their_parent(machine: Any) -> None:
    machine.launch("pod", "sleep 600", limits=given((31000, 31000)))
    refused = {"tcp:31000": "bound", "tcp:31001": "PermissionError"}
    assert say(machine, "pod.web", *refused) == refused
    assert say(machine, "pod.debug", *refused, debug=True) == refused
    own = {"shares_limits": False, "limits": given((31000, 31001))}
    assert say(machine, "pod.own", *refused, **own) == refused
    none = say(machine, "pod.none", *refused, shares_limits=False, limits=given())
    assert set(none.values()) == {"PermissionError"}


@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after a restart"])
def test_ports_are_added_and_taken_while_it_runs(machine: Any, restarted: bool) -> None:
    words = ("tcp:31000", "udp6:31001")
    machine.launch("c1", **tries(*words, "wait", *words, "wait", *words, "wait", *words), limits=given((31000, 31000)))
    sandbox = machine.directory / "sandboxes" / "c1"
    for number, limits in enumerate((given((31000, 31001)), given((31001, 31001)), Limits())):
        machine.until(lambda count=number + 1: machine.output("c1").count("waiting") == count, "a pause")
        if restarted:
            machine.restart()
            machine.attach()
            machine.recover(("c1",))
        machine.ask(Update(container_id="c1", limits=limits), Updated)
        assert own_programs(machine, "c1") == [1, 1]
        (sandbox / f"go{3 * number + 2}").touch()
    machine.exit_of("c1")
    outcomes = [line.split()[1] for line in machine.output("c1").splitlines() if line != "waiting"]
    refused = "PermissionError"
    assert outcomes == ["bound", refused, "bound", "bound", refused, "bound", "bound", "bound"]


def own_programs(machine: Any, container_id: str) -> list[int]:
    """How many there are for each family of addresses."""
    directory = os.open(Path(machine.state.host.cgroup_root) / container_id, os.O_DIRECTORY | os.O_RDONLY)
    counts = []
    for hook in (bpf.BIND_4, bpf.BIND_6):
        present = bpf.attached(directory, hook)
        counts.append(len(present))
        bpf.close_all(present)
    os.close(directory)
    return counts


def test_ports_can_be_counted_from_later_on(machine: Any) -> None:
    machine.launch("c1", **tries("tcp:31000", "wait", "tcp:31000"))
    machine.await_output("c1", "waiting")
    assert own_programs(machine, "c1") == [0, 0]
    machine.ask(Update(container_id="c1", limits=Limits(cpus=1.0)), Updated)
    assert own_programs(machine, "c1") == [0, 0], "who has no list has no program"
    machine.ask(Update(container_id="c1", limits=given()), Updated)
    (machine.directory / "sandboxes" / "c1" / "go1").touch()
    machine.exit_of("c1")
    assert machine.output("c1").splitlines() == ["tcp:31000 bound", "waiting", "tcp:31000 PermissionError"]
