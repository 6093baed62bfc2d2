"""Writes rows of the logs as events of the Open Cybersecurity Schema Framework (OCSF), for exports with ``format = "ocsf"``.

The leaf of the row is in ``raw_data``, its index in ``metadata.sequence`` and its hash in ``unmapped.leaf_hash``, so that a
receiver can build the root of a signed checkpoint from the events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from vsqlvault import __version__
from vsqlvault.interfaces.log_sink import ExportedRow
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.transparency import LogName
from vsqlvault.quick_dataclass import dataclass

VERSION = "1.5.0"
"""The version of OCSF that the events name. Each is also valid in the later versions up to 1.8.0."""

PRODUCT = "vsqlvault"
ACCOUNT_CHANGE, AUTHENTICATION, ENTITY_MANAGEMENT = 3001, 3002, 3004
APPLICATION_LIFECYCLE, API_ACTIVITY, DATASTORE_ACTIVITY = 6002, 6003, 6005
CREATE, READ, UPDATE, DELETE, OTHER = 1, 2, 3, 4, 99
INFORMATIONAL, LOW, HIGH = 1, 2, 4
OTHER_TYPE = 99
_CATEGORY_SIZE = 1000

CLASSES: Mapping[Operation, tuple[int, int]] = {
    Operation.STORE: (DATASTORE_ACTIVITY, 5),  # Write
    Operation.IMPORT: (DATASTORE_ACTIVITY, 5),
    Operation.UPDATE: (DATASTORE_ACTIVITY, 2),
    Operation.RETRIEVE: (DATASTORE_ACTIVITY, 1),  # Read
    Operation.INSPECT: (DATASTORE_ACTIVITY, 1),
    Operation.LIST: (DATASTORE_ACTIVITY, 8),
    Operation.PURGE: (DATASTORE_ACTIVITY, 7),  # Delete
    Operation.AUTHENTICATE: (AUTHENTICATION, 1),  # Logon
    Operation.SIGN_IN: (AUTHENTICATION, 1),
    Operation.SIGN_OUT: (AUTHENTICATION, 2),  # Logoff
    Operation.END_SESSION: (AUTHENTICATION, 2),
    Operation.CREATE_API_KEY: (ACCOUNT_CHANGE, 1),
    Operation.REVOKE_API_KEY: (ACCOUNT_CHANGE, 6),  # Delete
    Operation.CREDENTIAL_ADDED: (ACCOUNT_CHANGE, 1),
    Operation.CREDENTIAL_CHANGED: (ACCOUNT_CHANGE, OTHER),
    Operation.CREDENTIAL_REMOVED: (ACCOUNT_CHANGE, 6),
    Operation.READ_ACCESS_POLICY: (ENTITY_MANAGEMENT, READ),
    Operation.CHANGE_ACCESS_POLICY: (ENTITY_MANAGEMENT, UPDATE),
    Operation.DELETE_ACCESS_POLICY: (ENTITY_MANAGEMENT, DELETE),
    Operation.READ_RETENTION_POLICY: (ENTITY_MANAGEMENT, READ),
    Operation.CHANGE_RETENTION_POLICY: (ENTITY_MANAGEMENT, UPDATE),
    Operation.READ_LEGAL_HOLD: (ENTITY_MANAGEMENT, READ),
    Operation.CHANGE_LEGAL_HOLD: (ENTITY_MANAGEMENT, UPDATE),
    Operation.RELEASE_LEGAL_HOLD: (ENTITY_MANAGEMENT, DELETE),
    Operation.SERVER_STARTED: (APPLICATION_LIFECYCLE, 3),  # Start
    Operation.SERVER_STOPPED: (APPLICATION_LIFECYCLE, 4),  # Stop
    Operation.SCHEMA_MIGRATED: (APPLICATION_LIFECYCLE, 8),  # Update
    Operation.ATTEST: (API_ACTIVITY, CREATE),
    Operation.REVIEW_ACCESS: (API_ACTIVITY, CREATE),
    Operation.ACKNOWLEDGE_FAILURE: (API_ACTIVITY, UPDATE),
    Operation.CONFIRM_CLOCK: (API_ACTIVITY, UPDATE),
    Operation.CONFIRM_RESTORE: (API_ACTIVITY, UPDATE),
    Operation.ROTATE_SIGNING_KEY: (API_ACTIVITY, UPDATE),
    Operation.SUBMIT_PAGE: (API_ACTIVITY, UPDATE),
    Operation.UNKNOWN: (API_ACTIVITY, OTHER),
}
"""Class and activity of operations. For others see ``class_of``."""

_READING = ("read-", "export-", "preview-", "explain-", "replay-")

_OF_THE_VAULT = frozenset({
    Operation.SWEEP, Operation.SCRUB, Operation.VERIFY_LOG, Operation.QUARANTINE, Operation.AUDIT_GAP,
    Operation.SETTINGS_RELOADED, Operation.PLUGINS_LOADED, Operation.CREDENTIALS_LOADED, Operation.CLOCK_JUMP,
    Operation.CLOCK_BACKWARDS, Operation.CONTROL_FAILED, Operation.CONTROL_RECOVERED,
})  # fmt: skip
_ALARMING = frozenset({
    Operation.QUARANTINE, Operation.AUDIT_GAP, Operation.CONTROL_FAILED, Operation.CLOCK_JUMP, Operation.CLOCK_BACKWARDS,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class OcsfRow(ExportedRow):
    """A row whose line is an OCSF event."""

    def line(self) -> bytes:
        """Return the event as one line of JSON, without its newline."""
        return json.dumps(event(self), ensure_ascii=False, separators=(",", ":")).encode()


def event(row: ExportedRow) -> dict[str, Any]:
    """Return the event of a row."""
    record: dict[str, Any] = json.loads(row.leaf)[row.log.value]
    if row.log is LogName.PURGE:
        class_uid, activity, name, at = DATASTORE_ACTIVITY, 7, "purge", record["purged_at"]
    else:
        class_uid, activity = class_of(record["operation"])
        name, at = record["operation"], record["at"]
    return {
        "class_uid": class_uid,
        "category_uid": class_uid // _CATEGORY_SIZE,
        "activity_id": activity,
        "activity_name": name,
        "type_uid": class_uid * 100 + activity,
        "time": _milliseconds(at),
        "metadata": _metadata(row, record, at),
        **_outcome(record),
        **_MEMBERS[class_uid](record, name),
        "raw_data": row.leaf.decode(),
        "unmapped": {"log": row.log.value, "leaf_hash": sha256(b"\0" + row.leaf).hexdigest()},
    }


def class_of(operation: str) -> tuple[int, int]:
    """Return class and activity: of the table; else reading through the API, or an event of the vault itself."""
    try:
        known = Operation(operation)
    except ValueError:  # a row of a newer version
        return API_ACTIVITY, OTHER
    if known in CLASSES:
        return CLASSES[known]
    if known in _OF_THE_VAULT:
        return APPLICATION_LIFECYCLE, OTHER
    return API_ACTIVITY, READ if known.value.startswith(_READING) else OTHER


def _metadata(row: ExportedRow, record: Mapping[str, Any], at: str) -> dict[str, Any]:
    found = {
        "version": VERSION,
        "product": {"name": PRODUCT, "vendor_name": "VibeSQL", "version": __version__},
        "sequence": row.index,
        "uid": f"{row.log.value}:{row.index}",
        "log_name": row.log.value,
        "original_time": at,
    }
    return found | _where({"correlation_uid": record.get("request_id")})


def _outcome(record: Mapping[str, Any]) -> dict[str, Any]:
    is_granted = record.get("outcome", Outcome.GRANTED.value) == Outcome.GRANTED.value
    severity = INFORMATIONAL if is_granted else LOW
    if record.get("operation") in _ALARMING:
        severity = HIGH
    status = record.get("status")
    return {
        "severity_id": severity,
        "status_id": 1 if is_granted else 2,
        **_where(
            {"status_code": status and str(status), "status_detail": record.get("reason"), "count": record.get("count")}
        ),
    }


def _datastore(record: Mapping[str, Any], _: str) -> dict[str, Any]:
    bucket: dict[str, Any] = {"name": _text(record.get("purpose")) or "none", "type_id": OTHER_TYPE, "type": "purpose"}
    if external_id := _text(record.get("external_id")):
        bucket["file"] = {"name": external_id, "type_id": OTHER_TYPE, **_where({"uid": record.get("entry_id")})}
    return {"actor": _actor(record), "src_endpoint": _source(record), "databucket": bucket}


def _api(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    call = {"operation": name, "service": {"name": PRODUCT}, "response": {"code": record.get("status", 0)}}
    if request_id := record.get("request_id"):
        call["request"] = {"uid": request_id}
    return {"actor": _actor(record), "src_endpoint": _source(record), "api": call}


def _authentication(record: Mapping[str, Any], _: str) -> dict[str, Any]:
    return {"user": _user(record), "service": {"name": PRODUCT}, "src_endpoint": _source(record), "is_remote": True}


def _account(record: Mapping[str, Any], _: str) -> dict[str, Any]:
    """The user of an account change is the credential that is changed; the actor made the change."""
    changed = _changed(record)
    user = _where({"name": changed.get("app") or record.get("app"), "credential_uid": _text(changed.get("key_id"))})
    return {
        "user": user if "name" in user else {"name": "unknown"},
        "actor": _actor(record),
        "src_endpoint": _source(record),
    }


def _entity(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    kind = name.split("-", 1)[1].replace("-", " ")
    named = _text(record.get("external_id")) or _text(record.get("policy")) or _text(record.get("purpose")) or "all"
    return {"entity": {"name": named, "type": kind}, "actor": _actor(record), "src_endpoint": _source(record)}


def _lifecycle(_: Mapping[str, Any], __: str) -> dict[str, Any]:
    return {"app": {"name": PRODUCT, "vendor_name": "VibeSQL", "version": __version__}}


_MEMBERS = {
    DATASTORE_ACTIVITY: _datastore,
    API_ACTIVITY: _api,
    AUTHENTICATION: _authentication,
    ACCOUNT_CHANGE: _account,
    ENTITY_MANAGEMENT: _entity,
    APPLICATION_LIFECYCLE: _lifecycle,
}


def _actor(record: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"app_name": _text(record.get("app")) or PRODUCT}
    if record.get("app"):
        found["user"] = _user(record)
    if policy := record.get("policy"):
        version = record.get("policy_version")
        named = {"name": _text(policy), **_where({"version": version and str(version)})}
        found["authorizations"] = [{"decision": record.get("outcome", ""), "policy": named}]
    return found


def _user(record: Mapping[str, Any]) -> dict[str, Any]:
    name = _text(record.get("identity")) or _text(record.get("app"))
    return {"name": name or "unknown", **_where({"credential_uid": record.get("credential_id")})}


def _source(record: Mapping[str, Any]) -> dict[str, Any]:
    address = _text(record.get("client_address"))
    return {"ip": address} if address else {"svc_name": PRODUCT}


def _changed(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the JSON of what an administrator changed, or nothing if it is none."""
    try:
        found = json.loads(record.get("new_value") or record.get("old_value") or "{}")
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _where(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that have a value."""
    return {name: _text(value) if isinstance(value, dict) else value for name, value in members.items() if value}


def _text(value: Any) -> str | None:
    """Return a text of a row. The leaf has a hash in place of a text that is too long for it."""
    return f"sha256:{value['sha256']}" if isinstance(value, dict) else value


def _milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
