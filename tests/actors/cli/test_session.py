"""The tool's end of a session, with the agent's end as a test writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from actors.cli.session import Client, ClientState, SessionResult
from actors.messages.operating import Refusal
from actors.messages.sessions import AttachTask, OpenSession, SessionEnded, SessionOpened
from containerizer.streaming import Output, OutputSource, OutputTaken
from runtime.actor import Actor, State, receive
from runtime.clock import RealClock
from runtime.message import Message
from runtime.node import Node
from runtime.pid import PID
from runtime.transport.memory import MemoryTransport, Network

OPENED = SessionOpened(container_id="c", output=1)
PATIENCE_SECONDS = 20.0


class ScriptState(State):
    """What to answer, and what to say then. ends: without a last word, once the tool has taken something."""

    script: tuple[Message, ...]
    ends: bool = False
    taken_bytes: int = 0


class ScriptedSession(Actor[ScriptState]):
    @receive(OpenSession)
    def open_session(self, sender: PID, message: OpenSession) -> None:
        self.say(sender)

    @receive(AttachTask)
    def attach_task(self, sender: PID, message: AttachTask) -> None:
        self.say(sender)

    def say(self, sender: PID) -> None:
        answer, *rest = self.state.script
        self.reply(answer)
        for message in rest:
            self.send(sender, message)

    @receive(OutputTaken)
    def taken(self, sender: PID, message: OutputTaken) -> None:
        self.state.taken_bytes += message.size_bytes
        if self.state.ends:
            self.stop()


Play = Callable[..., SessionResult]


@pytest.fixture
def play() -> Play:
    """Plays a script to a client; what came of it."""

    def run(*script: Message, ends: bool = False, question: OpenSession | AttachTask | None = None) -> SessionResult:
        asks = question or OpenSession(framework_id="f", task_id="t", argv=("ls",), credit_bytes=100)

        async def main() -> SessionResult:
            network = Network(RealClock(asyncio.get_running_loop()))
            agent = Node("agent", MemoryTransport(network), network.clock)
            tool = Node("tool", MemoryTransport(network), network.clock)
            agent.listen("memory://agent")
            if script:
                agent.spawn(ScriptedSession, "sessions", ScriptState(script=script, ends=ends))
            tool.spawn(Client, "session", ClientState(agent=PID("sessions", "memory://agent"), question=asks))
            client = tool.cells["session"].actor
            assert isinstance(client, Client)
            try:
                return await asyncio.wait_for(client.result, PATIENCE_SECONDS)
            finally:
                await tool.stop(1.0)
                await agent.stop(1.0)

        return asyncio.run(main())

    return run


def out(data: bytes, source: OutputSource = OutputSource.STDOUT, **fields: int) -> Output:
    return msgspec.structs.replace(Output(stream=1, source=source, data=data), **fields)


def test_output_comes_out_where_it_belongs_before_the_end(play: Play, capfd: pytest.CaptureFixture[str]) -> None:
    script = (OPENED, out(b"one"), out(b"bad", OutputSource.STDERR), out(b"two"), SessionEnded(exit_code=3))
    assert play(*script) == SessionResult(3)
    assert capfd.readouterr() == ("onetwo", "bad")


def test_what_was_not_seen_is_said(play: Play, capfd: pytest.CaptureFixture[str]) -> None:
    assert play(OPENED, out(b"late", skipped_bytes=4711), SessionEnded(exit_code=0)).status == 0
    captured = capfd.readouterr()
    assert captured.out == "late"
    assert "4711 bytes are not shown" in captured.err


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ((OPENED, SessionEnded(signal=9)), SessionResult(137)),
        ((OPENED, SessionEnded(exit_code=None, message="lost")), SessionResult(1, "lost")),
        ((SessionEnded(exit_code=127, message="no such file"),), SessionResult(127, "no such file")),
        ((Refusal(message="not here"),), SessionResult(1, "not here")),
    ],
)
def test_how_it_ended_is_the_status(play: Play, script: tuple[Message, ...], result: SessionResult) -> None:
    assert play(*script) == result


def test_the_end_of_a_task_is_no_failure_of_who_looked_on(play: Play) -> None:
    question = AttachTask(framework_id="f", task_id="t", credit_bytes=100)
    assert play(OPENED, SessionEnded(message="the task has ended"), question=question) == SessionResult(0)
    assert play(OPENED, SessionEnded(message="something else"), question=question).status == 1


def test_a_session_that_ends_without_a_word_has_broken(play: Play) -> None:
    result = play(OPENED, out(b"half"), ends=True)
    assert (result.status, result.error) == (1, "the session broke: stopped")


def test_an_agent_that_does_not_know_sessions_is_named(play: Play) -> None:
    result = play()
    assert result.status == 1
    assert result.error.startswith("the agent at memory://agent does not answer: no such actor")
