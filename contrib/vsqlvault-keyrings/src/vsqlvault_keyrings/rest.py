"""One JSON request to a key management service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx

from vsqlvault_keyrings.wrapping import KeyServiceFailed

SECONDS = 10.0
Token = str | Callable[[], str]


def asked(client: httpx.Client, url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer to a POST. Raises KeyServiceFailed, which names the status or the kind of error and nothing else."""
    try:
        response = client.post(url, json=body, headers=dict(headers))
        document = response.json() if response.is_success else None
        reason = f"status {response.status_code}"
    except (httpx.RequestError, ValueError) as error:
        document, reason = None, type(error).__name__
    if not isinstance(document, dict):
        raise KeyServiceFailed(reason)
    return document


def text_of(document: Mapping[str, Any], *path: str) -> str:
    """Return the text at a path of an answer. Raises KeyServiceFailed."""
    found: Any = document
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, str):
        raise KeyServiceFailed(f"expected {'.'.join(path)}")
    return found


def current(token: Token) -> str:
    """Return the token to use now."""
    return token() if callable(token) else token
