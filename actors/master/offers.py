"""Offers: what the allocator hands to frameworks, until they use it, refuse it, or it is taken back.

Every allocation is closed exactly once: whoever takes an offer out of the state sends its `Settle` or `Rescind`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from actors.master.base import MasterBase, from_scheduler, own_timer
from actors.master.state import Agent, Framework
from actors.master.timers import OffersTimedOut
from actors.messages.records import Offer
from actors.messages.scheduling import DEFAULT_REFUSE_SECONDS, Decline, Offers, RescindOffer
from allocator.messages import Allocated, Allocation, Rescind, Settle
from runtime.actor import receive
from runtime.pid import PID


class OffersPart(MasterBase):
    """Makes offers and takes them back."""

    @receive(Allocated)
    def allocated(self, sender: PID, message: Allocated) -> None:
        """Offer what was allocated; give back at once what nobody can be offered any more."""
        if sender != self.allocator:
            self.drop(sender, message, "it is not the allocator")
            return
        batches: dict[str, list[Offer]] = {}
        for allocation in message.allocations:
            if allocation.agent_id in self.state.removing:
                continue  # made before the allocator heard of the removal, which has closed it
            agent = self.state.agents.get(allocation.agent_id)
            framework = self.state.frameworks.get(allocation.framework_id)
            if agent is None or framework is None or not agent.connected or not framework.connected:
                self.send(self.allocator, Rescind(allocation_id=allocation.allocation_id))
                continue
            offer = self._offer(allocation, agent, framework)
            batches.setdefault(framework.framework_id, []).append(offer)
        for framework_id, offers in batches.items():
            self.state.count("master/offers_sent", len(offers))
            self.tell(self.state.frameworks[framework_id], Offers(offers=tuple(offers)))
            timeout = self.state.settings.offer_timeout_seconds
            if timeout is not None:
                self.after(timeout, OffersTimedOut(offer_ids=tuple(offer.offer_id for offer in offers)))

    def _offer(self, allocation: Allocation, agent: Agent, framework: Framework) -> Offer:
        offer = Offer(
            offer_id=f"{self.state.master.master_id}-O{self.state.next_offer}",
            framework_id=framework.framework_id,
            role=allocation.role,
            agent_id=agent.agent_id,
            hostname=agent.info.hostname,
            resources=allocation.resources,
            attributes=agent.info.attributes,
            executor_ids=tuple(agent.executors.get(framework.framework_id, ())),
        )
        self.state.next_offer += 1
        self.state.put_offer(offer, allocation.allocation_id)
        return offer

    @receive(Decline)
    @from_scheduler
    def decline(self, framework: Framework, message: Decline) -> None:
        """Give back what is refused; offers that were rescinded meanwhile are passed over."""
        for offer_id in dict.fromkeys(message.offer_ids):
            if offer_id not in framework.offers:
                self.state.count("master/stale_declines")
                continue
            outstanding = self.state.remove_offer(offer_id)
            settle = Settle(
                allocation_id=outstanding.allocation_id,
                returned=outstanding.offer.resources,
                refuse_seconds=refusal(message.refuse_seconds),
            )
            self.send(self.allocator, settle)

    @receive(OffersTimedOut)
    @own_timer
    def offers_timed_out(self, message: OffersTimedOut) -> None:
        """Nobody has answered them; no filter, so that they may be offered again at once."""
        self.rescind(offer_id for offer_id in message.offer_ids if offer_id in self.state.offers)

    def rescind(self, offer_ids: Iterable[str]) -> None:
        """Take outstanding offers back."""
        for offer_id in list(offer_ids):
            outstanding = self.state.remove_offer(offer_id)
            self.state.count("master/offers_rescinded")
            self.send(self.allocator, Rescind(allocation_id=outstanding.allocation_id))
            self.tell(self.state.frameworks[outstanding.offer.framework_id], RescindOffer(offer_id=offer_id))


def refusal(seconds: float) -> float:
    """How long something is refused; what is no number means the default."""
    return DEFAULT_REFUSE_SECONDS if math.isnan(seconds) else seconds
