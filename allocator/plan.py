"""What a decision returns: who is given what, and what was held back. A plan is checked before it is carried out."""

from __future__ import annotations

import msgspec

from allocator.resources import EMPTY, Resources
from allocator.roles import top_level
from allocator.snapshot import Snapshot, fits, scalars_of, subtract
from runtime.errors import KaonError


class InvalidPlan(KaonError):
    """A policy hands out what there is not, or to whom it may not."""


class Grant(msgspec.Struct, frozen=True, gc=False):
    """Resources of one agent for one framework in one role."""

    framework_id: str
    role: str
    agent_id: str
    resources: Resources


class Plan(msgspec.Struct, frozen=True):
    """The outcome of one decision.

    grants     in the order in which they were made
    held_back  agents that keep something free for a quota: they are looked at again when any resources come free
    visited    agents that were decided about; the rest of those that were asked for waits for another call
    steps      looks at a framework that it took, about; see `allocator.constants.TURN_STEPS`
    """

    grants: tuple[Grant, ...] = ()
    held_back: tuple[str, ...] = ()
    visited: int = 0
    steps: int = 0


def check_plan(snapshot: Snapshot, plan: Plan) -> None:
    """Raise :class:`InvalidPlan` unless all grants are of free resources, to clients that want them, within limits."""
    left: dict[str, Resources] = {}
    agents, wanting = snapshot.agents, snapshot.wanting
    for grant in plan.grants:
        agent = agents.get(grant.agent_id)
        if agent is None or not snapshot.is_offerable(agent):
            raise InvalidPlan(f"{_who(grant)}: agent {grant.agent_id} is not there, not active or not whitelisted")
        if grant.framework_id not in wanting.get(grant.role, ()):
            raise InvalidPlan(f"{_who(grant)}: the framework takes no offers in that role")
        free = left.get(grant.agent_id)
        if free is None and grant.resources is agent.free and agent.plain and grant.resources.items:
            left[grant.agent_id] = EMPTY
            continue
        free = agent.free if free is None else free
        if not grant.resources or grant.resources not in free:
            raise InvalidPlan(f"{_who(grant)} of agent {grant.agent_id}: only {free} is free there")
        if not agent.plain and grant.resources.allocatable_to(grant.role) != grant.resources:
            raise InvalidPlan(f"{_who(grant)}: part of it is reserved for another role")
        left[grant.agent_id] = free - grant.resources
    if snapshot.quotas:
        _check_limits(snapshot, plan)


def _check_limits(snapshot: Snapshot, plan: Plan) -> None:
    """No top-level role may grow beyond its limit by this plan."""
    rooms = {}
    for role in snapshot.quotas:
        limit = snapshot.limit(role)
        if limit is not None:
            # What does not grow may be above its limit already: a forced quota, or a new reservation.
            rooms[role] = tuple(max(part, 0) for part in subtract(limit, snapshot.consumed(role)))
    for grant in plan.grants:
        role = top_level(grant.role)
        room = rooms.get(role)
        if room is None:
            continue
        agent = snapshot.agents[grant.agent_id]
        whole = grant.resources is agent.free
        charged = agent.surplus if whole else scalars_of(snapshot.names, charged_part(grant.resources))
        if not fits(charged, room):
            raise InvalidPlan(f"{_who(grant)}: that is beyond the quota limit of {role!r}")
        rooms[role] = subtract(room, charged)


def charged_part(resources: Resources) -> Resources:
    """What counts against quota when it is allocated: unreserved and not revocable."""
    for resource in resources.items:
        if resource.reservations or resource.revocable:
            return resources.filter(lambda resource: not resource.reservations and not resource.revocable)
    return resources


def _who(grant: Grant) -> str:
    return f"the policy gives {grant.resources} to framework {grant.framework_id} in role {grant.role!r}"
