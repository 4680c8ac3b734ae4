"""Quota: what a top-level role is sure to get (guarantee) and can never exceed (limit), its descendants included.

Only scalars can have quota, as in Mesos (`docs/quota.md`). Consumed is what is reserved for the role, allocated or not,
plus what is offered or allocated to it unreserved and not revocable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from allocator.resources import Amounts
from allocator.resources_text import format_quantities, format_scalar
from allocator.roles import DEFAULT_ROLE, check_role, top_level
from runtime.errors import KaonError


class InvalidQuota(KaonError, ValueError):
    """A quota that cannot be set; the text says why and what would do."""


class Quota(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Of one role, in thousandths by name. A name without a guarantee is guaranteed nothing, one without a limit has
    no limit."""

    guarantees: Amounts = ()
    limits: Amounts = ()

    @property
    def is_default(self) -> bool:
        """Whether it says nothing."""
        return not self.guarantees and not self.limits


NO_QUOTA: Final = Quota()


def check_quota(
    role: str, quota: Quota, *, capacity: Mapping[str, int], guaranteed: Mapping[str, int], consumed: Mapping[str, int]
) -> None:
    """Raise :class:`InvalidQuota` when `quota` cannot be set for `role`.

    capacity    scalars of the whole cluster
    guaranteed  sum of the guarantees of all other roles
    consumed    by the role at present, offered resources included or not as the caller decides
    """
    check_role(role)
    if role == DEFAULT_ROLE:
        raise InvalidQuota("the default role '*' cannot have quota: give the frameworks a role of their own")
    if role != top_level(role):
        raise InvalidQuota(f"{role!r} is not a top-level role: set quota on {top_level(role)!r}, it covers its subtree")
    for word, amounts in (("guarantee", quota.guarantees), ("limit", quota.limits)):
        for name, value in amounts:
            if value < 0:
                raise InvalidQuota(
                    f"the {word} of {role!r} for {name} is {format_scalar(value)}: it cannot be negative"
                )
    limits = dict(quota.limits)
    for name, value in quota.guarantees:
        limit = limits.get(name)
        if limit is not None and value > limit:
            raise InvalidQuota(
                f"{role!r}: the guarantee of {format_scalar(value)} {name} is above the limit, {format_scalar(limit)}; "
                "raise the limit or lower the guarantee"
            )
        present = capacity.get(name, 0)
        promised = guaranteed.get(name, 0)
        if promised + value > present:
            raise InvalidQuota(
                f"{role!r}: a guarantee of {format_scalar(value)} {name} cannot be kept: the cluster has "
                f"{format_scalar(present)}, {format_scalar(promised)} of it guaranteed to other roles; "
                "add agents, lower a guarantee, or force it"
            )
    exceeded = {name: consumed[name] for name, limit in quota.limits if consumed.get(name, 0) > limit}
    if exceeded:
        raise InvalidQuota(
            f"{role!r} already consumes {format_quantities(exceeded)}, above the limit of "
            f"{format_quantities({name: limits[name] for name in exceeded})}; free some first, or force it"
        )
