"""An agent with a real containerizer, real sockets with keys, real processes, and a custom executor as a program."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.agent.compose import spawn_agent
from actors.agent.names import AGENT_NAME, FILES_NAME
from actors.agent.state import AgentSettings, AgentState
from actors.messages.operating import Done, ReadSandbox, SandboxChunk, StopAgent
from actors.messages.records import CommandInfo, ExecutorInfo, TaskInfo, TaskState
from actors.messages.tasks import KillTaskOnAgent, RunTask, StatusUpdate
from allocator.resources import Resources
from containerizer.actor import ContainerizerActor
from containerizer.isolators import PLAIN
from containerizer.messages import Recover
from containerizer.state import ContainerizerConfig, ContainerizerState
from runtime.clock import RealClock
from runtime.journal_file import FileJournalStore
from runtime.node import Node
from runtime.pid import PID
from runtime.ref import Outside
from runtime.transport.zeromq.keys import AuthorisedKeys, own_key
from runtime.transport.zeromq.transport import ZeroMQTransport
from tests.actors.agent.cluster import FRAMEWORK, MasterState, Order, ScriptedMaster, command_task

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 30.0

UPPER = """
from actors.executor import Executor, ExecutorState, TaskInfo, TaskState, run_executor

class Upper(Executor[ExecutorState]):
    def launch(self, task: TaskInfo) -> None:
        self.update(task.task_id, TaskState.RUNNING)
        print("launched", task.task_id, flush=True)
        self.update(task.task_id, TaskState.FINISHED, data=task.data.upper())

