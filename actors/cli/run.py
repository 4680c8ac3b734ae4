"""`kaon run`: run a command on the cluster and see it as if it ran here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from actors.cli.client import Tool, cluster_options, with_tool
from actors.cli.logs import files_of
from actors.cli.run_scheduler import Constraint, NoFit, Notice, RunEnded, RunScheduler, RunState, TaskChanged
from actors.messages.operating import GetAgents, GetMaster, ReadSandbox, SandboxChunk
from actors.messages.records import CommandInfo, FrameworkInfo, Reason, TaskState, TaskStatus
from actors.scheduler.cluster import Cluster
from actors.scheduler.state import Interrupt
from allocator.resources import Resources
from runtime.actor import Edge, State, receive
from runtime.errors import KaonError
from runtime.message import EdgeFailed
from runtime.pid import PID
from runtime.supervision import Supervision
from runtime.tracing.recorder import FlightRecorder
from runtime.tracing.tracer import spawn_tracer

READ_SECONDS: Final = 0.2
"""Between two looks at the output of one running task; many tasks are looked at less often."""

TASKS_AT_FULL_PACE: Final = 20

PATIENCE_SECONDS: Final = 8.0
"""For an agent that does not answer, while there is output to read."""

HINT_SECONDS: Final = 3.0
"""Waiting for resources this long is worth a word."""

LAST_WORDS_SECONDS: Final = 2.0
"""For what tasks printed, once the user wants to leave."""


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-n", "instances", default=1, show_default=True, type=click.IntRange(1, 100_000), help="How many tasks.")
@click.option("--cpus", default=0.1, show_default=True, type=click.FloatRange(min=0.01), help="Of each, in cores.")
@click.option("--mem", default=32.0, show_default=True, type=click.FloatRange(min=1), help="Of each, in MiB.")
@click.option("--resources", default="", help="More of each, such as 'disk:100;ports:[31000-31000]'.")
@click.option("--constraint", "-c", "constraints", multiple=True, help="rack=a, rack!=a, or rack: only on such agents.")
@click.option("--env", "-e", "environment", multiple=True, metavar="NAME=VALUE", help="For the command.")
@click.option("--name", default="", help="Of the tasks; the program's name and a number unless given.")
@click.option("--role", default="*", show_default=True, help="Whose resources to use.")
@click.option("--user", default="", help="To run as.")
@click.option("--tty", "terminal", is_flag=True, help="A terminal for the task: `kaon attach` gets to it.")
@click.option("--interactive", is_flag=True, help="Standard input stays open for `kaon attach`.")
@click.option("--shell", is_flag=True, help="COMMAND is one text for /bin/sh -c.")
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Kill what runs longer: it failed.")
@click.option("--grace", default=3.0, show_default=True, metavar="SECONDS", help="Between SIGTERM and SIGKILL.")
@cluster_options
def run(
    cluster: Cluster,
    command: tuple[str, ...],
    instances: int,
    cpus: float,
    mem: float,
    resources: str,
    constraints: tuple[str, ...],
    environment: tuple[str, ...],
    name: str,
    role: str,
    user: str,
    terminal: bool,
    interactive: bool,
    shell: bool,
    timeout: float | None,
    grace: float,
) -> None:
    """Run COMMAND on the cluster and show what it prints.

    Exit status: the command's own, 128 and its number if a signal ended it, 127 if it cannot be executed; 1 if the task
    failed otherwise; with several tasks the first that is not 0; 130 after ^C, 143 after SIGTERM, which kill them: with
    their grace, and once more to leave at once.
    """
    try:
        parsed = tuple(Constraint.parse(text) for text in constraints)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    wanted = Resources.scalar_only(cpus=cpus, mem=mem) + Resources.parse(resources)
    task_name = name or f"{Path(command[0].split()[0]).name}-{os.urandom(3).hex()}"
    info = CommandInfo(
        shell=" ".join(command) if shell else "",
        argv=() if shell else command,
        environment=_environment(environment),
        user=user,
        tty=terminal,
        interactive=interactive,
    )

    async def work(tool: Tool) -> int:
        await tool.ask(GetMaster())
        tool.node.record_turns(FlightRecorder())
        spawn_tracer(tool.node)
        screen = tool.node.spawn(Screen, "screen", ScreenState(instances=instances))
        state = RunState(
            framework=FrameworkInfo(name=f"kaon run {task_name}", roles=(role,), failover_timeout_seconds=10.0),
            masters=tool.cluster.masters,
            screen=screen,
            name=task_name,
            command=info,
            resources=wanted,
            role=role,
            instances=instances,
            constraints=parsed,
            max_completion_seconds=timeout,
            kill_grace_seconds=grace,
        )
        scheduler = tool.node.spawn(RunScheduler, "scheduler", state, Supervision())
        actor = tool.node.cells["screen"].actor
        assert isinstance(actor, Screen)
        return await actor.watch(tool, scheduler)

    raise click.exceptions.Exit(with_tool(cluster, work))


def _environment(pairs: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Read NAME=VALUE; NAME alone takes the value from here."""
    found = []
    for pair in pairs:
        name, given, value = pair.partition("=")
        if not given and name not in os.environ:
            raise click.UsageError(f"--env {pair}: no value is given, and {name} is not set here")
        found.append((name, value if given else os.environ[name]))
    return tuple(found)


