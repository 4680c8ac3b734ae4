"""Containers: from the call to the command's first instruction, beside crun and bubblewrap, on one kernel.

All three make new pid, mount, ipc, uts, net and (crun and ours) cgroup namespaces, change into the same read-only root
file system, and run ``date``; crun and ours also set the same limits of cpu, memory and processes. The clock is the one
that ``date`` prints. Runs are interleaved; figures are medians. What crun and ours keep of a container lies in memory,
as it does by default, in /run; so do our sandboxes: to make a file on a busy disk can take as long as all the rest.

crun needs cgroup v2, so where this machine has none the benchmark runs itself under ``scripts/with-cgroup2``, on one
processor.
Names in the JSON object: `crun_ratio` and `crun_ratio_busy_parent` (our latency by crun's; the latter from a process of
400 MB with 8 busy threads), `containers_per_s` (8 at once, launched, ended and cleaned up), `pss_mb_per_container`
(memory of an idle container beyond its own process), `limitation_ms_memory`, `_pids`, `_disk`, `_disk_quota` (from the
page, fork or write too many to the word of it), and the absolute figures in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from _disks import mount_quota_disk  # noqa: E402

from containerizer.cgroups2.tree import find  # noqa: E402
from containerizer.events import LimitReached, ProcessEnded  # noqa: E402
from containerizer.messages import ContainerizerMessage  # noqa: E402
from containerizer.spec import ContainerSpec, Limits, Namespace, Root, RootKind  # noqa: E402
from containerizer.state import ContainerizerConfig  # noqa: E402
from containerizer.work import Work  # noqa: E402

MIB = 1 << 20
DATE = ("date", "+%s.%N")
NAMESPACES = tuple(namespace for namespace in Namespace if namespace is not Namespace.USER)
LIMITS = Limits(cpus=1.0, cpus_limit=1.0, memory_bytes=64 * MIB, pids=32)
BUSY_THREADS = 8
BUSY_BYTES = 400 * MIB
IDLE_CONTAINERS = 40
MEMORY = Path("/dev/shm")
"""Nothing can be executed there on many machines: programs lie elsewhere."""

LIMITATIONS = 10
LIMITATION_TIMEOUT_SECONDS = 20.0
DISK_LIMITS = Limits(memory_bytes=64 * MIB, disk_bytes=8 * MIB)

OUT_OF_MEMORY = """
import os, time
held = []
while True:  # the last time that is written is that of the page before the one too many
    held.append(b"x" * (1 << 18))
    os.write(1, b"%f\\n" % time.time())
"""
OUT_OF_PROCESSES = """
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(60)
    except OSError:
        os.write(1, b"%f\\n" % time.time())
        time.sleep(60)
"""
OUT_OF_DISK = """
import os, time
file = os.open("file", os.O_WRONLY | os.O_CREAT)
os.write(1, b" " * 24)  # room for the time: where a quota holds, there is none later
written = 0
try:
    while written <= 8 << 20:
        written += os.write(file, bytes(1 << 16))
except OSError:
    pass
