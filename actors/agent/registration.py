"""Finding the master and staying with it: registration with backoff, pings, and what to do when it falls silent.

As in Mesos (`src/slave/slave.cpp`, doReliableRegistration and `Slave::ping`), but that the agent dials: its link to the
master breaks with the connection, at once.
"""

from __future__ import annotations

import msgspec

from actors.agent.base import log
from actors.agent.constants import REGISTRATION_BACKOFF_MAX_SECONDS, REGISTRATION_BACKOFF_SECONDS
from actors.agent.events import MasterSilent, TryRegistration
from actors.agent.launching import Launching
from actors.agent.records import AgentAdmitted
from actors.agent.state import Framework, TaskRun
from actors.messages.detection import MasterDetected
from actors.messages.records import ExecutorState, MasterInfo, Reason, Task, TaskState
from actors.messages.registration import (
    AgentRefused,
    AgentRegistered,
    AgentReregistered,
    PingAgent,
    PongAgent,
    RegisterAgent,
    ReregisterAgent,
)
from runtime.actor import receive
from runtime.pid import PID
from runtime.supervision import backoff


class Registration(Launching):
    """Attempts, answers, pings."""

    @receive(MasterDetected)
    def master_detected(self, sender: PID, message: MasterDetected) -> None:
        """Another master leads, or none; the detector is an actor of this node."""
        if sender.node != self.pid.node:
            log.warning("ignored MasterDetected from %s", sender)
            return
        if message.master == self.state.master:
            return
        log.info("master detected: %s", message.master)
        self.state.master = message.master
        self.state.linked = False
        self._lose_master()
        self.begin_registration()

    def begin_registration(self) -> None:
        """Try to register from now on, if there is a master, and the agent knows what runs on it."""
        self.cancel(self.state.timer)
        self.state.attempts = 0
        if self.state.master is not None and self.state.recovered:
            self._try_later()

    def _try_later(self) -> None:
        delay = backoff(
            self.state.attempts,
            factor=REGISTRATION_BACKOFF_SECONDS,
            maximum=REGISTRATION_BACKOFF_MAX_SECONDS,
            chance=self.random,
        )
        self.state.attempts += 1
        self.state.timer = self.after(delay, TryRegistration())

    @receive(TryRegistration)
    def try_registration(self, sender: PID, message: TryRegistration) -> None:
        """Dial, link and ask; only now, so that a thousand agents do not do it at once."""
        master = self.state.master
        stopping = self.state.stopping
        if not self.is_from_self(sender, message):
            return
        if master is None or self.state.leader is not None or (stopping is not None and not stopping.leaves):
            return
        if not self.state.linked:
            self.state.linked = True
            self.link(master)
        if self.state.agent_id:
            self.send(master, self._reregistration())
        else:
            self.send(master, RegisterAgent(agent=self.agent_info()))
        self._try_later()

    def _reregistration(self) -> ReregisterAgent:
        frameworks = [one for one in self.state.frameworks.values() if not one.ending]
        return ReregisterAgent(
            agent=self.agent_info(),
            tasks=tuple(_as_known(framework, run) for framework in frameworks for run in framework.tasks.values()),
            executors=tuple(
                ExecutorState(info=executor.info, framework_id=executor.framework_id, role=executor.role)
                for framework in frameworks
                for executor in framework.executors.values()
                if executor.info is not None
            ),
            frameworks=tuple(one.info for one in frameworks if one.tasks or one.executors),
        )

    # Answers ----------------------------------------------------------------------------------------------------------

    @receive(AgentRegistered)
    def agent_registered(self, sender: PID, message: AgentRegistered) -> None:
        """Admitted under a new id."""
        known = self.state.agent_id not in {"", message.agent_id}
        if self.state.leader is not None or known or not self._may_be_master(sender):
            log.info("ignored another registration as %s from %s", message.agent_id, sender)
            return
        if not self.state.agent_id:
            self.commit(AgentAdmitted(agent_id=message.agent_id))
        self._follow(sender, message.master, message.ping_timeout_seconds)

    @receive(AgentReregistered)
    def agent_reregistered(self, sender: PID, message: AgentReregistered) -> None:
        """Back again: answer for what the master misses."""
        if message.agent_id != self.state.agent_id or not self._may_be_master(sender):
            log.warning("ignored a registration as %s from %s", message.agent_id, sender)
            return
        if sender != self.state.leader:
            self._follow(sender, message.master, message.ping_timeout_seconds)
        for framework_id, task_id in message.missing:
            if self.state.task(framework_id, task_id) is None:
                state = self.for_framework(framework_id, TaskState.DROPPED)
                status = self.status(task_id, state, Reason.RECONCILIATION, "it never reached this agent")
                self.queue_update(framework_id, status)

    def _follow(self, leader: PID, master: MasterInfo, ping_timeout_seconds: float) -> None:
        log.info("registered as %s with master %s at %s", self.state.agent_id, master.master_id, leader)
        self.cancel(self.state.timer)
        self.state.attempts = 0
        self.state.leader = leader
        self.state.ping_timeout_seconds = ping_timeout_seconds
        self._expect_ping()
        self.resume_updates()
        self.finish_if_idle()

    @receive(AgentRefused)
    def agent_refused(self, sender: PID, message: AgentRefused) -> None:
        """Not wanted: end, and the tasks too if the master says so."""
        if not self._may_be_master(sender):
            log.warning("ignored AgentRefused from %s", sender)
            return
        log.error("the master refuses this agent: %s", message.reason)
        self.end_agent(f"refused by the master: {message.reason}", with_tasks=message.shutdown, leaves=False)

    def _may_be_master(self, sender: PID) -> bool:
        """Whether an answer can be the master's: it has its name, and is no executor of ours."""
        master = self.state.master
        return master is not None and sender.name == master.name and sender.node not in self.state.containers

    # Pings ------------------------------------------------------------------------------------------------------------

    @receive(PingAgent)
    def ping_agent(self, sender: PID, message: PingAgent) -> None:
        """Alive. A master that has lost this agent, though the agent thinks otherwise, is told everything again."""
        self.send(sender, PongAgent(agent_id=self.state.agent_id))
        if sender != self.state.leader:
            return
        self._expect_ping()
        if not message.connected:
            log.warning("the master has lost this agent; registering again")
            self._lose_master()
            self.begin_registration()

    def _expect_ping(self) -> None:
        self.cancel(self.state.ping_timer)
        self.state.ping_timer = self.after(self.state.ping_timeout_seconds, MasterSilent())

    @receive(MasterSilent)
    def master_silent(self, sender: PID, message: MasterSilent) -> None:
        """Find out whether it still leads, by registering again."""
        if self.is_from_self(sender, message) and self.state.leader is not None:
            log.warning("no ping from the master for %g s; registering again", self.state.ping_timeout_seconds)
            self._lose_master()
            self.begin_registration()

    def master_gone(self, reason: str) -> None:
        """The connection broke, or the dial failed. Attempts that are under way go on with their backoff."""
        self.state.linked = False
        if self.state.leader is not None:
            log.warning("the master is gone (%s); tasks run on, looking for it", reason)
            self._lose_master()
            self.begin_registration()
        elif self.state.master is not None:
            where = self.state.master.node.partition("?")[0]
            log.warning("no master at %s (%s); trying again", where, reason, extra={"limited_by": "no master"})

    def _lose_master(self) -> None:
        self.state.leader = None
        self.cancel(self.state.ping_timer)
        self.pause_updates()


def _as_known(framework: Framework, run: TaskRun) -> Task:
    """A task with the update that its framework was last sent, as far as the agent knows."""
    stream = framework.streams.get(run.task.task_id)
    if stream is not None and stream.pending:
        status = stream.pending[0]
    elif run.task.statuses:
        status = run.task.statuses[-1]
    else:
        return run.task
    return msgspec.structs.replace(run.task, status_uuid=status.uuid, status_state=status.state)
