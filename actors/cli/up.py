"""`kaon up` and `kaon down`: a local cluster in one command, and its end without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import psutil

from actors.cli.client import Tool
from actors.cli.local import LocalCluster, describe_agents
from actors.cli.settings import RUNTIME_MODE
from actors.messages.operating import GetAgents, StopAgent
from actors.scheduler.cluster import CLUSTER_FILE, Cluster, default_work_dir
from allocator.resources import Resources
from runtime.errors import KaonError
from runtime.pid import PID
from runtime.process import NOTIFY_VARIABLE, Notifier
from runtime.transport.zeromq.keys import read_key

READY_TIMEOUT_SECONDS: Final = 60.0
"""From the first process to all agents registered; then it has failed."""

POLL_SECONDS: Final = 0.05
"""Between two looks at a cluster that starts."""

DRAIN_TIMEOUT_SECONDS: Final = 15.0
"""For the agents to end their tasks, when the cluster stops."""

STOP_TIMEOUT_SECONDS: Final = 25.0
"""For a supervisor to stop its daemon."""

DOWN_TIMEOUT_SECONDS: Final = 60.0
"""For a whole cluster to stop."""

PID_FILE: Final = "up.pid"
LOG_FILE: Final = "up.log"


@click.command()
@click.option("--agents", "-n", default=1, show_default=True, type=click.IntRange(1, 100), help="How many agents.")
@click.option("--port", default=5040, show_default=True, type=click.IntRange(1, 65525), help="Of the master.")
@click.option("--http-port", type=click.IntRange(1, 65535), help="Of its HTTP endpoint; ten above --port unless given.")
@click.option("--work-dir", type=click.Path(path_type=Path), metavar="DIR", help="Its files.  [env: KAON_WORK_DIR]")
@click.option("--resources", multiple=True, help="Of the first agent, and of the next each time it is given again.")
@click.option("--attributes", multiple=True, help="Likewise, such as 'rack:a;disk:ssd'.")
@click.option("--isolation", default="auto", show_default=True, help="How tasks are isolated: see `kaon doctor`.")
@click.option("--insecure", is_flag=True, help="Without encryption and keys.")
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(["debug", "info", "warning", "error"])
)
@click.option("--detach", "-d", is_flag=True, help="Return when it is ready; `kaon down` stops it.")
def up(
    agents: int,
    port: int,
    http_port: int | None,
    work_dir: Path | None,
    resources: tuple[str, ...],
    attributes: tuple[str, ...],
    isolation: str,
    insecure: bool,
    log_level: str,
    detach: bool,
) -> None:
    """Start a local cluster: a master, agents and their containerizers.

    It runs in the foreground until ^C, which ends its tasks and leaves nothing behind. The line ``kaon: ready`` says
    that it can be used.
    """
    for text in resources:
        Resources.parse(text)
    cluster = LocalCluster(
        work_dir=(work_dir or default_work_dir()).absolute(),
        port=port,
        http_port=http_port or port + 10,
        agents=describe_agents(agents, resources, attributes),
        isolation=isolation,
        insecure=insecure,
        log_level=log_level,
    )
    if detach:
        _detach(cluster)
    else:
        with _claimed(cluster.work_dir):
            sys.exit(asyncio.run(_Up(cluster, Notifier.from_environment()).run()))


@click.command()
@click.option(
    "--work-dir", type=click.Path(path_type=Path), metavar="DIR", help="Of its `kaon up`.  [env: KAON_WORK_DIR]"
)
def down(work_dir: Path | None) -> None:
    """Stop the local cluster that `kaon up` started: its tasks end, nothing of it is left running."""
    directory = (work_dir or default_work_dir()).absolute()
    process = _running(directory)
    if process is None:
        click.echo(f"no cluster runs in {directory}")
        return
    process.terminate()
    try:
        process.wait(DOWN_TIMEOUT_SECONDS)
    except psutil.TimeoutExpired:
        raise KaonError(
            f"the cluster in {directory} (process {process.pid}) has not stopped within {DOWN_TIMEOUT_SECONDS:.0f} s; "
            f"its log is {directory / LOG_FILE}"
        ) from None
    click.echo("stopped")


# One cluster per work directory ---------------------------------------------------------------------------------------


def _running(work_dir: Path) -> psutil.Process | None:
    """The `kaon up` of a work directory, if it lives: whoever holds the lock on its pid file."""
    try:
        with (work_dir / PID_FILE).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return psutil.Process(int(file.read()))
    except (FileNotFoundError, NotADirectoryError, ValueError, psutil.NoSuchProcess):
        return None
    return None


@contextlib.contextmanager
def _claimed(work_dir: Path) -> Iterator[None]:
    """Hold a work directory; raises :class:`KaonError` when another `kaon up` does."""
    try:
        work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (work_dir / PID_FILE).open("a+")
    except OSError as error:
        raise KaonError(f"{work_dir} cannot be used: {error.strerror}; choose another with --work-dir") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KaonError(
                f"a cluster runs in {work_dir} already: stop it with `kaon down --work-dir {work_dir}`, or choose "
                f"another --work-dir and --port for a second one"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            (work_dir / PID_FILE).unlink(missing_ok=True)


def _detach(cluster: LocalCluster) -> None:
    """Start `kaon up` again in a session of its own, and wait until it is ready or has failed."""
    process = _running(cluster.work_dir)
    if process is not None:
        raise KaonError(f"a cluster runs in {cluster.work_dir} already (process {process.pid}): see `kaon down`")
    cluster.work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = cluster.work_dir / LOG_FILE
    reading, writing = os.pipe()
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--detach", "-d")]
    with log.open("wb") as output:
        subprocess.Popen(
            [sys.executable, "-m", "actors.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(writing,),
            env=os.environ | {NOTIFY_VARIABLE: str(writing)},
        )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        ready = any(line.strip() == b"READY=1" for line in pipe)
    text = log.read_text(errors="replace")
    click.echo(text, nl=False)
    if not ready:
        raise click.exceptions.Exit(1)


# The cluster ----------------------------------------------------------------------------------------------------------


class _Up:
    """A local cluster that runs."""

    def __init__(self, cluster: LocalCluster, notifier: Notifier) -> None:
        self._cluster = cluster
        self._notifier = notifier
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Start it, wait for a signal or a failure, stop it; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        logging.getLogger("kaon").addHandler(logging.NullHandler())
        cluster = self._cluster
        cluster.runtime_dir.mkdir(mode=RUNTIME_MODE, parents=True, exist_ok=True)
        (cluster.work_dir / "logs").mkdir(mode=0o700, exist_ok=True)
        if not cluster.insecure:
            cluster.make_keys()
        failure = ""
        try:
            for name, command in cluster.daemons():
                await self._start(name, command)
            await self._until_ready()
            await self._until_stopped()
        except KaonError as error:
            failure = str(error)
            click.echo(f"kaon: {failure}", err=True)
        finally:
            await self._end()
        return 1 if failure else 0

    async def _start(self, name: str, command: list[str]) -> None:
        """Start one daemon under its supervisor. ^C reaches only this process: it stops them in their order."""
        self._processes[name] = await asyncio.create_subprocess_exec(
            *self._cluster.supervised(name, command), stdin=subprocess.DEVNULL, process_group=0
        )

    def _tool(self) -> Tool:
        key = None if self._cluster.insecure else read_key(self._cluster.key_file)
        return Tool(Cluster((PID("master", self._cluster.master_address),), key), "up")

    async def _until_ready(self) -> None:
        """Wait until every agent is registered, and say how it goes."""
        wanted = len(self._cluster.agents)
        click.echo(f"kaon: starting a master and {wanted} agent{'s' if wanted > 1 else ''} in {self._cluster.work_dir}")
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        tool = self._tool()
        try:
            active = -1
            while active < wanted and not self._stop.is_set():
                self._check()
                now_active = await self._active(tool)
                if now_active != active and now_active >= 0:
                    click.echo(f"kaon: {now_active} of {wanted} agents registered")
                active = now_active
                if time.monotonic() > deadline:
                    raise KaonError(
                        f"the cluster is not ready after {READY_TIMEOUT_SECONDS:.0f} s: see the logs in "
                        f"{self._cluster.work_dir / 'logs'}"
                    )
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await tool.close()
        if not self._stop.is_set():
            self._publish()
            click.echo(f"kaon: ready {self._cluster.url}")
            self._notifier.ready()

    async def _active(self, tool: Tool) -> int:
        """How many agents are registered; -1 while the master does not answer yet."""
        try:
            answer = await tool.ask(GetAgents(), timeout_seconds=1.0)
        except KaonError:
            return -1
        return sum(agent.state == "active" for agent in answer.agents)

    def _publish(self) -> None:
        """Let the tools of this machine find the cluster."""
        cluster = self._cluster
        known: dict[str, object] = {"master": cluster.master_address, "http": cluster.url, "insecure": cluster.insecure}
        if not cluster.insecure:
            known["key"] = str(cluster.key_file)
        draft = cluster.work_dir / f".{CLUSTER_FILE}"
        draft.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in known.items()))
        draft.replace(cluster.work_dir / CLUSTER_FILE)

    def _check(self) -> None:
        """A supervisor that has ended has given up: say why, from its log."""
        for name, process in self._processes.items():
            if process.returncode is not None:
                log = self._cluster.work_dir / "logs" / f"{name}.log"
                lines = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
                last = "".join(f"\n  {line}" for line in lines)
                raise KaonError(f"{name} does not run (exit status {process.returncode}); its log {log} ends so:{last}")

    async def _until_stopped(self) -> None:
        """Wait for a signal, or for a daemon that failed too often."""
        while not self._stop.is_set():
            self._check()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 0.5)

    # The end ---------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """End tasks, agents, containerizers and master, in that order, and remove what only a running cluster needs."""
        click.echo("kaon: stopping")
        self._notifier.stopping()
        (self._cluster.work_dir / CLUSTER_FILE).unlink(missing_ok=True)
        await self._drain()
        agents = [agent.name for agent in self._cluster.agents]
        for group in (agents, [f"{name}.containerizer" for name in agents], ["master"]):
            await asyncio.gather(*(self._terminate(name) for name in group))
        shutil.rmtree(self._cluster.runtime_dir, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._cluster.runtime_dir.parent.rmdir()

    async def _drain(self) -> None:
        """Ask the agents to end their tasks and leave the cluster."""
        if self._processes.get("master") is None or self._processes["master"].returncode is not None:
            return
        tool = self._tool()
        try:
            answer = await tool.ask(GetAgents(), timeout_seconds=2.0)
            addresses = [
                agent.info.address for agent in answer.agents if agent.state == "active" and agent.info.address
            ]
            stops = [
                tool.ask(StopAgent(drain=True), PID("agent", address), timeout_seconds=DRAIN_TIMEOUT_SECONDS)
                for address in addresses
            ]
            for result in await asyncio.gather(*stops, return_exceptions=True):
                if isinstance(result, KaonError):
                    click.echo(f"kaon: an agent could not end its tasks: {result}", err=True)
        except KaonError as error:
            click.echo(f"kaon: the agents could not be asked to end their tasks: {error}", err=True)
        finally:
            await tool.close()

    async def _terminate(self, name: str) -> None:
        """Stop one supervisor, and with it its daemon."""
        process = self._processes.get(name)
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_SECONDS)
        except TimeoutError:
            click.echo(f"kaon: {name} does not stop; it is killed", err=True)
            process.kill()
            await process.wait()
