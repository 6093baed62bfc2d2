"""Prometheus metrics: no purpose, app or id in any label."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from vsqlvault.errors import NotAcceptable
from vsqlvault.http.media_types import preferred
from vsqlvault.http.messages import Reply
from vsqlvault.http.metrics.requests import RequestCounts
from vsqlvault.http.server.state import Counts
from vsqlvault.service.vault import Vault

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    from vsqlvault.http.metrics.workers import Share

_TEXT, _OPENMETRICS = "text/plain", "application/openmetrics-text"


class Metrics:
    """Counts requests, and reads the vault's own counts when metrics are requested."""

    def __init__(self, vault: Vault, counts: Counts | None = None, share: Share | None = None) -> None:
        self._vault = vault
        self._counts = counts or Counts()
        self._share = share
        self._requests = RequestCounts()
        self.observe = self._requests.observe

    @cached_property
    def _registry(self) -> CollectorRegistry:
        from vsqlvault.http.metrics.registry import registry_of  # noqa: PLC0415 - it imports the Prometheus client

        return registry_of(self._vault, self._counts, self._requests)

    @cached_property
    def _of_credentials(self) -> Collector:
        from vsqlvault.http.metrics.credentials import CredentialCollector  # noqa: PLC0415

        return CredentialCollector(self._vault)

    def exposition(self, accept: str | None) -> Reply:
        """Return all metrics, as Prometheus text or, where ``Accept`` asks for it, OpenMetrics."""
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - it takes long to import

        from vsqlvault.http.metrics.credentials import Together  # noqa: PLC0415

        try:
            wanted = preferred(accept, (_TEXT, _OPENMETRICS))
        except NotAcceptable:
            wanted = _TEXT  # a scraper that accepts neither still gets its metrics
        encode, content_type = choose_encoder(wanted)  # never with what a caller wrote: it trips over odd parameters
        registry: Any = self._share.total(self._registry) if self._share else self._registry
        return Reply(200, encode(Together(registry, self._of_credentials)), content_type)

    def publish(self) -> None:
        """Publish this worker's samples for the other workers, if there are any."""
        if self._share:
            self._share.publish(self._registry)
