"""Each section of the report says how its figures were counted and how a reader checks them, and these ways exist."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from tests.plugins.test_report_claims import LIVED, SECTIONS
from vsqlvault.cli.client.commands import COMMANDS as CLIENT_COMMANDS
from vsqlvault.cli.table import COMMANDS
from vsqlvault.http.operation import Operation
from vsqlvault.http.operations import OPERATIONS
from vsqlvault.interfaces.evidence import DayCount
from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.database_access import DatabaseAccess
from vsqlvault.model.pci_dss import REQUIREMENTS
from vsqlvault.model.purge import PurgeReason
from vsqlvault.model.times import format_time
from vsqlvault_plugins.report.reviews import LOG_READS, READS

ROUTE = re.compile(r"\b(GET|POST|PUT|DELETE) (/[\w/{}%:@~-]*)(?:\?([\w=&%:@~-]+))?")
COMMAND = re.compile(r"vsql-vault ([a-z-]+)")
ROUTES = {(each.method, each.path): each for each in OPERATIONS}
ONLY_OF_CONTROLS = ("8.3.1",)
"""Requirements that no section claims: the control of the token issuers names it."""
WITHOUT_OPERATION = {"/metrics"}


async def _member(name: str, context: ReportContext = LIVED) -> Mapping[str, Any]:
    return await SECTIONS[name].write(context)


MEMBERS = {name: member for name in SECTIONS if "result" in (member := asyncio.run(_member(name)))}


def route_of(method: str, path: str) -> Operation:
    return next(
        each
        for (of, template), each in ROUTES.items()
        if of == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
    )


@pytest.mark.parametrize("name", MEMBERS)
def test_a_section_has_method_population_and_check(name: str) -> None:
    member = MEMBERS[name]
    assert re.fullmatch(r"[A-Z].*\.", member["method"])
    assert isinstance(member["population"], int)
    assert re.fullmatch(r"\S.*\.", member["check"])


@pytest.mark.parametrize("name", MEMBERS)
def test_a_check_names_a_route_or_a_command(name: str) -> None:
    check = MEMBERS[name]["check"]
    assert ROUTE.search(check) or COMMAND.search(check)


@pytest.mark.parametrize("name", MEMBERS)
def test_the_routes_of_a_section_exist_with_their_parameters(name: str) -> None:
    for text in (MEMBERS[name]["method"], MEMBERS[name]["check"]):
        for method, path, query in ROUTE.findall(text):
            if path in WITHOUT_OPERATION:
                continue
            asked = [part.partition("=") for part in query.split("&") if part]
            operation = route_of(method, path)
            known = operation.query.model_fields if operation.query else {}
            assert {name for name, _, _ in asked} <= known.keys(), (path, query)
            values = {value for name, _, value in asked if name == "operation" and value.islower()}
            assert values <= {each.value for each in Audited}


@pytest.mark.parametrize("name", MEMBERS)
def test_the_commands_of_a_section_exist(name: str) -> None:
    known = {each.name for each in COMMANDS} | set(CLIENT_COMMANDS)
    for text in (MEMBERS[name]["method"], MEMBERS[name]["check"]):
        assert set(COMMAND.findall(text)) <= known


PLACEHOLDER = re.compile(r"\{\w+\}|=[A-Z]+\b|-in FILE")


@pytest.mark.parametrize("name", sorted(MEMBERS.keys() - {"trends", "certificates"}))
def test_a_check_of_what_is_there_can_be_run_as_it_stands(name: str) -> None:
    assert PLACEHOLDER.search(MEMBERS[name]["check"]) is None


def test_the_check_of_the_days_has_the_limits_of_the_last_one() -> None:
    days = [DayCount(date(2027, 2, 27)), DayCount(date(2027, 2, 28), stored=2)]
    context = replace(LIVED, evidence=replace(LIVED.evidence, days=days))
    check = asyncio.run(_member("trends", context))["check"]
    assert "since=2027-02-28T00:00:00Z&until=2027-03-01T00:00:00Z" in check


def test_a_check_of_rows_of_a_period_names_the_period() -> None:
    assert LIVED.period is not None
    bounds = f"since={format_time(LIVED.period.since)}&until={format_time(LIVED.period.until)}"
    of_logs = {
        name
        for name, each in MEMBERS.items()
        if each["measured"] == "period" and "-log" in each["check"] and name != "trends"
    }
    assert of_logs >= {"denied_access", "log_review", "sweeps"}
    assert [name for name in of_logs if bounds not in MEMBERS[name]["check"]] == []


@pytest.mark.parametrize("name", ["legal_holds", "undefined_access_policies", "hardening"])
def test_a_section_without_a_result_says_how_it_was_counted_too(name: str) -> None:
    member = asyncio.run(_member(name))
    assert member["method"].endswith(".")
    assert ROUTE.search(member["check"])


def counted_queries(check: str) -> set[str]:
    """Return the operations whose granted rows a check names."""
    return set(re.findall(r"/admin/access-log\?outcome=granted&operation=([a-z-]+)", check))


@pytest.mark.parametrize(("name", "operations"), [("log_review", LOG_READS), ("bulk_access", READS)])
def test_a_check_names_every_operation_that_the_section_counts(name: str, operations: tuple[str, ...]) -> None:
    assert counted_queries(MEMBERS[name]["check"]) == set(operations)


def test_the_check_of_the_sweeps_names_every_reason_that_a_sweep_gives() -> None:
    reasons = re.findall(r"/admin/purge-log\?reason=([a-z-]+)", MEMBERS["sweeps"]["check"])
    assert set(reasons) == {PurgeReason.EXPIRED, PurgeReason.RETENTION_POLICY}


def test_a_database_in_a_file_is_checked_without_statements_of_postgresql() -> None:
    of_file = replace(LIVED, database_access=DatabaseAccess(file={"mode": "600"}))
    check = asyncio.run(_member("database_roles", of_file))["check"]
    assert "ls -l" in check
    assert "psql" not in check


def test_every_requirement_of_the_report_has_a_section_that_says_how_to_check_it() -> None:
    checked = {number for member in MEMBERS.values() if member["check"] for number in member["requirements"]}
    assert set(REQUIREMENTS) - checked == set(ONLY_OF_CONTROLS)
