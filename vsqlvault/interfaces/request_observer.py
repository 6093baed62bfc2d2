"""Observing answered requests: traces and metrics."""

from __future__ import annotations

from typing import Protocol

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """One request after its response was made: no header, no credential, and nothing of its path but the route.

    ``route`` is the route's template, such as ``/vault/{purpose}/{external_id}``, or ``unmatched``. ``started_at`` is the
    time of arrival in nanoseconds since 1970, ``seconds`` the time until the response was made. ``traceparent`` is the
    request's trace context (W3C), if it has a valid one.
    """

    method: str
    route: str
    status: int
    started_at: int
    seconds: float
    request_id: str
    traceparent: str | None


class RequestObserver(Protocol):
    """Is called after each request, in each process that serves."""

    name: str
    """Unique among the plugins loaded."""

    def answered(self, request: AnsweredRequest) -> None:
        """Take note of a request. The response waits for it: do not block, and leave sending to a thread.

        An exception is logged, and changes nothing in the response.
        """
        ...
