"""Sessions of tools at tasks, with a simulated containerizer on a virtual clock."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.agent import sessions
from actors.agent.names import SESSIONS_NAME
from actors.agent.sessions import session_spec
from actors.messages.executing import SECRET_VARIABLE
from actors.messages.operating import Refusal
from actors.messages.records import TaskState
from actors.messages.sessions import AttachTask, OpenSession, SessionEnded, SessionOpened
from containerizer.spec import ContainerSpec
from containerizer.streaming import (
    Detach,
    Input,
    InputEnded,
    InputTaken,
    Output,
    OutputSource,
    OutputTaken,
    SetWindow,
    StreamEnded,
    WindowSet,
)
from runtime.message import Message
from runtime.pid import PID
from tests.actors.agent.cluster import FRAMEWORK, Cluster, Speaker, command_task, executor_task

SESSIONS = PID(SESSIONS_NAME, "simulated://a1")


@pytest.fixture
def cluster() -> Cluster:
    """A task runs."""
    made = Cluster().register()
    made.run_task(command_task(shell="echo task; sleep 600"))
    made.world.run(seconds=1)
    return made


def question(*argv: str, **fields: Any) -> OpenSession:
    fields = {"framework_id": FRAMEWORK.framework_id, "task_id": "task-1", "credit_bytes": 1000, **fields}
    return OpenSession(argv=argv, **fields)


def at_task(**fields: Any) -> AttachTask:
    fields = {"framework_id": FRAMEWORK.framework_id, "task_id": "task-1", "credit_bytes": 1000, **fields}
    return AttachTask(**fields)


class Tool:
    """A tool with one session, or none."""

    def __init__(self, cluster: Cluster, asks: Message, node: str = "tool") -> None:
        self.cluster = cluster
        self.speaker = cluster.speaker(node, f"tool-{len(cluster.world.nodes)}-{cluster.world.clock.now()}")
        cluster.say(self.speaker, asks, to=SESSIONS)
        cluster.world.run(seconds=0.1)

    def heard(self, kind: type[Any]) -> list[Any]:
        return self.speaker.heard(kind)

    @property
    def opened(self) -> SessionOpened:
        (opened,) = self.heard(SessionOpened)
        assert isinstance(opened, SessionOpened)
        return opened

    @property
    def text(self) -> str:
        return b"".join(one.data for one in self.heard(Output)).decode()

    @property
    def ended(self) -> SessionEnded:
        (ended,) = self.heard(SessionEnded)
        assert isinstance(ended, SessionEnded)
        assert self.speaker.state.received[-1] is ended, "it is the last word"
        return ended

    @property
    def session(self) -> PID:
        names = self.cluster.world.nodes["a1"].state_of(SESSIONS_NAME).open
        (name,) = names
        return PID(name, "simulated://a1")

    def say(self, message: Message, seconds: float = 0.1) -> None:
        self.cluster.say(self.speaker, message, to=self.session)
        self.cluster.world.run(seconds=seconds)


def containers(cluster: Cluster) -> list[str]:
    """Without the task's own."""
    return [one for one in cluster.containerizer.containers if "." in one]


def assert_the_task_is_none_the_wiser(cluster: Cluster) -> None:
    assert cluster.states("task-1") == [TaskState.STARTING, TaskState.RUNNING]
    assert containers(cluster) == []
    assert [*cluster.containerizer.containers] == [cluster.container_of("task-1")]


def test_a_command_is_run_beside_a_task_and_its_status_comes_last(cluster: Cluster) -> None:
    tool = Tool(cluster, question("echo", "hello;", "exit", "7"))
    assert tool.opened.container_id.startswith(cluster.container_of("task-1") + ".exec-")
    cluster.world.run(seconds=1)
    assert tool.text == "hello\n"
    assert tool.ended.exit_code == 7
    assert_the_task_is_none_the_wiser(cluster)


