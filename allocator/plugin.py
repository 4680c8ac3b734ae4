"""Policies by name: built in, ``module:Class``, or the entry point group ``kaon.allocator_policies`` of a package.

A policy is foreign code at the heart of the cluster. :func:`decide` is the boundary: what it raises, and what it hands
out against the rules, ends as a :class:`PolicyFailed`, and nothing of its plan is carried out.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import random
from collections.abc import Sequence
from typing import Final

from allocator.allocate import Policy, Stage
from allocator.drf import DRF
from allocator.plan import InvalidPlan, Plan, check_plan
from allocator.priority import StrictPriority
from allocator.random_order import RandomOrder
from allocator.snapshot import Snapshot
from runtime.errors import ConfigurationError, KaonError

ENTRY_POINTS: Final = "kaon.allocator_policies"

BUILT_IN: Final[dict[str, type[Policy]]] = {
    "drf": DRF,
    "hierarchical": DRF,  # what Mesos's --allocator calls it
    "HierarchicalDRF": DRF,
    "priority": StrictPriority,
    "random": RandomOrder,
}


class PolicyFailed(KaonError):
    """A policy raised, or its plan breaks a rule; the text says which and how."""


def load_policy(name: str) -> Policy:
    """The policy that ``--allocator`` names; raises :class:`ConfigurationError` that says what would do instead."""
    built_in = BUILT_IN.get(name)
    if built_in is not None:
        return built_in()
    if ":" in name:
        return _made(name, _from_module(name))
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        try:
            return _made(name, entry_point.load())
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"--allocator={name}: the package that offers it cannot be loaded ({entry_point.value}): {error}"
            ) from error
    raise ConfigurationError(
        f"--allocator={name}: there is no such policy; built in are {', '.join(sorted(BUILT_IN))}, others are named "
        f"module:Class or by an entry point of the group {ENTRY_POINTS!r} of an installed package"
    )


def _from_module(name: str) -> object:
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigurationError(
            f"--allocator={name}: module {module_name!r} cannot be imported: {error}; "
            "install it where the master runs, or put its directory into PYTHONPATH"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ConfigurationError(f"--allocator={name}: module {module_name!r} has no {class_name!r}")
    return found


def _made(name: str, policy_class: object) -> Policy:
    if not isinstance(policy_class, type):
        raise ConfigurationError(f"--allocator={name}: that is {policy_class!r}, but a class is needed")
    try:
        policy = policy_class()
    except TypeError as error:
        raise ConfigurationError(f"--allocator={name}: it cannot be made without arguments: {error}") from error
    missing = [part for part in ("name", "stages", "incremental", "order", "allocate") if not hasattr(policy, part)]
    if missing:
        raise ConfigurationError(
            f"--allocator={name}: it lacks {', '.join(missing)}; derive it from allocator.allocate.SortedPolicy, "
            "or see allocator.allocate.Policy for what it needs"
        )
    return policy  # type: ignore[no-any-return]  # the parts were just checked, a protocol has no more


def order(policy: Policy, snapshot: Snapshot, agent_ids: Sequence[str], chance: random.Random) -> list[str]:
    """Ask a policy in which order to look at agents; raises :class:`PolicyFailed`."""
    try:
        ordered = policy.order(snapshot, agent_ids, chance)
    except Exception as error:
        raise PolicyFailed(f"policy {policy.name!r} raised {type(error).__name__}: {error}") from error
    if len(ordered) != len(agent_ids) or set(ordered) != set(agent_ids):
        raise PolicyFailed(f"policy {policy.name!r} was given {len(agent_ids)} agents to order and returned others")
    return ordered


def decide(
    policy: Policy, snapshot: Snapshot, agent_ids: Sequence[str], stage: Stage, chance: random.Random, steps: int
) -> Plan:
    """Ask a policy for a plan and check it; raises :class:`PolicyFailed`."""
    try:
        plan = policy.allocate(snapshot, agent_ids, stage, chance, steps)
    except Exception as error:  # foreign code may raise anything, and none of it may end the master
        raise PolicyFailed(f"policy {policy.name!r} raised {type(error).__name__}: {error}") from error
    if not isinstance(plan, Plan):
        raise PolicyFailed(f"policy {policy.name!r} returned {plan!r} where a Plan is needed")
    if agent_ids and not 0 < plan.visited <= len(agent_ids):
        raise PolicyFailed(f"policy {policy.name!r} says it visited {plan.visited} of {len(agent_ids)} agents")
    try:
        check_plan(snapshot, plan)
    except InvalidPlan as error:
        raise PolicyFailed(str(error)) from error
    return plan
