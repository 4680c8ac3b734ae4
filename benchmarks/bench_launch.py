"""Launching: from accept to TASK_FINISHED acknowledged through every process of a cluster with two agents.

Beside it, in the same run: what the containerizer alone launches when it is asked directly (launch, exit, collect),
and bare posix_spawn of the same program. `launch_ratio` is the cluster's rate as a part of the containerizer's own, the
smaller of the isolated and the plain form; medians of interleaved rounds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _cluster import KAON, ROOT, LocalCluster
from _harness import Figure, arguments, report

from actors.cli.client import Tool
from actors.messages.records import CommandInfo, FrameworkInfo, Offer, TaskInfo, TaskState, TaskStatus
from actors.scheduler.cluster import find_cluster
from actors.scheduler.scheduler import Scheduler
from actors.scheduler.state import SchedulerState
from allocator.resources import Resources
from containerizer.messages import Attach, Attached, Collected, ContainerExited, Launch, Launched, LaunchFailed
from containerizer.spec import ContainerSpec
from runtime.actor import Actor, State, receive
from runtime.clock import RealClock
from runtime.node import Node
from runtime.pid import PID
from runtime.transport.zeromq.transport import ZeroMQTransport

TASKS = 300
"""In one round of the cluster, half of them on each agent."""

AT_ONCE = 16
"""Containers under way when the containerizer is asked directly."""

SPAWNS = 500
DEADLINE_SECONDS = 60.0


class LoadState(SchedulerState, kw_only=True):
    """began: when the first offer was accepted; ended: when the last update was acknowledged."""

    wanted: int
    launched: int = 0
    finished: int = 0
    failed: int = 0
    began: float = 0.0
    ended: float = 0.0


class Load(Scheduler[LoadState]):
    """Launches half of its tasks on each of two agents."""

    def offers(self, offers: tuple[Offer, ...]) -> None:
        """Wait until both agents are offered, then launch everything."""
        held = list({offer.agent_id: offer for offer in self.state.connection.offers.values()}.values())
        if self.state.began or len(held) < 2:
            return
        self.state.began = time.perf_counter()
        for offer in held:
            tasks = [self._task(offer, number) for number in range(self.state.wanted // len(held))]
            self.state.launched += len(tasks)
            self.launch(offer, *tasks)

    def _task(self, offer: Offer, number: int) -> TaskInfo:
        return TaskInfo(
            task_id=f"{offer.agent_id}-{number}",
            agent_id=offer.agent_id,
            resources=Resources.scalar_only(cpus=0.01, mem=1),
            command=CommandInfo(argv=("true",)),
        )

    def update(self, status: TaskStatus) -> None:
        """Count ends; the acknowledgement goes out with this turn."""
        if status.state.is_terminal:
            self.state.finished += status.state is TaskState.FINISHED
            self.state.failed += status.state is not TaskState.FINISHED
            if self.state.finished + self.state.failed == self.state.launched:
                self.state.ended = time.perf_counter()


def cluster_rate(cluster: LocalCluster) -> float:
    """Tasks a second, from accept to the last acknowledgement."""

    async def work() -> float:
        tool = Tool(find_cluster(work_dir=cluster.work_dir), "bench")
        state = LoadState(
            framework=FrameworkInfo(name="bench", failover_timeout_seconds=1.0),
            masters=tool.cluster.masters,
            wanted=TASKS,
        )
        tool.node.spawn(Load, "scheduler", state)
        load = tool.node.cells["scheduler"].actor
        assert isinstance(load, Load)
        try:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while not load.state.ended:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"{load.state.finished} of {load.state.launched} tasks after {DEADLINE_SECONDS} s"
                    )
                await asyncio.sleep(0.01)
            if load.state.failed:
                raise RuntimeError(f"{load.state.failed} tasks failed")
            return load.state.finished / (load.state.ended - load.state.began)
        finally:
            await tool.close()

    return asyncio.run(work())


class DirectState(State):
    """Containers launched, ended, and when."""

    containerizer: PID
    sandboxes: str
    wanted: int
    begun: int = 0
    ended: int = 0
    began_at: float = 0.0
    ended_at: float = 0.0
    error: str = ""


class Direct(Actor[DirectState]):
    """An agent that only launches."""

    def started(self) -> None:
        """Say hello."""
        self.send(self.state.containerizer, Attach())

    @receive(Attached)
    def attached(self, sender: PID, message: Attached) -> None:
        """Keep AT_ONCE containers under way from here on."""
        if not self.state.began_at:
            self.state.began_at = time.perf_counter()
            for _ in range(AT_ONCE):
                self._launch()

    def _launch(self) -> None:
        state = self.state
        if state.begun < state.wanted:
            name = f"c{state.begun}"
            state.begun += 1
            spec = ContainerSpec(id=name, sandbox=f"{state.sandboxes}/{name}", argv=("true",))
            self.send(state.containerizer, Launch(spec=spec))

    @receive(Launched)
    def launched(self, sender: PID, message: Launched) -> None:
        """Its end follows."""

    @receive(LaunchFailed)
    def launch_failed(self, sender: PID, message: LaunchFailed) -> None:
        """A rate of failures means nothing."""
        self.state.error = message.message

    @receive(ContainerExited)
    def exited(self, sender: PID, message: ContainerExited) -> None:
        """Collect it, and launch the next."""
        state = self.state
        self.send(state.containerizer, Collected(container_id=message.container_id))
        state.ended += 1
        if state.ended == state.wanted:
            state.ended_at = time.perf_counter()
        self._launch()


def containerizer_rate(isolation: str) -> float:
    """Containers a second from a containerizer of its own: launch, exit, collect."""
    work = Path(tempfile.mkdtemp(prefix="kaon-", dir="/tmp"))
    options = ["--insecure", f"--runtime-dir={work / 'r'}", f"--work-dir={work / 'w'}", f"--isolation={isolation}"]
    process = subprocess.Popen(
        [*KAON, "containerizer", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return asyncio.run(_ask_directly(PID("containerizer", f"ipc://{work / 'r' / 'c' / 'node'}"), work))
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(work, ignore_errors=True)


async def _ask_directly(containerizer: PID, work: Path) -> float:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (work / "r" / "c" / "node").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the containerizer does not come up")
        await asyncio.sleep(0.01)
    node = Node("bench", ZeroMQTransport(insecure=True), RealClock(asyncio.get_running_loop()))
    state = DirectState(containerizer=containerizer, sandboxes=str(work / "s"), wanted=TASKS)
    node.spawn(Direct, "agent", state)
    direct = node.cells["agent"].actor
    assert isinstance(direct, Direct)
    try:
        while not direct.state.ended_at:
            if direct.state.error or time.monotonic() > deadline:
                raise RuntimeError(direct.state.error or f"only {direct.state.ended} containers have ended")
            await asyncio.sleep(0.01)
        return direct.state.ended / (direct.state.ended_at - direct.state.began_at)
    finally:
        await node.stop(1.0)


def spawn_rate() -> float:
    """Bare posix_spawn of the same program, eight at once."""
    program = shutil.which("true") or "/bin/true"
    began = time.perf_counter()
    running = 0
    for _ in range(SPAWNS):
        os.posix_spawn(program, ["true"], os.environ)
        running += 1
        if running == 8:
            os.wait()
            running -= 1
    for _ in range(running):
        os.wait()
    return SPAWNS / (time.perf_counter() - began)


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__ or "")
    forms = [("isolated", "auto"), ("plain", "plain")] if os.geteuid() == 0 else [("plain", "plain")]
    figures = []
    spawns: list[float] = []
    for form, isolation in forms:
        through: list[float] = []
        own: list[float] = []
        resources = f"cpus:{TASKS};mem:{TASKS * 64}"
        with LocalCluster("--agents=2", f"--isolation={isolation}", f"--resources={resources}") as cluster:
            for _ in range(min(options.rounds, 3)):
                own.append(containerizer_rate(isolation))
                through.append(cluster_rate(cluster))
                spawns.append(spawn_rate())
        ratio = statistics.median(one / other for one, other in zip(through, own, strict=True))
        figures += [
            Figure(f"launch_ratio_{form}", ratio, must=0.5, note="of the containerizer's own rate"),
            Figure(f"tasks_per_s_{form}", statistics.median(through), note="accept to acknowledged, 2 agents"),
            Figure(f"containers_per_s_{form}", statistics.median(own), note="one containerizer asked directly"),
        ]
    figures.insert(0, Figure("launch_ratio", min(f.value or 0.0 for f in figures if "ratio" in f.name), must=0.5))
    figures.append(Figure("posix_spawn_per_s", statistics.median(spawns), note="no isolation, nobody told"))
    return report(figures, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
