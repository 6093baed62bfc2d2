"""Alerts and board under contrib/monitoring ask for what the vault exposes, in PromQL that parses."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from vsqlvault.http.metrics import Metrics
from vsqlvault.http.metrics.workers import Share, SharedSamples
from vsqlvault.http.operations import OPERATIONS
from vsqlvault.http.server.state import Counts
from vsqlvault.model.control import CONTROLS
from vsqlvault.testing import VaultClient
from vsqlvault_plugins.anchor.file import FileAnchor

MONITORING = Path(__file__).parents[2] / "contrib" / "monitoring"
OF_PROMETHEUS = {"job", "instance"}
VALUES = {
    "route": {operation.path for operation in OPERATIONS},
    "method": {operation.method for operation in OPERATIONS},
    "kind": {"read", "commit"},
    "control": {*CONTROLS, "jwks_fresh"},
}
BOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
TARGETS = [(panel["title"], target) for panel in BOARD["panels"] for target in panel["targets"]]


@pytest.fixture
def exposed(vsqlvault_vault: Any, vsqlvault_client: VaultClient) -> dict[str, set[str]]:
    """Every sample that a vault with two workers can expose, with the labels it has."""
    vsqlvault_vault.vault.log.quarantine._anchors = (FileAnchor(Path("anchor"), 60),)
    counts = Counts(refused=Counter({"bad_framing": 1}), tls=Mock(until={"crl_file": datetime.now(UTC)}))
    metrics = Metrics(vsqlvault_vault.vault, counts, Share(SharedSamples(2), 0))
    metrics.observe("GET", "/health", 200, 0.001)
    vsqlvault_vault.run(vsqlvault_vault.vault.compliance.controls.look())
    text = metrics.exposition(None).body
    assert isinstance(text, bytes)
    samples = {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    served = vsqlvault_client.request("GET", "/metrics", app=None).body.decode()
    assert set(re.findall(r"^vsqlvault_\w+", served, re.MULTILINE)) <= set(samples)
    return {**samples, "up": set()}


def selectors(expression: str) -> Iterator[promql.VectorSelector]:
    """Give every selector of an expression, which must be a vector's."""
    found: list[promql.VectorSelector] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql.MatrixSelector):
            found.append(node.vector_selector)
        elif isinstance(node, promql.VectorSelector):
            found.append(node)

    promql.walk(promql.parse(expression), visit)
    assert found, expression
    yield from found


def labels_kept(expression: str) -> set[str]:
    """Return what an expression aggregates by."""
    kept: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql.AggregateExpr) and node.modifier:
            kept.update(node.modifier.labels)

    promql.walk(promql.parse(expression), visit)
    return kept


def check(expression: str, exposed: dict[str, set[str]]) -> None:
    of_all: set[str] = set(OF_PROMETHEUS)
    for selector in selectors(expression):
        assert selector.name in exposed, selector.name
        known = exposed[selector.name] | OF_PROMETHEUS
        of_all |= known
        for matcher in selector.matchers.matchers:
            assert matcher.name in known, (selector.name, matcher.name)
            if matcher.op == promql.MatchOp.Equal and matcher.name in VALUES:
                assert matcher.value in VALUES[matcher.name], matcher.value
    assert labels_kept(expression) <= of_all, expression


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_the_vault_exposes(rule: dict[str, Any], exposed: dict[str, set[str]]) -> None:
    check(rule["expr"], exposed)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_one_that_prometheus_loads_and_people_understand(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert isinstance(promql.parse(rule["expr"]), promql.BinaryExpr)
    assert promql.parse_duration(rule.get("for", "1m"))
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "description"}
    used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    assert used <= (labels_kept(rule["expr"]) or {"instance", "kind"})


def test_no_two_alerts_have_one_name() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names) > 0


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{title} {target['refId']}" for title, target in TARGETS])
def test_a_panel_asks_for_what_the_vault_exposes(
    title: str, target: dict[str, Any], exposed: dict[str, set[str]]
) -> None:
    expression = target["expr"].replace("$__rate_interval", "5m")
    check(expression, exposed)
    assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels_kept(expression)


def test_the_board_is_whole() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken = Counter(
        (column, row)
        for place in (panel["gridPos"] for panel in panels)
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    )
    assert set(taken.values()) == {1}, "panels overlap"
    assert max(column for column, _ in taken) < 24
    variables = {f"${{{variable['name']}}}" for variable in BOARD["templating"]["list"]}
    sources = re.findall(r'"uid": "(\$[^"]+)"', json.dumps(BOARD))
    assert set(sources) <= variables
    assert BOARD["uid"] == "vsqlvault"


def test_the_settings_of_the_readme_are_yaml_under_the_job_that_the_rules_look_for() -> None:
    blocks = re.findall(
        r"^```yaml\n(.*?)^```$", (MONITORING / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 2
    for block in blocks:
        (scrape,) = yaml.safe_load(block)["scrape_configs"]
        assert any(f'job="{scrape["job_name"]}"' in rule["expr"] for rule in RULES)
