"""What a decision reads: the cluster as the allocator knows it at one moment.

A :class:`Snapshot` is a view, not a copy: whoever decides may read all of it and change none of it. It is valid until
the allocator's ledger changes next. Scalars are vectors (tuples of thousandths) in the order of `Snapshot.names`.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from allocator.constants import UNLIMITED
from allocator.quota import NO_QUOTA, Quota
from allocator.records import RoleTerms, Unavailability
from allocator.resources import EMPTY, Amounts, Resources

Vector: TypeAlias = tuple[int, ...]
"""Thousandths of each scalar, in the order of the snapshot's names."""

Client: TypeAlias = tuple[str, str]
"""A role and a framework in it: who is allocated to."""

MODULUS: Final = (1 << 61) - 1
"""A Mersenne prime: multiplication modulo it shuffles the agents' numbers."""


class Agent(msgspec.Struct, gc=False):
    """An agent and what is left of it. Only the ledger changes it.

    number   drawn at random when it was added; see :func:`in_random_order`
    held     what each client has here, offered or in use
    open     ids of the allocations here that wait for a settlement
    free     what nobody has; shared volumes are always free
    vector   all scalars of `free`
    surplus  its scalars that are neither reserved nor revocable: what quota and headroom are about
    plain    whether `free` has nothing reserved, revocable, shared or special, so that any role may have all of it
    """

    agent_id: str
    hostname: str
    number: int
    total: Resources
    attributes: tuple[tuple[str, str], ...] = ()
    capabilities: tuple[str, ...] = ()
    region: str = ""
    zone: str = ""
    unavailability: Unavailability | None = None
    active: bool = True
    held: dict[Client, Resources] = {}
    open: tuple[int, ...] = ()
    free: Resources = EMPTY
    vector: Vector = ()
    surplus: Vector = ()
    plain: bool = True
    has_gpus: bool = False


class Framework(msgspec.Struct, frozen=True, gc=False):
    """A framework, as far as allocation is concerned.

    terms    by role
    removed  it is gone, but tasks of it have not ended yet
    """

    framework_id: str
    name: str = ""
    roles: tuple[str, ...] = ()
    suppressed: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    terms: dict[str, RoleTerms] = {}
    active: bool = True
    removed: bool = False

    def wants(self, role: str) -> bool:
        """Whether it is to be offered anything in that role now."""
        return self.active and not self.removed and role in self.roles and role not in self.suppressed


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A filter: a client refuses these resources of an agent, or less, up to and including that time."""

    resources: Resources
    until: float

    def refuses(self, offer: Resources, now: float) -> bool:
        """Whether it applies: refused is a superset of what would be offered (Mesos: RefusedOfferFilter)."""
        return now <= self.until and (offer is self.resources or offer in self.resources)


class RoleTotals(msgspec.Struct, gc=False):
    """What a role has. Only the ledger changes it.

    own, subtree              allocated to the role itself; and with all roles under it
    own_count, subtree_count  how many allocations there were: breaks ties (Mesos: Node::Allocation::count)
    charged                   of `subtree`, what is neither reserved nor revocable; kept for top-level roles only
    reserved                  reservations for the subtree, allocated or not
    """

    own: Vector
    subtree: Vector
    charged: Vector
    reserved: Vector
    own_count: int = 0
    subtree_count: int = 0


class ClientTotals(msgspec.Struct, gc=False):
    """What one framework has in one role, and how many allocations there were."""

    allocated: Vector
    count: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """A view of the whole cluster.

    now          seconds since the epoch
    names        of the scalars, in the order of all vectors
    total        of all agents, reserved and revocable ones included
    surplus      what is free, unreserved and not revocable, on all agents
    wanting      by role, the frameworks that are to be offered something in it
    refusals     by agent and client
    weights      of roles, 1.0 where missing
    priorities   of roles, for the strict priority policy; 0 where missing
    minimum      an offer needs one of these sets of amounts; none at all when empty
    excluded     scalars that do not count for shares (Mesos: ``--fair_sharing_excluded_resource_names``)
    shared       volumes that were offered in this cycle already, by agent
    """

    now: float
    names: tuple[str, ...]
    total: Vector
    surplus: Vector
    agents: Mapping[str, Agent]
    frameworks: Mapping[str, Framework]
    roles: Mapping[str, RoleTotals]
    clients: Mapping[Client, ClientTotals]
    wanting: Mapping[str, Collection[str]]
    refusals: Mapping[str, Mapping[Client, tuple[Refusal, ...]]]
    quotas: Mapping[str, Quota]
    weights: Mapping[str, float]
    priorities: Mapping[str, int]
    minimum: tuple[Amounts, ...]
    whitelist: Collection[str] | None
    excluded: Collection[str]
    filter_gpus: bool
    region: str
    shared: Mapping[str, Resources]

    def vector(self, amounts: Mapping[str, int], missing: int = 0) -> Vector:
        """Amounts by name as a vector; names that no agent has are left out."""
        return tuple(amounts.get(name, missing) for name in self.names)

    def quota(self, role: str) -> Quota:
        """Of a top-level role."""
        return self.quotas.get(role, NO_QUOTA)

    def limit(self, role: str) -> Vector | None:
        """The limits of a top-level role; None when it has none."""
        limits = self.quota(role).limits
        return self.vector(dict(limits), UNLIMITED) if limits else None

    def consumed(self, role: str) -> Vector:
        """What a top-level role has of its quota: reservations plus what is charged."""
        totals = self.roles.get(role)
        if totals is None:
            return (0,) * len(self.names)
        return add(totals.reserved, totals.charged)

    def is_offerable(self, agent: Agent) -> bool:
        """Whether any of it may be offered at all."""
        return agent.active and (self.whitelist is None or agent.hostname in self.whitelist)


def add(left: Vector, right: Vector) -> Vector:
    """Sum, name by name."""
    return tuple(map(operator.add, left, right))


def subtract(left: Vector, right: Vector) -> Vector:
    """Difference, name by name; may go below zero."""
    return tuple(map(operator.sub, left, right))


def fits(amount: Vector, bound: Vector) -> bool:
    """Whether no component is above its bound."""
    return all(map(operator.le, amount, bound))


def in_random_order(agents: Mapping[str, Agent], agent_ids: Collection[str], salt: int) -> list[str]:
    """The agents in an order drawn by `salt` (from 1 to MODULUS - 1).

    Two agents come in the same order whichever others are among them, so a cycle over those that changed visits them
    as a full cycle would. Mesos shuffles (`hierarchical.cpp`, __generateOffers).
    """
    return sorted(agent_ids, key=lambda agent_id: agents[agent_id].number * salt % MODULUS)


def scalars_of(names: Sequence[str], resources: Resources) -> Vector:
    """All scalars of `resources` as a vector."""
    amounts = resources.scalars()
    return tuple([amounts.get(name, 0) for name in names])
