"""What a container is asked to be: plain data, sent by an agent and kept by the containerizer.

A :class:`ContainerSpec` needs an id, a command and a sandbox; everything else has a default that fits a command task.
Amounts are in the unit that their name ends in. Nothing here touches the machine: :func:`validate` says what is wrong
with a spec before anything has been made for it.
"""

from __future__ import annotations

import enum
import re
from typing import Annotated, Final

import msgspec

from containerizer.errors import InvalidSpec
from runtime.message import SECRET

CONTAINER_ID_BYTES: Final = 200
"""Longest container id. It names directories; Mesos allows 242, we keep room for suffixes within 255."""

NESTED: Final = "."
"""Between the id of a container and what is its child's own: ``pod.web``."""

NESTING_DEPTH: Final = 32
"""Deepest nesting, as in Mesos (`docs/nested-container-and-task-group.md`)."""

MIN_MEMORY_BYTES: Final = 32 * 1024 * 1024
"""Smallest memory limit, as in Mesos (`isolators/cgroups2/controllers/memory.cpp`: MIN_MEMORY)."""

KILL_GRACE_SECONDS: Final = 3.0
"""Between SIGTERM and SIGKILL unless the spec says otherwise (Mesos: 3 s, `src/launcher/executor.cpp`)."""

_ID_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:-]*")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of the values in this module: frozen, by keyword, unknown fields ignored when decoded."""


class Namespace(enum.Enum):
    """Kernel namespaces (`man 7 namespaces`) that a container may have of its own."""

    MOUNT = "mount"
    PID = "pid"
    IPC = "ipc"
    UTS = "uts"
    NET = "net"
    CGROUP = "cgroup"
    USER = "user"


class Rlimit(Record, frozen=True, kw_only=True):
    """A resource limit of processes (`man 2 setrlimit`).

    name        in lower case without prefix: ``nofile``, ``core``, ``nproc``, ``stack``, ...
    soft, hard  in the limit's own unit; None is unlimited
    """

    name: str
    soft: int | None = None
    hard: int | None = None


class Limits(Record, frozen=True, kw_only=True):
    """What a container may use. A request is what it is promised, a limit is what stops it; None limits nothing.

    cpus            requested, in cores: its weight against others when cores are short
    cpus_limit      hard ceiling, in cores; None lets it use idle cores
    cpu_burst_seconds  core time beyond the ceiling that may be saved up and spent at once
    memory_bytes    requested; also the hard limit unless `memory_limit_bytes` is given
    memory_limit_bytes  hard limit when it is larger than the request (it may be ``UNLIMITED``)
    memory_high_bytes   throttle above this; only together with a hard limit
    swap_bytes      swap on top; 0 forbids it, None leaves the kernel's default
    pids            processes and threads together
    io_read_bytes_per_second, io_write_bytes_per_second  for the disk that the sandbox is on
    io_weight       1 to 10000, against others when the disk is busy
    disk_bytes      size of the sandbox's files
    cpuset_cpus, cpuset_memory_nodes  lists as the kernel writes them (``0-3,8``); empty for all
    hugetlb_bytes   pairs of page size as the kernel names it (``2MB``) and bytes
    port_ranges     first and last port, of those that may be bound on the host's network, both protocols alike; where
                    the isolator `network/ports` is
    """

    cpus: float | None = None
    cpus_limit: float | None = None
    cpu_burst_seconds: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    memory_high_bytes: int | None = None
    swap_bytes: int | None = None
    pids: int | None = None
    io_read_bytes_per_second: int | None = None
    io_write_bytes_per_second: int | None = None
    io_weight: int | None = None
    disk_bytes: int | None = None
    cpuset_cpus: str = ""
    cpuset_memory_nodes: str = ""
    hugetlb_bytes: tuple[tuple[str, int], ...] = ()
    port_ranges: tuple[tuple[int, int], ...] | None = None

    @property
    def memory_hard_bytes(self) -> int | None:
        """What stops it: the limit, or the request where no limit is given; None for no hard limit."""
        limit = self.memory_bytes if self.memory_limit_bytes is None else self.memory_limit_bytes
        return None if limit is None or limit == UNLIMITED else limit


UNLIMITED: Final = -1
"""A limit that is spelled out as none (Mesos: ``Infinity`` in `TaskInfo.limits`)."""


