"""Whatever a caller without a credential accepts, /metrics answers."""

import pytest

from tests.support.server import VaultServer


@pytest.mark.parametrize(
    "accept",
    ["text/plain;version=x", "application/openmetrics-text;version=x", "application/openmetrics-text", "*/*", ";"],
)
def test_metrics_are_answered_whatever_is_accepted(vault: VaultServer, accept: str) -> None:
    assert vault.call(None, "GET", "/metrics", headers={"Accept": accept}).status == 200
