"""When a failed request is sent again, after which pause, and what is raised in the end. Without a transport or a clock."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Generic, TypeVar

from vsqlvault.client.errors import ConnectionLost, Unreachable
from vsqlvault.client.problems import problem_of
from vsqlvault.client.wire import Answer, Repeat, Request

Result = TypeVar("Result")
OK, MULTIPLE_CHOICES = 200, 300
UNAUTHENTICATED, TOO_MANY_REQUESTS = 401, 429
GATEWAY_FAILURES = frozenset({502, 503, 504})
REFUSED_UNSTARTED = frozenset({
    "audit-unavailable", "auth-unavailable", "contended", "overloaded", "receipt-pending", "shutting-down",
    "storage-unavailable",
})  # fmt: skip
"""Problems of status 503 with which the vault says that it did nothing."""
NOT_PASSING = frozenset({"plugin-failure", "quarantined", "tree-damaged"})
"""Problems of status 503 that need an operator: another attempt only adds a row to the access log."""
HOST_NOT_FOUND = "HostNotFound"
"""The reason of an attempt whose host name does not resolve."""
JITTER = random.SystemRandom()


@dataclass(frozen=True)
class Retries:
    """How often and how long a request is tried.

    A pause begins at ``first_pause_seconds``, doubles up to ``max_pause_seconds``, and is cut at random down to a half. A
    ``Retry-After`` of the vault is waited for in full. After ``max_attempts``, or where the next pause would end later than
    ``max_seconds`` after the first attempt began, the last failure is raised. While the vault has never answered this client,
    the limit is ``first_contact_seconds`` instead (default: ``max_seconds``), and for a host name that does not resolve
    ``unresolved_seconds``, if these are less.

    ``repeat_retrievals`` lets ``get`` be sent again after its answer was lost: where the access policy limits retrievals,
    one ``get`` can then use up more than one.
    """

    max_attempts: int = 12
    max_seconds: float = 30.0
    first_pause_seconds: float = 0.1
    max_pause_seconds: float = 5.0
    first_contact_seconds: float | None = None
    unresolved_seconds: float = 2.0
    repeat_retrievals: bool = False

    def __post_init__(self) -> None:
        times = (
            self.max_seconds, self.first_pause_seconds, self.max_pause_seconds, self.first_contact_seconds or 0.0,
            self.unresolved_seconds,
        )  # fmt: skip
        if self.max_attempts < 1 or min(times) < 0:
            raise ValueError("retries: expected at least one attempt, and no negative seconds")


NO_RETRIES = Retries(max_attempts=1)


@dataclass(frozen=True)
class Broken:
    """An attempt without a whole answer. ``reason`` is a kind of error, and names neither a value nor a credential."""

    reason: str
    was_sent: bool


Outcome = Answer | Broken


def is_contact(outcome: Outcome) -> bool:
    """Whether an attempt reached the vault, or what stands before it."""
    return isinstance(outcome, Answer) or outcome.was_sent


class Attempts(Generic[Result]):
    """The attempts of one call: takes each outcome, and decides whether and when to retry and what to return."""

    def __init__(
        self,
        request: Request[Result],
        retries: Retries,
        *,
        clock: Callable[[], float],
        new_credential: bool = False,
        has_answered: bool = True,
        jitter: random.Random = JITTER,
    ) -> None:
        """``new_credential``: the credential is asked for at each attempt, so that one refused can be followed by another.

        ``has_answered``: the vault has answered this client before.
        """
        self.request = request
        self.number = 1
        self._retries = retries
        self._clock = clock
        self._jitter = jitter
        self._may_renew = new_credential
        self._has_answered = has_answered
        self._started_at = clock()
        self._maybe_applied = False

    def pause_after(self, outcome: Outcome) -> float | None:
        """Return how many seconds to wait before the next attempt; None: there is none."""
        may_repeat = self._weighed(outcome)
        if not may_repeat or self.number >= self._retries.max_attempts:
            return None
        pause = self._backoff() + (retry_after(outcome) if isinstance(outcome, Answer) else 0.0)
        if self._clock() - self._started_at + pause > self.max_seconds(outcome):
            return None
        self.number += 1
        return pause

    def max_seconds(self, outcome: Outcome) -> float:
        """Return for how many seconds the call is tried if its newest attempt ended like this."""
        self._has_answered = self._has_answered or is_contact(outcome)
        retries = self._retries
        limits = [retries.max_seconds]
        if not self._has_answered:
            if retries.first_contact_seconds is not None:
                limits.append(retries.first_contact_seconds)
            if isinstance(outcome, Broken) and outcome.reason == HOST_NOT_FOUND:
                limits.append(retries.unresolved_seconds)
        return min(limits)

    def is_refused(self, outcome: Outcome) -> bool:
        """Whether the credential was refused, and may be asked for once more."""
        return self._may_renew and isinstance(outcome, Answer) and outcome.status == UNAUTHENTICATED

    def renewed(self, *, is_new: bool) -> bool:
        """Whether to try again at once: once in a call, where the credential is another one now."""
        self._may_renew = False
        self.number += is_new
        return is_new

    def result(self, outcome: Outcome) -> Result:
        """Return what the last outcome says. Raises VaultError."""
        return self.request.parse(self.success(outcome))

    def success(self, outcome: Outcome) -> Answer:
        """Return the last outcome if it is a success. Raises VaultError."""
        if isinstance(outcome, Broken):
            kind = ConnectionLost if outcome.was_sent else Unreachable
            raise kind(outcome.reason, maybe_applied=self._maybe_applied)
        if OK <= outcome.status < MULTIPLE_CHOICES:
            return outcome
        seconds = retry_after(outcome) or None
        raise problem_of(outcome, retry_after_seconds=seconds, maybe_applied=self._maybe_applied)

    def _weighed(self, outcome: Outcome) -> bool:
        """Whether the request may be sent again; takes note where the vault may have carried it out."""
        if isinstance(outcome, Broken):
            return self._lost() if outcome.was_sent else True
        if outcome.status == TOO_MANY_REQUESTS:
            return True
        if outcome.status not in GATEWAY_FAILURES:
            return False
        slug = problem_of(outcome).slug
        if slug in NOT_PASSING:
            return False
        return True if slug in REFUSED_UNSTARTED else self._lost()

    def _lost(self) -> bool:
        repeat = self.request.repeat
        self._maybe_applied = self._maybe_applied or repeat is not Repeat.READ
        is_retrieval = self.request.method == "GET"
        return repeat is not Repeat.ONCE or (is_retrieval and self._retries.repeat_retrievals)

    def _backoff(self) -> float:
        longest = min(self._retries.first_pause_seconds * 2.0 ** (self.number - 1), self._retries.max_pause_seconds)
        return longest * self._jitter.uniform(0.5, 1.0)


def retry_after(answer: Answer) -> float:
    """Return for how many seconds ``Retry-After`` asks; 0 where it does not (RFC 9110, section 10.2.3)."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return 0.0
    if at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    return max((at - datetime.now(timezone.utc)).total_seconds(), 0.0)