def test_input_and_window_go_through(cluster: Cluster) -> None:
    tool = Tool(cluster, question("cat", tty=True, input=True, rows=30))
    assert tool.opened.tty
    tool.say(Input(stream=tool.opened.input, data=b"typed"))
    assert tool.text == "typed"
    assert tool.heard(InputTaken)[0].size_bytes == 5
    tool.say(SetWindow(container_id="whatever", rows=40, columns=90))
    assert tool.heard(WindowSet)[0].container_id == tool.opened.container_id
    tool.say(InputEnded(stream=tool.opened.input), seconds=1)
    assert tool.ended.exit_code == 0


def test_credit_is_the_tools(cluster: Cluster) -> None:
    tool = Tool(cluster, question("echo", "0123456789", credit_bytes=4))
    cluster.world.run(seconds=5)
    assert tool.text == "0123"
    assert not tool.heard(SessionEnded), "there is more to say"
    tool.say(OutputTaken(stream=tool.opened.output, size_bytes=100), seconds=1)
    assert tool.text == "0123456789\n"
    assert tool.ended.exit_code == 0


def test_a_command_that_does_not_exist(cluster: Cluster) -> None:
    tool = Tool(cluster, question("/nonexistent/program"))
    assert (tool.ended.exit_code, "cannot be executed" in tool.ended.message) == (127, True)
    assert_the_task_is_none_the_wiser(cluster)


def test_the_end_of_the_task_is_the_sessions(cluster: Cluster) -> None:
    tool = Tool(cluster, question("sleep", "600"))
    cluster.kill_task("task-1", grace_seconds=0.0)
    cluster.world.run(seconds=5)
    assert "the task has ended" in tool.ended.message
    assert cluster.is_clean()


@pytest.mark.parametrize("how", ["detaches", "dies"])
def test_a_tool_that_leaves_takes_its_command_along(cluster: Cluster, how: str) -> None:
    tool = Tool(cluster, question("sleep", "600"))
    assert containers(cluster)
    if how == "detaches":
        tool.say(Detach(stream=tool.opened.output))
    else:
        cluster.world.crash("tool")
    cluster.world.run(seconds=1)
    assert_the_task_is_none_the_wiser(cluster)
    assert not cluster.world.nodes["a1"].state_of(SESSIONS_NAME).open


def test_an_agent_that_dies_takes_sessions_along_and_recovers_without_them(cluster: Cluster) -> None:
    Tool(cluster, question("sleep", "600"))
    cluster.crash_agent()
    cluster.start_agent()
    cluster.world.run(seconds=5)
    assert_the_task_is_none_the_wiser(cluster)


def test_a_containerizer_that_dies_ends_sessions_in_words(cluster: Cluster) -> None:
    tool = Tool(cluster, question("sleep", "600"))
    cluster.crash_containerizer()
    cluster.start_containerizer()
    cluster.world.run(seconds=10)
    assert "containerizer has ended" in tool.ended.message
    assert_the_task_is_none_the_wiser(cluster)
    again = Tool(cluster, question("echo", "again"), node="tool2")
    cluster.world.run(seconds=1)
    assert again.text == "again\n"


def test_attaching_to_the_task_itself(cluster: Cluster) -> None:
    tool = Tool(cluster, at_task(offset=0, input=True))
    assert tool.text == "task\n"
    assert (tool.opened.input, "neither a terminal" in tool.opened.input_refusal) == (0, True)
    cluster.kill_task("task-1", grace_seconds=0.0)
    cluster.world.run(seconds=5)
    assert tool.ended == SessionEnded(message="the task has ended")


def test_detaching_from_a_task_leaves_it_alone(cluster: Cluster) -> None:
    tool = Tool(cluster, at_task())
    tool.say(Detach(stream=tool.opened.output))
    assert not cluster.containerizer.streams
    assert_the_task_is_none_the_wiser(cluster)


def test_a_task_with_an_open_input_is_written_to() -> None:
    cluster = Cluster().register()
    task = command_task(shell="cat")
    assert task.command is not None
    cluster.run_task(msgspec.structs.replace(task, command=msgspec.structs.replace(task.command, interactive=True)))
    cluster.world.run(seconds=1)
    tool = Tool(cluster, at_task(input=True, offset=0))
    tool.say(Input(stream=tool.opened.input, data=b"hello"))
    assert tool.text == "hello"
    tool.say(InputEnded(stream=tool.opened.input), seconds=5)
    assert cluster.states("task-1")[-1] is TaskState.FINISHED


