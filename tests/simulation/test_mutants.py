"""Each planted bug is noticed, by the rule that it breaks."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, find, planted


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "_"))
def test_a_planted_bug_is_noticed(mutant: Mutant) -> None:
    with planted(mutant):
        found = find(mutant)
    assert found is not None, f"nothing was noticed in {len(mutant.seeds)} seeds"
    seed, violation = found
    assert violation.rule in mutant.rules, f"seed {seed}: {violation}"
    assert f"seed {seed}" in violation.context


def test_there_are_enough() -> None:
    assert len(MUTANTS) >= 10
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
