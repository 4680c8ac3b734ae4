"""The turns of a containerizer: what it answers, and in which order containers end. The machine is somebody else's.

The conversation is told in :mod:`containerizer.messages`. Turns decide; what touches the machine is begun by one of the
`begin_...` methods and comes back as an event (:mod:`containerizer.events`). Two actors share these turns: one begins
things on a real machine (:mod:`containerizer.actor`), one in a simulated one (:mod:`containerizer.simulated`).
"""

from __future__ import annotations

import logging
import signal
from typing import Final

import msgspec

from containerizer.errors import InvalidSpec
from containerizer.events import (
    CleanedUp,
    GraceEnded,
    LaunchEnded,
    LimitReached,
    ProcessEnded,
    Repeat,
    UpdateEnded,
    UsageGathered,
)
from containerizer.machine import Machine
from containerizer.messages import (
    Attach,
    Attached,
    Collected,
    ContainerExited,
    Describe,
    Destroy,
    Destroyed,
    Kill,
    Killed,
    Launch,
    LaunchFailed,
    LaunchFailure,
    Recover,
    Recovered,
    Refused,
    Update,
    Updated,
    Usage,
    UsageReport,
)
from containerizer.spec import NESTED, ContainerSpec, is_nested_in, validate, validate_limits
from containerizer.state import ContainerState, Phase, Recovery, launched_answer
from runtime.actor import receive
from runtime.message import Exited
from runtime.pid import PID

_log = logging.getLogger(__name__)

REPEAT_SECONDS: Final = 5.0
"""Between two tellings of an exit that is not collected."""


