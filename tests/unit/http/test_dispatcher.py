"""A fault of the server's own has its row, too."""

import asyncio
from datetime import UTC, datetime

import pytest

from vsqlvault.config import load_settings
from vsqlvault.errors import CredentialRefused, EntryNotFound, Quarantined
from vsqlvault.http.cursors import Cursors
from vsqlvault.http.dispatcher import Dispatcher
from vsqlvault.http.messages import Reply, Request
from vsqlvault.http.metrics import Metrics
from vsqlvault.http.operation import ENTRIES, Operation
from vsqlvault.http.operations import OPERATIONS
from vsqlvault.http.server.client_certificates import ClientCertificate
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.principal import Principal, Role
from vsqlvault.runtime import open_vault
from vsqlvault.testing.faults import FaultyStorage
from vsqlvault.testing.vaults import a_vault, offering, settings_for


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
        dispatcher = Dispatcher(settings, vault, Cursors(bytes(32)), Metrics(vault))
        reply = await dispatcher.answer(request, operation)
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


async def asked_for_health(tmp_path, *authenticators, headers=(), certificate=None):
    extra = {"auth": {"api_key_env": None}}
    plugins = [offering("vault_authenticators", *authenticators)]
    async with a_vault(tmp_path, plugins=plugins, settings=extra) as vault:
        settings = settings_for(tmp_path, plugins=plugins, extra=extra)
        dispatcher = Dispatcher(settings, vault, Cursors(bytes(32)), Metrics(vault))
        health = next(each for each in OPERATIONS if (each.method, each.path) == ("GET", "/health"))
        request = Request("GET", b"/health", b"", [*headers], "127.0.0.1", False, "0" * 32, None)
        if certificate is not None:
            request.client_certificate = ClientCertificate(
                certificate, (), frozenset(), datetime.max.replace(tzinfo=UTC)
            )
        return await dispatcher.answer(request, health)


class Certificates(Authenticator):
    """Knows one certificate, has never heard of most, and refuses one."""

    name = "certificates"
    credential_headers = ()

    def authenticate(self, presented):
        if presented.client_certificate == b"refused":
            raise CredentialRefused("unknown_certificate")
        if presented.client_certificate == b"known":
            return Principal("ops", self.name, "certificate-1", roles=frozenset({Role.AUDITOR}))
        return None

    async def reload(self, settings):
        pass


@pytest.mark.parametrize(
    ("certificate", "status", "has_detail"),
    [(b"known", 200, True), (b"never heard of", 200, False), (None, 200, False), (b"refused", 401, False)],
)
def test_a_certificate_counts_on_an_open_route_where_somebody_knows_it(tmp_path, certificate, status, has_detail):
    reply = asyncio.run(asked_for_health(tmp_path, Certificates(), certificate=certificate))
    assert (reply.status, b"hardening" in reply.body) == (status, has_detail)


def test_an_authenticator_that_fails_does_not_fail_a_probe_without_a_credential(tmp_path):
    class Broken(Certificates):
        credential_headers = ("x-badge",)

        def authenticate(self, presented):
            raise RuntimeError

    assert asyncio.run(asked_for_health(tmp_path, Broken())).status == 200
    assert asyncio.run(asked_for_health(tmp_path, Broken(), headers=[("x-badge", "b")])).status == 503


def test_headers_are_read_by_the_first_of_each_name_and_nobody_changes_them():
    request = Request("GET", b"/", b"", [("accept", "a"), ("x", "1"), ("accept", "b")], None, False, "0" * 32, None)
    request.check_single(frozenset({"x"}))
    assert request.header("accept") == "a"
    assert dict(request.by_name) == {"accept": "a", "x": "1"}
    with pytest.raises(TypeError):
        request.by_name["x"] = "2"


class Another(FaultyStorage):
    """A storage that becomes another incarnation while a request is handled."""

    changed = False

    @property
    def incarnation(self):
        return "after a fail-over" if self.changed else self.inner.incarnation


@pytest.mark.parametrize(("method", "slug"), [("GET", "quarantined"), ("PUT", "outcome-unknown")])
@pytest.mark.parametrize("error", [None, EntryNotFound])
def test_a_request_that_meets_another_incarnation_first_is_checked_before_its_response(
    tmp_path, monkeypatch, method, slug, error
):
    monkeypatch.setenv("VSQL_VAULT_API_KEY", "a-key-for-this-test-alone")

    async def answered():
        async with a_vault(tmp_path, wrap=Another) as vault:

            async def handler(_):
                vault.storage.changed = True
                if error:
                    raise error
                return Reply(200, b"of a database with another past")

            async def lacks_it():
                raise Quarantined

            monkeypatch.setattr(vault.log.quarantine, "check", lacks_it)
            operation = Operation(
                method=method, path="/entry", name="entry", summary="", handler=handler, audited=Audited.RETRIEVE,
                tag=ENTRIES,
            )  # fmt: skip
            headers = [("x-vault-key", "a-key-for-this-test-alone")]
            request = Request(method, b"/entry", b"", headers, "127.0.0.1", False, "0" * 32, None)
            dispatcher = Dispatcher(settings_for(tmp_path), vault, Cursors(bytes(32)), Metrics(vault))
            return await dispatcher.answer(request, operation)

    reply = asyncio.run(answered())
    assert (reply.status, f"problem:{slug}".encode() in reply.body) == (503, True)