os.pwrite(os.open("stdout", os.O_WRONLY), b"%f\\n" % time.time(), 0)
time.sleep(60)
"""
"""Programs that run into a limit."""

TOGETHER = 8
LIMITS_OF_FIGURES = (
    ("crun_ratio", 0.8),
    ("crun_ratio_busy_parent", 0.8),
    ("pss_mb_per_container", 3.0),
    ("limitation_ms_memory", 100.0),
    ("limitation_ms_pids", 100.0),
    ("limitation_ms_disk", 100.0),
    ("limitation_ms_disk_quota", 100.0),
)

GUEST_SECONDS = 3600
"""For all of it in a kernel that has to be booted first: a soak of 2,000 takes some minutes there."""

PACKAGES = {"crun": "crun", "bwrap": "bubblewrap"}
"""Programs that are compared, and the Debian packages that have them."""


class Ours:
    """A containerizer's machine side, without the actor: crun is no actor either."""

    def __init__(self, directory: Path, rootfs: Path) -> None:
        self.directory = directory
        self.rootfs = rootfs
        self.ended: dict[str, asyncio.Event] = {}
        self.limited: dict[str, asyncio.Future[float]] = {}
        config = ContainerizerConfig(runtime_directory=str(directory / "run"), isolation=("auto",))
        self.work = Work(asyncio.get_running_loop(), config, self.post)
        self.count = 0

    def post(self, message: ContainerizerMessage) -> None:
        if isinstance(message, ProcessEnded):
            self.ended[message.container_id].set()
        elif isinstance(message, LimitReached):
            told = self.limited.get(message.limitation.container_id)
            if told is not None and not told.done():
                told.set_result(time.time())

    def spec(self, *argv: str) -> ContainerSpec:
        self.count += 1
        name = f"c{self.count}"
        return ContainerSpec(
            id=name,
            sandbox=str(self.directory / "sandboxes" / name),
            argv=argv,
            environment=(("PATH", "/bin"),),
            namespaces=NAMESPACES,
            root=Root(kind=RootKind.DIRECTORY, path=str(self.rootfs), read_only=True),
            limits=LIMITS,
            seccomp="unconfined",
        )

    async def start(self, *argv: str) -> ContainerSpec:
        spec = self.spec(*argv)
        self.ended[spec.id] = asyncio.Event()
        launched = await self.work.launch(spec)
        assert launched.failure is None, launched.message
        self.work.watch(spec.id)
        return spec

    async def finish(self, spec: ContainerSpec) -> None:
        await self.ended[spec.id].wait()
        del self.ended[spec.id]
        cleaned = await self.work.clean(spec.id, destroyed=False, limitation=None)
        assert not cleaned.error, cleaned.error
        self.work.forget(spec.id)

    async def latency(self) -> float:
        """Seconds from the call to the command."""
        before = time.time()
        spec = await self.start(*DATE)
        await self.finish(spec)
        return float((Path(spec.sandbox) / "stdout").read_text()) - before

    async def limitation(self, program: str, sandboxes: Path, limits: Limits) -> float:
        """Seconds from the moment that a program in a container runs into a limit to the word of it.

        program  in Python; it writes the time to standard output until, or when, it does
        """
        self.count += 1
        spec = ContainerSpec(
            id=f"l{self.count}",
            sandbox=str(sandboxes / f"l{self.count}"),
            argv=(sys.executable, "-I", "-S", "-c", program),
            limits=limits,
            seccomp="unconfined",
        )
        self.ended[spec.id] = asyncio.Event()
        self.limited[spec.id] = asyncio.get_running_loop().create_future()
        launched = await self.work.launch(spec)
        assert launched.failure is None, launched.message
        self.work.watch(spec.id)
        told = await asyncio.wait_for(self.limited[spec.id], LIMITATION_TIMEOUT_SECONDS)
        del self.limited[spec.id]
        printed = Path(spec.sandbox) / "stdout"
        while "\n" not in printed.read_text():  # the word may be here before the program has looked at its clock
            await asyncio.sleep(0.001)
        hit = float(printed.read_text().split("\n")[-2])
        await self.work.kill(spec.id, self.work.find_process(spec.id))
        await self.finish(spec)
        shutil.rmtree(spec.sandbox)
        return max(told - hit, 0.0)

    async def rate(self, count: int) -> float:
        """Containers per second, several at once."""
        left = iter(range(count))

        async def worker() -> None:
            for _ in left:
                await self.finish(await self.start("true"))

        start = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(TOGETHER)))
        return count / (time.perf_counter() - start)

    async def memory(self) -> float:
        """Megabytes (10^6) of an idle container beyond its own process: its init's proportional share."""
        specs = [await self.start("sleep", "600") for _ in range(IDLE_CONTAINERS)]
        states = {spec.id: self.work.find_process(spec.id) for spec in specs}
        sizes = [proportional_bytes(process.pid) for process in states.values()]
        for spec in specs:
            await self.work.kill(spec.id, states[spec.id])
            await self.finish(spec)
        return statistics.mean(sizes) / 1e6


def proportional_bytes(pid: int) -> int:
    """PSS of a process (`man 5 proc_pid_smaps`)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no Pss")


def build_rootfs(root: Path) -> Path:
    """``date``, ``true``, ``sleep`` and their libraries."""
    for name in ("bin", "proc", "sys", "dev", "etc", "mnt/mesos/sandbox"):
        (root / name).mkdir(parents=True)
    for name in ("date", "true", "sleep"):
        program = Path(shutil.which(name) or name).resolve()
        shutil.copy(program, root / "bin" / name)
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for library in {Path(word) for word in said.split() if word.startswith("/")}:
            target = root / library.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copy(library.resolve(), target)
    return root


def crun_bundle(directory: Path, rootfs: Path) -> Path:
    """A bundle with the namespaces, mounts and limits that ours has."""
    bundle = directory / "bundle"
    bundle.mkdir()
    subprocess.run(["crun", "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=list(DATE), env=["PATH=/bin"], noNewPrivileges=True)
    config["root"] = {"path": str(rootfs), "readonly": True}
    config["linux"]["resources"] = {
        "memory": {"limit": LIMITS.memory_bytes},
        "cpu": {"quota": 100_000, "period": 100_000, "shares": 1024},
        "pids": {"limit": LIMITS.pids},
    }
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


async def run_program(*command: str) -> float:
    """Seconds from the call to what ``date`` says."""
    before = time.time()
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return float(said) - before


def launchers(ours: Ours, directory: Path, rootfs: Path) -> dict[str, Callable[[], Awaitable[float]]]:
    """Those that are compared."""
    found: dict[str, Callable[[], Awaitable[float]]] = {"ours": ours.latency}
    numbers = iter(range(1_000_000))
    if shutil.which("crun") and find("", str(directory)).path:
        bundle = crun_bundle(directory, rootfs)
        options = ("--cgroup-manager=cgroupfs", f"--root={directory / 'crun'}")
        found["crun"] = lambda: run_program("crun", *options, "run", "-b", str(bundle), f"b{next(numbers)}")
    if shutil.which("bwrap"):
        unshare = ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net")
        tree = ("--ro-bind", str(rootfs), "/", "--proc", "/proc", "--dev", "/dev", "--setenv", "PATH", "/bin")
        found["bubblewrap"] = lambda: run_program("bwrap", *unshare, *tree, *DATE)
    return found


async def compare(programs: dict[str, Callable[[], Awaitable[float]]], rounds: int) -> dict[str, float]:
    """Median seconds of each, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, launch in programs.items():
            seconds[name].append(await launch())
    return {name: statistics.median(values) for name, values in seconds.items()}


