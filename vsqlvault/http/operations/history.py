"""``…/versions`` of policies and legal holds: versions and their differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vsqlvault.errors import InvalidQuery, RoleRequired
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Handler, Operation, RequestContext
from vsqlvault.http.schemas.admin_bodies import DiffQuery, VersionsQuery
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.results.base import Result
from vsqlvault.http.schemas.results.rules import (
    AccessPolicyVersion,
    AccessPolicyVersions,
    LegalHold,
    LegalHoldVersions,
    RetentionPolicy,
    RetentionPolicyVersions,
    VersionDiff,
)
from vsqlvault.interfaces.storage import VersionQuery
from vsqlvault.service.audit.rule_documents import StoredRule, version_document
from vsqlvault.service.rules.history import ABSENT, Comparison, Difference, RuleKind

_ROUTES = {
    RuleKind.ACCESS_POLICY: ("/admin/access-policies/{name}", "name"),
    RuleKind.RETENTION_POLICY: ("/admin/retention-policies/{purpose}", "purpose"),
    RuleKind.LEGAL_HOLD: ("/admin/legal-holds/{name}", "name"),
}

_RESULTS: dict[RuleKind, tuple[type[Result], type[Result]]] = {
    RuleKind.ACCESS_POLICY: (AccessPolicyVersion, AccessPolicyVersions),
    RuleKind.RETENTION_POLICY: (RetentionPolicy, RetentionPolicyVersions),
    RuleKind.LEGAL_HOLD: (LegalHold, LegalHoldVersions),
}


def _listing(kind: RuleKind) -> Handler:
    async def list_versions(exchange: RequestContext) -> Reply:
        """Return a page of versions, newest first."""
        asked = exchange.query(VersionsQuery)
        query = VersionQuery(name=_name(exchange, kind), limit=asked.limit, before=asked.before)
        found = await exchange.vault.rules.history.versions(exchange.call, kind, query)
        more = found[-1].version if len(found) == asked.limit and found[-1].version > 1 else None
        return Reply(200, dump_json({"versions": [version_document(rule) for rule in found], "next_before": more}))

    return list_versions


def _getting(kind: RuleKind) -> Handler:
    async def get_version(exchange: RequestContext) -> Reply:
        """Return one version."""
        rule = await exchange.vault.rules.history.version(exchange.call, kind, _name(exchange, kind), _number(exchange))
        return Reply(200, dump_json(version_document(rule)))

    return get_version


def _comparing(kind: RuleKind) -> Handler:
    async def diff_versions(exchange: RequestContext) -> Reply:
        """Return the changes between two versions, by default from the version before."""
        number = _number(exchange)
        old = exchange.query(DiffQuery).from_version or max(number - 1, 1)
        found = await exchange.vault.rules.history.compare(exchange.call, kind, _name(exchange, kind), number, old)
        return Reply(200, dump_json(_comparison(found)))

    return diff_versions


def _name(exchange: RequestContext, kind: RuleKind) -> str:
    return exchange.request.params[_ROUTES[kind][1]]


def _number(exchange: RequestContext) -> int:
    return int(exchange.request.params["version"])


def _comparison(found: Comparison) -> dict[str, Any]:
    return {
        "from": _edge(found.old),
        "to": _edge(found.new),
        "changes": [_change(difference) for difference in found.differences],
    }


def _edge(rule: StoredRule) -> dict[str, Any]:
    document = version_document(rule)
    return {name: document[name] for name in ("version", "created_by", "created_at")}


def _change(difference: Difference) -> dict[str, Any]:
    sides = {"old": difference.old, "new": difference.new}
    return {"path": difference.path, **{side: value for side, value in sides.items() if value is not ABSENT}}


def _operations(kind: RuleKind) -> Iterator[Operation]:
    route, _ = _ROUTES[kind]
    one, pages = _RESULTS[kind]
    slug = kind.value.replace(" ", "_")
    article = "an" if kind is RuleKind.ACCESS_POLICY else "a"
    yield Operation(
        method="GET",
        path=f"{route}/versions",
        name=f"list_{slug}_versions",
        result=pages,
        summary=f"List every version of {article} {kind.value}, newest first",
        description="If `next_before` is not null, request the next page with this value as `before`.",
        handler=_listing(kind),
        audited=kind.read,
        query=VersionsQuery,
        answers={200: "A page; those that are out of force, too."},
        problems=(RoleRequired, kind.missing, InvalidQuery),
        tag="admin",
    )
    yield Operation(
        method="GET",
        path=f"{route}/versions/{{version}}",
        name=f"get_{slug}_version",
        result=one,
        summary=f"Read one version of {article} {kind.value}",
        handler=_getting(kind),
        audited=kind.read,
        answers={200: "The version."},
        problems=(RoleRequired, kind.missing),
        tag="admin",
    )
    yield Operation(
        method="GET",
        path=f"{route}/versions/{{version}}/diff",
        name=f"diff_{slug}_versions",
        result=VersionDiff,
        summary=f"Compare two versions of {article} {kind.value}",
        description=(
            "`from` is the older version, by default the one before. Each change has its `path` (a JSON Pointer), "
            "`old` and `new`. If a version does not have the member, `old` or `new` is omitted."
        ),
        handler=_comparing(kind),
        audited=kind.read,
        query=DiffQuery,
        answers={200: "The changes, with author and time of both versions."},
        problems=(RoleRequired, kind.missing, InvalidQuery),
        tag="admin",
    )


OPERATIONS = tuple(operation for kind in RuleKind for operation in _operations(kind))