run_executor(Upper, ExecutorState())
"""


class Machine:
    """A master, a containerizer and an agent: three nodes of this process, on sockets of this machine."""

    def __init__(self, directory: Path, isolation: tuple[str, ...]) -> None:
        self.directory = directory
        self._isolation = isolation
        self._loop = asyncio.get_running_loop()
        self.key = own_key(directory / "keys", "test")
        self.nodes: dict[str, Node] = {}
        self.ended = asyncio.Event()

    def node(self, name: str, *, journals: bool = False) -> Node:
        transport = ZeroMQTransport(self.key, AuthorisedKeys(self.key, self.directory / "keys"))
        store = None
        if journals:
            store = FileJournalStore(self.directory / "journals", self._loop.call_soon_threadsafe)
        node = self.nodes[name] = Node(f"test.{name}", transport, RealClock(self._loop), journals=store)
        return node

    def start(self) -> None:
        master = self.node("master")
        master.spawn(ScriptedMaster, "master", MasterState())
        self.master_address = master.listen("tcp://127.0.0.1:0")
        (self.directory / "c").mkdir()
        containerizer = self.node("containerizer")
        config = ContainerizerConfig(
            runtime_directory=str(self.directory / "c"),
            isolation=self._isolation,
            hidden=(str(self.directory / "work"),),
        )
        containerizer.spawn(ContainerizerActor, "containerizer", ContainerizerState(config=config))
        containerizer.listen(f"ipc://{self.directory}/c/socket")
        self.start_agent()

    def start_agent(self) -> None:
        (self.directory / "work").mkdir(exist_ok=True)
        (self.directory / "x").mkdir(exist_ok=True)
        node = self.node("agent", journals=True)
        self.agent_address = node.listen("tcp://127.0.0.1:0")
        settings = AgentSettings(
            hostname="localhost",
            resources=Resources.parse("cpus:8;mem:8192"),
            work_directory=str(self.directory / "work"),
            containerizer=PID("containerizer", f"ipc://{self.directory}/c/socket"),
            master=PID("master", self.master_address),
            executor_address=f"ipc://{self.directory}/x/socket",
            public_key=self.key.public.hex(),
            key_directory=str(self.directory / "keys"),
        )
        spawn_agent(node, settings, self.ended.set)

    async def stop(self) -> None:
        """End whatever a failed test has left running, then the nodes."""
        containerizer = PID("containerizer", f"ipc://{self.directory}/c/socket")
        await Outside.on(self.nodes["master"]).fetch_answer(containerizer, Recover(), PATIENCE_SECONDS)
        for node in reversed(list(self.nodes.values())):
            await node.stop(5.0)

    @property
    def master(self) -> MasterState:
        state = self.nodes["master"].state_of("master")
        assert isinstance(state, MasterState)
        return state

    @property
    def agent(self) -> AgentState:
        state = self.nodes["agent"].state_of(AGENT_NAME)
        assert isinstance(state, AgentState)
        return state

    async def until(self, condition: Callable[[], object], what: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.01)
        assert condition(), what

    def is_acknowledged(self) -> bool:
        """Whether the agent has heard that all its updates have arrived."""
        frameworks = self.agent.frameworks.values()
        return not any(stream.pending for framework in frameworks for stream in framework.streams.values())

    def order(self, message: Any) -> None:
        node = self.nodes["master"]
        node.post(node.pid("master"), Order(message=message))

    async def run(self, task: TaskInfo) -> None:
        await self.until(lambda: self.master.agent, "registration")
        self.order(RunTask(framework=FRAMEWORK, task=task, role="*"))

    def states(self, task_id: str) -> list[TaskState]:
        return [status.state for status in self.statuses(task_id)]

    def statuses(self, task_id: str) -> list[Any]:
        heard = [message for message in self.master.received if isinstance(message, StatusUpdate)]
        return [update.status for update in heard if update.status.task_id == task_id]

    async def ended_task(self, task_id: str) -> Any:
        await self.until(lambda: any(state.is_terminal for state in self.states(task_id)), f"end of {task_id}")
        return self.statuses(task_id)[-1]

    async def ask(self, to: str, question: Any) -> Any:
        return await Outside.on(self.nodes["master"]).fetch_answer(PID(to, self.agent_address), question, 10.0)


@asynccontextmanager
async def machine(isolation: tuple[str, ...]) -> AsyncIterator[Machine]:
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    directory.chmod(0o755)
    made = Machine(directory, isolation)
    try:
        made.start()
        yield made
    finally:
        await made.stop()
        shutil.rmtree(directory, ignore_errors=True)


Body = Callable[[Machine], Coroutine[Any, Any, None]]
Runner = Callable[[Body], None]


@pytest.fixture(
    params=[
        pytest.param((PLAIN,), id="plain"),
        pytest.param(("auto",), id="isolated", marks=pytest.mark.root),
    ]
)
def on_machine(request: pytest.FixtureRequest) -> Runner:
    def run(body: Body) -> None:
        async def main() -> None:
            async with machine(request.param) as made:
                await body(made)

        asyncio.run(main())

    return run


def test_command_writes_into_its_sandbox_and_ends(on_machine: Runner) -> None:
    async def body(machine: Machine) -> None:
        await machine.run(command_task(shell="echo hello; exit 3"))
        last = await machine.ended_task("task-1")
        assert (last.state, last.exit_code) == (TaskState.FAILED, 3)
        chunk = await machine.ask(FILES_NAME, ReadSandbox(framework_id=FRAMEWORK.framework_id, task_id="task-1"))
        assert chunk == SandboxChunk(offset=0, data=b"hello\n", size_bytes=6, ended=True)
        await machine.until(lambda: not machine.agent.frameworks, "the last acknowledgement")

    on_machine(body)


def test_executor_program_runs_tasks_with_a_key_of_its_own(on_machine: Runner) -> None:
    async def body(machine: Machine) -> None:
        program = machine.directory / "upper.py"
        program.write_text(UPPER)
        executor = ExecutorInfo(
            executor_id="upper",
            command=CommandInfo(argv=(sys.executable, str(program)), environment=(("PYTHONPATH", str(ROOT)),)),
            resources=Resources.parse("cpus:0.1;mem:128"),
        )
        for number in range(3):
            task = TaskInfo(
                task_id=f"task-{number}",
                agent_id="agent-1",
                resources=Resources.parse("cpus:0.1;mem:32"),
                executor=executor,
                data=b"word%d" % number,
            )
            await machine.run(task)
        for number in range(3):
            last = await machine.ended_task(f"task-{number}")
            assert (last.state, last.data) == (TaskState.FINISHED, b"WORD%d" % number), last
        container_id = last.container_id
        assert (machine.directory / "keys" / "authorised" / container_id).exists()
        assert await machine.ask(AGENT_NAME, StopAgent(drain=True)) == Done()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await machine.ended.wait()
        key = machine.directory / "keys" / "authorised" / container_id
        await machine.until(lambda: not key.exists(), "the key is gone")

    on_machine(body)


def test_agent_that_starts_anew_takes_over_what_runs(on_machine: Runner) -> None:
    async def body(machine: Machine) -> None:
        await machine.run(command_task(shell="echo $$; trap 'exit 9' TERM; while :; do sleep 0.05; done"))
        await machine.until(lambda: TaskState.RUNNING in machine.states("task-1"), "the task runs")
        await machine.until(machine.is_acknowledged, "acknowledgements: what has none is told again")
        machine.master.agent = None
        await machine.nodes["agent"].stop(5.0)
        machine.start_agent()
        await machine.until(lambda: machine.master.agent, "registration")
        machine.order(KillTaskOnAgent(framework_id=FRAMEWORK.framework_id, task_id="task-1"))
        last = await machine.ended_task("task-1")
        assert last.state is TaskState.KILLED
        assert machine.states("task-1").count(TaskState.RUNNING) == 1

    on_machine(body)
