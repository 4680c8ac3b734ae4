"""How the agent itself ends: with its tasks or without them, for good or to be started again."""

from __future__ import annotations

from actors.agent.base import log
from actors.agent.endings import Endings
from actors.agent.state import Stopping
from actors.messages.operating import Done, Refusal, StopAgent
from actors.messages.records import Reason, TaskState
from actors.messages.tasks import ShutdownAgent
from runtime.actor import receive
from runtime.message import Terminate
from runtime.pid import PID


class Leaving(Endings):
    """Requests to stop."""

    @receive(Terminate)
    def terminate(self, sender: PID, message: Terminate) -> None:
        """The process ends; containers run on, and the next agent takes them over."""
        if sender.node == self.pid.node:
            self.end_agent("asked to terminate", with_tasks=False, leaves=False)

    @receive(StopAgent)
    def stop_agent(self, sender: PID, message: StopAgent) -> None:
        """A tool wants the agent to end."""
        if sender.node in self.state.containers:
            self.reply(Refusal(message="executors may not stop their agent"))
        elif not message.drain:
            self.reply(Done())
            self.end_agent(f"asked by {sender}", with_tasks=False, leaves=False)
        else:
            if self.state.stopping is None:
                self.state.stopping = Stopping(reason=f"asked by {sender}", leaves=True)
            self.state.stopping.waiting.append(self.request)
            self.end_agent(f"asked by {sender}", with_tasks=True, leaves=True)

    @receive(ShutdownAgent)
    def shutdown_agent(self, sender: PID, message: ShutdownAgent) -> None:
        """The cluster has removed this agent: end everything; nobody waits for word of it."""
        if self.is_from_master(sender, message):
            log.error("the master removed this agent: %s", message.reason)
            self.end_agent(f"removed by the master: {message.reason}", with_tasks=True, leaves=False)

    def end_agent(self, reason: str, *, with_tasks: bool, leaves: bool) -> None:
        """End, after everything that runs if `with_tasks`. leaves: report all that, and say goodbye to the master."""
        if not with_tasks:
            log.info("agent stops, its tasks run on: %s", reason)
            self.stop()
            return
        if self.state.stopping is None:
            self.state.stopping = Stopping(reason=reason, leaves=leaves)
        for executor in self.state.executors():
            self.shutdown_executor(executor, TaskState.KILLED, Reason.AGENT_DRAINING, "the agent is stopping")
        self.finish_if_idle()
