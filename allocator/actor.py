"""The allocator: the only owner of allocation state. It is spawned by the master and shares its fate.

Its mailbox serialises everything: what the master says, and the cycles in between. A cycle is a chain of turns of a few
milliseconds each, the allocator telling itself to go on, so that what the master says meanwhile is never kept waiting.

Cycles run on the allocation interval, over agents on which something came free or somebody's refusal ended, and at once
when an agent or a framework comes, changes or revives. Nothing else triggers one: freed and declined resources wait for
the next batch, so that small pieces gather to bigger offers (Mesos: MESOS-3078).
"""

from __future__ import annotations

import logging
import random
from typing import ClassVar

import msgspec

from allocator import messages as m
from allocator.constants import RECOVERY_AGENT_FACTOR
from allocator.cycle import Cycles
from allocator.explain import explain
from allocator.filters import filter_seconds
from allocator.maintenance import Inverse, settle
from allocator.messages import AllocatorMessage
from allocator.resources import EMPTY
from allocator.snapshot import MODULUS, Agent, Client, Framework
from allocator.state import Held
from runtime.actor import receive
from runtime.message import Exited, Overflow
from runtime.pid import PID

_log = logging.getLogger("kaon.allocator")


class HoldExpired(AllocatorMessage, frozen=True, kw_only=True):
    """From the allocator to itself: it has been held long enough."""

    overflow: ClassVar[Overflow] = Overflow.NEVER


