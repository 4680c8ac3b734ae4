"""Why a framework is not offered an agent, in words and as data; computed only when somebody asks.

The answer is worked out from the present books with the very functions that decide, pair by pair, up to a limit. It
changes nothing.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Final

from allocator.allocate import Policy, SortedPolicy, may_see, usable
from allocator.constraints import holds_for
from allocator.drf import Shares
from allocator.messages import Candidate, Explain, Explanation, Reason
from allocator.plan import charged_part
from allocator.resources import Amounts, Resources, contains_quantities
from allocator.resources_text import format_quantities
from allocator.roles import lineage, top_level
from allocator.snapshot import Agent, Framework, Snapshot, subtract

CODES: Final = (
    "held",  # allocation waits: after a failover, or because it was told to
    "no_such_framework",
    "framework_inactive",  # its scheduler is not connected, or it is gone
    "not_in_role",
    "suppressed",
    "no_such_agent",
    "agent_inactive",  # disconnected, draining or deactivated
    "not_whitelisted",
    "nothing_free",
    "gpus_hidden",  # an agent with GPUs, a framework that cannot use them
    "other_region",
    "constraints",  # the framework's own, on attributes
    "reserved",  # all that is free is for other roles
    "no_capability",  # all that is free is shared, revocable or of refined reservations
    "quota_limit",
    "headroom",  # kept for a guarantee of another role
    "too_little",  # less than the minimum
    "refused",  # the framework's own filter
    "due",  # nothing speaks against it: it is offered in the next cycle, unless others come first
)
"""Values of `Reason.code`, in the order in which they are looked for."""


def explain(
    snapshot: Snapshot, policy: Policy, question: Explain, chance: random.Random, *, held: bool = False
) -> Explanation:
    """Answer a question; see :class:`allocator.messages.Explain`.

    chance  for policies that draw; not the allocator's own, so that asking changes nothing
    """
    framework_ids = [question.framework_id] if question.framework_id else sorted(snapshot.frameworks)
    agent_ids = [question.agent_id] if question.agent_id else sorted(snapshot.agents)
    pairs = [
        (framework_id, role)
        for framework_id in framework_ids
        for role in _roles_asked(snapshot, framework_id, question.role)
    ]
    limit = max(0, question.limit)
    reasons = tuple(
        reason_for(snapshot, framework_id, role, agent_id, held=held)
        for (framework_id, role), agent_id in itertools.islice(itertools.product(pairs, agent_ids), limit)
    )
    candidates = tuple(_candidates(snapshot, policy, question.wanted, chance, limit)) if question.wanted else ()
    return Explanation(reasons=reasons, left_out=len(pairs) * len(agent_ids) - len(reasons), candidates=candidates)


def _roles_asked(snapshot: Snapshot, framework_id: str, role: str) -> Sequence[str]:
    if role:
        return (role,)
    framework = snapshot.frameworks.get(framework_id)
    return framework.roles if framework is not None else ("*",)


def reason_for(snapshot: Snapshot, framework_id: str, role: str, agent_id: str, *, held: bool = False) -> Reason:
    """Why one framework in one role is not offered one agent: the first obstacle, in the order of `CODES`."""

    def because(code: str, text: str, **details: str) -> Reason:
        return Reason(framework_id, role, agent_id, code, text, tuple(sorted(details.items())))

    if held:
        return because("held", "the allocator waits: until enough agents are back after a failover, or for Resume")
    framework = snapshot.frameworks.get(framework_id)
    agent = snapshot.agents.get(agent_id)
    if framework is None:
        return because("no_such_framework", f"no framework {framework_id!r} is known; did it subscribe?")
    if agent is None:
        return because("no_such_agent", f"no agent {agent_id!r} is registered")
    found = _about_framework(framework, role) or _about_agent(snapshot, agent, framework, role)
    if found is None:
        found = _about_amounts(snapshot, agent, framework, role)
    code, text, details = found
    return because(code, text, **details)


_Obstacle = tuple[str, str, dict[str, str]]


def _about_framework(framework: Framework, role: str) -> _Obstacle | None:
    if framework.removed or not framework.active:
        return "framework_inactive", "the framework's scheduler is not connected", {}
    if role not in framework.roles:
        return "not_in_role", f"the framework subscribed to {', '.join(framework.roles)}, not to {role}", {}
    if role in framework.suppressed:
        return "suppressed", f"the framework suppressed offers in role {role}; it gets none until it revives", {}
    return None


def _about_agent(snapshot: Snapshot, agent: Agent, framework: Framework, role: str) -> _Obstacle | None:
    if not agent.active:
        return "agent_inactive", "the agent is disconnected, draining or deactivated", {}
    if not snapshot.is_offerable(agent):
        return "not_whitelisted", f"host {agent.hostname} is not on the whitelist", {}
    if not agent.free:
        return "nothing_free", f"everything is offered or in use: {_holders(agent)}", {}
    if not may_see(snapshot, agent, framework):
        if agent.has_gpus and "GPU_RESOURCES" not in framework.capabilities:
            return "gpus_hidden", "the agent has GPUs, and the framework lacks the capability GPU_RESOURCES", {}
        return "other_region", f"the agent is in region {agent.region}, and the framework is not REGION_AWARE", {}
    terms = framework.terms.get(role)
    if terms is not None and not holds_for(terms.constraints, agent):
        return "constraints", "the agent's attributes do not meet the framework's offer constraints", {}
    return None


def _about_amounts(snapshot: Snapshot, agent: Agent, framework: Framework, role: str) -> _Obstacle:
    free = {"free": str(agent.free)}
    mine = agent.free.allocatable_to(role)
    if not mine:
        return "reserved", f"all that is free is reserved for other roles: {agent.free}", free
    able = usable(mine, framework)
    if not able:
        return "no_capability", f"the framework has no capability for what is free: {mine}", free
    bounded = _within_quota(snapshot, able, role)
    if isinstance(bounded, tuple):
        return bounded
    terms = framework.terms.get(role)
    minimum = snapshot.minimum if terms is None or terms.minimum is None else terms.minimum
    if minimum and not any(contains_quantities(bounded.scalars(), dict(needed)) for needed in minimum):
        asked = " or ".join(format_quantities(dict(needed)) for needed in minimum)
        return "too_little", f"{bounded} is less than the minimum of an offer, {asked}", free
    for refusal in snapshot.refusals.get(agent.agent_id, {}).get((role, framework.framework_id), ()):
        if refusal.refuses(bounded, snapshot.now):
            left = refusal.until - snapshot.now
            text = f"the framework refused {refusal.resources} on this agent, for {left:.0f} s more"
            return "refused", text, {**free, "until": f"{refusal.until:.3f}"}
    return "due", f"nothing speaks against it: {bounded} is offered in the next cycle, if no other comes first", free


def _within_quota(snapshot: Snapshot, able: Resources, role: str) -> Resources | _Obstacle:
    """What quota leaves of what the framework could have; the obstacle when it leaves nothing that counts."""
    top = top_level(role)
    charged = charged_part(able).scalars()
    limits = dict(snapshot.quota(top).limits)
    consumed = dict(zip(snapshot.names, snapshot.consumed(top), strict=True))
    room = {name: max(0, limit - consumed.get(name, 0)) for name, limit in limits.items()}
    if charged and all(room.get(name, amount) == 0 for name, amount in charged.items()):
        text = f"role {top} has reached its quota limit of {format_quantities(limits)}"
        return "quota_limit", text, {"consumed": format_quantities(consumed)}
    required = _required(snapshot)
    spare = {
        name: max(0, amount) for name, amount in zip(snapshot.names, subtract(snapshot.surplus, required), strict=True)
    }
    if (
        any(required)
        and charged
        and all(min(spare[name], room.get(name, amount)) == 0 for name, amount in charged.items())
    ):
        kept = format_quantities({name: part for name, part in zip(snapshot.names, required, strict=True) if part})
        return "headroom", f"all that is free is kept for quota guarantees that are not met yet: {kept}", {"kept": kept}
    return able


def _required(snapshot: Snapshot) -> tuple[int, ...]:
    """What is missing from all guarantees together."""
    required = [0] * len(snapshot.names)
    for role, quota in snapshot.quotas.items():
        missing = subtract(snapshot.vector(dict(quota.guarantees)), snapshot.consumed(role))
        required = [amount + max(0, part) for amount, part in zip(required, missing, strict=True)]
    return tuple(required)


def _holders(agent: Agent) -> str:
    held = [
        f"{framework_id} in {role} has {resources}" for (role, framework_id), resources in sorted(agent.held.items())
    ]
    return "; ".join(held) if held else "the agent has no resources"


def _candidates(
    snapshot: Snapshot, policy: Policy, wanted: Amounts, chance: random.Random, limit: int
) -> Iterator[Candidate]:
    """Who would be offered `wanted`, in the policy's order."""
    if not isinstance(policy, SortedPolicy):
        return
    shares = Shares(snapshot)
    sorter = policy.sorter(snapshot, chance)
    order = ((turn[0], framework_id) for turn in sorter.roles() for framework_id in sorter.frameworks(turn))
    for position, (role, framework_id) in enumerate(itertools.islice(order, limit)):
        share = shares.client(role, framework_id).key[0]
        text = f"role {_role_shares(snapshot, shares, role)}; the framework has {share:.1%} of the cluster"
        room = _limit_text(snapshot, role, dict(wanted))
        yield Candidate(position, framework_id, role, share, text + room)


def _role_shares(snapshot: Snapshot, shares: Shares, role: str) -> str:
    """The shares that are compared on the way to a role, from the top down."""
    parts = []
    for path in reversed(lineage(role)):
        weight = snapshot.weights.get(path, 1.0)
        by_weight = f" at weight {weight:g}" if weight != 1.0 else ""
        parts.append(f"{path} has {shares.node(path).key[0]:.1%}{by_weight}")
    return ", ".join(parts)


def _limit_text(snapshot: Snapshot, role: str, wanted: dict[str, int]) -> str:
    top = top_level(role)
    consumed = dict(zip(snapshot.names, snapshot.consumed(top), strict=True))
    limits = dict(snapshot.quota(top).limits)
    over = {name: limit for name, limit in limits.items() if wanted.get(name, 0) + consumed.get(name, 0) > limit}
    return f"; but the quota limit of {top}, {format_quantities(over)}, does not leave that much" if over else ""
