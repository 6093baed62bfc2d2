"""Each seeded fault still applies to the present code. ``python -m tests.mutants`` runs them."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import ROOT
from tests.mutants.table import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_seeded_fault_applies_to_the_present_code(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text("utf-8").count(mutant.old) == 1
    assert mutant.old != mutant.new


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_tests_of_a_seeded_fault_exist(mutant: Mutant) -> None:
    assert all((ROOT / each).exists() for each in mutant.tests if each.startswith("tests/"))
    assert mutant.tests[0].startswith("tests/")


def test_the_names_of_seeded_faults_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 40
