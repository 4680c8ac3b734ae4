"""How agents come in: registration of new ones, re-registration of those that have been here before."""

from __future__ import annotations

import msgspec

from actors.master.agents import AgentsPart
from actors.master.base import log
from actors.master.state import Agent, TaskKey
from actors.master.validation import agent_problem, framework_problem
from actors.messages.records import AgentInfo, FrameworkInfo, Reason, Source, Task, TaskStatus
from actors.messages.registration import (
    AgentRefused,
    AgentRegistered,
    AgentReregistered,
    RegisterAgent,
    ReregisterAgent,
)
from actors.messages.registry import AdmitAgent, MarkReachable, UpdateAgentInfo
from actors.messages.scheduling import Update
from actors.messages.tasks import KillTaskOnAgent, ShutdownFramework
from allocator import messages as allocator
from runtime.actor import receive
from runtime.message import Message
from runtime.pid import PID


class Admitting(msgspec.Struct, frozen=True):
    """An agent whose admission is being written."""

    pid: PID
    info: AgentInfo


class Returning(msgspec.Struct, frozen=True):
    """An agent whose return is being written, and what it said."""

    pid: PID
    message: ReregisterAgent


class RegisteringPart(AgentsPart):
    """Admits agents and takes them back."""

    @property
    def ping_timeout_seconds(self) -> float:
        """Without a ping for so long, an agent looks for its master again."""
        return self.state.settings.agent_ping_seconds * self.state.settings.max_agent_pings_missed

    # New agents ------------------------------------------------------------------------------------------------------

    @receive(RegisterAgent)
    def register_agent(self, sender: PID, message: RegisterAgent) -> None:
        """Admit an agent: a repeated request gets the same id, however often it is sent."""
        state = self.state
        if not state.recovered:
            self.drop(sender, message, "the registry is not recovered")
            return
        state.count("master/messages_register_slave")
        problem = agent_problem(message.agent)
        if message.agent.agent_id and not problem:
            problem = f"the agent has the id {message.agent.agent_id} already: it must register again with it"
        if problem:
            self.send(sender, AgentRefused(reason=problem))
            return
        if sender in state.admitting:
            return
        known = state.agents.get(state.agent_at.get((sender.name, sender.node), ""))
        if known is not None and known.pid == sender:
            self._reconnect(known, sender)
            self._say_registered(known)
            launched = self._live_tasks(known)
            if launched:
                # Sent to an agent that had not heard of its admission: it will have refused them, unless this is old.
                self._say_reregistered(known, launched)
            return
        if known is not None:
            # An earlier life at the same place, which never learnt its id or has lost it.
            self.forget_agent(known)
        info = msgspec.structs.replace(message.agent, agent_id=f"{state.master.master_id}-S{state.next_agent}")
        state.next_agent += 1
        state.admitting[sender] = info.agent_id
        self.write(AdmitAgent(agent=info), self.admitted, Admitting(sender, info))

    def admitted(self, sender: PID, answer: Message, context: Admitting) -> None:
        """It is in the registry: now it exists."""
        self.check_written(answer)
        del self.state.admitting[context.pid]
        agent = self._add_agent(context.pid, context.info)
        self.state.count("master/slave_registrations")
        log.info("agent %s (%s) is registered: %s", agent.agent_id, agent.info.hostname, agent.info.resources)
        self._say_registered(agent)
        self.introduce_agent(agent)
        self.begin_pinging(agent)

    def _say_registered(self, agent: Agent) -> None:
        registered = AgentRegistered(
            agent_id=agent.agent_id,
            master=self.state.master,
            ping_timeout_seconds=self.ping_timeout_seconds,
        )
        self.send(agent.pid, registered)

    def _add_agent(self, pid: PID, info: AgentInfo) -> Agent:
        state = self.state
        state.next_life += 1
        agent = Agent(info=info, pid=pid, life=state.next_life, registered_at=self.now)
        state.agents[agent.agent_id] = agent
        state.agent_at[pid.name, pid.node] = agent.agent_id
        self.link(pid)
        return agent

    def _reconnect(self, agent: Agent, pid: PID) -> None:
        """An agent is connected (again), as that actor."""
        if agent.pid != pid:
            if self.state.agent_at.get((agent.pid.name, agent.pid.node)) == agent.agent_id:
                del self.state.agent_at[agent.pid.name, agent.pid.node]
            self.state.agent_at[pid.name, pid.node] = agent.agent_id
            agent.pid = pid
        agent.missed_pings = 0
        agent.awaiting_pong = False
        if not agent.connected:
            agent.connected = True
            self.send(self.allocator, allocator.ActivateAgent(agent_id=agent.agent_id))
        self.link(pid)

    # Those that come back --------------------------------------------------------------------------------------------

    @receive(ReregisterAgent)
    def reregister_agent(self, sender: PID, message: ReregisterAgent) -> None:
        """Take an agent back; while its return, or its loss, is being written, it is to ask again."""
        state = self.state
        if not state.recovered:
            self.drop(sender, message, "the registry is not recovered")
            return
        state.count("master/messages_reregister_slave")
        info = message.agent
        problem = agent_problem(info, message.tasks, message.executors)
        if not info.agent_id and not problem:
            problem = "the agent has no id: it must register as a new one"
        if problem:
            self.send(sender, AgentRefused(reason=problem))
            return
        if info.agent_id in state.gone:
            reason = f"agent {info.agent_id} was marked gone: remove its work directory to join as a new agent"
            self.send(sender, AgentRefused(reason=reason, shutdown=True))
            return
        if info.agent_id in state.reregistering or info.agent_id in state.marking:
            return
        known = state.agents.get(info.agent_id)
        context = Returning(sender, message)
        if known is not None and known.info == info:
            self._resume(known, context)
            return
        state.reregistering[info.agent_id] = None
        if known is not None:
            self.write(UpdateAgentInfo(agent=info), self.changed, context)
        else:
            self.write(MarkReachable(agent=info), self.returned, context)

    def changed(self, sender: PID, answer: Message, context: Returning) -> None:
        """A known agent came back with another description, which is in the registry now."""
        self.check_written(answer)
        agent_id = context.message.agent.agent_id
        del self.state.reregistering[agent_id]
        agent = self.state.agents[agent_id]
        self.describe_agent(agent, context.message.agent)
        self._resume(agent, context)

    def returned(self, sender: PID, answer: Message, context: Returning) -> None:
        """An agent that was unreachable, or is new to this master, is back: what it says is what is known of it."""
        self.check_written(answer)
        state = self.state
        agent_id = context.message.agent.agent_id
        del state.reregistering[agent_id]
        was_unreachable = state.unreachable.pop(agent_id, None) is not None
        state.absent.pop(agent_id, None)
        agent = self._add_agent(context.pid, context.message.agent)
        state.count("master/slave_reregistrations")
        log.info("agent %s (%s) is back with %d tasks", agent_id, agent.info.hostname, len(context.message.tasks))
        self._say_reregistered(agent, ())
        self._adopt(agent, context.message)
        if was_unreachable:
            self._tell_of_return(agent)
        self.introduce_agent(agent)
        self.begin_pinging(agent)

    def _say_reregistered(self, agent: Agent, missing: tuple[TaskKey, ...]) -> None:
        reregistered = AgentReregistered(
            agent_id=agent.agent_id,
            master=self.state.master,
            ping_timeout_seconds=self.ping_timeout_seconds,
            missing=missing,
        )
        self.send(agent.pid, reregistered)

    # What runs on them -----------------------------------------------------------------------------------------------

    def _adopt(self, agent: Agent, message: ReregisterAgent) -> bool:
        """Take over what an agent says that it runs; returns whether anything in use is new to this master."""
        state = self.state
        infos = {info.framework_id: info for info in message.frameworks if not framework_problem(info, ())}
        ended: dict[str, None] = {}
        new = False
        for task in message.tasks:
            key = (task.framework_id, task.task_id)
            known = state.tasks.get(key)
            if task.framework_id in state.completed:
                ended[task.framework_id] = None
            elif known is None:
                self._know_framework(task.framework_id, infos)
                state.put_task(task)
                new = new or not task.latest_state.is_terminal
            elif known.info.agent_id == agent.agent_id:
                self.note_latest(known, task.latest_state)
            else:
                self._end_twin(agent, task)
        for executor in message.executors:
            if executor.framework_id in state.completed:
                ended[executor.framework_id] = None
            elif executor.info.executor_id not in agent.executors.get(executor.framework_id, {}):
                self._know_framework(executor.framework_id, infos)
                state.put_executor(agent, executor)
                new = True
        for framework_id in ended:
            self.send(agent.pid, ShutdownFramework(framework_id=framework_id))
        return new

    def _end_twin(self, agent: Agent, task: Task) -> None:
        """A framework that was told that a task is lost has started it anew elsewhere: the one that returns must go."""
        log.warning("task %s of framework %s runs twice: ending it on agent %s", *_names(task), agent.agent_id)
        self.send(agent.pid, KillTaskOnAgent(framework_id=task.framework_id, task_id=task.task_id))

    def _know_framework(self, framework_id: str, infos: dict[str, FrameworkInfo]) -> None:
        if framework_id not in self.state.frameworks:
            self.recover_framework(infos.get(framework_id, FrameworkInfo(name="", framework_id=framework_id)))

    def _tell_of_return(self, agent: Agent) -> None:
        """Say in which state the tasks of an agent that was unreachable are back.

        All of them: it may have been an earlier master that called them unreachable.
        """
        for task in self.state.tasks_on(agent):
            framework = self.state.frameworks[task.framework_id]
            framework.unreachable.pop(task.task_id, None)
            if task.latest_state.is_terminal:
                continue
            status = TaskStatus(
                task_id=task.task_id,
                state=task.latest_state,
                source=Source.MASTER,
                reason=Reason.AGENT_REREGISTERED,
                message="its agent is back",
                agent_id=agent.agent_id,
                executor_id=task.info.executor.executor_id if task.info.executor is not None else "",
                timestamp=self.now,
            )
            self.tell(framework, Update(status=status))

    def _resume(self, agent: Agent, context: Returning) -> None:
        """A registered agent is connected again: settle what either side has and the other lacks."""
        message = context.message
        reported = {(task.framework_id, task.task_id) for task in message.tasks}
        self._reconnect(agent, context.pid)
        for task in self.state.tasks_on(agent):
            key = (task.framework_id, task.task_id)
            if task.latest_state.is_terminal and key not in reported:
                self.complete(key)
        missing = tuple(key for key in self._live_tasks(agent) if key not in reported)
        self._forget_executors(agent, message)
        new = self._adopt(agent, message)
        self._say_reregistered(agent, missing)
        if new:
            self.reintroduce_agent(agent)
        for (framework_id, task_id), grace_seconds in agent.kills.items():
            self.send(
                agent.pid,
                KillTaskOnAgent(framework_id=framework_id, task_id=task_id, grace_seconds=grace_seconds),
            )

    def _live_tasks(self, agent: Agent) -> tuple[TaskKey, ...]:
        return tuple(
            (task.framework_id, task.task_id)
            for task in self.state.tasks_on(agent)
            if not task.latest_state.is_terminal
        )

    def _forget_executors(self, agent: Agent, message: ReregisterAgent) -> None:
        """Executors that have ended unheard. One that a live task waits for may be on its way: the agent will say."""
        kept = {(executor.framework_id, executor.info.executor_id) for executor in message.executors}
        kept |= {
            (task.framework_id, task.info.executor.executor_id)
            for task in self.state.tasks_on(agent)
            if task.info.executor is not None and not task.latest_state.is_terminal
        }
        for framework_id, executors in list(agent.executors.items()):
            for executor_id in list(executors):
                if (framework_id, executor_id) not in kept:
                    self.forget_executor(agent, framework_id, executor_id)


def _names(task: Task) -> tuple[str, str]:
    return task.task_id, task.framework_id
