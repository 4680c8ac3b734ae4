"""The settings of the daemons: each is declared here once (`runtime.flags`), and what all daemons make of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from actors.cli.daemon import DaemonSettings
from actors.master.constants import AGENT_PING_SECONDS, AGENT_REREGISTER_SECONDS, MAX_AGENT_PINGS_MISSED
from containerizer.networks import DEFAULT_BRIDGE, DEFAULT_SUBNET
from runtime.errors import ConfigurationError
from runtime.flag_kinds import BOOLEAN, DURATION, INTEGER, LIST, PATH, STRING, choice, render_duration
from runtime.flags import Flag, FlagTable, Settings
from runtime.logs import FORMATS, LEVELS
from runtime.transport.zeromq.keys import OPERATOR, NodeKey, read_key

RUNTIME_MODE: Final = 0o711
"""Of an agent's runtime directory: executors that run as another user reach their socket in it, and list nothing."""

_COMMON: Final = (
    Flag("work_dir", None, PATH, "Directory for journals and crash reports, made if missing.", "Files", required=True),
    Flag("insecure", "false", BOOLEAN, "No encryption, no authentication. For benchmarks.", "Security"),
    Flag("log_format", "text", choice(*FORMATS), "How log lines are written.", "Logs"),
    Flag("log_level", "info", choice(*LEVELS), "Least level of what is logged.", "Logs"),
)

_OPERATORS: Final = Flag(
    "operators",
    OPERATOR,
    LIST,
    "Principals that may look into the node with `kaon trace` and `kaon why`.",
    "Security",
)

_HTTP: Final = Flag(
    "http", None, STRING, "Serve /health, /version and /metrics at HOST:PORT (port 0: any free one).", "Network"
)

MASTER_FLAGS: Final = FlagTable(
    "master",
    (
        Flag("listen", "tcp://127.0.0.1:5040", STRING, "Where agents, schedulers and tools connect.", "Network"),
        Flag("hostname", None, STRING, "What the master is called; this machine's name unless given.", "Network"),
        _HTTP,
        Flag("keys", None, PATH, "Key directory; below the work directory unless given.", "Security"),
        _OPERATORS,
        Flag(
            "allocation_interval",
            "1secs",
            DURATION,
            "Between two cycles of the allocator.",
            "Allocation",
            minimum="10ms",
        ),
        Flag("allocator", "drf", STRING, "Policy: drf, priority, random, or module:Class.", "Offers"),
        Flag("offer_timeout", None, DURATION, "Take offers back after so long; never unless given.", "Offers"),
        Flag(
            "agent_ping_timeout",
            render_duration(AGENT_PING_SECONDS),
            DURATION,
            "Between two pings of an agent.",
            "Agents",
            minimum="100ms",
            maximum="15mins",
        ),
        Flag(
            "max_agent_ping_timeouts",
            str(MAX_AGENT_PINGS_MISSED),
            INTEGER,
            "Unanswered pings that make an agent unreachable.",
            "Agents",
            minimum="1",
        ),
        Flag(
            "agent_reregister_timeout",
            render_duration(AGENT_REREGISTER_SECONDS),
            DURATION,
            "How long an agent whose connection broke may stay away.",
            "Agents",
        ),
        *_COMMON,
    ),
)

CONTAINERIZER_FLAGS: Final = FlagTable(
    "containerizer",
    (
        Flag("name", "containerizer", STRING, "Id of its node: that of its key, a dot, and anything."),
        Flag("runtime_dir", None, PATH, "Short path for its socket and containers' state.", "Files", required=True),
        _HTTP,
        Flag("isolation", "auto", LIST, "Isolators, separated by commas: see `kaon doctor`.", "Isolation"),
        Flag("cgroup", "", STRING, "cgroup v2 directory for containers; its own unless given.", "Isolation"),
        Flag("gpu_devices", "all", LIST, "GPUs to grant: all, none, or minor numbers and UUIDs.", "Isolation"),
        Flag("project_range", "5000-10000", STRING, "Project ids for disk quotas, first and last.", "Isolation"),
        Flag(
            "network_bridge", DEFAULT_BRIDGE, STRING, "Bridge of containers with a network of their own.", "Isolation"
        ),
        Flag("network_subnet", DEFAULT_SUBNET, STRING, "Their addresses; the bridge has the first.", "Isolation"),
        Flag("key", None, PATH, "Key file that it shares with its agent.", "Security"),
        *_COMMON,
    ),
)

