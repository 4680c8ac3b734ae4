"""A local cluster as processes: which daemons there are, where their files lie, how each is started."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Final

import msgspec
import psutil

from runtime.errors import KaonError
from runtime.transport.zeromq.keys import OPERATOR, add_node, authorise, own_key, read_key

RESERVED_MEMORY_MIB: Final = 1024
"""Left to the system when an agent is not told what to offer (Mesos: `src/slave/containerizer/containerizer.cpp`)."""


class LocalAgent(msgspec.Struct, frozen=True):
    """One agent of a local cluster: what it offers, in Mesos's text form."""

    name: str
    resources: str
    attributes: str = ""


class LocalCluster(msgspec.Struct, frozen=True, kw_only=True):
    """A local cluster: its files and its daemons.

    port, http_port  of the master
    """

    work_dir: Path
    port: int
    http_port: int
    agents: tuple[LocalAgent, ...]
    isolation: str
    insecure: bool
    log_level: str

    @property
    def master_address(self) -> str:
        """Where the master listens."""
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Of the master's HTTP endpoint."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def keys(self) -> Path:
        """The key directory."""
        return self.work_dir / "keys"

    @property
    def key_file(self) -> Path:
        """Of the tools."""
        return self.keys / f"{OPERATOR}.key"

    @property
    def runtime_dir(self) -> Path:
        """Sockets and what does not outlive a reboot: a short path, since sockets' end at 107 bytes."""
        return runtime_base() / hashlib.blake2b(str(self.work_dir).encode(), digest_size=4).hexdigest()

    def make_keys(self) -> None:
        """A key for the masters, each agent and the tools, where there is none yet."""
        own_key(self.keys)
        for principal in (OPERATOR, *(agent.name for agent in self.agents)):
            path = self.keys / f"{principal}.key"
            if path.exists():
                read_key(path)
            else:
                add_node(self.keys, principal)
        tools = read_key(self.key_file)
        for agent in self.agents:
            authorise(self.work_dir / agent.name / "keys", tools)

    def daemons(self) -> list[tuple[str, list[str]]]:
        """Name and command of every daemon, in the order of starting."""
        common = [f"--log-level={self.log_level}", *(["--insecure"] if self.insecure else [])]
        started = [("master", [*_kaon("master"), *self._master(), *common])]
        for agent in self.agents:
            started.append(
                (f"{agent.name}.containerizer", [*_kaon("containerizer"), *self._containerizer(agent), *common])
            )
            started.append((agent.name, [*_kaon("agent"), *self._agent(agent), *common]))
        return started

    def supervised(self, name: str, command: list[str]) -> list[str]:
        """A daemon's command under its supervisor."""
        log = self.work_dir / "logs" / f"{name}.log"
        return [
            *_kaon("supervise"),
            f"--name={name}",
            f"--log-file={log}",
            "--notify",
            "--die-with-parent",
            "--",
            *command,
        ]

    def _master(self) -> list[str]:
        return [
            f"--listen={self.master_address}",
            f"--http=127.0.0.1:{self.http_port}",
            f"--work-dir={self.work_dir / 'master'}",
            f"--keys={self.keys}",
        ]

    def _key(self, agent: LocalAgent) -> list[str]:
        return [] if self.insecure else [f"--key={self.keys / agent.name}.key"]

    def _containerizer(self, agent: LocalAgent) -> list[str]:
        return [
            f"--name={agent.name}.containerizer",
            f"--runtime-dir={self.runtime_dir / agent.name}",
            f"--work-dir={self.work_dir / agent.name}",
            f"--isolation={self.isolation}",
            *self._key(agent),
        ]

    def _agent(self, agent: LocalAgent) -> list[str]:
        return [
            f"--name={agent.name}",
            f"--master={self.master_address}",
            "--listen=tcp://127.0.0.1:0",
            "--hostname=localhost",
            f"--runtime-dir={self.runtime_dir / agent.name}",
            f"--work-dir={self.work_dir / agent.name}",
            f"--resources={agent.resources}",
            f"--attributes={agent.attributes}",
            *self._key(agent),
        ]


def _kaon(command: str) -> list[str]:
    """This very installation's `kaon`, whatever PATH says."""
    return [sys.executable, "-m", "actors.cli.main", command]


def runtime_base() -> Path:
    """Where sockets go: ``/run/kaon`` for root, ``$XDG_RUNTIME_DIR/kaon`` or ``/tmp/kaon-UID`` for others."""
    if os.geteuid() == 0:
        return Path("/run/kaon")
    if os.environ.get("XDG_RUNTIME_DIR"):
        return Path(os.environ["XDG_RUNTIME_DIR"]) / "kaon"
    return Path("/tmp") / f"kaon-{os.getuid()}"  # noqa: S108  made with mode 0700, and checked to be ours


def divide_machine(parts: int) -> str:
    """The resources of one of `parts` equal agents on this machine, in Mesos's text form."""
    memory_mib = psutil.virtual_memory().total // (1024 * 1024)
    offered_mib = max(memory_mib - RESERVED_MEMORY_MIB, memory_mib // 2)
    cpus = (psutil.cpu_count() or 1) / parts
    return f"cpus:{cpus:.3g};mem:{offered_mib // parts};disk:10240"


def describe_agents(count: int, resources: tuple[str, ...], attributes: tuple[str, ...]) -> tuple[LocalAgent, ...]:
    """The agents of a local cluster. The n-th text is for the n-th agent, the last one for those that follow."""
    if len(resources) > count or len(attributes) > count:
        raise KaonError(f"--resources or --attributes is given more often than there are agents ({count})")
    default = divide_machine(count)

    def nth(texts: tuple[str, ...], place: int, otherwise: str) -> str:
        return texts[min(place, len(texts) - 1)] if texts else otherwise

    return tuple(
        LocalAgent(f"agent-{place}", nth(resources, place, default), nth(attributes, place, ""))
        for place in range(count)
    )
