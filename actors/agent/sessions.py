"""Sessions of tools at tasks: an actor that opens them, and one for each that passes on what both sides say.

A session's container is launched as the session's own (`Launch.session`): the containerizer destroys it when this actor
is gone, so nothing of a session outlives it, and the agent's recovery never hears of one. Nothing waits here: what the
tool has not credited stays where it was printed.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from actors.agent.constants import (
    ATTACH_TIMEOUT_SECONDS,
    LAUNCH_TIMEOUT_SECONDS,
    NO_COMMAND_STATUS,
    READ_TIMEOUT_SECONDS,
)
from actors.agent.events import ContainerLocated, EdgeRefused, LocateContainer
from actors.agent.names import AGENT_NAME, SESSION_PREFIX
from actors.messages.executing import SECRET_VARIABLE
from actors.messages.operating import Refusal
from actors.messages.sessions import AttachTask, OpenSession, SessionEnded, SessionOpened
from containerizer.messages import Collected, ContainerExited, Launch, Launched, LaunchFailed, LaunchFailure, Refused
from containerizer.spec import ContainerSpec
from containerizer.streaming import (
    AttachInput,
    AttachOutput,
    Detach,
    Input,
    InputAttached,
    InputEnded,
    InputTaken,
    Output,
    OutputAttached,
    OutputTaken,
    SetWindow,
    StreamEnded,
)
from runtime.actor import Actor, State, receive
from runtime.effects import Request
from runtime.message import AskFailed, Exited, Message
from runtime.pid import PID

log = logging.getLogger("kaon.agent.sessions")

SESSIONS_AT_ONCE: Final = 256
"""On one agent: each is a container, and people at terminals are fewer."""


class Opening(msgspec.Struct, frozen=True):
    """Context of the question where a task's container is."""

    request: Request
    question: OpenSession | AttachTask


class Answering(msgspec.Struct, frozen=True):
    """Context of a question that is passed on: who waits for the answer."""

    request: Request


class SessionsState(State):
    """How many there have been, and which there are."""

    opened: int = 0
    open: set[str] = msgspec.field(default_factory=set)


class Sessions(Actor[SessionsState]):
    """Opens sessions for tools."""

    @receive(OpenSession)
    def open_session(self, sender: PID, message: OpenSession) -> None:
        """Run a command beside a task."""
        if not message.argv or not message.argv[0]:
            self.reply(Refusal(message="no command is given: name a program, such as 'sh'"))
            return
        self._locate(message)

    @receive(AttachTask)
    def attach_task(self, sender: PID, message: AttachTask) -> None:
        """Talk to a task."""
        self._locate(message)

    def _locate(self, question: OpenSession | AttachTask) -> None:
        if question.credit_bytes <= 0:
            self.reply(Refusal(message=f"credit_bytes is {question.credit_bytes}: it must be above 0"))
        elif len(self.state.open) >= SESSIONS_AT_ONCE:
            text = f"{SESSIONS_AT_ONCE} sessions are open on this agent, and more are not allowed: end one"
            self.reply(Refusal(message=text))
        else:
            locate = LocateContainer(
                framework_id=question.framework_id, task_id=question.task_id, node=self.request.sender.node
            )
            context = Opening(self.request, question)
            self.ask(PID(AGENT_NAME, self.pid.node), locate, self.located, context, READ_TIMEOUT_SECONDS)

    def located(self, sender: PID, answer: Message, context: Opening) -> None:
        """Begin, in an actor of its own."""
        if isinstance(answer, EdgeRefused):
            self.reply(Refusal(message=answer.message), context.request)
            return
        if not isinstance(answer, ContainerLocated):
            reason = answer.reason if isinstance(answer, AskFailed) else str(answer)
            text = f"the agent does not say where the task's container is: {reason}"
            self.reply(Refusal(message=text), context.request)
            return
        self.state.opened += 1
        question = context.question
        spec = None
        if isinstance(question, OpenSession):
            spec = session_spec(answer.spec, question, f"exec-{self.random.getrandbits(48):012x}")
        name = f"{SESSION_PREFIX}{self.state.opened}"
        state = SessionState(
            tool=context.request,
            question=question,
            containerizer=answer.containerizer,
            container_id=answer.spec.id if spec is None else spec.id,
            spec=spec,
        )
        self.link(self.spawn(Session, name, state))
        self.state.open.add(name)

    @receive(Exited)
    def session_over(self, sender: PID, message: Exited) -> None:
        """One less."""
        self.state.open.discard(message.pid.name)


