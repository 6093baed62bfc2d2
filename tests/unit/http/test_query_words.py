"""Filters of the logs: a word that no row can have comes with the nearest, and a word of a plugin is taken."""

from __future__ import annotations

import pytest

from vsqlvault.errors import InvalidQuery
from vsqlvault.http.schemas.queries import AccessLogQuery, LogQueryBase, PurgeLogQuery, read_query
from vsqlvault.model.audit import Operation
from vsqlvault.model.purge import PurgeReason

LATE, EARLY = "2027-01-02T00:00:00Z", "2027-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("model", "members", "field", "expected"),
    [
        (
            AccessLogQuery,
            {"operation": "retreive"},
            "operation",
            "an operation of the access log (did you mean retrieve?)",
        ),
        (PurgeLogQuery, {"reason": "expierd"}, "reason", "a reason of the purge log (did you mean expired?)"),
        (AccessLogQuery, {"since": LATE, "until": EARLY}, "until", "a time that is not before since"),
        (PurgeLogQuery, {"since": LATE, "until": EARLY}, "until", "a time that is not before since"),
    ],
)
def test_a_filter_that_no_row_fits_names_the_field(
    model: type[LogQueryBase], members: dict[str, str], field: str, expected: str
) -> None:
    with pytest.raises(InvalidQuery) as refused:
        read_query(model, members)
    assert [(each.field, each.expected) for each in refused.value.errors] == [(field, expected)]


@pytest.mark.parametrize("operation", Operation)
def test_each_operation_is_a_filter(operation: Operation) -> None:
    assert read_query(AccessLogQuery, {"operation": operation.value}).operation == operation.value


@pytest.mark.parametrize("reason", PurgeReason)
def test_each_reason_of_a_purge_is_a_filter(reason: PurgeReason) -> None:
    assert read_query(PurgeLogQuery, {"reason": reason.value}).reason == reason.value


def test_a_reason_of_a_policy_evaluator_is_a_filter_of_the_access_log() -> None:
    assert read_query(AccessLogQuery, {"reason": "outside-of-hours"}).reason == "outside-of-hours"


def test_an_empty_period_is_no_fault() -> None:
    assert read_query(AccessLogQuery, {"since": EARLY, "until": EARLY}).until is not None
