"""A confirmed restore in the log: both verifiers accept the checkpoints that its row has, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.exports import access_leaf, signed_head, verified, write_export
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.restores import MAX_NOTES_BYTES, in_rows, join_notes, split_notes

KEY, STRANGER = (SigningKey("restores.example/audit", bytes([number]) * 32) for number in (21, 22))
BEFORE = [access_leaf(operation="retrieve", external_id=f"e{number}") for number in range(300)]
LOST = [access_leaf(operation="store", external_id=f"lost{number}") for number in range(40)]
AFTER = [access_leaf(operation="retrieve", external_id=f"after{number}") for number in range(20)]
GIVEN_UP = [signed_head(BEFORE + LOST[:number], KEY) for number in (5, 40)]


def log_with(path: Path, *restores: bytes) -> Path:
    """Write the log of a database that was restored when it had 300 leaves."""
    leaves = [*BEFORE, *restores, *AFTER]
    write_export(path / "audit.zip", leaves, [signed_head(BEFORE, KEY), signed_head(leaves, KEY)])
    return path / "audit.zip"


def confirmed(*notes: str, **members: str) -> bytes:
    return access_leaf(**{"operation": "confirm-restore", "new_value": join_notes(notes), **members})


def test_the_checkpoints_of_a_confirmed_restore_are_accepted_and_the_row_is_named(tmp_path: Path) -> None:
    result = verified(log_with(tmp_path, confirmed(*GIVEN_UP)), [KEY], [signed_head(BEFORE, KEY), *GIVEN_UP])
    assert result.findings == []
    (restore,) = result.restores
    assert (restore.index, restore.app, restore.sizes) == (300, "vault-admin", [305, 340])
    (remark,) = result.remarks
    assert remark.startswith(
        "leaf 300 confirms a restored database, at 2027-02-16T09:30:00Z, by vault-admin: 2 checkpoints"
    )


def test_checkpoints_may_be_in_several_rows(tmp_path: Path) -> None:
    rows = [confirmed(note) for note in GIVEN_UP]
    assert verified(log_with(tmp_path, *rows), [KEY], GIVEN_UP).is_good


@pytest.mark.parametrize(
    "row",
    [
        access_leaf(operation="retrieve"),
        confirmed(GIVEN_UP[0]),
        confirmed(GIVEN_UP[1], outcome="denied"),
        confirmed(GIVEN_UP[1], operation="quarantine", detail="confirm-restore"),
        confirmed(GIVEN_UP[1].replace("\n340\n", "\n341\n")),
        confirmed(signed_head([*BEFORE, *LOST[:39], b"{}"], KEY)),
        confirmed(f"a line before\n{GIVEN_UP[1]}"),
        access_leaf(operation="confirm-restore"),
        access_leaf(operation="confirm-restore", new_value={"sha256": "0" * 64, "size": 9}),
    ],
)
def test_a_checkpoint_that_no_confirmed_restore_has_is_a_finding(tmp_path: Path, row: bytes) -> None:
    result = verified(log_with(tmp_path, row), [KEY], GIVEN_UP[1:])
    assert [each.what for each in result.findings] == [
        "the log ends here, but not the checkpoint that was kept, of 340 leaves"
    ]


def test_a_kept_checkpoint_of_a_stranger_is_a_finding_although_a_row_has_it(tmp_path: Path) -> None:
    forged = signed_head([*BEFORE, *LOST], STRANGER)
    result = verified(log_with(tmp_path, confirmed(forged)), [KEY], [forged])
    assert len(result.findings) == 1
    assert "trusted key" in result.findings[0].what


def test_a_restore_that_no_trusted_checkpoint_covers_gives_nothing_up(tmp_path: Path) -> None:
    leaves = [*BEFORE, confirmed(*GIVEN_UP), *AFTER]
    write_export(tmp_path / "audit.zip", leaves, [signed_head(BEFORE, KEY), signed_head(leaves, STRANGER)])
    result = verified(tmp_path / "audit.zip", [KEY], GIVEN_UP)
    assert len([each for each in result.findings if "was kept" in each.what]) == len(GIVEN_UP)


def test_a_smaller_checkpoint_of_another_history_is_accepted_if_a_row_has_it(tmp_path: Path) -> None:
    other = signed_head([*BEFORE[:99], *LOST[:1]], KEY)
    assert verified(log_with(tmp_path, confirmed(other)), [KEY], [other]).is_good
    result = verified(log_with(tmp_path, confirmed(*GIVEN_UP)), [KEY], [other])
    assert result.findings[0].index == 0


def test_notes_that_do_not_fit_into_one_row_are_split_and_none_is_lost() -> None:
    notes = GIVEN_UP * 300
    rows = list(in_rows(notes))
    assert len(rows) > 1
    assert [note for row in rows for note in split_notes(join_notes(row))] == notes
    assert all(len(confirmed(*row)) < MAX_NOTES_BYTES + 1_000 for row in rows)


def test_a_malformed_checkpoint_before_all_others_is_a_finding_at_the_first_leaf(tmp_path: Path) -> None:
    write_export(tmp_path / "audit.zip", BEFORE, ["no note", signed_head(BEFORE, KEY)])
    assert [each.index for each in verified(tmp_path / "audit.zip", [KEY]).findings] == [0]
