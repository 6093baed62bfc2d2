"""A fault of the server's own has its row, too."""

import asyncio

from vsqlvault.config import load_settings
from vsqlvault.http.cursors import Cursors
from vsqlvault.http.exchange import Request
from vsqlvault.http.gateway import Gateway
from vsqlvault.http.metrics import Metrics
from vsqlvault.http.operation import Operation
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.runtime import open_vault


async def answered_by_a_broken_handler(tmp_path, monkeypatch):
    monkeypatch.setenv("VSQL_VAULT_API_KEY", "a-key-for-this-test-alone")
    settings = load_settings(None, {"VSQL_VAULT_STORAGE__DATABASE_URL": f"sqlite:///{tmp_path}/vault.db"})

    async def broken(_):
        raise RuntimeError("marker-of-the-fault")

    async def no_body(_):
        return b""

    operation = Operation(
        method="GET", path="/broken", name="broken", summary="", handler=broken, audited=Audited.READ_REPORT
    )
    request = Request(
        "GET", b"/broken", b"", [("x-vault-key", "a-key-for-this-test-alone")], "127.0.0.1", False, "0" * 32, no_body
    )
    async with open_vault(settings) as vault:
        gateway = Gateway(settings, vault, Cursors(bytes(32)), Metrics(vault))
        reply = await gateway.answer(request, operation)
        return reply, await vault.storage.access_log(LogQuery(limit=10))


def test_a_fault_of_the_server_is_answered_without_its_text_and_has_its_row(tmp_path, monkeypatch, caplog):
    reply, rows = asyncio.run(answered_by_a_broken_handler(tmp_path, monkeypatch))
    assert reply.status == 500
    assert b"urn:vsqlvault:problem:internal-fault" in reply.body
    assert b"marker-of-the-fault" not in reply.body
    assert [(row.record.status, row.record.reason, row.record.app) for row in rows] == [
        (500, "internal_fault", "vault-admin")
    ]
    assert "marker-of-the-fault" in caplog.text
