"""The agent's actor, put together from its parts.

Each part is a class on top of the one before it, one subject each::

    base            state, journal, master
    updates         streams of status updates
    endings         kills, shutdowns, exits, last words
    leaving         the agent's own end
    executors       the executor protocol
    launching       from a task to a container
    registration    the master
    containers      the containerizer
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from actors.agent import checkpoint
from actors.agent.containers import Containers
from actors.agent.events import ContainerLocated, EdgeRefused, LocateContainer, LocateSandbox, SandboxLocated
from actors.agent.names import COMMAND_PREFIX
from actors.agent.sandbox import sandbox_path
from actors.agent.state import LaunchStep
from runtime.actor import receive
from runtime.message import Exited
from runtime.pid import PID


class Agent(Containers):
    """See the package. One per node, called `names.AGENT_NAME`; spawned by :func:`actors.agent.compose.spawn_agent`."""

    def recover(self, records: Sequence[msgspec.Struct]) -> None:
        """Be what the journal says; what runs is the containerizer's to tell."""
        for record in records:
            checkpoint.apply(self.state, record)  # type: ignore[arg-type]  # the journal's decoder checked the union
        for executor in self.state.executors():
            executor.step = LaunchStep.RECOVERED
            executor.used = True

    def snapshot(self) -> Sequence[msgspec.Struct]:
        """What the journal says, without the past."""
        return checkpoint.snapshot(self.state)

    def started(self) -> None:
        """First the containerizer, then the master."""
        for executor in self.state.executors():
            runs = self.state.tasks_of(executor)
            if executor.info is None and runs:
                self.spawn_command_executor(executor, runs[0].task.info, runs[0].task.latest_state)
        self.state.master = self.state.settings.master
        self.attach_to_containerizer()

    @receive(Exited)
    def exited(self, sender: PID, message: Exited) -> None:
        """The master, the containerizer or an executor is gone; it is told in its name."""
        if sender != message.pid:
            return
        if message.pid == self.state.settings.containerizer:
            self.containerizer_gone(message.reason)
        elif message.pid == self.state.master:
            self.master_gone(message.reason)
        else:
            # A command's executor is called after its container, a custom one's node is.
            name = message.pid.name
            is_command = message.pid.node == self.pid.node
            executor = self.executor_in(name.removeprefix(COMMAND_PREFIX) if is_command else message.pid.node)
            if executor is not None and executor.pid == message.pid:
                self.executor_disconnected(executor, message.reason)

    @receive(LocateSandbox)
    def locate_sandbox(self, sender: PID, message: LocateSandbox) -> None:
        """Say where a task's files are, to this node's reader of files. Executors may not read one another's."""
        sandbox = self.state.sandboxes.get(checkpoint.sandbox_key(message.framework_id, message.task_id))
        if sender.node != self.pid.node or message.node in self.state.containers:
            self.reply(EdgeRefused(message="sandboxes are shown to tools only"))
        elif sandbox is None:
            text = f"task {message.task_id!r} of framework {message.framework_id!r} has no sandbox on this agent"
            self.reply(EdgeRefused(message=text))
        else:
            path = sandbox_path(
                self.state.settings.work_directory,
                self.state.agent_id,
                sandbox.framework_id,
                sandbox.executor_id,
                sandbox.container_id,
            )
            self.reply(SandboxLocated(path=path, ended=sandbox.container_id not in self.state.containers))

    @receive(LocateContainer)
    def locate_container(self, sender: PID, message: LocateContainer) -> None:
        """Say what a task runs in: a container of its own, or that of its executor."""
        run = self.state.task(message.framework_id, message.task_id)
        executor = self.state.executor(message.framework_id, run.executor_id) if run is not None else None
        if sender.node != self.pid.node or message.node in self.state.containers:
            refusal = "sessions are for tools only"
        elif run is None or executor is None:
            refusal = f"task {message.task_id!r} of framework {message.framework_id!r} does not run on this agent"
        elif executor.exited is not None or run.task.latest_state.is_terminal:
            refusal = f"task {message.task_id!r} has ended"
        elif executor.step is not LaunchStep.RUNNING:
            refusal = f"task {message.task_id!r} does not run yet: try again when `kaon ps` says so"
        elif not self.state.ready:
            refusal = "the agent waits for its containerizer: try again in a moment"
        else:
            tasks = [one.task.info for one in self.state.tasks_of(executor)]
            spec = self.container_spec(executor, executor.info, tasks or [run.task.info])
            self.reply(ContainerLocated(spec=spec, containerizer=self.state.settings.containerizer))
            return
        self.reply(EdgeRefused(message=refusal))
