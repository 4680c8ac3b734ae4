"""Offer constraints: which agents they hold for, and which patterns are refused."""

from __future__ import annotations

import pytest

from allocator.constraints import InvalidConstraint, check_constraint, holds_for
from allocator.messages import Constraint
from allocator.resources import EMPTY
from allocator.snapshot import Agent

AGENT = Agent(
    agent_id="s",
    hostname="host1.example.com",
    number=1,
    total=EMPTY,
    attributes=(("rack", "a"), ("rack", "b"), ("os", "linux-6.1")),
    zone="z1",
)


@pytest.mark.parametrize(
    ("selector", "predicate", "value", "holds"),
    [
        ("rack", "exists", "", True),
        ("gpu", "exists", "", False),
        ("gpu", "not_exists", "", True),
        ("rack", "equals", "b", True),
        ("rack", "equals", "c", False),
        ("rack", "not_equals", "b", False),
        ("gpu", "not_equals", "b", True),
        ("os", "matches", "linux-.*", True),
        ("os", "matches", "linux", False),
        ("os", "not_matches", "linux", True),
        ("@hostname", "matches", r"host\d+[.]example[.]com", True),
        ("@zone", "equals", "z1", True),
        ("@region", "exists", "", False),
    ],
)
def test_predicates(selector: str, predicate: str, value: str, holds: bool) -> None:
    constraint = Constraint(selector, predicate, value)  # type: ignore[arg-type]
    check_constraint(constraint)
    assert holds_for(((constraint,),), AGENT) is holds


def test_groups() -> None:
    yes, no = Constraint("rack", "exists"), Constraint("gpu", "exists")
    assert holds_for((), AGENT)
    assert not holds_for(((yes, no),), AGENT)
    assert holds_for(((yes, no), (yes,)), AGENT)


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        (Constraint("", "exists"), "names no attribute"),
        (Constraint("@rack", "exists"), "there are @hostname, @region and @zone"),
        (Constraint("os", "matches", "(unclosed"), "is no regular expression"),
        (Constraint("os", "matches", "(a+)+"), "repetition within a repetition"),
        (Constraint("os", "matches", "(a|a*b)*"), "repetition within a repetition"),
        (Constraint("os", "matches", ".*.*.*x"), "3 unbounded repetitions"),
        (Constraint("os", "matches", r"(a)\1"), "back reference"),
        (Constraint("os", "not_matches", "(?=a)a"), "looks around"),
        (Constraint("os", "matches", "a" * 2000), "1024 are the limit"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(constraint: Constraint, said: str) -> None:
    with pytest.raises(InvalidConstraint) as caught:
        check_constraint(constraint)
    assert said in str(caught.value)


def test_a_text_too_long_to_be_compared_matches_nothing() -> None:
    agent = Agent(
        agent_id="s", hostname="h", number=1, total=EMPTY, attributes=(("long", "a" * 513), ("short", "a" * 512))
    )
    assert not holds_for(((Constraint("long", "matches", "a*"),),), agent)
    assert holds_for(((Constraint("short", "matches", "a*"),),), agent)
