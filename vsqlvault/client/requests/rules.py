"""Policies and legal holds: set, read, delete.

Every change of a rule is a new version, so a change is repeated after a lost connection only under ``if_match`` or
``create_only``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from vsqlvault.client.decoding import read
from vsqlvault.client.errors import FieldProblem, ValidationFailed
from vsqlvault.client.requests.paging import listed
from vsqlvault.client.results.entries import Entry
from vsqlvault.client.results.rules import AccessPolicy, Explanation, Hold, RetentionPolicy, Rule
from vsqlvault.client.wire import (
    Answer,
    Page,
    Repeat,
    Request,
    Time,
    conditions,
    external_id_path,
    is_one_version,
    json_body,
    name_path,
    purpose_path,
    query_of,
    texts,
    whole,
    without_none,
)

Kind = TypeVar("Kind")
RuleLike = Rule | Mapping[str, Any]
ACCESS, RETENTION, HOLDS = "/admin/access-policies", "/admin/retention-policies", "/admin/legal-holds"


def put_access_policy(
    name: str,
    *,
    store: RuleLike | None = None,
    retrieve: RuleLike | None = None,
    inspect: RuleLike | None = None,
    purge: RuleLike | None = None,
    evaluator: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    description: str | None = None,
    if_match: str | None = None,
    create_only: bool = False,
) -> Request[AccessPolicy]:
    """Create or replace an access policy. Operations without a rule are denied; ``inspect`` then follows ``retrieve``."""
    rules = without_none(store=store, retrieve=retrieve, inspect=inspect, purge=purge)
    body = without_none(
        rules={operation: _rule(operation, rule) for operation, rule in rules.items()},
        evaluator=evaluator,
        parameters=parameters,
        description=description,
    )
    return _change("PUT", f"{ACCESS}/{{name}}", name_path(name), _reads(AccessPolicy), body, if_match, create_only)


def get_access_policy(name: str) -> Request[AccessPolicy]:
    """Read the access policy in force."""
    return _get(f"{ACCESS}/{{name}}", name_path(name), AccessPolicy)


def delete_access_policy(name: str, *, if_match: str | None = None) -> Request[AccessPolicy]:
    """Delete an access policy that no entry names, and return its last version."""
    return _change("DELETE", f"{ACCESS}/{{name}}", name_path(name), _reads(AccessPolicy), None, if_match)


def list_access_policies() -> Request[Page[AccessPolicy]]:
    """List the access policies in force, the built-in ones among them."""
    return listed(AccessPolicy, "access_policies", ACCESS, ACCESS, {}, page_size=None)


def access_policy_versions(name: str) -> Request[Page[AccessPolicy]]:
    """List every version of an access policy, newest first."""
    return _versions(AccessPolicy, f"{ACCESS}/{{name}}", f"{ACCESS}/{name_path(name)}")


def explain(
    app: str,
    operation: str,
    purpose: str,
    external_id: str,
    *,
    identity: str | None = None,
    purposes: Sequence[str] = (),
    roles: Sequence[str] = (),
    access_policy: str | None = None,
) -> Request[Explanation]:
    """Say what a request of an app would be answered, and by which rules, without carrying it out.

    ``access_policy`` is what a new entry would name; it counts for ``store`` only.
    """
    body = without_none(
        app=app,
        operation=operation,
        purpose=purpose,
        external_id=external_id,
        identity=identity,
        purposes=texts("purposes", purposes),
        roles=texts("roles", roles),
        access_policy=access_policy,
    )
    purpose_path(purpose)
    external_id_path(external_id)

    def parse(answer: Answer) -> Explanation:
        document = answer.document()
        return read(Explanation, document, answer, document=document)

    path = f"{ACCESS}/explain"
    return Request("POST", path, path, parse, Repeat.READ, body=json_body(body))


def put_retention_policy(
    purpose: str,
    *,
    max_retention_days: int,
    default_ttl_days: int | None = None,
    purge_method: str = "physical-delete",
    description: str | None = None,
    justification: str | None = None,
    legal_basis: str | None = None,
    data_class: str | None = None,
    allowed_access_policies: Sequence[str] | None = None,
    max_value_bytes: int | None = None,
    required_metadata: Sequence[str] | None = None,
    inactivity_days: int | None = None,
    dry_run: bool = False,
    if_match: str | None = None,
    create_only: bool = False,
) -> Request[RetentionPolicy]:
    """Create or replace the retention policy of a purpose. It also applies to entries that are already stored.

    A member that is left out gets its default. ``effect`` of the result counts what a changed maximum does to stored
    entries. ``dry_run`` only counts.
    """
    lists = {"allowed_access_policies": allowed_access_policies, "required_metadata": required_metadata}
    body = without_none(
        max_retention_days=max_retention_days,
        default_ttl_days=default_ttl_days,
        purge_method=purge_method,
        description=description,
        justification=justification,
        legal_basis=legal_basis,
        data_class=data_class,
        max_value_bytes=max_value_bytes,
        inactivity_days=inactivity_days,
        **{name: texts(name, items) for name, items in lists.items() if items is not None},
    )
    route, name = f"{RETENTION}/{{purpose}}", purpose_path(purpose)
    if dry_run:
        path, headers = f"{RETENTION}/{name}{query_of(dry_run=True)}", conditions(if_match, create_only=create_only)
        return Request("PUT", route, path, _reads(RetentionPolicy), Repeat.READ, headers, json_body(body))
    return _change("PUT", route, name, _reads(RetentionPolicy), body, if_match, create_only)


def get_retention_policy(purpose: str) -> Request[RetentionPolicy]:
    """Read the retention policy in force for a purpose."""
    return _get(f"{RETENTION}/{{purpose}}", purpose_path(purpose), RetentionPolicy)


def list_retention_policies() -> Request[Page[RetentionPolicy]]:
    """List the retention policies in force."""
    return listed(RetentionPolicy, "retention_policies", RETENTION, RETENTION, {}, page_size=None)


def retention_policy_versions(purpose: str) -> Request[Page[RetentionPolicy]]:
    """List every version of the retention policy of a purpose, newest first."""
    return _versions(RetentionPolicy, f"{RETENTION}/{{purpose}}", f"{RETENTION}/{purpose_path(purpose)}")


def put_hold(
    name: str,
    *,
    case_reference: str,
    reason: str,
    purpose: str | None = None,
    external_id: str | None = None,
    owner_app: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    if_match: str | None = None,
    create_only: bool = False,
) -> Request[Hold]:
    """Place a legal hold, or replace it. It keeps the entries that match every member of the selector."""
    selector = without_none(purpose=purpose, external_id=external_id, owner_app=owner_app, metadata=metadata)
    body = {"case_reference": case_reference, "reason": reason, "selector": selector}
    return _change("PUT", f"{HOLDS}/{{name}}", name_path(name), _reads(Hold), body, if_match, create_only)


def get_hold(name: str) -> Request[Hold]:
    """Read the newest version of a legal hold, which may be a released one."""
    return _get(f"{HOLDS}/{{name}}", name_path(name), Hold)


def release_hold(name: str, *, if_match: str | None = None) -> Request[Hold]:
    """Release a legal hold, and return its last version."""
    return _change("DELETE", f"{HOLDS}/{{name}}", name_path(name), _reads(Hold), None, if_match)


def list_holds(*, state: str = "active") -> Request[Page[Hold]]:
    """List the legal holds that are ``active`` or ``released``."""
    return listed(Hold, "legal_holds", HOLDS, HOLDS, {"state": state}, page_size=None)


def held_entries(name: str, *, state: str | None = None) -> Request[Page[Entry]]:
    """List the entries that a legal hold keeps, without values. ``state`` is ``active`` or ``expired``, both by default."""
    path = f"{HOLDS}/{name_path(name)}/entries"
    return listed(Entry, "entries", f"{HOLDS}/{{name}}/entries", path, {"state": state})


def hold_versions(name: str) -> Request[Page[Hold]]:
    """List every version of a legal hold, newest first."""
    return _versions(Hold, f"{HOLDS}/{{name}}", f"{HOLDS}/{name_path(name)}")


def diff(kind: str, name: str, version: int, *, from_version: int | None = None) -> Request[Mapping[str, Any]]:
    """Compare two versions of a rule. ``kind`` is ``access-policies``, ``retention-policies`` or ``legal-holds``."""
    base = f"/admin/{name_path(kind)}"
    path = f"{base}/{name_path(name)}/versions/{whole('version', version)}/diff" + query_of(**{"from": from_version})
    return Request("GET", f"{base}/{{name}}/versions/{{version}}/diff", path, Answer.document, Repeat.READ)


def replay(
    name: str, policy: Mapping[str, Any], *, since: Time, until: Time | None = None, limit: int | None = None
) -> Request[Mapping[str, Any]]:
    """Say which answers of the past a candidate policy, a document, would have changed."""
    route = f"{ACCESS}/{{name}}/replay"
    path = f"{ACCESS}/{name_path(name)}/replay" + query_of(since=since, until=until, limit=limit)
    return Request("POST", route, path, Answer.document, Repeat.READ, body=json_body(policy))


def _rule(operation: str, rule: RuleLike) -> dict[str, Any]:
    if isinstance(rule, Mapping):
        return dict(rule)
    if not isinstance(rule, Rule):
        raise ValidationFailed(errors=[FieldProblem(operation, "a Rule or a mapping")])
    document = asdict(rule)
    apps = rule.allowed_apps
    return {**document, "allowed_apps": None if apps is None else texts("allowed_apps", apps)}


def _reads(kind: type[Kind]) -> Callable[[Answer], Kind]:
    return lambda answer: read(kind, answer.document(), answer)


def _get(route: str, name: str, kind: type[Kind]) -> Request[Kind]:
    return Request("GET", route, f"{route.rpartition('/')[0]}/{name}", _reads(kind), Repeat.READ)


def _change(
    method: str,
    route: str,
    name: str,
    parse: Callable[[Answer], Kind],
    body: Mapping[str, Any] | None,
    if_match: str | None,
    create_only: bool = False,
) -> Request[Kind]:
    repeat = Repeat.IDEMPOTENT if create_only or is_one_version(if_match) else Repeat.ONCE
    headers = conditions(if_match, create_only=create_only)
    content = None if body is None else json_body(body)
    return Request(method, route, f"{route.rpartition('/')[0]}/{name}", parse, repeat, headers, content)


def _versions(kind: type[Kind], route: str, path: str) -> Request[Page[Kind]]:
    return listed(kind, "versions", f"{route}/versions", f"{path}/versions", {})