AGENT_FLAGS: Final = FlagTable(
    "agent",
    (
        Flag("name", "agent", STRING, "Id of its node: that of its key, or that with a dot and anything."),
        Flag("master", None, STRING, "Where the master listens: tcp://host:5040.", "Network", required=True),
        Flag("listen", "tcp://127.0.0.1:5041", STRING, "Where tools connect (port 0: any free one).", "Network"),
        Flag("hostname", None, STRING, "What the agent is called; this machine's name unless given.", "Network"),
        _HTTP,
        Flag("runtime_dir", None, PATH, "That of its containerizer.", "Files", required=True),
        Flag("key", None, PATH, "Key file, from `kaon keys add`.", "Security"),
        Flag("keys", None, PATH, "Directory of the tools' public keys that may read sandboxes.", "Security"),
        _OPERATORS,
        Flag("resources", "", STRING, "To offer, such as 'cpus:4;mem:8192'; what is left out is found out.", "Offers"),
        Flag("attributes", "", STRING, "Such as 'rack:a;disk:ssd'.", "Offers"),
        *_COMMON,
    ),
)


def daemon_settings(
    settings: Settings, node_id: str, key: NodeKey | None, keys: Path | None = None, relays: tuple[str, ...] = ()
) -> DaemonSettings:
    """What all daemons are told, from the flags that all have. relays: principals that ask on behalf of operators."""
    host, port = _http(settings["http"]) if "http" in settings else ("", None)
    return DaemonSettings(
        node_id=node_id,
        work_dir=settings["work_dir"],
        key=key,
        key_directory=keys,
        operators=(*settings["operators"], *relays) if key is not None and "operators" in settings else (),
        http_host=host,
        http_port=port,
        log_format=settings["log_format"],
        log_level=settings["log_level"],
    )


def _http(text: str | None) -> tuple[str, int | None]:
    """Read HOST:PORT; no port means no endpoint."""
    if not text:
        return "", None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ConfigurationError(f"--http {text!r}: write HOST:PORT, such as 127.0.0.1:5050")
    return host.strip("[]") or "127.0.0.1", int(port)


def key_of(settings: Settings) -> NodeKey | None:
    """The key of a node that dials: needed unless the cluster is insecure."""
    if settings["insecure"]:
        return None
    if settings["key"] is None:
        raise ConfigurationError("no key: give --key FILE (`kaon keys add NAME` makes one), or --insecure")
    return read_key(settings["key"])


def with_key(address: str, key: NodeKey | None) -> str:
    """An address that says whose key answers there."""
    return f"{address}?key={key.public.hex()}" if key is not None else address


def make_runtime_dir(settings: Settings) -> Path:
    """The runtime directory that an agent and its containerizer share, made if it is missing."""
    directory: Path = settings["runtime_dir"]
    try:
        directory.mkdir(mode=RUNTIME_MODE, parents=True, exist_ok=True)
        directory.chmod(RUNTIME_MODE)
    except OSError as error:
        raise ConfigurationError(
            f"--runtime-dir {directory} cannot be used: {error.strerror}; choose another"
        ) from None
    return directory


def containerizer_dir(runtime_dir: Path) -> Path:
    """What is the containerizer's alone: no container sees into it."""
    return runtime_dir / "c"


def containerizer_socket(runtime_dir: Path) -> str:
    """Where an agent reaches its containerizer."""
    return f"ipc://{containerizer_dir(runtime_dir) / 'node'}"


def executor_socket(runtime_dir: Path) -> str:
    """Where executors reach their agent."""
    return f"ipc://{runtime_dir / 'executors'}"
