"""``/admin/api-keys``: API keys in the storage."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from vsqlvault.errors import (
    ApiKeyNotFound,
    ContentEncodingRefused,
    InvalidJson,
    InvalidQuery,
    InvalidTime,
    PayloadTooLarge,
    RoleRequired,
    StoredKeysOff,
    TooManyApiKeys,
    UnsupportedMediaType,
    ValidationFailed,
)
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.bodies import ApiKeyBody, dump_json
from vsqlvault.http.schemas.queries import ApiKeysQuery, read_query
from vsqlvault.http.schemas.results.service import ApiKey, ApiKeys, CreatedApiKey
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.times import format_time
from vsqlvault.service.audit.rule_documents import api_key_document
from vsqlvault.service.credentials.api_keys import KeyListRequest, SeenKey
from vsqlvault.service.roles import require_admin, require_reader

PATH = "/admin/api-keys"


def seen_key_document(seen: SeenKey) -> dict[str, Any]:
    """Return a key for a response, as JSON types."""
    last = seen.last_used_at
    return {
        **api_key_document(seen.key),
        "key_id": path_key_id(seen.key.key_id),
        "credential_id": seen.key.key_id,
        "state": seen.state.value,
        "last_used_at": format_time(last.replace(microsecond=0)) if last else None,
    }


def path_key_id(key_id: str) -> str:
    """Return a key's id as it stands in paths and answers: percent-encoding leaves it as it is."""
    return key_id.replace(":", "-")


def _key_id(exchange: RequestContext) -> str:
    return exchange.request.params["key_id"].replace("-", ":")


async def create_api_key(exchange: RequestContext) -> Reply:
    """Create a key and return it. The secret is returned only here."""
    keys = exchange.vault.credentials.api_keys
    async with keys.naming(exchange.call, Audited.CREATE_API_KEY):
        require_admin(exchange.call)
        wanted = (await exchange.body(ApiKeyBody)).wanted()
    created = await keys.create(exchange.call, wanted)
    document = {"key": created.secret, **seen_key_document(created.seen)}
    if created.warnings:
        document["warnings"] = list(created.warnings)
    return Reply(201, dump_json(document), headers=[("Location", f"{PATH}/{path_key_id(created.seen.key.key_id)}")])


async def get_api_key(exchange: RequestContext) -> Reply:
    """Return the grants of one key."""
    seen = await exchange.vault.credentials.api_keys.key(exchange.call, _key_id(exchange))
    return Reply(200, dump_json(seen_key_document(seen)))


async def list_api_keys(exchange: RequestContext) -> Reply:
    """Return a page of keys."""
    app, members = exchange.call.principal.app, exchange.request.query()
    async with exchange.vault.credentials.api_keys.naming(exchange.call, Audited.READ_API_KEY):
        require_reader(exchange.call)
        read_query(ApiKeysQuery, members)
        members, after = exchange.cursors.open(app, PATH, members)
        query = read_query(ApiKeysQuery, members)
    wanted = KeyListRequest(
        limit=query.limit,
        after=(datetime.fromisoformat(after[0]), after[1]) if after else None,
        app=query.app,
        state=query.state,
    )
    seen = await exchange.vault.credentials.api_keys.keys(exchange.call, wanted)
    cursor = None
    if len(seen) == query.limit:
        last = seen[-1].key
        cursor = exchange.cursors.seal(app, PATH, members, [last.created_at.isoformat(), last.key_id])
    return Reply(200, dump_json({"api_keys": [seen_key_document(each) for each in seen], "next_cursor": cursor}))


async def revoke_api_key(exchange: RequestContext) -> Reply:
    """Revoke a key, and return its grants."""
    revoked = await exchange.vault.credentials.api_keys.revoke(exchange.call, _key_id(exchange))
    document = seen_key_document(revoked.seen)
    if revoked.warnings:
        document["warnings"] = list(revoked.warnings)
    return Reply(200, dump_json(document))


_BODY = (InvalidJson, PayloadTooLarge, UnsupportedMediaType, ContentEncodingRefused, ValidationFailed, InvalidTime)

OPERATIONS = (
    Operation(
        method="POST",
        path=PATH,
        name="create_api_key",
        result=CreatedApiKey,
        summary="Create an API key",
        description=(
            "`key` in the response is the only copy of the key; the vault stores its SHA-256 digest. The key is "
            "accepted at once, without a restart or reload. Its grants never change: create another key and revoke "
            "this one."
        ),
        handler=create_api_key,
        audited=Audited.CREATE_API_KEY,
        body=ApiKeyBody,
        answers={201: "The key and its grants."},
        problems=(RoleRequired, StoredKeysOff, TooManyApiKeys, *_BODY),
        headers={"Location": "The URL of the key's grants."},
        tag="admin",
    ),
    Operation(
        method="GET",
        path=PATH,
        name="list_api_keys",
        result=ApiKeys,
        summary="List API keys in the storage",
        description="Oldest first, including revoked and expired keys. Keys in the settings file are not listed.",
        handler=list_api_keys,
        audited=Audited.READ_API_KEY,
        query=ApiKeysQuery,
        answers={200: "A page of them."},
        problems=(RoleRequired, InvalidQuery),
        tag="admin",
    ),
    Operation(
        method="GET",
        path=PATH + "/{key_id}",
        name="get_api_key",
        result=ApiKey,
        summary="Read an API key",
        handler=get_api_key,
        audited=Audited.READ_API_KEY,
        answers={200: "The key's grants, its state and its last use."},
        problems=(RoleRequired, ApiKeyNotFound),
        tag="admin",
    ),
    Operation(
        method="DELETE",
        path=PATH + "/{key_id}",
        name="revoke_api_key",
        result=ApiKey,
        summary="Revoke an API key",
        description=(
            "After the response, no node carries out a request with this key. The key's grants are kept. Revoking "
            "again changes nothing."
        ),
        handler=revoke_api_key,
        audited=Audited.REVOKE_API_KEY,
        answers={200: "The key is revoked. The response contains its grants."},
        problems=(RoleRequired, ApiKeyNotFound),
        tag="admin",
    ),
)
