"""Specs that cannot be used are refused with the field and the mend; good ones travel whole."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from containerizer.errors import InvalidSpec
from containerizer.messages import Launch
from containerizer.spec import (
    UNLIMITED,
    ContainerSpec,
    Limits,
    Namespace,
    PortMapping,
    Root,
    RootKind,
    Volume,
    VolumeKind,
    is_nested_in,
    parent_of,
    validate,
)


def spec(**fields: Any) -> ContainerSpec:
    return ContainerSpec(**{"id": "c1", "sandbox": "/sandboxes/c1", "shell": "true", **fields})


def test_little_is_needed() -> None:
    validate(spec())
    assert spec().command == ("/bin/sh", "-c", "true")
    assert spec(shell="", argv=("true",)).command == ("true",)


def test_a_spec_travels_whole_and_is_hashable() -> None:
    message = Launch(spec=spec(environment=(("A", "1"),), limits=Limits(hugetlb_bytes=(("2MB", 1),))))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=Launch) == message
    assert hash(message)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"id": "a/b"}, "container id"),
        ({"id": "a..b"}, "container id"),
        ({"id": ""}, "container id"),
        ({"id": "x" * 201}, "200 at most"),
        ({"id": ".".join("a" * 33)}, "32 at most"),
        ({"sandbox": "relative"}, "sandbox"),
        ({"sandbox": "/a/../b"}, r"'\.\.'"),
        ({"shell": ""}, "exactly one"),
        ({"argv": ("a",)}, "exactly one"),
        ({"shell": "", "argv": ("",)}, "empty"),
        ({"shell": "a\0b"}, "NUL"),
        ({"environment": (("1A", "x"),)}, "1A"),
        ({"secrets": (("A", "\0"),)}, "NUL"),
        ({"stdout": "/etc/x"}, "stdout"),
        ({"stdin": "../x"}, "stdin"),
        ({"working_directory": "x"}, "absolute"),
        ({"root": Root(kind=RootKind.DIRECTORY)}, r"root\.path"),
        ({"volumes": (Volume(kind=VolumeKind.HOST_PATH, path="/x", source="y"),)}, "host path"),
        ({"volumes": (Volume(kind=VolumeKind.TMPFS, path="/x"),)}, "size_bytes"),
        ({"volumes": (Volume(kind=VolumeKind.SANDBOX_PATH, path="/x"),)}, "source"),
        ({"network": "bridge", "ports": (PortMapping(host_port=0, container_port=80),)}, "1 to 65535"),
        ({"network": "bridge", "ports": (PortMapping(host_port=1, container_port=1, protocol="sctp"),)}, "tcp"),
        ({"network": "bridge", "ports": (PortMapping(host_port=1, container_port=1),) * 2}, "1/tcp twice"),
        ({"ports": (PortMapping(host_port=1, container_port=1),)}, "give network='bridge' with them"),
        ({"network": "cni"}, "'bridge', or empty"),
        ({"network": "bridge", "namespaces": (Namespace.MOUNT,)}, "leaves out net"),
        ({"id": "pod.web", "network": "bridge"}, "give them to pod"),
        ({"limits": Limits(cpus=0.0)}, "above 0"),
        ({"limits": Limits(cpus=float("nan"))}, "above 0"),
        ({"limits": Limits(memory_bytes=64, memory_limit_bytes=32)}, "below the request"),
        ({"limits": Limits(memory_high_bytes=64)}, "hard limit"),
        ({"limits": Limits(port_ranges=((90, 80),))}, "90-80: first and last"),
        ({"limits": Limits(port_ranges=((0, 80),))}, "0-80: first and last"),
        ({"debug": True}, "nested"),
        ({"shares_limits": False}, "nested"),
        ({"kill_grace_seconds": -1.0}, "kill_grace_seconds"),
    ],
)
def test_a_spec_that_cannot_be_used_is_refused_by_field(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        validate(spec(**fields))


def test_limits_may_be_unlimited() -> None:
    limits = Limits(cpus=1.0, cpus_limit=UNLIMITED, memory_bytes=64, memory_limit_bytes=UNLIMITED)
    validate(spec(limits=limits))
    assert limits.memory_hard_bytes is None


def test_nesting_is_in_the_name() -> None:
    assert parent_of("pod.web.check") == "pod.web"
    assert is_nested_in("pod.web.check", "pod")
    assert not is_nested_in("podium.web", "pod")
