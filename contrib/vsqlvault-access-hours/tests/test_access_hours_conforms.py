from __future__ import annotations

import json
from dataclasses import replace

import pytest
from vsqlvault_access_hours import OfficeHoursEvaluator

from vsqlvault.testing import EvaluatorCase, PolicyEvaluatorConformance, an_access_policy

HOURS = {"timezone": "Europe/Berlin", "days": ["mon", "tue", "fri"], "opens": "08:00", "closes": "18:00"}
NIGHT = {**HOURS, "opens": "22:00", "closes": "06:00"}


class TestOfficeHoursConform(PolicyEvaluatorConformance):
    @pytest.fixture
    def evaluator_case(self) -> EvaluatorCase:
        document = an_access_policy(evaluator="office-hours", parameters=json.dumps(HOURS))
        accepted = [document, replace(document, name="night", parameters=json.dumps(NIGHT))]
        bad = [{}, {**HOURS, "opens": "18:00"}, {**HOURS, "days": []}, {**HOURS, "more": 1}]
        refused = [replace(document, parameters=json.dumps(parameters)) for parameters in bad]
        return EvaluatorCase(OfficeHoursEvaluator(), accepted, refused)
