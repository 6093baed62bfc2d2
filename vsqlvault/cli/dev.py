"""The --dev server: an SQLite file and a generated key."""

from __future__ import annotations

import os
import secrets

from vsqlvault import __version__
from vsqlvault.cli.log_format import set_up_logging
from vsqlvault.cli.server_process import serve_alone
from vsqlvault.cli.starting import bound
from vsqlvault.config import ApiKeySettings, Settings, load_settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.sandbox.environment import overwrite_variables
from vsqlvault.service.credentials.api_keys import digest_of, new_secret
from vsqlvault.service.vault import Vault

DEV_HOSTS = ("127.0.0.1", "[::1]", "localhost")


DEV_POLICY = RetentionPolicy("card", 0, 365, 90, "physical-delete", "Card tokens: at most 1 year, by default 90 days")


DEV_ORIGIN = "localhost/vsqlvault-dev"


def serve_dev(listen_addr: str | None = None, key: str | None = None) -> None:
    """Serve ``vault.db`` in this directory.

    The API key is ``key``, or that of the environment variable of the bootstrap key, or one generated for this run. Only a
    generated key is printed, once. Raises SettingsInvalid, also for an empty variable.
    """
    if not key:
        load_settings(None).auth.check_secrets(os.environ)
    given = key or os.environ.get(load_settings(None).auth.api_key_env or "")
    key = given or new_secret()
    settings = dev_settings(key, listen_addr)
    overwrite_variables(settings.secret_variables | {load_settings(None).auth.api_key_env or ""})
    set_up_logging(settings.logging.format, settings.logging.level)

    async def set_policy(vault: Vault, address: str) -> None:
        if "card" not in (await vault.rules.policies.policy_snapshot()).retention:
            await vault.rules.policies.save_retention_policy(Call(SYSTEM, secrets.token_hex(16)), DEV_POLICY)
        print(_dev_welcome(None if given else key, address), flush=True)

    with bound(settings, DEV_ORIGIN) as listener:
        serve_alone(settings, lambda: settings, set_policy, listener=listener)


def dev_settings(key: str, listen_addr: str | None = None) -> Settings:
    """Return the settings of ``--dev``: those of the environment, with this key and address. Raises SettingsInvalid."""
    settings = load_settings(None, _environment(listen_addr))
    if settings.server.listen_addr.rpartition(":")[0] not in DEV_HOSTS:
        raise SettingsInvalid(f"--dev: expected a loopback address, found {settings.server.listen_addr!r}")
    admin = ApiKeySettings(
        app=settings.auth.api_key_app,
        key_sha256=digest_of(key),
        purposes=("*",),
        roles=("admin",),
    )
    auth = settings.auth.model_copy(update={"api_key_env": None, "api_keys": (*settings.auth.api_keys, admin)})
    text = settings.logging.model_copy(update={"format": "text"})
    docs = settings.docs.model_copy(update={"require_auth": False})
    return settings.model_copy(update={"auth": auth, "logging": text, "docs": docs})


def _environment(listen_addr: str | None) -> dict[str, str]:
    return {**os.environ, **({"VSQL_VAULT_SERVER__LISTEN_ADDR": listen_addr} if listen_addr is not None else {})}


def _dev_welcome(new_key: str | None, address: str) -> str:
    """Return what to do first. A key that was given is not shown again: the commands leave a place for it."""
    key = new_key or "KEY"
    made = f"API key for this run, shown only once:  {key}" if new_key else "The API key is the one that was given."
    return f"""
  vsql-vault {__version__}, development server on http://{address}

  {made}

  Store an entry and retrieve it:

    curl -X PUT http://{address}/vault/card/payment-1 \\
      -H 'X-Vault-Key: {key}' -H 'Content-Type: application/json' \\
      -d '{{"encrypted_value": "vault:v1:base64ciphertext", "key_ref": "my-key-v1"}}'

    curl http://{address}/vault/card/payment-1 -H 'X-Vault-Key: {key}'

  API documentation:  http://{address}/docs
"""
