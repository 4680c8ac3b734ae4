"""Offer constraints: predicates on an agent's attributes that a framework sets per role (Mesos 1.11).

A group of constraints holds when all in it hold; an agent may be offered when any group holds. ``equals`` and
``matches`` hold when any of the attributes of that name does; the negated ones are their exact opposites, so they also
hold where the attribute is missing. Mesos evaluates patterns with RE2 in linear time; Python's engine backtracks, so
patterns that could make it do so at length are refused when a framework registers.
"""

from __future__ import annotations

import functools
import re
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

from allocator.records import Constraint
from allocator.snapshot import Agent
from runtime.errors import KaonError

MAX_PATTERN_CHARACTERS: Final = 1024
MAX_REPEATS: Final = 2
"""Unbounded repetitions in a pattern: with two, matching a text of n characters takes at most about n**2 steps."""
MAX_TEXT_CHARACTERS: Final = 512
"""Of an attribute that is compared with a pattern; a longer one matches none."""


class InvalidConstraint(KaonError, ValueError):
    """A constraint that cannot be evaluated."""


def check_constraint(constraint: Constraint) -> None:
    """Raise :class:`InvalidConstraint` for a selector or pattern that cannot be used."""
    if not constraint.selector:
        raise InvalidConstraint("a constraint names no attribute; name one, or @hostname, @region or @zone")
    if constraint.selector.startswith("@") and constraint.selector not in ("@hostname", "@region", "@zone"):
        raise InvalidConstraint(f"{constraint.selector!r} is no selector: there are @hostname, @region and @zone")
    if constraint.predicate in ("matches", "not_matches"):
        _check_pattern(constraint.value)


def _check_pattern(pattern: str) -> None:
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise InvalidConstraint(f"the pattern has {len(pattern)} characters, {MAX_PATTERN_CHARACTERS} are the limit")
    try:
        parsed = _parser.parse(pattern)
    except re.error as error:
        raise InvalidConstraint(f"{pattern!r} is no regular expression: {error}") from None
    repeats = _count_repeats(parsed, pattern, nested=False)
    if repeats > MAX_REPEATS:
        raise InvalidConstraint(
            f"{pattern!r} has {repeats} unbounded repetitions (* or +), {MAX_REPEATS} are the limit"
        )


def _count_repeats(parsed: Any, pattern: str, *, nested: bool) -> int:
    """Repetitions in a parsed pattern; raises for one within another, and for what linear engines lack."""
    count = 0
    for operation, argument in parsed:
        if operation in (sre.GROUPREF, sre.GROUPREF_EXISTS, sre.ASSERT, sre.ASSERT_NOT):
            raise InvalidConstraint(f"{pattern!r} uses a back reference or looks around, which is not supported")
        if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            low, high, body = argument
            variable = high != low
            if variable and nested:
                raise InvalidConstraint(f"{pattern!r} has a repetition within a repetition, which is not supported")
            count += int(variable) + _count_repeats(body, pattern, nested=nested or variable)
        elif operation is sre.SUBPATTERN:
            count += _count_repeats(argument[-1], pattern, nested=nested)
        elif operation is sre.BRANCH:
            count += sum(_count_repeats(branch, pattern, nested=nested) for branch in argument[1])
        elif operation is sre.ATOMIC_GROUP:
            count += _count_repeats(argument, pattern, nested=nested)
    return count


def holds_for(groups: tuple[tuple[Constraint, ...], ...], agent: Agent) -> bool:
    """Whether an agent may be offered: any group holds, or there is none."""
    return not groups or any(all(_holds(constraint, agent) for constraint in group) for group in groups)


def _holds(constraint: Constraint, agent: Agent) -> bool:
    values = _selected(constraint.selector, agent)
    predicate = constraint.predicate
    positive = predicate.removeprefix("not_")
    if positive == "exists":
        found = bool(values)
    elif positive == "equals":
        found = constraint.value in values
    else:
        found = any(_matches(constraint.value, value) for value in values)
    return found == (positive == predicate)


def _selected(selector: str, agent: Agent) -> list[str]:
    if selector == "@hostname":
        return [agent.hostname]
    if selector == "@region":
        return [agent.region] if agent.region else []
    if selector == "@zone":
        return [agent.zone] if agent.zone else []
    return [value for name, value in agent.attributes if name == selector]


@functools.lru_cache(maxsize=65_536)
def _matches(pattern: str, text: str) -> bool:
    return len(text) <= MAX_TEXT_CHARACTERS and re.fullmatch(pattern, text) is not None