def session_spec(task: ContainerSpec, question: OpenSession, name: str) -> ContainerSpec:
    """The container of a session's command, nested in that of a task.

    It has the task's environment, but for an executor's key, and leaves nothing on the disk.
    """
    return ContainerSpec(
        id=f"{task.id}.{name}",
        sandbox=task.sandbox,
        sandbox_inside=task.sandbox_inside,
        argv=question.argv,
        environment=tuple({**dict(task.environment), **dict(question.environment)}.items()),
        secrets=tuple(pair for pair in task.secrets if pair[0] != SECRET_VARIABLE),
        user=question.user or task.user,
        stdout="",
        stderr="",
        tty=question.tty,
        rows=question.rows,
        columns=question.columns,
        interactive=question.input and not question.tty,
        capabilities=task.capabilities,
        seccomp=task.seccomp,
        debug=True,
        kill_grace_seconds=0.0,
    )


class SessionState(State):
    """One session.

    tool           who has asked for it, and to whom all goes
    containerizer  where it is dialled; peer: its life that holds the streams
    spec           of the container that is the session's own; None when it is at a task's
    output, input  the streams; 0 before they are attached
    early          for the tool, from before it has heard that the session is open
    exited         how the session's own container ended; output_over: all that it printed has been sent
    """

    tool: Request
    question: OpenSession | AttachTask
    containerizer: PID
    container_id: str
    spec: ContainerSpec | None = None
    peer: PID | None = None
    output: int = 0
    input: InputAttached | None = None
    input_refusal: str = ""
    early: list[Message] = msgspec.field(default_factory=list)
    exited: ContainerExited | None = None
    output_over: bool = False