class Containerizer(Machine):
    """Base of both."""

    def started(self) -> None:
        """Watch what lives, clean up after what does not."""
        for container_id, container in self.state.containers.items():
            if container.phase is Phase.RUNNING:
                self.begin_watch(container_id)
            elif container.phase is Phase.ENDING:
                self._clean_when_alone(container_id)
        self._repeat_later()

    # Attaching and recovery ------------------------------------------------------------------------------------------

    @receive(Describe)
    def describe(self, sender: PID, message: Describe) -> None:
        """Anybody may ask."""
        assert self.state.host is not None
        self.reply(self.state.host)

    @receive(Attach)
    def attached(self, sender: PID, message: Attach) -> None:
        """The latest agent is the one who is told."""
        assert self.state.host is not None
        if self.state.agent is not None and self.state.agent != sender:
            _log.info("agent %s attached in place of %s", sender, self.state.agent)
        self.state.agent = sender
        self.link(sender)
        self.reply(Attached(host=self.state.host, containers=tuple(sorted(self.state.containers))))
        self._tell_exits()

    @receive(Exited)
    def agent_gone(self, sender: PID, message: Exited) -> None:
        """Containers go on without an agent; exits wait for the next."""
        if message.pid == self.state.agent:
            self.state.agent = None

    @receive(Recover)
    def recover_containers(self, sender: PID, message: Recover) -> None:
        """Sort what the agent knows (half of a launch is lost: no exit will be told), destroy what it does not."""
        known = set(message.containers)
        alive, exited, lost = [], [], []
        for container_id in message.containers:
            container = self.state.containers.get(container_id)
            if container is None or (container.phase in {Phase.ENDING, Phase.CLEANING} and container.process is None):
                lost.append(container_id)
            elif container.phase in {Phase.LAUNCHING, Phase.RUNNING}:
                alive.append(container_id)
            else:
                exited.append(container_id)
        containers = self.state.containers.items()
        orphans = [one for one, container in containers if one not in known and container.owner is None]
        answer = Recovered(alive=tuple(alive), exited=tuple(exited), lost=tuple(lost), destroyed=tuple(orphans))
        self.state.recoveries.append(Recovery(request=self.request, answer=answer, orphans=set(orphans)))
        self.abandon(orphans)
        self._answer_recoveries()

    def abandon(self, container_ids: list[str]) -> None:
        """Destroy containers whose end nobody wants to hear of."""
        for container_id in container_ids:
            self.state.containers[container_id].orphan = True
            self._destroy(container_id, 0.0)
        for container_id in container_ids:
            if self.state.containers[container_id].phase is Phase.ENDED:
                self._forget(container_id)

    def _answer_recoveries(self) -> None:
        waiting = []
        for recovery in self.state.recoveries:
            recovery.orphans &= self.state.containers.keys()
            if recovery.orphans:
                waiting.append(recovery)
            else:
                self.reply(recovery.answer, recovery.request)
        self.state.recoveries = waiting

    # Launch ----------------------------------------------------------------------------------------------------------

    @receive(Launch)
    def launch(self, sender: PID, message: Launch) -> None:
        """Check, then let the lifecycle do it."""
        spec = message.spec
        known = self.state.containers.get(spec.id)
        if known is not None:
            self._launch_again(known, spec)
            return
        try:
            validate(spec)
        except InvalidSpec as error:
            self._refuse_launch(spec.id, LaunchFailure.INVALID, str(error))
            return
        if spec.parent:
            parent = self.state.containers.get(spec.parent)
            if parent is None or parent.phase is not Phase.RUNNING or parent.destroyed:
                self._refuse_launch(spec.id, LaunchFailure.FAILED, f"container {spec.parent} does not run")
                return
        owner = sender if message.session else None
        if owner is not None:
            self.link(owner)
        self.state.containers[spec.id] = ContainerState(
            spec=spec, phase=Phase.LAUNCHING, limits=spec.limits, launching=[self.request], owner=owner
        )
        self.begin_launch(spec)

    def _launch_again(self, known: ContainerState, spec: ContainerSpec) -> None:
        same = msgspec.structs.replace(spec, secrets=()) == msgspec.structs.replace(known.spec, secrets=())
        if same and known.phase is Phase.LAUNCHING:
            known.launching.append(self.request)
        elif same and known.phase is Phase.RUNNING:
            self.reply(launched_answer(known))
        else:
            text = f"container {spec.id} is here already, {known.phase.value}: ids are never used twice"
            self._refuse_launch(spec.id, LaunchFailure.EXISTS, text)

    def _refuse_launch(self, container_id: str, reason: LaunchFailure, text: str) -> None:
        self.reply(LaunchFailed(container_id=container_id, reason=reason, message=text))

    @receive(LaunchEnded)
    def launch_ended(self, sender: PID, message: LaunchEnded) -> None:
        """Answer whoever waits; a Destroy that came meanwhile takes effect now."""
        container = self.state.containers[message.container_id]
        waiting, container.launching = container.launching, []
        if message.failure is not None:
            failure = LaunchFailure.DESTROYED if container.destroyed else message.failure
            for request in waiting:
                answer = LaunchFailed(container_id=message.container_id, reason=failure, message=message.message)
                self.reply(answer, request)
            self._forget(message.container_id)
            return
        container.process = message.process
        container.not_isolated = message.not_isolated
        container.phase = Phase.RUNNING
        for request in waiting:
            self.reply(launched_answer(container), request)
        self.begin_watch(message.container_id)
        if container.kill_at is not None:
            self._begin_end(message.container_id)

    # Ends ------------------------------------------------------------------------------------------------------------

    @receive(Kill)
    def kill(self, sender: PID, message: Kill) -> None:
        """The init passes signals on to the command; what it cannot catch goes to the command itself."""
        container = self.state.containers.get(message.container_id)
        if container is None or container.phase is not Phase.RUNNING or container.process is None:
            self.reply(Refused(container_id=message.container_id, message=_no_such(message.container_id)))
            return
        if message.signal not in signal.valid_signals():
            text = f"{message.signal} is no signal of this host"
            self.reply(Refused(container_id=message.container_id, message=text))
            return
        self.send_signal(message.container_id, container.process, message.signal, everyone=message.everyone)
        self.reply(Killed(container_id=message.container_id))

    @receive(Destroy)
    def destroy(self, sender: PID, message: Destroy) -> None:
        """Whatever the container does at present, it will be gone."""
        container = self.state.containers.get(message.container_id)
        if container is None or container.phase is Phase.ENDED:
            self.reply(Destroyed(container_id=message.container_id))
            return
        container.destroying.append(self.request)
        grace = container.spec.kill_grace_seconds if message.grace_seconds is None else message.grace_seconds
        self._destroy(message.container_id, max(grace, 0.0))

    def _destroy(self, container_id: str, grace_seconds: float) -> None:
        """Begin the end of a container and of what is nested in it; a second time can only bring it nearer."""
        for nested in [*self.state.containers]:
            if is_nested_in(nested, container_id):
                self._destroy(nested, grace_seconds)
        container = self.state.containers[container_id]
        kill_at = self.now + grace_seconds
        if container.kill_at is not None and container.kill_at <= kill_at:
            return
        container.destroyed = True
        container.kill_at = kill_at
        if container.phase is Phase.RUNNING:
            self._begin_end(container_id)

    def _begin_end(self, container_id: str) -> None:
        container = self.state.containers[container_id]
        assert container.process is not None
        assert container.kill_at is not None
        self.cancel(container.kill_timer)
        if container.kill_at <= self.now:
            self._kill_all(container_id)
            return
        # To every process, as Mesos's killtree does: a shell that dies alone takes its children with it, ungracefully.
        self.send_signal(container_id, container.process, signal.SIGTERM, everyone=True)
        container.kill_timer = self.after(container.kill_at - self.now, GraceEnded(container_id=container_id))

    @receive(GraceEnded)
    def grace_ended(self, sender: PID, message: GraceEnded) -> None:
        """It had its time."""
        container = self.state.containers.get(message.container_id)
        if container is not None and container.phase is Phase.RUNNING:
            self._kill_all(message.container_id)

    def _kill_all(self, container_id: str) -> None:
        process = self.state.containers[container_id].process
        assert process is not None
        self.begin_kill(container_id, process)

    @receive(ProcessEnded)
    def process_ended(self, sender: PID, message: ProcessEnded) -> None:
        """The command has ended, or everything was killed."""
        container = self.state.containers[message.container_id]
        container.phase = Phase.ENDING
        self.cancel(container.kill_timer)
        self._clean_when_alone(message.container_id)

    def _clean_when_alone(self, container_id: str) -> None:
        """Clean up once no nested container is left; those that are must go."""
        nested = [other for other in self.state.containers if other.startswith(container_id + NESTED)]
        waiting = [other for other in nested if self.state.containers[other].phase is not Phase.ENDED]
        for other in waiting:
            self._destroy(other, 0.0)
        if not waiting:
            container = self.state.containers[container_id]
            container.phase = Phase.CLEANING
            self.begin_clean(container_id, container)

    @receive(CleanedUp)
    def cleaned_up(self, sender: PID, message: CleanedUp) -> None:
        """Tell the agent, then whoever destroyed it."""
        container = self.state.containers[message.container_id]
        exited = message.exited
        if message.error:
            _log.error("container %s cannot be cleaned up: %s", message.container_id, message.error)
            text = f"it ended, and could not be cleaned up: {message.error}"
            exited = ContainerExited(
                container_id=message.container_id, destroyed=container.destroyed, message=text, ended_at=self.now
            )
        container.phase = Phase.ENDED
        container.exited = exited
        if exited is not None and exited.limitation is not None and container.limitation is None:
            # The kernel was quicker than its own notice.
            container.limitation = exited.limitation
            if self.state.agent is not None:
                self.send(self.state.agent, exited.limitation)
        self._tell_exit(container)
        for request in container.destroying:
            self.reply(Destroyed(container_id=message.container_id), request)
        container.destroying = []
        if container.orphan or exited is None:
            self._forget(message.container_id)
        self._repeat_later()
        parent = container.spec.parent
        if parent in self.state.containers and self.state.containers[parent].phase is Phase.ENDING:
            self._clean_when_alone(parent)

    @receive(Collected)
    def collected(self, sender: PID, message: Collected) -> None:
        """The agent has it."""
        container = self.state.containers.get(message.container_id)
        if container is not None and container.phase is Phase.ENDED:
            self._forget(message.container_id)

    def _forget(self, container_id: str) -> None:
        container = self.state.containers.pop(container_id)
        self.forget(container_id)
        for request in container.destroying:
            self.reply(Destroyed(container_id=container_id), request)
        self._answer_recoveries()

    def _tell_exits(self) -> None:
        for container in self.state.containers.values():
            self._tell_exit(container)

    def _tell_exit(self, container: ContainerState) -> None:
        listener = container.owner or self.state.agent
        if container.exited is not None and not container.orphan and listener is not None:
            self.send(listener, container.exited)

    def _repeat_later(self) -> None:
        if not self.state.repeating and any(one.exited is not None for one in self.state.containers.values()):
            self.state.repeating = True
            self.after(REPEAT_SECONDS, Repeat())

    @receive(Repeat)
    def repeat(self, sender: PID, message: Repeat) -> None:
        """What was not collected is told again."""
        self.state.repeating = False
        self._tell_exits()
        self._repeat_later()

    # Limits and usage ------------------------------------------------------------------------------------------------

    @receive(LimitReached)
    def limit_reached(self, sender: PID, message: LimitReached) -> None:
        """Told once per limit; one that is fatal ends the container."""
        limitation = message.limitation
        container = self.state.containers.get(limitation.container_id)
        if container is None or container.phase in {Phase.CLEANING, Phase.ENDED}:
            return
        if self.state.agent is not None:
            self.send(self.state.agent, limitation)
        if limitation.fatal and container.limitation is None:
            container.limitation = limitation
            self._kill_all(limitation.container_id)

    @receive(Update)
    def update(self, sender: PID, message: Update) -> None:
        """Change limits of a live container."""
        container = self.state.containers.get(message.container_id)
        if container is None or container.phase is not Phase.RUNNING:
            self.reply(Refused(container_id=message.container_id, message=_no_such(message.container_id)))
            return
        try:
            validate_limits(message.limits)
        except InvalidSpec as error:
            self.reply(Refused(container_id=message.container_id, message=str(error)))
            return
        self.begin_update(message.container_id, message.limits)

    @receive(UpdateEnded)
    def update_ended(self, sender: PID, message: UpdateEnded) -> None:
        """Answer."""
        container = self.state.containers.get(message.container_id)
        if message.error:
            self.reply(Refused(container_id=message.container_id, message=message.error), message.request)
            return
        if container is not None:
            container.limits = message.limits
        self.reply(Updated(container_id=message.container_id), message.request)

    @receive(Usage)
    def usage(self, sender: PID, message: Usage) -> None:
        """Read the figures outside the turn: there may be a thousand files to read."""
        wanted = message.containers or tuple(sorted(self.state.containers))
        self.begin_usage(list(wanted))

    @receive(UsageGathered)
    def usage_gathered(self, sender: PID, message: UsageGathered) -> None:
        """Answer."""
        self.reply(UsageReport(usages=message.usages), message.request)


def _no_such(container_id: str) -> str:
    return f"no container {container_id!r} runs here"
