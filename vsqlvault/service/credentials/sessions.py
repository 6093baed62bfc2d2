"""Browser sessions: signing in and out are audit rows, and a session that was ended is ended in every process.

A session is named by the request id of the sign-in. Its state is a lease in the storage: ``live``, or ``ended``. The storage
keeps no credential and no cookie.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from vsqlvault.errors import Contended, RoleRequired
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.principal import Call
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.queue import CommitQueue

SESSION_SECONDS = 8 * 3600
MAX_LISTED = 1000
PAGE_ROWS = 1000
_LIVE, _ENDED = "live", "ended"
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A sign-in of the last eight hours that nobody has ended. It may have expired by the idle limit."""

    session_id: str
    record: AccessRecord


class BrowserSessions:
    """Begins, checks, lists and ends sessions."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        auditor: Auditor,
        session_seconds: float = SESSION_SECONDS,
        max_listed: int = MAX_LISTED,
        page_rows: int = PAGE_ROWS,
    ) -> None:
        """``session_seconds``: how long a session may last; ``max_listed``: how many sign-ins a list examines at most."""
        self._max_listed = max_listed
        self._page_rows = page_rows
        self._storage = storage
        self._queue = queue
        self._auditor = auditor
        self.session_seconds = session_seconds

    async def begin(self, call: Call) -> datetime:
        """Commit the row of a sign-in, whose request id names the session. Return its time. Raises Unavailable."""
        context = AuditContext(call, Operation.SIGN_IN)

        async def attempt() -> datetime:
            snapshot = await self._queue.read()
            context.observe(snapshot)
            await self._queue.record(context.granted())
            return snapshot.now

        return await self._auditor.run_audited(context, attempt)

    async def is_live(self, session_id: str) -> bool:
        """Return whether nobody has ended the session. Raises StorageUnavailable."""
        return await self._storage.acquire_lease(_lease(session_id), _LIVE, self.session_seconds)

    async def sign_out(self, call: Call, session_id: str) -> None:
        """End the caller's own session, before the row of it is committed. Raises Unavailable."""
        await self._end(AuditContext(call, Operation.SIGN_OUT, subject=session_id), session_id)

    async def end(self, call: Call, session_id: str) -> None:
        """End a session. A caller without the role of an admin ends sessions of the own credential only.

        Raises:
            RoleRequired, Unavailable.
        """
        context = AuditContext(call, Operation.END_SESSION, subject=session_id)

        async def check() -> None:
            if not call.principal.is_admin and not await self._is_own(call, session_id):
                raise RoleRequired("admin, or the credential that signed in")

        await self._end(context, session_id, check_first=check)

    async def listed(self, call: Call) -> Sequence[ListedSession]:
        """Return the sessions that the caller may see, newest first: all for admins and auditors, else the own ones.

        Only the newest ``max_listed`` sign-ins are examined.

        Raises:
            Unavailable.
        """
        context = AuditContext(call, Operation.READ_SESSIONS)

        async def attempt() -> Sequence[ListedSession]:
            snapshot = await self._queue.read()
            context.observe(snapshot)
            since = snapshot.now - timedelta(seconds=self.session_seconds)
            own = {} if call.principal.may_inspect_all else {"credential_id": call.principal.credential_id}
            begun = await self._rows(Operation.SIGN_IN, since, own, self._max_listed)
            ended = {row.detail for row in await self._rows(Operation.SIGN_OUT, since, {})}
            ended |= {row.detail for row in await self._rows(Operation.END_SESSION, since, {})}
            await self._queue.record(context.granted())
            return [ListedSession(row.request_id, row) for row in begun if row.request_id not in ended]

        return await self._auditor.run_audited(context, attempt)

    async def _rows(
        self, operation: Operation, since: datetime, also: dict[str, str], most: int | None = None
    ) -> list[AccessRecord]:
        """Return the newest ``most`` rows, or all, newest first."""
        equals = {"operation": operation.value, "outcome": "granted", **also}
        found: list[AccessRecord] = []
        after: int | None = None
        while most is None or len(found) < most:
            limit = self._page_rows if most is None else min(self._page_rows, most - len(found))
            page = await self._storage.access_log(LogQuery(limit=limit, since=since, after=after, equals=equals))
            found += [row.record for row in page]
            if len(page) < limit:
                break
            after = page[-1].position
        return found

    async def _is_own(self, call: Call, session_id: str) -> bool:
        since = (await self._queue.read()).now - timedelta(seconds=self.session_seconds)
        own = {"credential_id": call.principal.credential_id, "request_id": session_id}
        return bool(await self._rows(Operation.SIGN_IN, since, own))

    async def _end(
        self, context: AuditContext, session_id: str, *, check_first: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        async def attempt() -> bool:
            context.observe(await self._queue.read())
            if check_first is not None:
                await check_first()
            await self._mark_ended(session_id)
            await self._queue.record(context.granted())
            return True

        await self._auditor.run_audited(context, attempt)

    async def _mark_ended(self, session_id: str) -> None:
        name = _lease(session_id)
        for _ in range(_ATTEMPTS):
            await self._storage.release_lease(name, _LIVE)
            if await self._storage.acquire_lease(name, _ENDED, self.session_seconds):
                return  # else a request of the session was faster
        raise Contended


def _lease(session_id: str) -> str:
    return f"session:{session_id}"