class Allocator(Cycles):
    """See the module's docstring; the conversation with the master is told in `allocator.messages`."""

    def started(self) -> None:
        """Watch the master and start the interval."""
        self.link(self.state.master)
        self.begin()

    @receive(Exited)
    def master_ended(self, sender: PID, message: Exited) -> None:
        """Without its master there is nobody to allocate for."""
        self.stop(reason=f"the master has ended: {message.reason}")

    # Agents ----------------------------------------------------------------------------------------------------------

    @receive(m.AddAgent)
    def add_agent(self, sender: PID, message: m.AddAgent) -> None:
        """Begin with an agent afresh, whatever was known of one with its id."""
        self._drop_agent(message.agent_id)
        agent = Agent(
            agent_id=message.agent_id,
            hostname=message.hostname,
            number=self.random.randrange(1, MODULUS),
            total=message.total,
            attributes=message.attributes,
            capabilities=message.capabilities,
            region=message.region,
            zone=message.zone,
            unavailability=message.unavailability,
            active=message.active,
        )
        self.state.ledger.add_agent(agent, message.used)
        if message.unavailability is not None:
            self.state.inverses[message.agent_id] = Inverse()
        self._someone_came_back()
        self.freed(())
        self.want_cycle((message.agent_id,))

    @receive(m.UpdateAgent)
    def update_agent(self, sender: PID, message: m.UpdateAgent) -> None:
        """Take over what changed, and look at the agent again if anything did."""
        agent = self._agent(message.agent_id)
        if agent is None:
            return
        before = (agent.total, agent.attributes, agent.capabilities, agent.region, agent.zone)
        if message.attributes is not None and message.attributes != agent.attributes:
            agent.attributes = message.attributes
            self.state.ledger.filters.clear_agent(message.agent_id)
        agent.capabilities = agent.capabilities if message.capabilities is None else message.capabilities
        agent.region = agent.region if message.region is None else message.region
        agent.zone = agent.zone if message.zone is None else message.zone
        if message.total is not None and message.total != agent.total:
            self.state.ledger.set_total(agent, message.total)
        if before != (agent.total, agent.attributes, agent.capabilities, agent.region, agent.zone):
            self.freed(())
            self.want_cycle((message.agent_id,))

    @receive(m.RemoveAgent)
    def remove_agent(self, sender: PID, message: m.RemoveAgent) -> None:
        """Forget an agent and all that was on it."""
        if self._agent(message.agent_id) is not None:
            self._drop_agent(message.agent_id)
            self.freed(())

    @receive(m.ActivateAgent)
    def activate_agent(self, sender: PID, message: m.ActivateAgent) -> None:
        """Offers from the next batch on."""
        agent = self._agent(message.agent_id)
        if agent is not None:
            agent.active = True
            self.freed((message.agent_id,))

    @receive(m.DeactivateAgent)
    def deactivate_agent(self, sender: PID, message: m.DeactivateAgent) -> None:
        """No more offers."""
        agent = self._agent(message.agent_id)
        if agent is not None:
            agent.active = False

    @receive(m.UpdateUnavailability)
    def update_unavailability(self, sender: PID, message: m.UpdateUnavailability) -> None:
        """A maintenance window: its inverse offers start afresh."""
        agent = self._agent(message.agent_id)
        if agent is None:
            return
        agent.unavailability = message.unavailability
        self.state.inverses.pop(message.agent_id, None)
        if message.unavailability is not None:
            self.state.inverses[message.agent_id] = Inverse()
        self.want_cycle((message.agent_id,))

    @receive(m.UpdateWhitelist)
    def update_whitelist(self, sender: PID, message: m.UpdateWhitelist) -> None:
        """Which hosts are offered at all."""
        self.state.ledger.whitelist = None if message.hostnames is None else set(message.hostnames)
        self.all_freed()

    def _agent(self, agent_id: str) -> Agent | None:
        """An agent that the master speaks of; None, counted, when it is not known (any more)."""
        agent = self.state.ledger.agents.get(agent_id)
        if agent is None:
            self.state.counters.stale += 1
        return agent

    def _drop_agent(self, agent_id: str) -> None:
        if agent_id in self.state.ledger.agents:
            self.state.ledger.remove_agent(agent_id)
            if self.state.cycle is not None:
                self.state.cycle.thinned = True
            self.state.inverses.pop(agent_id, None)
            for agent_ids in (self.state.candidates, self.state.waiting, self.state.held_back):
                agent_ids.discard(agent_id)

    # Frameworks ------------------------------------------------------------------------------------------------------

    @receive(m.AddFramework)
    def add_framework(self, sender: PID, message: m.AddFramework) -> None:
        """A framework is there; what it uses on agents may be known already."""
        self.state.ledger.set_framework(_framework(message, active=message.active))
        if message.active:
            self.want_full_cycle()

    @receive(m.UpdateFramework)
    def update_framework(self, sender: PID, message: m.UpdateFramework) -> None:
        """It wants something else; from the next batch on."""
        present = self._framework(message.framework_id)
        if present is not None:
            self.state.ledger.set_framework(_framework(message, active=present.active))
            self.all_freed()

    @receive(m.ActivateFramework)
    def activate_framework(self, sender: PID, message: m.ActivateFramework) -> None:
        """Its scheduler is back."""
        framework = self._framework(message.framework_id)
        if framework is not None:
            self.state.ledger.set_framework(msgspec.structs.replace(framework, active=True))
            self.want_full_cycle()

    @receive(m.DeactivateFramework)
    def deactivate_framework(self, sender: PID, message: m.DeactivateFramework) -> None:
        """Its scheduler is away; what it refused is forgotten."""
        framework = self._framework(message.framework_id)
        if framework is not None:
            self.state.ledger.set_framework(msgspec.structs.replace(framework, active=False))
            for role in framework.roles:
                self.state.ledger.filters.clear_client((role, message.framework_id))

    @receive(m.RemoveFramework)
    def remove_framework(self, sender: PID, message: m.RemoveFramework) -> None:
        """What it was offered is free again."""
        if self._framework(message.framework_id) is not None:
            self.freed(self.state.ledger.remove_framework(message.framework_id))

    @receive(m.Suppress)
    def suppress(self, sender: PID, message: m.Suppress) -> None:
        """No offers in these roles."""
        framework = self._framework(message.framework_id)
        if framework is not None:
            quiet = {*framework.suppressed, *(message.roles or framework.roles)}
            self.state.ledger.set_framework(msgspec.structs.replace(framework, suppressed=tuple(sorted(quiet))))

    @receive(m.Revive)
    def revive(self, sender: PID, message: m.Revive) -> None:
        """Offers again, also of what was refused."""
        framework = self._framework(message.framework_id)
        if framework is None:
            return
        roles = message.roles or framework.roles
        quiet = {*framework.suppressed}.difference(roles)
        self.state.ledger.set_framework(msgspec.structs.replace(framework, suppressed=tuple(sorted(quiet))))
        for role in roles:
            self.state.ledger.filters.clear_client((role, message.framework_id))
        self.want_full_cycle()

    def _framework(self, framework_id: str) -> Framework | None:
        """A framework that the master speaks of; None, counted, when it is not known (any more)."""
        framework = self.state.ledger.frameworks.get(framework_id)
        if framework is None or framework.removed:
            self.state.counters.stale += 1
            return None
        return framework

    # Allocations -----------------------------------------------------------------------------------------------------

    @receive(m.Settle)
    def settle(self, sender: PID, message: m.Settle) -> None:
        """An accept or a decline."""
        ledger = self.state.ledger
        allocation = ledger.open.get(message.allocation_id)
        if allocation is None:
            self.state.counters.stale += 1
            return
        for conversion in message.conversions:
            refused = ledger.convert_open(message.allocation_id, conversion)
            if refused:
                self._excess(f"allocation {message.allocation_id}: {refused}")
        allocation = ledger.open[message.allocation_id]
        returned = ledger.close(allocation, message.used, message.returned)
        if returned != message.returned:
            self._excess(
                f"allocation {message.allocation_id} of {allocation.resources} was settled with {message.used} used "
                f"and {message.returned} returned; {returned} was taken back"
            )
        seconds = filter_seconds(message.refuse_seconds, self.state.interval_seconds)
        if returned and seconds:
            client = (allocation.role, allocation.framework_id)
            ledger.filters.refuse(client, allocation.agent_id, returned, self.now + seconds, self.now)
        if returned:
            self.freed((allocation.agent_id,))

    @receive(m.Rescind)
    def rescind(self, sender: PID, message: m.Rescind) -> None:
        """An offer that was taken back."""
        allocation = self.state.ledger.open.get(message.allocation_id)
        if allocation is None:
            self.state.counters.stale += 1
            return
        self.state.ledger.close(allocation, EMPTY, allocation.resources)
        self.freed((allocation.agent_id,))

    @receive(m.Recover)
    def recover_resources(self, sender: PID, message: m.Recover) -> None:
        """A task has ended."""
        agent = self._agent(message.agent_id)
        if agent is None:
            return
        client: Client = (message.role, message.framework_id)
        freed = self.state.ledger.release(client, agent, message.resources)
        if freed != message.resources:
            self._excess(
                f"framework {message.framework_id} in role {message.role!r} gave back {message.resources} on agent "
                f"{message.agent_id}, of which it had {freed}"
            )
        if freed:
            self.freed((message.agent_id,))

    @receive(m.Converted)
    def converted(self, sender: PID, message: m.Converted) -> None:
        """Resources changed their form; the answer says whether they did."""
        agent = self._agent(message.agent_id)
        if agent is None:
            self.reply(m.ConversionResult(refused=f"there is no agent {message.agent_id}"))
            return
        client = (message.role, message.framework_id) if message.framework_id else None
        refused = self.state.ledger.convert(agent, client, message.conversion)
        if not refused:
            self.freed((message.agent_id,))
        self.reply(m.ConversionResult(refused=refused))

    def _excess(self, text: str) -> None:
        self.state.counters.excess += 1
        _log.error("%s", text, extra={"limited_by": "excess"})

    # Maintenance, settings, questions --------------------------------------------------------------------------------

    @receive(m.SettleInverse)
    def settle_inverse(self, sender: PID, message: m.SettleInverse) -> None:
        """What a framework says to an inverse offer."""
        seconds = filter_seconds(message.refuse_seconds, self.state.interval_seconds)
        until = self.now + seconds if seconds else None
        settle(self.state.inverses, message.framework_id, message.agent_id, message.accepted, until)

    @receive(m.UpdateQuota)
    def update_quota(self, sender: PID, message: m.UpdateQuota) -> None:
        """New quotas; what was held back for old ones is looked at in the next batch."""
        for role, quota in message.quotas:
            if quota.is_default:
                self.state.ledger.quotas.pop(role, None)
            else:
                self.state.ledger.quotas[role] = quota
        self.all_freed()

    @receive(m.UpdateWeights)
    def update_weights(self, sender: PID, message: m.UpdateWeights) -> None:
        """New weights, which count from the next cycle on."""
        self.state.ledger.weights.update(message.weights)

    @receive(m.UpdatePriorities)
    def update_priorities(self, sender: PID, message: m.UpdatePriorities) -> None:
        """New priorities, which count from the next cycle on."""
        self.state.ledger.priorities.update(message.priorities)

    @receive(m.Hold)
    def hold(self, sender: PID, message: m.Hold) -> None:
        """Wait for `Resume`, or after a failover for the agents; but not when there is no quota to keep."""
        if message.expected_agents is not None and (message.expected_agents < 1 or not self.state.ledger.quotas):
            return
        if self.state.held is not None:
            self.cancel(self.state.held.timer)
        timer = self.after(message.timeout_seconds, HoldExpired())
        self.state.held = Held(message.expected_agents, timer)
        self._someone_came_back()

    @receive(m.Resume)
    def resume(self, sender: PID, message: m.Resume) -> None:
        """Go on with the next batch."""
        self._let_go()

    @receive(HoldExpired)
    def hold_expired(self, sender: PID, message: HoldExpired) -> None:
        """The rest of the agents is not waited for."""
        self._let_go()

    @receive(m.AllocateNow)
    def allocate_now(self, sender: PID, message: m.AllocateNow) -> None:
        """A full cycle."""
        self.want_full_cycle()

    @receive(m.Explain)
    def explain(self, sender: PID, message: m.Explain) -> None:
        """Why not."""
        snapshot = self.state.ledger.snapshot(self.now)
        held = self.state.held is not None
        self.reply(explain(snapshot, self.policy, message, random.Random(0), held=held))

    def _someone_came_back(self) -> None:
        """After a failover: enough agents are there again."""
        held = self.state.held
        if held is not None and held.expected_agents is not None:
            needed = int(RECOVERY_AGENT_FACTOR * held.expected_agents)
            if len(self.state.ledger.agents) >= needed:
                self._let_go()

    def _let_go(self) -> None:
        if self.state.held is not None:
            self.cancel(self.state.held.timer)
            self.state.held = None
            self.go_on_after_hold()


def _framework(message: m.AddFramework | m.UpdateFramework, *, active: bool) -> Framework:
    return Framework(
        framework_id=message.framework_id,
        name=message.name,
        roles=message.roles,
        suppressed=message.suppressed,
        capabilities=message.capabilities,
        terms={terms.role: terms for terms in message.terms},
        active=active,
    )