class BusyParent:
    """Makes this process large and its threads busy."""

    def __enter__(self) -> BusyParent:
        self._ballast = bytearray(BUSY_BYTES)
        # Every page touched, so that it is there.
        self._ballast[::4096] = b"x" * (BUSY_BYTES // 4096)
        self._stopping = False
        self._threads = [threading.Thread(target=self._work) for _ in range(BUSY_THREADS)]
        for thread in self._threads:
            thread.start()
        return self

    def _work(self) -> None:
        while not self._stopping:
            hashlib.sha256(self._ballast[: 64 * 1024]).digest()

    def __exit__(self, *error: object) -> None:
        self._stopping = True
        for thread in self._threads:
            thread.join()


async def limitations_of(ours: Ours, quota_disk: Path | None) -> dict[str, float]:
    """Median seconds until each limit is told."""
    sandboxes = ours.directory / "sandboxes"
    to_hit = {
        "memory": (OUT_OF_MEMORY, sandboxes, LIMITS),
        "pids": (OUT_OF_PROCESSES, sandboxes, LIMITS),
        "disk": (OUT_OF_DISK, sandboxes, DISK_LIMITS),
        **({"disk_quota": (OUT_OF_DISK, quota_disk, DISK_LIMITS)} if quota_disk else {}),
    }
    return {
        name: statistics.median([await ours.limitation(*hit) for _ in range(LIMITATIONS)])
        for name, hit in to_hit.items()
    }


async def measure(rounds: int, soak: int) -> dict[str, Any]:
    directory = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else "/tmp", prefix="kb-"))
    programs_directory = Path(tempfile.mkdtemp(dir="/tmp", prefix="kb-"))
    try:
        rootfs = build_rootfs(programs_directory / "rootfs")
        ours = Ours(directory, rootfs)
        programs = launchers(ours, directory, rootfs)
        await compare(programs, 1)
        idle = await compare(programs, rounds)
        rate = await ours.rate(rounds * 4)
        memory = await ours.memory()
        with BusyParent():
            busy = await compare(programs, max(rounds // 2, 3))
            if soak:
                await ours.rate(soak)
        ours.work.close()
        # Where a disk has quotas, containers have a filter more: it is there for those that run into them.
        quota_disk = mount_quota_disk(programs_directory)
        limited = Ours(directory / "limited", rootfs)
        limitations = await limitations_of(limited, quota_disk) if find("", str(directory)).path else {}
        limited.work.close()
    finally:
        subprocess.run(["umount", "--lazy", str(programs_directory / "quota")], check=False, capture_output=True)
        shutil.rmtree(directory)
        shutil.rmtree(programs_directory)
    figures: dict[str, Any] = {
        "containers_per_s": round(rate, 1),
        "pss_mb_per_container": round(memory, 2),
        "kernel": os.uname().release,
        "soak_launches": soak,
        **{f"limitation_ms_{name}": round(seconds * 1000, 2) for name, seconds in limitations.items()},
    }
    for name, value in idle.items():
        figures[f"{name}_ms"] = round(value * 1000, 2)
        figures[f"{name}_busy_parent_ms"] = round(busy[name] * 1000, 2)
    if "crun" in idle:
        figures["crun_ratio"] = round(idle["ours"] / idle["crun"], 3)
        figures["crun_ratio_busy_parent"] = round(busy["ours"] / busy["crun"], 3)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="launches of each kind (default 30)")
    parser.add_argument("--soak", type=int, default=0, help="launches more from the busy process (default none)")
    parser.add_argument("--json", action="store_true", help="print a JSON object as the last line")
    parser.add_argument("--here", action="store_true", help="on this kernel, with cgroup v2 or without")
    arguments = parser.parse_args()
    if not arguments.here and not find("", "/bench").path:
        script = ROOT / "scripts" / "with-cgroup2"
        # That kernel has one processor and hands it from one process of the host's to the next. Spread over several of
        # the host's, how long that takes is chance: up to three times as long where they are idle, for a while.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        command = [str(script), f"--timeout={GUEST_SECONDS}", "--", sys.executable, *sys.argv, "--here"]
        return subprocess.run(command, check=False).returncode
    for program, package in PACKAGES.items():
        if shutil.which(program) is None:
            print(f"{program} is absent, and is not compared: apt-get install {package}", file=sys.stderr)
    figures = asyncio.run(measure(arguments.rounds, arguments.soak))
    for name, value in figures.items():
        print(f"{name:32} {value}")
    for name, limit in LIMITS_OF_FIGURES:
        if name in figures:
            print(f"{name}: {figures[name]}, wanted at most {limit}")
    if arguments.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
