"""What master and allocator say to one another.

The allocator is the only owner of the question "whose is it": for every agent it knows the total, and for every
(framework, role, agent) what is theirs, offered or in use. The master tells it of agents, frameworks and settings, and
never subtracts anything itself. The life of a resource:

1. `Allocated` hands resources to a framework, each `Allocation` under an id that is never used again in this
   allocator's life. From here on nobody else is offered them: the allocation is *open*. The master makes an offer.
2. Each open allocation is closed by exactly one `Settle`. On accept it says what is `used` (tasks, executors and
   volumes now hold it), what is `returned`, and for how long the framework refuses that. On decline all is returned.
   When an offer is rescinded, or nobody was there to be offered, `Rescind` returns all and sets no filter.
3. What is used comes back as `Recover` when a task has ended. Freed and returned resources wait for the next cycle.

An agent that is removed takes all that was on it along: its open allocations are closed, its used resources forgotten.
A framework that is removed loses its open allocations at once; what its tasks still use stays counted until `Recover`
says that they have ended. A `Settle` or `Recover` that crosses such a removal finds nothing and is counted, no more. So
no order of messages offers a resource twice, and none loses one:

- `Allocated` that crosses `RemoveFramework` or `RemoveAgent`: the id is closed already; the master drops it (it may
  `Rescind`, which is then counted as stale).
- `UpdateAgent` with a smaller total than is allocated: nothing is free there until enough has come back.
- An agent that registers again is a new `AddAgent` with what its tasks use; ids of before do not touch it.

Amounts are in thousandths; durations are in seconds, times in seconds since the epoch. Maps are tuples of pairs, so
that every message is immutable to the bottom.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from allocator.quota import Quota
from allocator.records import Allocation as Allocation
from allocator.records import Constraint as Constraint
from allocator.records import Conversion as Conversion
from allocator.records import InverseAllocation as InverseAllocation
from allocator.records import RoleTerms as RoleTerms
from allocator.records import Unavailability as Unavailability
from allocator.records import Used as Used
from allocator.resources import EMPTY, Amounts, Resources
from runtime.message import Message, Overflow


class AllocatorMessage(Message, frozen=True, kw_only=True, tag="allocator.{}".format):
    """Base of the messages of this conversation.

    None is ever dropped for a full mailbox: each says a fact once. Their number is bounded by what the master admits.
    """

    overflow: ClassVar[Overflow] = Overflow.NEVER


# Agents ---------------------------------------------------------------------------------------------------------------


class AddAgent(AllocatorMessage, frozen=True, kw_only=True):
    """An agent is there, for the first time or again; one of that id that is known is replaced.

    total         all it has, reserved, revocable and volumes included
    used          by tasks that run there already, of frameworks known or not yet known
    attributes    pairs of name and text, such as ``("rack", "a")``
    capabilities  Mesos's names, such as ``MULTI_ROLE``
    region, zone  its fault domain; empty when none
    active        False: it gets no offers until `ActivateAgent`
    """

    agent_id: str
    hostname: str
    total: Resources
    used: tuple[Used, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    capabilities: tuple[str, ...] = ()
    region: str = ""
    zone: str = ""
    unavailability: Unavailability | None = None
    active: bool = True


class UpdateAgent(AllocatorMessage, frozen=True, kw_only=True):
    """An agent's resources or description changed; None leaves a field. Changed attributes clear its filters."""

    agent_id: str
    total: Resources | None = None
    attributes: tuple[tuple[str, str], ...] | None = None
    capabilities: tuple[str, ...] | None = None
    region: str | None = None
    zone: str | None = None


class RemoveAgent(AllocatorMessage, frozen=True, kw_only=True):
    """An agent is gone, with all that was allocated on it."""

    agent_id: str


class ActivateAgent(AllocatorMessage, frozen=True, kw_only=True):
    """Offers of this agent may be made again, from the next cycle on."""

    agent_id: str


