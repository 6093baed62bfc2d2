"""The compliance report as OSCAL assessment results (NIST, version 1.0.6): the same facts in a public format."""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

OSCAL_VERSION = "1.0.6"
NAMESPACE = "urn:vsqlvault:oscal"
CATALOGUE = "pci-dss"
_UUIDS = uuid.uuid5(uuid.NAMESPACE_URL, NAMESPACE)
_REPORT_MEMBERS = ("as_of", "period", "requirements")


def oscal_document(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report as OSCAL assessment results, as JSON types. The same report gives the same document.

    Each section with requirements is an observation. There are no findings: OSCAL would have to call each of them
    satisfied or not satisfied, and the vault says neither. The whole report is an attached resource.
    """
    content = json.dumps(report, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")
    made = _Identifiers(content)
    period = report["period"] or {"since": report["as_of"], "until": report["as_of"]}
    observations = list(_observations(report, made))
    return {
        "assessment-results": {
            "uuid": made("document"),
            "metadata": {
                "title": f"Compliance report of a vault as of {report['as_of']}",
                "last-modified": report["as_of"],
                "version": report["as_of"],
                "oscal-version": OSCAL_VERSION,
                "remarks": report["requirements"]["note"],
            },
            "import-ap": {
                "href": f"#{made('report')}",
                "remarks": "There is no assessment plan: the assessor makes it. The reference is the report itself.",
            },
            "results": [
                {
                    "uuid": made("result"),
                    "title": report["requirements"]["standard"],
                    "description": "What the vault can show of its own work. It assesses no requirement.",
                    "start": period["since"],
                    "end": period["until"],
                    "reviewed-controls": {"control-selections": [_selection(report)]},
                    **({"observations": observations} if observations else {}),
                }
            ],
            "back-matter": {
                "resources": [
                    {
                        "uuid": made("report"),
                        "title": "The report, with every figure",
                        "base64": {
                            "filename": "report.json",
                            "media-type": "application/json",
                            "value": b64encode(content).decode("ascii"),
                        },
                    }
                ]
            },
        }
    }


class _Identifiers:
    """Makes UUIDs from the content of the report and a name."""

    def __init__(self, content: bytes) -> None:
        self._base = uuid.uuid5(_UUIDS, content.hex())

    def __call__(self, name: str) -> str:
        return str(uuid.uuid5(self._base, name))


def _selection(report: Mapping[str, Any]) -> dict[str, Any]:
    numbers = report["requirements"]["by_id"]
    if not numbers:
        return {"include-all": {}}
    return {"include-controls": [{"control-id": f"{CATALOGUE}-{number}"} for number in numbers]}


def _observations(report: Mapping[str, Any], made: _Identifiers) -> Iterator[dict[str, Any]]:
    for name, member in report.items():
        if name in _REPORT_MEMBERS or not isinstance(member, Mapping):
            continue
        if member.get("failed") is True:
            yield _observation(made(name), name, "The section could not be written.", [("result", "failed")], report)
        elif "result" in member:
            yield _section(made(name), name, member, report)


def _section(identifier: str, name: str, member: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    facts = [
        ("result", member["result"]),
        ("measured", member["measured"]),
        ("population", str(member["population"])),
        ("exceptions", str(member["exceptions"]["count"])),
        *((("owner", member["owner"]),) if member["owner"] else ()),
        *(("requirement", f"{CATALOGUE}-{number}") for number in member["requirements"]),
    ]
    text = f"{member['method']} {member.get('check', '')}".rstrip()
    observation = _observation(identifier, name, text, facts, report)
    listed = [{"description": _text(each)} for each in member["exceptions"]["listed"]]
    return {
        **observation,
        "title": member["title"],
        **({"relevant-evidence": listed} if listed else {}),
        "remarks": f"Without exceptions the figures support: {member['supports']}",
    }


def _observation(
    identifier: str, name: str, description: str, facts: list[tuple[str, str]], report: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "uuid": identifier,
        "title": name,
        "description": description,
        "props": [
            {"name": each, "ns": NAMESPACE, "value": value} for each, value in [("section", name), *facts]
        ],
        "methods": ["EXAMINE"],
        "collected": report["as_of"],
    }  # fmt: skip


def _text(exception: Mapping[str, Any]) -> str:
    return json.dumps(exception, ensure_ascii=False, sort_keys=True)