class Session(Actor[SessionState]):
    """Between one tool and one container."""

    def started(self) -> None:
        """Launch, attach, and tell the tool."""
        self.link(self.state.tool.sender)
        self.link(self.state.containerizer)
        if self.state.spec is None:
            self._attach()
        else:
            launch = Launch(spec=self.state.spec, session=True)
            timeout = LAUNCH_TIMEOUT_SECONDS
            self.ask(self.state.containerizer, launch, self.launched, timeout_seconds=timeout)

    def launched(self, sender: PID, answer: Message, context: None) -> None:
        """The command runs, or does not."""
        self.state.peer = sender
        if isinstance(answer, Launched):
            self._attach()
        elif isinstance(answer, LaunchFailed) and answer.reason is LaunchFailure.NO_COMMAND:
            self.reply(SessionEnded(exit_code=NO_COMMAND_STATUS, message=answer.message), self.state.tool)
            self.stop()
        elif isinstance(answer, LaunchFailed):
            self._refuse(answer.message)
        else:
            self._refuse(f"the containerizer does not launch it: {_why(answer)}")

    def _attach(self) -> None:
        """Input first: the answer about the output opens the session, and output follows it."""
        question = self.state.question
        wants_input = question.input or (isinstance(question, OpenSession) and question.tty)
        if wants_input:
            attach = AttachInput(container_id=self.state.container_id)
            timeout = ATTACH_TIMEOUT_SECONDS
            self.ask(self.state.containerizer, attach, self.input_attached, timeout_seconds=timeout)
        else:
            self._attach_output()

    def input_attached(self, sender: PID, answer: Message, context: None) -> None:
        """It can be written, or why not."""
        if isinstance(answer, InputAttached):
            self.state.peer = sender
            self.state.input = answer
            self._attach_output()
        elif isinstance(answer, Refused):
            # A command may have ended by now; a task may take no input.
            self.state.input_refusal = answer.message
            self._attach_output()
        else:
            self._refuse(f"the containerizer does not answer: {_why(answer)}")

    def _attach_output(self) -> None:
        question = self.state.question
        offset = question.offset if isinstance(question, AttachTask) else None
        attach = AttachOutput(
            container_id=self.state.container_id,
            credit_bytes=question.credit_bytes,
            stdout_offset=offset,
            stderr_offset=offset,
            lag_bytes=question.lag_bytes if isinstance(question, AttachTask) else None,
        )
        timeout = ATTACH_TIMEOUT_SECONDS
        self.ask(self.state.containerizer, attach, self.output_attached, timeout_seconds=timeout)

    def output_attached(self, sender: PID, answer: Message, context: None) -> None:
        """The session is open."""
        if not isinstance(answer, OutputAttached):
            self._refuse(answer.message if isinstance(answer, Refused) else _why(answer))
            return
        self.state.peer = sender
        self.state.output = answer.stream
        taken = self.state.input
        opened = SessionOpened(
            container_id=self.state.container_id,
            output=answer.stream,
            input=taken.stream if taken is not None else 0,
            input_credit_bytes=taken.credit_bytes if taken is not None else 0,
            input_refusal=self.state.input_refusal,
            tty=answer.tty,
        )
        self.reply(opened, self.state.tool)
        early, self.state.early = self.state.early, []
        for message in early:
            self.send(self.state.tool.sender, message)
        self._end_when_over()

    def _refuse(self, text: str) -> None:
        self.reply(Refusal(message=text), self.state.tool)
        self.stop()

    # From the containerizer -------------------------------------------------------------------------------------------

    @receive(Output)
    def pass_output(self, sender: PID, message: Output) -> None:
        """To the tool."""
        if self._is_peer(sender):
            self._tell(message)

    @receive(InputTaken)
    def pass_taken(self, sender: PID, message: InputTaken) -> None:
        """To the tool."""
        if self._is_peer(sender):
            self._tell(message)

    @receive(StreamEnded)
    def stream_ended(self, sender: PID, message: StreamEnded) -> None:
        """To the tool; the end of the output is nearly the end of the session."""
        if self._is_peer(sender):
            self._tell(message)
            if self.state.output and message.stream == self.state.output:
                self.state.output_over = True
                self._end_when_over()

    @receive(ContainerExited)
    def container_exited(self, sender: PID, message: ContainerExited) -> None:
        """Of the session's own container; told again until it is collected."""
        if self._is_peer(sender) and message.container_id == self.state.container_id:
            self.state.exited = message
            self._end_when_over()

    def _is_peer(self, sender: PID) -> bool:
        """Whether the containerizer says this, which has answered before; any peer of this node can send anything."""
        return sender == self.state.peer

    def _tell(self, message: Message) -> None:
        if self.state.output:
            self.send(self.state.tool.sender, message)
        else:
            self.state.early.append(message)

    def _end_when_over(self) -> None:
        exited, peer = self.state.exited, self.state.peer
        if not self.state.output_over or (self.state.spec is not None and exited is None):
            return
        if exited is None:
            self._end(SessionEnded(message="the task has ended"))
            return
        assert peer is not None, "somebody has told it"
        self.send(peer, Collected(container_id=exited.container_id))
        text = exited.message
        if exited.destroyed:
            text = "the task has ended, and took it along"
        elif exited.limitation is not None:
            text = exited.limitation.message
        self._end(SessionEnded(exit_code=exited.exit_code, signal=exited.signal, message=text))

    def _end(self, last: SessionEnded) -> None:
        self.send(self.state.tool.sender, last)
        self.stop()

    # From the tool ----------------------------------------------------------------------------------------------------

    @receive(OutputTaken)
    def pass_credit(self, sender: PID, message: OutputTaken) -> None:
        """To the containerizer."""
        self._pass_on(sender, message, message.stream == self.state.output)

    @receive(Input)
    def pass_input(self, sender: PID, message: Input) -> None:
        """To the containerizer."""
        self._pass_on(sender, message, self._is_input(message.stream))

    @receive(InputEnded)
    def pass_end(self, sender: PID, message: InputEnded) -> None:
        """To the containerizer."""
        self._pass_on(sender, message, self._is_input(message.stream))

    def _is_input(self, stream: int) -> bool:
        return self.state.input is not None and stream == self.state.input.stream

    def _pass_on(self, sender: PID, message: Message, is_ours: bool) -> None:
        if sender == self.state.tool.sender and is_ours and self.state.peer is not None:
            self.send(self.state.peer, message)
        else:
            log.warning("ignored %s from %s: no stream of its session", type(message).__name__, sender)

    @receive(SetWindow)
    def pass_window(self, sender: PID, message: SetWindow) -> None:
        """To the containerizer, and its answer back."""
        if sender == self.state.tool.sender:
            window = msgspec.structs.replace(message, container_id=self.state.container_id)
            context = Answering(self.request)
            self.ask(self.state.containerizer, window, self.window_set, context, ATTACH_TIMEOUT_SECONDS)

    def window_set(self, sender: PID, answer: Message, context: Answering) -> None:
        """Back."""
        if isinstance(answer, AskFailed):
            answer = Refused(container_id=self.state.container_id, message=answer.reason)
        self.reply(answer, context.request)

    @receive(Detach)
    def detach(self, sender: PID, message: Detach) -> None:
        """The tool has had enough of whatever stream: the session is over, and its command with it."""
        if sender == self.state.tool.sender:
            self.stop()

    @receive(Exited)
    def exited(self, sender: PID, message: Exited) -> None:
        """Without a tool there is no session; without a containerizer none can go on."""
        if message.pid == self.state.tool.sender:
            log.info("session at %s ends: its tool is gone (%s)", self.state.container_id, message.reason)
            self.stop()
        elif message.pid == self.state.containerizer:
            text = f"the agent's containerizer has ended ({message.reason}), and the session with it"
            if self.state.output:
                self._end(SessionEnded(message=text))
            else:
                self._refuse(text)


def _why(answer: Message) -> str:
    return answer.reason if isinstance(answer, AskFailed) else str(answer)