class ScreenState(State):
    """How far the run is.

    exit_codes  by place, of the tasks that have ended
    failure     why the run ended early
    signal      that ended it, 0 for none
    """

    instances: int
    exit_codes: dict[int, int] = msgspec.field(default_factory=dict)
    failure: str = ""
    signal: int = 0


class Screen(Edge[ScreenState]):
    """Shows what tasks print, as it comes, and keeps their exit codes."""

    def open(self) -> None:
        """Nothing runs yet."""
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._over = asyncio.Event()
        self._why = ""
        self._running = 0

    async def watch(self, tool: Tool, scheduler: PID) -> int:
        """Wait for the end; returns the exit status."""
        self._tool = tool
        self._scheduler = scheduler
        self._agents: dict[str, PID] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            self.loop.add_signal_handler(number, self._interrupt, number)
        began = time.monotonic()
        hinted = False
        while not self._over.is_set():
            try:
                await asyncio.wait_for(self._over.wait(), HINT_SECONDS)
            except TimeoutError:
                waits = not self._ended and self._why and time.monotonic() - began >= HINT_SECONDS
                if waits and not hinted:
                    hinted = True
                    click.echo(f"kaon: waiting for resources: {self._why}", err=True)
        await self._read_the_rest()
        if self.state.signal:
            return 128 + self.state.signal
        if self.state.failure:
            raise KaonError(self.state.failure)
        return next((code for _, code in sorted(self.state.exit_codes.items()) if code), 0)

    async def _read_the_rest(self) -> None:
        """Nothing more is told of any task: what is there to read is read, for as long as the user may want to wait."""
        for ended in self._ended.values():
            ended.set()
        if not self._readers:
            return
        limit = LAST_WORDS_SECONDS if self.state.signal else None
        for reader in (await asyncio.wait(self._readers.values(), timeout=limit))[0]:
            reader.result()

    def _interrupt(self, number: int) -> None:
        self.state.signal = number
        self._context.post(self._scheduler, Interrupt())

    @receive(TaskChanged)
    def changed(self, sender: PID, message: TaskChanged) -> None:
        """Read what a task prints once it runs, to the end when it has ended."""
        status = message.status
        never_ran = status.reason is Reason.CONTAINER_LAUNCH_FAILED
        if status.state is TaskState.RUNNING or (status.state.is_terminal and status.container_id and not never_ran):
            self._read(message)
        if not status.state.is_terminal:
            return
        if status.task_id in self._ended:
            self._running -= 1
            self._ended[status.task_id].set()
        code = _exit_code(status)
        self.state.exit_codes[message.place] = code
        if code and (never_ran or status.exit_code is None) and not self.state.signal:
            reason = f" ({status.reason.value})" if status.reason else ""
            text = f": {status.message}" if status.message else ""
            click.echo(f"kaon: {status.task_id} {status.state.value}{reason}{text}", err=True)

    def _read(self, message: TaskChanged) -> None:
        task_id = message.status.task_id
        if task_id not in self._readers:
            self._ended[task_id] = asyncio.Event()
            self._running += 1
            self._readers[task_id] = self.loop.create_task(self._copy(message))

    @receive(NoFit)
    def no_fit(self, sender: PID, message: NoFit) -> None:
        """Remember why nothing runs, for the hint."""
        self._why = message.why

    @receive(Notice)
    def notice(self, sender: PID, message: Notice) -> None:
        """Tell the user."""
        click.echo(f"kaon: {message.text}", err=True)

    @receive(RunEnded)
    def ended(self, sender: PID, message: RunEnded) -> None:
        """Nothing more comes."""
        self.state.failure = message.failure
        self._over.set()

    @receive(EdgeFailed)
    def failed(self, sender: PID, message: EdgeFailed) -> None:
        """Reading failed: say so, the run goes on."""
        click.echo(f"kaon: {message.task}: {message.error}", err=True)

    async def _copy(self, message: TaskChanged) -> None:
        """Copy a task's output until it has ended and all of it was read."""
        status = message.status
        ended = self._ended[status.task_id]
        offsets = {"stdout": 0, "stderr": 0}
        prefix = f"[{message.place}] " if self.state.instances > 1 else ""
        give_up = 0.0
        while True:
            last = ended.is_set()
            try:
                agent = await self._agent(status.agent_id)
                for path in offsets:
                    await self._copy_new(agent, message, path, offsets, prefix)
                if last:
                    return
            except BrokenPipeError:
                # Nobody reads what the tasks print (`kaon run … | head`): the end of this pipeline, as in a shell.
                if not self.state.signal:
                    self._interrupt(signal.SIGPIPE)
                return
            except KaonError as error:
                # An agent that was started again listens elsewhere.
                self._agents.pop(status.agent_id, None)
                give_up = give_up or time.monotonic() + PATIENCE_SECONDS
                if last and time.monotonic() > give_up:
                    click.echo(f"kaon: the output of {status.task_id} cannot be read to its end: {error}", err=True)
                    return
                await asyncio.sleep(READ_SECONDS)
                continue
            give_up = 0.0
            with contextlib.suppress(asyncio.TimeoutError):
                pace = max(1.0, self._running / TASKS_AT_FULL_PACE)
                await asyncio.wait_for(ended.wait(), READ_SECONDS * pace)

    async def _copy_new(
        self, agent: PID, message: TaskChanged, path: str, offsets: dict[str, int], prefix: str
    ) -> None:
        stream: Any = sys.stdout.buffer if path == "stdout" else sys.stderr.buffer
        task_id = message.status.task_id
        while True:
            question = ReadSandbox(framework_id=message.framework_id, task_id=task_id, path=path, offset=offsets[path])
            chunk: SandboxChunk = await self._tool.ask(question, agent)
            data = chunk.data
            if prefix and data and not chunk.ended:
                data = data[: data.rfind(b"\n") + 1]
            offsets[path] = chunk.offset + len(data)
            if prefix and data:
                lines = data.removesuffix(b"\n").split(b"\n")
                data = b"".join(prefix.encode() + line + b"\n" for line in lines)
            stream.write(data)
            stream.flush()
            if offsets[path] >= chunk.size_bytes or not data:
                return

    async def _agent(self, agent_id: str) -> PID:
        """Where to read the sandboxes of an agent."""
        if agent_id not in self._agents:
            answer = await self._tool.ask(GetAgents())
            self._agents.update({agent.info.agent_id: files_of(agent.info) for agent in answer.agents})
        if agent_id not in self._agents:
            raise KaonError(f"agent {agent_id} is not registered")
        return self._agents[agent_id]


def _exit_code(status: TaskStatus) -> int:
    """What a task's end means for us."""
    if status.exit_code is not None:
        return status.exit_code
    if status.signal is not None:
        return 128 + status.signal
    return 0 if status.state is TaskState.FINISHED else 1
