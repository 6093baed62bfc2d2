from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from vsqlvault_access_cedar import CedarEvaluator

from vsqlvault.model.access import Action
from vsqlvault.model.policy import Rule
from vsqlvault.testing import EvaluatorCase, PolicyEvaluatorConformance, an_access_policy

TEXT = """
@id("tellers") @max_retrievals("3")
permit (principal == App::"tellers", action, resource);
permit (principal, action, resource) when { resource.owner_app == principal.app };
permit (principal in Role::"admin", action == Action::"purge", resource);
@id("night") forbid (principal, action == Action::"retrieve", resource) when { context.local.time < duration("6h") };
"""
FAILING = "permit (principal, action, resource) when { 9223372036854775807 + resource.retrievals > 0 };"


def parameters(**members: Any) -> str:
    return json.dumps(members)


class TestCedarConforms(PolicyEvaluatorConformance):
    @pytest.fixture
    def evaluator_case(self) -> EvaluatorCase:
        document = an_access_policy(evaluator="cedar", rules={}, parameters=parameters(policies=TEXT))
        accepted = [
            document,
            replace(document, name="lines", parameters=parameters(policies=TEXT.splitlines(), timezone="Asia/Tokyo")),
            replace(document, name="failing", parameters=parameters(policies=FAILING)),
        ]
        bad = [{}, {"policies": ""}, {"policies": "permit"}, {"policies": TEXT, "more": 1}]
        refused = [replace(document, parameters=json.dumps(each)) for each in bad]
        refused.append(replace(document, rules={Action.STORE: Rule()}))
        return EvaluatorCase(CedarEvaluator(), accepted, refused)
