"""What the messages between master and allocator are made of."""

from __future__ import annotations

from typing import Literal

import msgspec

from allocator.resources import Amounts, Resources


class Used(msgspec.Struct, frozen=True, gc=False):
    """What a framework's tasks use on an agent, in one role."""

    framework_id: str
    role: str
    resources: Resources


class Allocation(msgspec.Struct, frozen=True, gc=False):
    """Resources of one agent handed to one framework in one of its roles."""

    allocation_id: int
    framework_id: str
    role: str
    agent_id: str
    resources: Resources


class Conversion(msgspec.Struct, frozen=True, gc=False):
    """An operation of an accept (RESERVE, UNRESERVE, CREATE, DESTROY, ...): these resources became those."""

    consumed: Resources
    converted: Resources


class Unavailability(msgspec.Struct, frozen=True, gc=False):
    """A maintenance window; `duration_seconds` None has no end."""

    start: float
    duration_seconds: float | None = None


class Constraint(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A predicate on one attribute of agents (Mesos 1.11 offer constraints).

    selector   name of an attribute, or ``@hostname``, ``@region``, ``@zone``
    predicate  the `equals` and `matches` pairs compare with `value`; a negated one holds where the
               attribute is missing, too
    """

    selector: str
    predicate: Literal["exists", "not_exists", "equals", "not_equals", "matches", "not_matches"]
    value: str = ""


class RoleTerms(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a framework asks of offers in one of its roles.

    minimum      offers need at least one of these sets of amounts; None for the cluster's default, () for no minimum
    constraints  an agent is offered when all constraints of at least one group hold; () for any agent
    priority     for the strict priority policy: higher comes first
    """

    role: str
    minimum: tuple[Amounts, ...] | None = None
    constraints: tuple[tuple[Constraint, ...], ...] = ()
    priority: int = 0


class InverseAllocation(msgspec.Struct, frozen=True, gc=False):
    """A framework with resources on an agent that is to be maintained."""

    framework_id: str
    agent_id: str
    unavailability: Unavailability
