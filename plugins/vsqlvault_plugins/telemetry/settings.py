"""``[plugins.otel]``."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from vsqlvault.config import Section

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class OtelSettings(Section):
    """``[plugins.otel]``: where traces and metrics are sent by OTLP over HTTP. Without ``endpoint`` none are made."""

    endpoint: str | None = None
    service_name: Annotated[str, Field(min_length=1, max_length=255)] = "vsqlvault"
    traces: bool = True
    metrics: bool = True
    sample_ratio: float = Field(default=1.0, ge=0, le=1)
    metric_interval_seconds: float = Field(default=60, ge=1, le=3600)

    @field_validator("endpoint")
    @classmethod
    def _secure(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://localhost")
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("an https:// URL, or http:// on the loopback")
        if not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ValueError("a URL with a host, without a user, a query and a fragment")
        return value and value.rstrip("/")
