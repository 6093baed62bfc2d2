"""Log lines about failed batches: the kind of error, once a second, and nothing an error says."""

from __future__ import annotations

import logging
import sqlite3
from typing import Any

import pytest

from vsqlvault.errors import AuditUnavailable, StorageUnavailable, VaultError
from vsqlvault.service.commit.error_log import FailureLog

SECRET = "words of the database: 4111111111111111"


def caused(error: VaultError, cause: BaseException, driver_code: str) -> VaultError:
    error.driver_code = driver_code
    error.__cause__ = cause
    return error


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[Any, ...]]:
    found = [record for record in caplog.records if record.message == "storage failed"]
    return [(line.batch, line.error, line.cause, line.code, line.left_out) for line in found]  # type: ignore[attr-defined]


class PostgresError(Exception):
    """As a driver of PostgreSQL raises it."""


@pytest.mark.parametrize(
    ("error", "stated"),
    [
        (StorageUnavailable(), ("StorageUnavailable", None, None)),
        (
            caused(StorageUnavailable(), sqlite3.OperationalError(SECRET), driver_code="SQLITE_IOERR"),
            ("StorageUnavailable", "OperationalError", "SQLITE_IOERR"),
        ),
        (
            caused(AuditUnavailable(), PostgresError(SECRET), driver_code="42501"),
            ("AuditUnavailable", "PostgresError", "42501"),
        ),
        (
            caused(AuditUnavailable(), PostgresError(SECRET), driver_code=SECRET),
            ("AuditUnavailable", "PostgresError", None),
        ),
        (KeyError(SECRET), ("KeyError", None, None)),
    ],
    ids=["alone", "SQLite", "PostgreSQL", "no code", "no error of the vault"],
)
def test_a_line_tells_the_kind_and_never_the_text(caplog, error, stated) -> None:
    FailureLog("reads").tell(error)
    assert lines(caplog) == [("reads", *stated, 0)]
    told_by_lines = repr([vars(record) for record in caplog.records])
    assert "words of the database" not in told_by_lines
    assert "4111111111111111" not in told_by_lines


def test_one_kind_has_one_line_a_second_that_counts_what_was_left_out(caplog) -> None:
    times = iter([10.0, 10.1, 10.9, 11.0, 11.5, 13.0])
    failures = FailureLog("commits", lambda: next(times))
    for _ in range(6):
        failures.tell(StorageUnavailable())
    assert [line[-1] for line in lines(caplog)] == [0, 2, 1]


def test_each_kind_has_its_own_line(caplog) -> None:
    failures = FailureLog("commits", lambda: 1.0)
    for _ in range(3):
        failures.tell(StorageUnavailable())
        failures.tell(AuditUnavailable())
    assert [line[1] for line in lines(caplog)] == ["StorageUnavailable", "AuditUnavailable"]


@pytest.mark.parametrize(("method", "batch"), [("read", "reads"), ("commit", "commits")])
async def test_a_storage_that_fails_leaves_a_line(scene, caplog, method, batch) -> None:
    caplog.set_level(logging.ERROR)
    scene.storage.arm(methods={method}, always=True)
    for _ in range(5):
        with pytest.raises(VaultError):
            await scene.store()
    assert lines(caplog) == [(batch, "StorageUnavailable", None, None, 0)]