class DeactivateAgent(AllocatorMessage, frozen=True, kw_only=True):
    """No more offers of this agent (disconnected, draining, deactivated); what is allocated stays so."""

    agent_id: str


class UpdateUnavailability(AllocatorMessage, frozen=True, kw_only=True):
    """A maintenance window of an agent was set, moved, or (None) called off; its inverse offers start afresh."""

    agent_id: str
    unavailability: Unavailability | None = None


class UpdateWhitelist(AllocatorMessage, frozen=True, kw_only=True):
    """Only agents on these hosts are offered; None for all."""

    hostnames: tuple[str, ...] | None = None


# Frameworks -----------------------------------------------------------------------------------------------------------


class AddFramework(AllocatorMessage, frozen=True, kw_only=True):
    """A framework subscribed, or was recovered; one of that id that is known is replaced, what it uses stays.

    roles         in which it wants offers
    suppressed    those of them in which it wants none for now
    capabilities  Mesos's names: ``GPU_RESOURCES``, ``REVOCABLE_RESOURCES``, ``SHARED_RESOURCES``,
                  ``RESERVATION_REFINEMENT``, ``MULTI_ROLE``, ``REGION_AWARE``
    terms         one at most per role; a role without any has the defaults
    active        False: it gets no offers until `ActivateFramework`
    """

    framework_id: str
    name: str = ""
    roles: tuple[str, ...]
    suppressed: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    terms: tuple[RoleTerms, ...] = ()
    active: bool = True


class UpdateFramework(AllocatorMessage, frozen=True, kw_only=True):
    """A framework changed what it is: the same fields as in `AddFramework`, all of them."""

    framework_id: str
    name: str = ""
    roles: tuple[str, ...]
    suppressed: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    terms: tuple[RoleTerms, ...] = ()


class ActivateFramework(AllocatorMessage, frozen=True, kw_only=True):
    """Its scheduler is connected: offers may be made."""

    framework_id: str


class DeactivateFramework(AllocatorMessage, frozen=True, kw_only=True):
    """Its scheduler is not connected: no offers, and its filters are forgotten. Open allocations wait for `Rescind`."""

    framework_id: str


class RemoveFramework(AllocatorMessage, frozen=True, kw_only=True):
    """A framework is gone. Its open allocations are closed; what its tasks use stays counted until `Recover`."""

    framework_id: str


class Suppress(AllocatorMessage, frozen=True, kw_only=True):
    """No offers for the framework in these roles until `Revive`; an empty list means all its roles."""

    framework_id: str
    roles: tuple[str, ...] = ()


class Revive(AllocatorMessage, frozen=True, kw_only=True):
    """Offers again in these roles (empty: all its roles): not suppressed, filters forgotten, a cycle follows."""

    framework_id: str
    roles: tuple[str, ...] = ()


# Allocations ----------------------------------------------------------------------------------------------------------


class Allocated(AllocatorMessage, frozen=True, kw_only=True):
    """To the master: these allocations are open now; each wants one `Settle` or `Rescind`."""

    allocations: tuple[Allocation, ...]


class Settle(AllocatorMessage, frozen=True, kw_only=True):
    """An accept or a decline: closes one allocation.

    used            stays allocated, until `Recover`
    returned        is free again, after `conversions`; what is in neither stays allocated, until `Recover`
    conversions     operations that were applied to the allocation, in order, before it was divided so; they change the
                    agent's total as well
    refuse_seconds  how long the framework, in that role, refuses what is returned, or less, on that agent; 0 or None
                    for not at all. Negative ones count as the default of 5, and none lasts longer than a year.
    """

    allocation_id: int
    used: Resources = EMPTY
    returned: Resources = EMPTY
    conversions: tuple[Conversion, ...] = ()
    refuse_seconds: float | None = None


class Rescind(AllocatorMessage, frozen=True, kw_only=True):
    """An offer was taken back, timed out, or could not be made: closes one allocation, all returned, no filter."""

    allocation_id: int


