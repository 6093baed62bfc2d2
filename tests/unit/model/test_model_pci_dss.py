"""The requirements that the report may claim are these, and no others slip in."""

from __future__ import annotations

from vsqlvault.model import pci_dss

IDS = [
    "2.2.1", "2.2.7", "3.1.1", "3.2.1", "3.3.1", "3.5.1", "3.6.1", "3.6.1.1", "3.6.1.3", "3.6.1.4", "3.7.1",
    "3.7.4", "3.7.5", "4.2.1", "4.2.1.1", "6.3.2", "7.2.1", "7.2.4", "7.2.5", "7.2.5.1", "7.2.6", "7.3.3",
    "8.2.1", "8.2.2", "8.2.6", "8.3.1", "8.3.2", "8.3.4", "8.4.1", "8.4.2", "8.4.3", "8.6.1", "8.6.2", "8.6.3",
    "10.2.1.1", "10.2.1.2", "10.2.1.3", "10.2.1.4", "10.2.1.5", "10.2.1.6", "10.2.1.7", "10.2.2", "10.3.1",
    "10.3.2", "10.3.3", "10.3.4", "10.4.1", "10.4.1.1", "10.5.1", "10.6.1", "10.6.3", "10.7.2", "10.7.3",
    "12.3.3", "12.3.4", "12.5.2",
]  # fmt: skip


def test_the_ids_are_frozen() -> None:
    assert list(pci_dss.REQUIREMENTS) == IDS
    assert pci_dss.VERSION == "4.0.1"


def test_each_id_has_a_title_of_its_own() -> None:
    titles = list(pci_dss.REQUIREMENTS.values())
    assert all(titles)
    assert len(set(titles)) == len(titles)


def test_an_alias_leads_to_ids_that_are_there() -> None:
    assert [alias.number for alias in pci_dss.ALIASES] == ["3.1.1", "3.1.2", "3.3.2", "3.5.1", "3.6.1.4", "3.7.1"]
    assert pci_dss.unknown_ids(number for alias in pci_dss.ALIASES for number in alias.requirements) == []


def test_an_id_that_is_not_there_is_found() -> None:
    assert pci_dss.unknown_ids(["3.2.1", "3.1.2", "3.3.2"]) == ["3.1.2", "3.3.2"]