class VolumeKind(enum.Enum):
    """Where a volume's files come from."""

    HOST_PATH = "host_path"
    """A file or directory of the host."""
    SANDBOX_PATH = "sandbox_path"
    """A directory in this container's sandbox, or in its parent's for a nested one; made if missing."""
    TMPFS = "tmpfs"
    """Memory, gone with the container; needs `size_bytes`."""
    SECRET = "secret"  # noqa: S105  the word, not one
    """A file with `content`, in memory, readable by the container's user only."""


class Volume(Record, frozen=True, kw_only=True):
    """Files that appear inside a container.

    path        inside, absolute; or relative to the sandbox
    source      for HOST_PATH an absolute path on the host; for SANDBOX_PATH a path relative to the sandbox
    read_only   the container cannot write there
    size_bytes  of a TMPFS
    content     of a SECRET
    """

    kind: VolumeKind
    path: str
    source: str = ""
    read_only: bool = False
    size_bytes: int = 0
    content: Annotated[str, SECRET] = ""


class PortMapping(Record, frozen=True, kw_only=True):
    """A port of the host that leads into a container with a network of its own. protocol: ``tcp`` or ``udp``."""

    host_port: int
    container_port: int
    protocol: str = "tcp"


BRIDGE: Final = "bridge"
"""A network of a container's own, connected by a bridge."""


class RootKind(enum.Enum):
    """What a container sees as ``/``."""

    HOST = "host"
    """The host's own tree, writable where its user may write (what Mesos does without an image)."""
    HOST_READ_ONLY = "host_read_only"
    """The host's tree, read-only but for sandbox, volumes and a private /tmp."""
    DIRECTORY = "directory"
    """A directory with a root file system, through an overlay whose changes go with the container."""
    ARCHIVE = "archive"
    """A tarball with a root file system, unpacked once and then used as DIRECTORY."""


class Root(Record, frozen=True, kw_only=True):
    """A container's root file system; `path` of the directory or tarball on the host."""

    kind: RootKind = RootKind.HOST
    path: str = ""
    read_only: bool = False


class ContainerSpec(Record, frozen=True, kw_only=True):
    """One container.

    id            unique on the agent; a nested container's is its parent's, a dot and its own: ``pod.web``
    sandbox       absolute path of its working directory on the host; made if missing, given to `user`, never removed
                  by the containerizer
    shell         text for ``/bin/sh -c``; or
    argv          program and arguments, looked up in the container's PATH. Exactly one of the two is given
    environment   pairs of name and value (``tuple(mapping.items())``), all of it: nothing is inherited. PATH, HOME and
                  MESOS_SANDBOX are added where missing
    secrets       environment variables whose values are shown nowhere
    user          name or number to run as; empty for the containerizer's own
    working_directory  inside the container; empty for the sandbox
    sandbox_inside  where the sandbox appears in a container with a root file system of its own (Mesos:
                  `--sandbox_directory`)
    stdout, stderr  files, relative to the sandbox; appended to. Empty: kept nowhere; whoever attaches reads it, and the
                  command waits while nobody does
    stdin         file to read, relative to the sandbox; empty for /dev/null
    interactive   standard input is a pipe, which whoever attaches writes to; a terminal can be written to anyway
    tty           a terminal instead of the three files; what it shows is appended to `stdout`
    rows, columns of the terminal, in characters
    namespaces    of its own; None leaves the choice to the containerizer's isolation. Where the host cannot make one
                  that is listed here, the launch is refused
    root, volumes, rlimits, limits   see their types
    network       empty for the host's, or for nothing but a loopback where `namespaces` has ``net``; ``bridge`` for one
                  of its own, with an address, behind a bridge of the host's. A nested container has its parent's
    ports         of the host, led into a network of its own: with ``bridge``
    capabilities  Linux capabilities it may ever have (``CAP_NET_BIND_SERVICE``, ...); None for the isolation's default
    no_new_privileges  set-uid programs gain nothing
    seccomp       path of a profile in Docker's JSON form, ``default`` for ours, ``unconfined`` for none, empty for the
                  isolation's choice
    hostname      with a UTS namespace; empty for the container id's last part
    shm_bytes     size of /dev/shm with an IPC namespace
    gpus          how many; whole ones
    shares_limits nested only: counted in its parent's limits (Mesos: `share_cgroups`)
    debug         nested only: joins its parent's namespaces and sees what the parent sees
    kill_grace_seconds  between SIGTERM and SIGKILL when it is destroyed gracefully
    """

    id: str
    sandbox: str
    shell: str = ""
    argv: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    secrets: Annotated[tuple[tuple[str, str], ...], SECRET] = ()
    user: str = ""
    working_directory: str = ""
    sandbox_inside: str = "/mnt/mesos/sandbox"
    stdout: str = "stdout"
    stderr: str = "stderr"
    stdin: str = ""
    interactive: bool = False
    tty: bool = False
    rows: int = 24
    columns: int = 80
    namespaces: tuple[Namespace, ...] | None = None
    root: Root = Root()
    volumes: tuple[Volume, ...] = ()
    network: str = ""
    ports: tuple[PortMapping, ...] = ()
    rlimits: tuple[Rlimit, ...] = ()
    limits: Limits = Limits()
    capabilities: tuple[str, ...] | None = None
    no_new_privileges: bool = True
    seccomp: str = ""
    hostname: str = ""
    shm_bytes: int = 64 * 1024 * 1024
    gpus: int = 0
    shares_limits: bool = True
    debug: bool = False
    kill_grace_seconds: float = KILL_GRACE_SECONDS

    @property
    def parent(self) -> str:
        """Id of the container that this one is nested in; empty for none."""
        return parent_of(self.id)

    @property
    def command(self) -> tuple[str, ...]:
        """What is executed."""
        return ("/bin/sh", "-c", self.shell) if self.shell else self.argv


