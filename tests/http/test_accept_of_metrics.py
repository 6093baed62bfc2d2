"""Whatever a caller without a credential accepts, /metrics answers."""

import pytest

from tests.support.server import VaultServer


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain;version=x",
        "application/openmetrics-text;version=x",
        "application/openmetrics-text",
        "*/*",
        ";",
        "image/png",
        "text/plain;q=0, application/openmetrics-text;q=0",
    ],
)
def test_metrics_are_answered_whatever_is_accepted(vault: VaultServer, accept: str) -> None:
    assert vault.call(None, "GET", "/metrics", headers={"Accept": accept}).status == 200


OPENMETRICS = "application/openmetrics-text"


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        (f"{OPENMETRICS};q=0, text/plain", False),
        (f"{OPENMETRICS};version=1.0.0;q=0.5, text/plain;version=0.0.4;q=0.3, */*;q=0.1", True),
        (f"{OPENMETRICS};q=0.3, text/plain;q=0.5", False),
        ("Application/OpenMetrics-Text", True),
        ("text/plain;q=0, */*", True),
        ("*/*", False),
    ],
)
def test_metrics_come_in_the_form_that_accept_prefers(vault: VaultServer, accept: str, is_openmetrics: bool) -> None:
    answer = vault.call(None, "GET", "/metrics", headers={"Accept": accept})
    assert str(answer.header("content-type")).startswith(OPENMETRICS) == is_openmetrics
