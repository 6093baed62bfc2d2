"""The list of sessions, also where it has more rows than one page."""

from __future__ import annotations

from pathlib import Path

from vsqlvault.model.principal import Role
from vsqlvault.service.credentials.sessions import BrowserSessions
from vsqlvault.testing.running import RunningVault, running_vault
from vsqlvault.testing.samples import a_call


def sessions_of(running: RunningVault, **limits: int) -> BrowserSessions:
    vault = running.vault
    return BrowserSessions(storage=vault.storage, queue=vault.queue, auditor=vault.audit.recorder, **limits)


def test_each_end_of_a_session_is_read_however_many_there_are(tmp_path: Path) -> None:
    with running_vault(tmp_path) as (running, _):
        sessions = sessions_of(running, page_rows=2)
        calls = [a_call("vault-admin", Role.ADMIN) for _ in range(7)]
        for call in calls:
            running.run(sessions.begin(call))
        for call in calls[2:]:
            running.run(sessions.sign_out(call, call.request_id))
        listed = running.run(sessions.listed(calls[0]))
        assert [each.session_id for each in listed] == [calls[1].request_id, calls[0].request_id]


def test_the_newest_sign_ins_are_listed(tmp_path: Path) -> None:
    with running_vault(tmp_path) as (running, _):
        sessions = sessions_of(running, page_rows=2, max_listed=3)
        calls = [a_call("vault-admin", Role.ADMIN) for _ in range(5)]
        for call in calls:
            running.run(sessions.begin(call))
        listed = running.run(sessions.listed(calls[0]))
        assert [each.session_id for each in listed] == [call.request_id for call in reversed(calls[2:])]