def parent_of(container_id: str) -> str:
    """``pod`` for ``pod.web``; empty for a container that is not nested."""
    return container_id.rpartition(".")[0]


def is_nested_in(container_id: str, ancestor: str) -> bool:
    """Whether the one is below the other, at any depth."""
    return container_id.startswith(ancestor + NESTED)


def validate(spec: ContainerSpec) -> None:
    """Raise :class:`containerizer.errors.InvalidSpec`, which names field and mend, unless `spec` can be tried."""
    _validate_id(spec.id)
    _validate_command(spec)
    _validate_paths(spec)
    validate_limits(spec.limits)
    if not spec.parent and (spec.debug or not spec.shares_limits):
        raise InvalidSpec("debug and shares_limits=False are for nested containers: give an id like 'parent.child'")
    if not 0 <= spec.kill_grace_seconds <= 86_400:
        raise InvalidSpec(f"kill_grace_seconds is {spec.kill_grace_seconds}: it must be between 0 and 86400")
    if spec.stdin and (spec.tty or spec.interactive):
        raise InvalidSpec(f"stdin is {spec.stdin!r}: it must be empty together with tty or interactive")
    validate_window(spec.rows, spec.columns)
    _validate_network(spec)


def _validate_network(spec: ContainerSpec) -> None:
    if spec.network not in {"", BRIDGE}:
        raise InvalidSpec(f"network is {spec.network!r}: it must be {BRIDGE!r}, or empty")
    if spec.parent and (spec.network or spec.ports):
        raise InvalidSpec(f"network and ports: a nested container has those of its parent: give them to {spec.parent}")
    if spec.ports and not spec.network:
        raise InvalidSpec(f"ports are led into a network of its own: give network={BRIDGE!r} with them")
    if spec.network and spec.namespaces is not None and Namespace.NET not in spec.namespaces:
        raise InvalidSpec(f"network is {spec.network!r}, and namespaces leaves out net: list it, or list none")
    taken: set[tuple[int, str]] = set()
    for mapping in spec.ports:
        if not (0 < mapping.host_port < 65_536 and 0 < mapping.container_port < 65_536):
            raise InvalidSpec(f"port mapping {mapping.host_port}:{mapping.container_port}: ports are 1 to 65535")
        if mapping.protocol not in {"tcp", "udp"}:
            raise InvalidSpec(f"port mapping protocol is {mapping.protocol!r}: it must be 'tcp' or 'udp'")
        if (mapping.host_port, mapping.protocol) in taken:
            raise InvalidSpec(f"ports has {mapping.host_port}/{mapping.protocol} twice: a port leads to one place")
        taken.add((mapping.host_port, mapping.protocol))


def validate_window(rows: int, columns: int) -> None:
    """Raise :class:`InvalidSpec` for a terminal's size that the kernel has no room for (`struct winsize`)."""
    for field, value in (("rows", rows), ("columns", columns)):
        if not 0 < value < 65_536:
            raise InvalidSpec(f"{field} is {value}: a terminal has 1 to 65535")


def _validate_id(container_id: str) -> None:
    parts = container_id.split(".")
    if not all(_ID_PART.fullmatch(part) for part in parts):
        raise InvalidSpec(
            f"container id {container_id!r}: letters, digits, '_', '-' and ':' only, parts joined by dots for nesting"
        )
    if len(container_id) > CONTAINER_ID_BYTES:
        raise InvalidSpec(f"container id is {len(container_id)} bytes long: {CONTAINER_ID_BYTES} at most")
    if len(parts) > NESTING_DEPTH:
        raise InvalidSpec(f"container id {container_id!r} is nested {len(parts)} deep: {NESTING_DEPTH} at most")


