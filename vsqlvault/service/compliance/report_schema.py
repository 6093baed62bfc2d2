"""The JSON Schema (draft 2020-12) of the compliance report."""

from __future__ import annotations

from typing import Any

from vsqlvault.model import pci_dss

JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_TEXT: dict[str, Any] = {"type": "string"}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: dict[str, Any], *, closed: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "required": list(properties), "properties": properties}
    return {**found, "additionalProperties": False} if closed else found


def _map(values: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


def report_schema() -> dict[str, Any]:
    """Return the schema. Members that it does not name are sections of plugins."""
    section = {"$ref": "#/$defs/section"}
    return {
        "$schema": JSON_SCHEMA,
        "$id": "urn:vsqlvault:schema:report",
        "title": "Compliance report",
        "type": "object",
        "required": ["as_of", "period", "requirements"],
        "properties": {
            "as_of": _TIME,
            "period": {"$ref": "#/$defs/period"},
            "requirements": {"$ref": "#/$defs/requirements"},
            **{name: _or_failed(schema) for name, schema in _asked_for().items()},
        },
        "additionalProperties": {
            "type": "object",
            "if": {"required": ["result"]},
            "then": section,
        },
        "$defs": {"period": _object({"since": _TIME, "until": _TIME}), "section": _section(), **_requirements()},
    }


def _or_failed(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, _object({"failed": {"const": True}})]}


def _asked_for() -> dict[str, Any]:
    return {
        "summary": _object(
            dict.fromkeys(("total_entries", "active_entries", "expired_pending_purge", "purged_last_30_days"), _COUNT)
        ),
        "by_purpose": _map(
            _object({
                "active": _COUNT,
                "retention_policy": _TEXT,
                "entries_expiring_next_30_days": _COUNT,
                "key_refs": _map(_COUNT),
            })
        ),
        "purge_compliance": _object({
            "purge_sweep_last_run": _or_null(_TIME),
            "purge_sweep_completed": _or_null({"type": "boolean"}),
            "entries_purged_last_sweep": _COUNT,
            "purge_proof_available": {"type": "boolean"},
            "scrub_last_run": _or_null(_TIME),
            "scrub_completed": _or_null({"type": "boolean"}),
            "scrub_left": _or_null(_TEXT),
        }),
    }  # fmt: skip


def _section() -> dict[str, Any]:
    chart = _object({
        "title": _TEXT,
        "unit": _TEXT,
        "series": {"type": "array", "items": _TEXT},
        "bars": {"type": "array", "items": _object({"label": _TEXT, "values": {"type": "array", "items": _COUNT}})},
    })  # fmt: skip
    return _object(
        {
            "title": _TEXT,
            "requirements": {"type": "array", "items": {"enum": list(pci_dss.REQUIREMENTS)}, "uniqueItems": True},
            "result": {"enum": ["supports", "exceptions", "not_assessed"]},
            "supports": _TEXT,
            "measured": {"enum": ["as_of", "period", "now"]},
            "period": _or_null({"$ref": "#/$defs/period"}),
            "method": _TEXT,
            "check": _TEXT,
            "population": _COUNT,
            "exceptions": _object({"count": _COUNT, "listed": {"type": "array", "items": {"type": "object"}}}),
            "owner": _or_null(_TEXT),
            "figures": {"type": "object"},
            "charts": {"type": "array", "items": chart},
        },
        closed=False,
    )


def _requirements() -> dict[str, Any]:
    names = {"type": "array", "items": _TEXT}
    alias = _object({"number": _TEXT, "label": _TEXT, "requirements": names, "note": _TEXT})
    return {
        "requirements": _object({
            "standard": _TEXT,
            "note": _TEXT,
            "by_id": _map(_object({"title": _TEXT, "sections": names})),
            "aliases": {"type": "array", "items": alias},
        })
    }  # fmt: skip
