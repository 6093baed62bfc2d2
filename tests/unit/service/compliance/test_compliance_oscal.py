"""The report as OSCAL assessment results: it fits NIST's schema, and says no more than the report."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from vsqlvault.service.compliance.oscal import oscal_document

SCHEMA = json.loads((Path(__file__).parent / "schemas" / "oscal_assessment-results_schema_1.0.6.json").read_bytes())
VALIDATOR = jsonschema_rs.Draft7Validator(SCHEMA)


def errors(document: Any) -> list[str]:
    return [each.message for each in VALIDATOR.iter_errors(document)]


async def written(scene: Any) -> Any:
    scene.clock.advance(days=1)
    return await scene.vault.compliance.report.write(scene.admin)


def result_of(document: Any) -> Any:
    return document["assessment-results"]["results"][0]


def facts_of(observation: Any) -> dict[str, str]:
    return {each["name"]: each["value"] for each in observation["props"]}


async def test_the_document_fits_the_published_schema(scene) -> None:
    await scene.store("oscal-1")
    assert errors(oscal_document(await written(scene))) == []


async def test_a_report_with_a_failed_section_fits_too(scene) -> None:
    report = await written(scene)
    assert errors(oscal_document({**report, "sweeps": {"failed": True}})) == []


@pytest.mark.parametrize("member", ["uuid", "metadata", "import-ap", "results"])
async def test_the_schema_rejects_a_document_without_a_member(scene, member) -> None:
    document = oscal_document(await written(scene))
    del document["assessment-results"][member]
    assert errors(document)


async def test_each_section_is_an_observation_with_its_numbers(scene) -> None:
    await scene.store("oscal-2", algorithm_hint=None)
    report = await written(scene)
    sections = {name: each for name, each in report.items() if isinstance(each, dict) and "result" in each}
    observations = {facts_of(each)["section"]: each for each in result_of(oscal_document(report))["observations"]}
    assert observations.keys() == sections.keys()
    for name, section in sections.items():
        facts = facts_of(observations[name])
        assert (facts["result"], facts["population"], facts["exceptions"]) == (
            section["result"],
            str(section["population"]),
            str(section["exceptions"]["count"]),
        )
        assert len(observations[name].get("relevant-evidence", [])) == len(section["exceptions"]["listed"])


async def test_nothing_is_called_satisfied(scene) -> None:
    result = result_of(oscal_document(await written(scene)))
    assert "findings" not in result
    assert "satisfied" not in json.dumps(result)


async def test_the_attached_report_is_the_report(scene) -> None:
    report = await written(scene)
    (resource,) = oscal_document(report)["assessment-results"]["back-matter"]["resources"]
    assert json.loads(b64decode(resource["base64"]["value"])) == report


async def test_the_attached_report_is_a_file_of_json_with_sorted_members(scene) -> None:
    report = await written(scene)
    (resource,) = oscal_document(report)["assessment-results"]["back-matter"]["resources"]
    text = json.dumps(report, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert (resource["base64"]["filename"], b64decode(resource["base64"]["value"])) == ("report.json", text.encode())


async def test_a_report_without_a_period_is_of_one_time(scene) -> None:
    report = {**await written(scene), "period": None}
    result = result_of(oscal_document(report))
    assert (result["start"], result["end"]) == (report["as_of"], report["as_of"])


async def test_the_text_of_an_exception_is_not_escaped(scene) -> None:
    report = await written(scene)
    section = {**report["sweeps"], "exceptions": {"count": 1, "listed": [{"what": "Zürich", "at": "now"}]}}
    observations = result_of(oscal_document({**report, "sweeps": section}))["observations"]
    (found,) = [each["relevant-evidence"] for each in observations if facts_of(each)["section"] == "sweeps"]
    assert found == [{"description": '{"at": "now", "what": "Zürich"}'}]


async def test_the_same_report_gives_the_same_document(scene) -> None:
    report = await written(scene)
    assert oscal_document(report) == oscal_document(json.loads(json.dumps(report)))