class Recover(AllocatorMessage, frozen=True, kw_only=True):
    """Used resources that are free: a task ended, or could not be launched."""

    framework_id: str
    role: str
    agent_id: str
    resources: Resources


class Converted(AllocatorMessage, frozen=True, kw_only=True):
    """Resources in use changed their form outside an accept, such as a volume created by an operation that took time.

    Without a framework, free resources of the agent did (an operator's RESERVE); what is not free is not converted,
    and the answer to the ask, `ConversionResult`, says so.
    """

    agent_id: str
    conversion: Conversion
    framework_id: str = ""
    role: str = ""


class ConversionResult(AllocatorMessage, frozen=True, kw_only=True):
    """Answer to `Converted`; `refused` is empty when it was done, else why it was not."""

    refused: str = ""


# Maintenance ----------------------------------------------------------------------------------------------------------


class InverseAllocated(AllocatorMessage, frozen=True, kw_only=True):
    """To the master: ask these frameworks to leave these agents; each wants one `SettleInverse`."""

    allocations: tuple[InverseAllocation, ...]


class SettleInverse(AllocatorMessage, frozen=True, kw_only=True):
    """An inverse offer was accepted or declined, or (None) rescinded; it is not repeated for `refuse_seconds`."""

    framework_id: str
    agent_id: str
    accepted: bool | None = None
    refuse_seconds: float | None = None


# Settings -------------------------------------------------------------------------------------------------------------


class UpdateQuota(AllocatorMessage, frozen=True, kw_only=True):
    """New quotas of these top-level roles, checked by the master; others stay. Triggers no cycle."""

    quotas: tuple[tuple[str, Quota], ...]


class UpdateWeights(AllocatorMessage, frozen=True, kw_only=True):
    """New weights of these roles, positive; others stay. Triggers no cycle."""

    weights: tuple[tuple[str, float], ...]


class UpdatePriorities(AllocatorMessage, frozen=True, kw_only=True):
    """New priorities of these roles, for the strict priority policy; others stay. Triggers no cycle."""

    priorities: tuple[tuple[str, int], ...]


class Hold(AllocatorMessage, frozen=True, kw_only=True):
    """Make no allocation until `Resume`.

    expected_agents  after a failover: go on by itself once 80 % of so many agents are back, or after
                     `timeout_seconds`; and do not wait at all when there is no quota to keep
    """

    expected_agents: int | None = None
    timeout_seconds: float = 600.0


class Resume(AllocatorMessage, frozen=True, kw_only=True):
    """Go on; from the next cycle."""


class AllocateNow(AllocatorMessage, frozen=True, kw_only=True):
    """Run a full cycle without waiting for the interval."""


# Questions ------------------------------------------------------------------------------------------------------------


class Explain(AllocatorMessage, frozen=True, kw_only=True):
    """Why is nothing offered? Answered by `Explanation`; an empty field means any.

    wanted   amounts: also say in which order frameworks would be offered them, and why
    limit    reasons given at most
    """

    overflow: ClassVar[Overflow] = Overflow.REFUSE

    framework_id: str = ""
    role: str = ""
    agent_id: str = ""
    wanted: Amounts = ()
    limit: int = 1000


class Reason(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Why one framework in one role is not offered one agent.

    code     for programs, one of `allocator.explain.CODES`
    text     for people, a whole sentence
    details  amounts and times behind it, as text by name
    """

    framework_id: str
    role: str
    agent_id: str
    code: str
    text: str
    details: tuple[tuple[str, str], ...] = ()


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """One place in the order of who is next: `position` from 0, `share` the dominant share by weight."""

    position: int
    framework_id: str
    role: str
    share: float
    text: str


class Explanation(AllocatorMessage, frozen=True, kw_only=True):
    """Answer to `Explain`.

    reasons     one per (framework, role, agent) that was asked for, `limit` at most
    left_out    how many there are beyond the limit
    candidates  who would be offered the wanted amounts, in order
    """

    reasons: tuple[Reason, ...] = ()
    left_out: int = 0
    candidates: tuple[Candidate, ...] = ()