def test_a_task_of_an_executor_is_visited_in_its_executors_container() -> None:
    cluster = Cluster().register()
    cluster.run_task(executor_task())
    cluster.world.run(seconds=1)
    cluster.subscribe()
    tool = Tool(cluster, question("echo", "here"))
    assert tool.opened.container_id.startswith(cluster.container_of("task-1") + ".")


def test_what_is_refused(cluster: Cluster) -> None:
    def refusal(asks: Message, node: str = "tool") -> str:
        (answer,) = Tool(cluster, asks, node).heard(Refusal)
        return str(answer.message)

    assert "no command" in refusal(question())
    assert "does not run on this agent" in refusal(question("ls", task_id="task-2"))
    assert "does not run on this agent" in refusal(question("ls", framework_id="nobody"))
    assert "credit_bytes is 0" in refusal(question("ls", credit_bytes=0))
    assert "credit_bytes is 0" in refusal(at_task(credit_bytes=0))
    assert "rows is 0" in refusal(question("ls", tty=True, rows=0))
    assert "tools only" in refusal(question("ls"), node=cluster.container_of("task-1"))
    cluster.run_task(command_task("task-3", shell="true"))
    cluster.world.run(seconds=5)
    assert "does not run on this agent" in refusal(question("ls", task_id="task-3"))


def test_a_task_whose_container_is_not_there_yet(cluster: Cluster) -> None:
    cluster.crash_containerizer()
    cluster.world.run(seconds=1)
    cluster.run_task(command_task("task-2"))
    cluster.world.run(seconds=1)
    (answer,) = Tool(cluster, question("ls", task_id="task-2")).heard(Refusal)
    assert "does not run yet" in answer.message
    (answer,) = Tool(cluster, question("ls"), node="tool2").heard(Refusal)
    assert "waits for its containerizer" in answer.message


def test_there_is_a_bound(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_AT_ONCE", 2)
    for number in range(2):
        Tool(cluster, question("sleep", "600"), node=f"tool{number}")
    (answer,) = Tool(cluster, question("sleep", "600"), node="tool2").heard(Refusal)
    assert "2 sessions are open" in answer.message
    cluster.world.crash("tool0")
    cluster.world.run(seconds=1)
    assert Tool(cluster, question("sleep", "600"), node="tool3").opened.output


def test_nobody_else_moves_a_session(cluster: Cluster) -> None:
    tool = Tool(cluster, question("cat", input=True))
    thief: Speaker = cluster.speaker("thief")
    output, stream = tool.opened.output, tool.opened.input
    forged = (
        Input(stream=stream, data=b"forged"),
        InputEnded(stream=stream),
        OutputTaken(stream=output, size_bytes=9),
        Output(stream=output, source=OutputSource.STDOUT, data=b"forged"),
        StreamEnded(stream=output),
        Detach(stream=output),
        SetWindow(container_id="c", rows=1, columns=1),
    )
    for message in forged:
        cluster.say(thief, message, to=tool.session)
    cluster.world.run(seconds=1)
    tool.say(Input(stream=stream, data=b"real"))
    assert tool.text == "real"
    tool.say(Input(stream=stream + 100, data=b"to nobody"))
    assert not tool.heard(SessionEnded)


def test_a_session_has_the_tasks_surroundings_and_no_executors_key() -> None:
    task = ContainerSpec(
        id="c",
        sandbox="/s",
        shell="x",
        environment=(("A", "1"), ("B", "2")),
        secrets=((SECRET_VARIABLE, "key"), ("TOKEN", "t")),
        user="nobody",
        capabilities=("CAP_CHOWN",),
        seccomp="unconfined",
    )
    spec = session_spec(task, question("ls", environment=(("B", "3"),)), "exec-1")
    assert (spec.id, spec.sandbox, spec.user, spec.debug) == ("c.exec-1", "/s", "nobody", True)
    assert spec.environment == (("A", "1"), ("B", "3"))
    assert spec.secrets == (("TOKEN", "t"),)
    assert (spec.stdout, spec.stderr) == ("", "")
    assert (spec.capabilities, spec.seccomp) == (("CAP_CHOWN",), "unconfined")
