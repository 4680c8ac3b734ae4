"""Frameworks: subscription, failover from one scheduler to the next, and their end."""

from __future__ import annotations

import msgspec

from actors.master.base import ended_text, from_scheduler, log, own_timer, superseded_text
from actors.master.launching import LaunchingPart
from actors.master.state import Framework
from actors.master.tasks import TasksPart
from actors.master.timers import FailoverDue
from actors.master.validation import framework_change_problem, framework_problem
from actors.messages.records import FrameworkInfo, TaskState
from actors.messages.scheduling import (
    Revive,
    SchedulerError,
    Subscribe,
    Subscribed,
    Suppress,
    Teardown,
    UpdateFrameworkCall,
)
from actors.messages.tasks import ShutdownFramework
from allocator import messages as allocator
from runtime.actor import receive
from runtime.pid import PID


class FrameworksPart(LaunchingPart, TasksPart):
    """Admits frameworks and lets them go."""

    # Subscription ----------------------------------------------------------------------------------------------------

    @receive(Subscribe)
    def subscribe(self, sender: PID, message: Subscribe) -> None:
        """Connect a scheduler; whoever spoke for its framework before is superseded."""
        state = self.state
        if not state.recovered:
            self.drop(sender, message, "the registry is not recovered")
            return
        state.count("master/messages_register_framework")
        info = message.framework
        spoken_for = state.framework_at.get(sender, "")
        framework_id = info.framework_id or spoken_for
        problem = framework_problem(info, message.suppressed_roles)
        if framework_id in state.completed:
            problem = ended_text(framework_id)
        elif spoken_for and spoken_for != framework_id:
            problem = f"this scheduler speaks for framework {spoken_for}: start another one for {framework_id}"
        framework = state.frameworks.get(framework_id)
        if framework is not None and not problem:
            problem = framework_change_problem(framework.info, info)
        if problem:
            self.send(sender, SchedulerError(message=problem))
            return
        if framework is None:
            framework = self._add_framework(info, message.suppressed_roles)
        else:
            self._take_over(framework, info, message.suppressed_roles, sender)
        self._connect(framework, sender)
        subscribed = Subscribed(framework_id=framework.framework_id, master=state.master)
        self.send(sender, subscribed)

    def _add_framework(self, info: FrameworkInfo, suppressed: tuple[str, ...]) -> Framework:
        """Know a framework that nobody has spoken of; one that brings an id had it from an earlier master."""
        state = self.state
        if not info.framework_id:
            framework_id = f"{state.master.master_id}-{state.next_framework:04d}"
            state.next_framework += 1
            info = msgspec.structs.replace(info, framework_id=framework_id)
        framework = Framework(info=info, registered_at=self.now, suppressed=suppressed)
        state.frameworks[framework.framework_id] = framework
        self._introduce_framework(framework, active=True)
        log.info("framework %s (%s) subscribed", framework.framework_id, info.name)
        return framework

    def _introduce_framework(self, framework: Framework, *, active: bool) -> None:
        add = allocator.AddFramework(
            framework_id=framework.framework_id,
            name=framework.info.name,
            roles=framework.info.roles,
            suppressed=framework.suppressed,
            capabilities=framework.info.capabilities,
            active=active,
        )
        self.send(self.allocator, add)

    def _take_over(self, framework: Framework, info: FrameworkInfo, suppressed: tuple[str, ...], sender: PID) -> None:
        """A framework's scheduler is back, or a new one speaks for it: its tasks stay, its offers do not."""
        before = framework.pid
        if before is not None and before != sender:
            if framework.connected:
                self.send(before, SchedulerError(message=superseded_text(framework.framework_id)))
            self.state.framework_at.pop(before, None)
            self.rescind_silently(framework)
        # A scheduler that subscribes twice has lost a connection, and with it its offers, or our answer.
        self.rescind(framework.offers)
        self._describe(framework, info, suppressed)
        if not framework.connected:
            self.send(self.allocator, allocator.ActivateFramework(framework_id=framework.framework_id))
        log.info("framework %s subscribed again from %s", framework.framework_id, sender)

    def _describe(self, framework: Framework, info: FrameworkInfo, suppressed: tuple[str, ...]) -> None:
        """Take over what a framework says of itself; its user stays as it was first (Mesos: `Framework::update`)."""
        kept = msgspec.structs.replace(info, framework_id=framework.framework_id, user=framework.info.user or info.user)
        if kept == framework.info and suppressed == framework.suppressed:
            return
        framework.info = kept
        framework.suppressed = suppressed
        update = allocator.UpdateFramework(
            framework_id=framework.framework_id,
            name=kept.name,
            roles=kept.roles,
            suppressed=suppressed,
            capabilities=kept.capabilities,
        )
        self.send(self.allocator, update)
        withdrawn = [
            offer_id for offer_id in framework.offers if self.state.offers[offer_id].offer.role not in kept.roles
        ]
        self.rescind(withdrawn)

    def _connect(self, framework: Framework, sender: PID) -> None:
        framework.pid = sender
        framework.connected = True
        framework.life += 1
        self.state.framework_at[sender] = framework.framework_id
        self.link(sender)

    def rescind_silently(self, framework: Framework) -> None:
        """Take back the offers of a scheduler that is not there to hear of it."""
        for offer_id in list(framework.offers):
            outstanding = self.state.remove_offer(offer_id)
            self.send(self.allocator, allocator.Rescind(allocation_id=outstanding.allocation_id))

    # What it wants ---------------------------------------------------------------------------------------------------

    @receive(UpdateFrameworkCall)
    @from_scheduler
    def update_framework(self, framework: Framework, message: UpdateFrameworkCall) -> None:
        """Take over a new description."""
        problem = framework_problem(message.framework, message.suppressed_roles) or framework_change_problem(
            framework.info, message.framework
        )
        if problem:
            assert framework.pid is not None
            self.send(framework.pid, SchedulerError(message=problem))
            return
        self._describe(framework, message.framework, message.suppressed_roles)

    @receive(Suppress)
    @from_scheduler
    def suppress(self, framework: Framework, message: Suppress) -> None:
        """No offers in these roles; names that are none of its roles are passed over."""
        roles = _own_roles(framework, message.roles)
        if roles:
            framework.suppressed = tuple(sorted({*framework.suppressed, *roles}))
            self.send(self.allocator, allocator.Suppress(framework_id=framework.framework_id, roles=roles))

    @receive(Revive)
    @from_scheduler
    def revive(self, framework: Framework, message: Revive) -> None:
        """Offers again in these roles; names that are none of its roles are passed over."""
        roles = _own_roles(framework, message.roles)
        if roles:
            framework.suppressed = tuple(role for role in framework.suppressed if role not in roles)
            self.send(self.allocator, allocator.Revive(framework_id=framework.framework_id, roles=roles))

    # Away ------------------------------------------------------------------------------------------------------------

    def scheduler_lost(self, framework: Framework, reason: str) -> None:
        """Its tasks run on for as long as the framework said, while nobody speaks for it."""
        log.warning("framework %s has lost its scheduler: %s", framework.framework_id, reason)
        framework.connected = False
        self.send(self.allocator, allocator.DeactivateFramework(framework_id=framework.framework_id))
        self.rescind_silently(framework)
        self._await_failover(framework)

    def recover_framework(self, info: FrameworkInfo) -> Framework:
        """Know a framework that an agent runs tasks of; it is given up like one that has lost its scheduler."""
        framework = Framework(info=info, registered_at=self.now)
        self.state.frameworks[framework.framework_id] = framework
        self._introduce_framework(framework, active=False)
        self._await_failover(framework)
        return framework

    def _await_failover(self, framework: Framework) -> None:
        framework.life += 1
        due = FailoverDue(framework_id=framework.framework_id, life=framework.life)
        self.after(framework.info.failover_timeout_seconds, due)

    @receive(FailoverDue)
    @own_timer
    def failover_due(self, message: FailoverDue) -> None:
        """Nobody has come back to speak for it."""
        framework = self.state.frameworks.get(message.framework_id)
        if framework is not None and not framework.connected and framework.life == message.life:
            self.remove_framework(framework, "no scheduler of it came back in time")

    # The end ---------------------------------------------------------------------------------------------------------

    @receive(Teardown)
    @from_scheduler
    def teardown(self, framework: Framework, message: Teardown) -> None:
        """The framework wants to end."""
        self.remove_framework(framework, "its scheduler has ended it")

    def remove_framework(self, framework: Framework, reason: str) -> None:
        """End a framework: its tasks and executors are killed without updates, and its id is not used again."""
        state = self.state
        log.info("framework %s is removed: %s", framework.framework_id, reason)
        self.rescind_silently(framework)
        agent_ids = dict.fromkeys(task.info.agent_id for task in state.tasks_of(framework))
        agent_ids |= dict.fromkeys(agent_id for agent_id, _ in framework.executors)
        for agent_id in agent_ids:
            self.send(state.agents[agent_id].pid, ShutdownFramework(framework_id=framework.framework_id))
        for task in state.tasks_of(framework):
            self.note_latest(task, TaskState.KILLED)
            self.complete((task.framework_id, task.task_id))
        for agent_id, executor_id in list(framework.executors):
            self.forget_executor(state.agents[agent_id], framework.framework_id, executor_id)
        self.send(self.allocator, allocator.RemoveFramework(framework_id=framework.framework_id))
        del state.frameworks[framework.framework_id]
        if framework.pid is not None:
            state.framework_at.pop(framework.pid, None)
        framework.connected = False
        framework.unreachable.clear()
        state.completed[framework.framework_id] = framework
        if len(state.completed) > state.settings.max_completed_frameworks:
            del state.completed[next(iter(state.completed))]


def _own_roles(framework: Framework, named: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the named roles that are the framework's; all of its roles if none is named."""
    return tuple(role for role in named if role in framework.info.roles) if named else framework.info.roles
