"""The master actor: its first turn, the recovery of the registry, and who is told when a connection breaks.

What it does with agents, frameworks, offers and tasks stands in one module each; a class there is one part of this
actor. Until the registry is recovered everything from agents and frameworks is dropped and counted: they ask again.
"""

from __future__ import annotations

import msgspec

from actors.master.base import RegistryLost, log
from actors.master.constants import REGISTRY_FETCH_SECONDS, REGISTRY_GC_SECONDS, REGISTRY_STORE_SECONDS
from actors.master.metrics import measure
from actors.master.operating import OperatingPart
from actors.master.registering import RegisteringPart
from actors.master.timers import AbsenceOver, CollectGarbage
from actors.messages.records import MasterInfo
from actors.messages.registry import RecoverRegistry, RegistryRecovered
from runtime.actor import receive
from runtime.message import Exited, Message
from runtime.pid import PID


class MasterActor(RegisteringPart, OperatingPart):
    """See the module's docstring."""

    def started(self) -> None:
        """Take the registry over."""
        settings = self.state.settings
        self.state.started_at = self.now
        self.state.master = MasterInfo(
            master_id=f"{self.random.getrandbits(128):032x}",
            hostname=settings.hostname,
            address=settings.address,
            http_address=settings.http_address,
            public_key=settings.public_key,
            version=settings.version,
        )
        limit_seconds = REGISTRY_FETCH_SECONDS + REGISTRY_STORE_SECONDS
        self.ask(self.registrar, RecoverRegistry(), self.registry_recovered, timeout_seconds=limit_seconds)

    def registry_recovered(self, sender: PID, answer: Message, context: None) -> None:
        """From now on this master speaks; agents that the registry knows have a while to register again."""
        if not isinstance(answer, RegistryRecovered):
            raise RegistryLost(f"the registry was not recovered: {answer}")
        state = self.state
        state.master = msgspec.structs.replace(state.master, epoch=answer.epoch)
        for each in answer.registry.agents:
            if each.gone_since is not None:
                state.gone[each.info.agent_id] = each
            elif each.unreachable_since is not None:
                state.unreachable[each.info.agent_id] = each
            else:
                state.absent[each.info.agent_id] = each.info
        state.recovered = True
        log.info(
            "master %s leads, epoch %d: %d agents to come", state.master.master_id, answer.epoch, len(state.absent)
        )
        if state.absent:
            self.after(state.settings.agent_reregister_seconds, AbsenceOver())
        self.after(REGISTRY_GC_SECONDS, CollectGarbage())

    @receive(Exited)
    def exited(self, sender: PID, message: Exited) -> None:
        """An agent or a scheduler is out of reach.

        A client that has dialled anew may be there already on another session: the broken one is no loss then. Linking
        again finds out, for without a session `Exited` comes at once, with another reason.
        """
        if message.reason.startswith("session lost"):
            self.link(message.pid)
            return
        state = self.state
        agent = state.agents.get(state.agent_at.get((message.pid.name, message.pid.node), ""))
        if agent is not None and agent.pid == message.pid and agent.connected:
            self.agent_lost(agent, message.reason)
        framework = state.frameworks.get(state.framework_at.get(message.pid, ""))
        if framework is not None and framework.connected:
            self.scheduler_lost(framework, message.reason)

    def metrics(self) -> dict[str, float]:
        """Under Mesos's names."""
        return measure(self.state, self.now)
