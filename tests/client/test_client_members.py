"""The client has a parameter for each member of a request, and a field for each member of a response."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from pydantic import BaseModel

from vsqlvault import client
from vsqlvault.client.requests import entries, logs, rules, service
from vsqlvault.client.results import rules as rule_results
from vsqlvault.http.schemas import admin_bodies, bodies, queries
from vsqlvault.http.schemas.results import entries as entry_schemas
from vsqlvault.http.schemas.results import rules as rule_schemas
from vsqlvault.http.schemas.results import service as service_schemas

PAGES = {"cursor", "limit"}
REQUESTS: list[tuple[Callable[..., Any], type[BaseModel], set[str]]] = [
    (entries.put, bodies.StoreBody, {"encrypted_value", "encoding"}),
    (entries.list_entries, queries.ListQuery, PAGES),
    (rules.put_access_policy, bodies.AccessPolicyBody, {"rules"}),
    (rules.put_access_policy, bodies.RulesBody, set()),
    (rules.put_retention_policy, bodies.RetentionPolicyBody, {"require_purge_proof"}),
    (rules.put_hold, admin_bodies.LegalHoldBody, {"selector"}),
    (rules.put_hold, admin_bodies.SelectorBody, set()),
    (rules.explain, admin_bodies.ExplainBody, set()),
    (rules.replay, admin_bodies.ReplayQuery, set()),
    (service.create_key, bodies.ApiKeyBody, set()),
    (service.review_access, admin_bodies.AccessReviewBody, set()),
    (logs.access_log, queries.AccessLogQuery, PAGES),
    (logs.purge_log, queries.PurgeLogQuery, PAGES),
]
RESULTS: list[tuple[type, type[BaseModel], set[str]]] = [
    (client.StoredEntry, entry_schemas.StoredEntry, set()),
    (client.RetrievedEntry, entry_schemas.RetrievedEntry, {"encrypted_value"}),
    (client.AccessPolicy, rule_schemas.SavedAccessPolicy, set()),
    (client.AccessPolicy, rule_schemas.AccessPolicyVersion, set()),
    (client.Rule, rule_schemas.AccessRule, set()),
    (client.RetentionPolicy, rule_schemas.SavedRetentionPolicy, {"require_purge_proof", "dry_run"}),
    (rule_results.RetentionEffect, rule_schemas.RetentionEffect, set()),
    (client.Hold, rule_schemas.SavedLegalHold, set()),
    (client.ApiKey, service_schemas.ApiKey, {"credential_id"}),
    (client.CreatedApiKey, service_schemas.CreatedApiKey, {"credential_id"}),
    (client.Sweep, service_schemas.Sweep, set()),
]


def members(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize(("function", "model", "other"), REQUESTS)
def test_each_member_of_a_request_is_a_parameter(
    function: Callable[..., Any], model: type[BaseModel], other: set[str]
) -> None:
    assert members(model) - set(inspect.signature(function).parameters) == other


@pytest.mark.parametrize(("result", "model", "other"), RESULTS)
def test_each_member_of_a_response_is_a_field(result: type, model: type[BaseModel], other: set[str]) -> None:
    assert members(model) - {field.name for field in fields(result)} == other