def _validate_command(spec: ContainerSpec) -> None:
    if bool(spec.shell) == bool(spec.argv):
        raise InvalidSpec("exactly one of shell and argv must be given")
    if spec.argv and not spec.argv[0]:
        raise InvalidSpec("argv[0] is empty: it names the program to run")
    if "\0" in spec.shell or any("\0" in argument for argument in spec.argv):
        raise InvalidSpec("the command contains a NUL character")
    for name, value in (*spec.environment, *spec.secrets):
        if not _VARIABLE.fullmatch(name):
            raise InvalidSpec(f"environment variable {name!r}: letters, digits and '_' only, no digit first")
        if "\0" in value:
            raise InvalidSpec(f"environment variable {name} contains a NUL character")


def _validate_paths(spec: ContainerSpec) -> None:
    if not spec.sandbox.startswith("/") or spec.sandbox == "/":
        raise InvalidSpec(f"sandbox is {spec.sandbox!r}: it must be an absolute path other than '/'")
    for field in ("stdout", "stderr", "stdin"):
        _check_inside_sandbox(field, getattr(spec, field))
    for field in ("sandbox", "sandbox_inside", "working_directory"):
        _check_plain(field, getattr(spec, field))
    if spec.working_directory and not spec.working_directory.startswith("/"):
        raise InvalidSpec(f"working_directory is {spec.working_directory!r}: it must be absolute, or empty")
    if spec.root.kind in (RootKind.DIRECTORY, RootKind.ARCHIVE) and not spec.root.path.startswith("/"):
        raise InvalidSpec(f"root.path is {spec.root.path!r}: a {spec.root.kind.value} root needs an absolute path")
    for volume in spec.volumes:
        _check_plain("volume path", volume.path)
        if not volume.path or volume.path == "/":
            raise InvalidSpec(f"volume path is {volume.path!r}: it must name a place below '/' or in the sandbox")
        if volume.kind is VolumeKind.HOST_PATH and not volume.source.startswith("/"):
            raise InvalidSpec(f"volume {volume.path}: source is {volume.source!r}: a host path must be absolute")
        if volume.kind is VolumeKind.SANDBOX_PATH:
            if not volume.source:
                raise InvalidSpec(f"volume {volume.path}: source is empty: it must be a path in the sandbox")
            _check_inside_sandbox(f"volume {volume.path}: source", volume.source)
        if volume.kind is VolumeKind.TMPFS and volume.size_bytes <= 0:
            raise InvalidSpec(f"volume {volume.path}: a tmpfs needs size_bytes above 0")


def _check_plain(field: str, path: str) -> None:
    if "\0" in path or ".." in path.split("/"):
        raise InvalidSpec(f"{field} is {path!r}: '..' and NUL are not allowed in it")


def _check_inside_sandbox(field: str, path: str) -> None:
    _check_plain(field, path)
    if path.startswith("/"):
        raise InvalidSpec(f"{field} is {path!r}: it must be relative to the sandbox")


def validate_limits(limits: Limits) -> None:
    """Raise :class:`InvalidSpec` for limits that cannot be."""
    for field in ("cpus", "cpus_limit"):
        value = getattr(limits, field)
        if value is not None and not 0 < value < 1_000_000 and (field, value) != ("cpus_limit", UNLIMITED):
            raise InvalidSpec(f"limits.{field} is {value}: it must be above 0")
    for field in ("memory_bytes", "pids", "disk_bytes", "io_read_bytes_per_second", "io_write_bytes_per_second"):
        value = getattr(limits, field)
        if value is not None and value <= 0:
            raise InvalidSpec(f"limits.{field} is {value}: it must be above 0")
    for first, last in limits.port_ranges or ():
        if not 0 < first <= last < 65_536:
            raise InvalidSpec(f"limits.port_ranges has {first}-{last}: first and last are ports from 1 to 65535")
    hard = limits.memory_hard_bytes
    if hard is not None and hard < (limits.memory_bytes or 0):
        raise InvalidSpec(f"limits.memory_limit_bytes ({hard}) is below the request ({limits.memory_bytes})")
    if limits.memory_high_bytes is not None and hard is None:
        raise InvalidSpec("limits.memory_high_bytes needs a hard limit too: alone it stalls a greedy task for ever")
