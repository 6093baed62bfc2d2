"""Settings: a TOML file, then the environment. Whatever is wrong is one plain sentence."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vsqlvault.errors import SettingsInvalid
from vsqlvault.model.entry import PURPOSE

ENVIRONMENT_PREFIX = "VSQL_VAULT_"
_APP = r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}$"
_SECRET_FIELDS = re.compile(r"api_keys(?:\.\d+)?$|key_sha256|key_env|secret|password|database_url")
_LISTEN = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:]+)\]|(?P<host>[^\s:\[\]]+)):(?P<port>[0-9]{1,5})")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")

App = Annotated[str, Field(pattern=_APP)]


class Section(BaseModel):
    """A table of the file: strict types, no unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TlsSettings(Section):
    """``[server.tls]``: files in PEM. ``client_cert`` says whether clients are asked for a certificate."""

    cert_file: str = Field(min_length=1)
    key_file: str = Field(min_length=1)
    client_ca_file: str | None = None
    client_cert: Literal["none", "optional", "required"] = "none"
    crl_file: str | None = None

    @model_validator(mode="after")
    def _with_authority(self) -> TlsSettings:
        if (self.client_cert == "none") != (self.client_ca_file is None):
            raise ValueError('client_ca_file, and client_cert = "optional" or "required", together')
        if self.crl_file is not None and self.client_ca_file is None:
            raise ValueError("crl_file only together with client_ca_file")
        return self


class ServerSettings(Section):
    """``[server]``: where it listens and what it bears."""

    listen_addr: str = "127.0.0.1:8443"
    workers: int = Field(default=1, ge=1, le=64)
    tls: TlsSettings | None = None
    http2: bool = False
    max_connections: int = Field(default=512, ge=1, le=65536)
    trusted_proxies: tuple[str, ...] = Field(default=(), strict=False)
    plaintext: Literal["loopback", "any"] = "loopback"
    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    max_value_bytes: int = Field(default=1024 * 1024, ge=1, le=32 * 1024 * 1024)
    body_timeout_seconds: float = Field(default=10, gt=0, le=600)
    keep_alive_timeout_seconds: float = Field(default=60, gt=0, le=3600)
    graceful_timeout_seconds: float = Field(default=10, gt=0, le=600)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ip_network(text)
        return value

    @model_validator(mode="after")
    def _http2_needs_tls(self) -> ServerSettings:
        if self.http2 and self.tls is None:
            raise ValueError("http2 only together with [server.tls]")
        return self

    @field_validator("listen_addr")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        match = _LISTEN.fullmatch(value)
        if not match or not 0 <= int(match["port"]) <= 65535 or not _is_host(match["v6"] or match["host"]):  # noqa: PLR2004
            raise ValueError("host:port, such as 127.0.0.1:8443 or [::1]:8443")
        return value


class StorageSettings(Section):
    """``[storage]``: where everything is kept."""

    database_url: str = Field(default="sqlite:///vault.db", pattern=r"^[a-z][a-z0-9+.-]*:")
    pool_size: int = Field(default=4, ge=1, le=64)
    max_waiting_requests: int = Field(default=4096, ge=16, le=65536)
    max_batch: int = Field(default=256, ge=1, le=1024)

    @field_validator("database_url")
    @classmethod
    def _without_controls(cls, value: str) -> str:
        if _CONTROLS.search(value):
            raise ValueError("a URL without control characters")
        return value


class ApiKeySettings(Section):
    """``[[auth.api_keys]]``: one key of one app. ``key_sha256`` is 64 hex digits, ``key_env`` names a variable.

    ``purposes`` is None for all of them, which the file says as ``["*"]``; an app of which it says nothing holds none.
    """

    app: App
    key_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    key_env: str | None = None
    purposes: tuple[str, ...] | None = Field(default=(), strict=False)
    roles: tuple[Literal["admin", "auditor"], ...] = Field(default=(), strict=False)
    identity: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    expires_at: datetime | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ApiKeySettings:
        if (self.key_sha256 is None) == (self.key_env is None):
            raise ValueError("exactly one of key_sha256 and key_env")
        return self

    @field_validator("purposes")
    @classmethod
    def _purposes(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value == ("*",):
            return None
        if any(not PURPOSE.fullmatch(purpose) for purpose in value or ()):
            raise ValueError('purposes of lower-case letters, digits, _ and -, or ["*"] for all')
        return value

    @field_validator("expires_at")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time with an offset, such as 2027-02-16T00:00:00Z")
        return value


class AuthSettings(Section):
    """``[auth]``: who may call. ``api_key_env`` may name a variable that is not set only where nobody wrote it down."""

    api_key_header: str = Field(default="X-Vault-Key", pattern=r"^[A-Za-z0-9-]{1,64}$")
    api_key_env: str | None = "VSQL_VAULT_API_KEY"
    api_key_app: App = "vault-admin"
    api_keys: tuple[ApiKeySettings, ...] = Field(default=(), strict=False)

    @property
    def requires_bootstrap_key(self) -> bool:
        """Whether the settings themselves name the variable of the bootstrap key, so that it has to be there."""
        return bool(self.api_key_env) and "api_key_env" in self.model_fields_set


class AccessSettings(Section):
    """``[access]``: how strict policies are taken."""

    require_defined_policy: bool = False
    plugin_timeout_seconds: float = Field(default=2, gt=0, le=60)


class PurgeSettings(Section):
    """``[purge]``: the sweep. ``purge_proof_hash`` can only be true: nothing is destroyed without proof."""

    sweep_interval_hours: float = Field(default=24, ge=0, le=24 * 90)
    purge_proof_hash: bool = True
    sweep_batch: int = Field(default=250, ge=1, le=1000)
    sweep_pause_seconds: float = Field(default=0.01, ge=0, le=60)

    @field_validator("purge_proof_hash")
    @classmethod
    def _always(cls, value: bool) -> bool:
        if not value:
            raise ValueError("true: no proof, no purge")
        return value


class AuditSettings(Section):
    """``[audit]``: who signs the transparency log, and how often.

    The key that signed before is needed once, for the start with a new one.
    """

    signing_key_file: str | None = Field(default=None, min_length=1)
    signing_key_env: str | None = Field(default=None, min_length=1)
    previous_signing_key_file: str | None = Field(default=None, min_length=1)
    previous_signing_key_env: str | None = Field(default=None, min_length=1)
    unsafe_previous_key_lost: bool = False
    checkpoint_interval_seconds: float = Field(default=1, ge=0.01, le=3600)

    @model_validator(mode="after")
    def _one_source_each(self) -> AuditSettings:
        if self.signing_key_file and self.signing_key_env:
            raise ValueError("at most one of signing_key_file and signing_key_env")
        if self.previous_signing_key_file and self.previous_signing_key_env:
            raise ValueError("at most one of previous_signing_key_file and previous_signing_key_env")
        return self


class LoggingSettings(Section):
    """``[logging]``: what goes to stdout."""

    format: Literal["json", "text"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class MetricsSettings(Section):
    """``[metrics]``: who may read them."""

    require_auth: bool = False


class DocsSettings(Section):
    """``[docs]``: who may read ``/openapi.json`` and ``/docs``."""

    require_auth: bool = True


class Settings(Section):
    """Everything that can be set."""

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    auth: AuthSettings = AuthSettings()
    access: AccessSettings = AccessSettings()
    purge: PurgeSettings = PurgeSettings()
    audit: AuditSettings = AuditSettings()
    logging: LoggingSettings = LoggingSettings()
    metrics: MetricsSettings = MetricsSettings()
    docs: DocsSettings = DocsSettings()
    plugins: dict[str, Any] = Field(default_factory=dict)

    @property
    def allowed_plugins(self) -> tuple[str, ...] | None:
        """``plugins.allow``: the only plugins that are loaded, all of which must be there; None: any that is installed."""
        allow = self.plugins.get("allow")
        return None if allow is None else tuple(allow)

    @property
    def blocked_plugins(self) -> tuple[str, ...]:
        """``plugins.block``: plugins that are not loaded though installed."""
        return tuple(self.plugins.get("block", ()))

    def plugin(self, name: str) -> Any:
        """Return the checked model of ``[plugins.<name>]``, for the plugin that offered it."""
        return self.plugins[name]

    @field_validator("plugins")
    @classmethod
    def _lists_and_tables(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, table in value.items():
            if name in {"allow", "block"}:
                if not isinstance(table, list) or any(not isinstance(item, str) for item in table):
                    raise ValueError(f"{name} as a list of plugin names")
            elif not isinstance(table, dict):
                raise ValueError(f"{name} as a table")
        return value


def load_settings(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the file (None: no file), lay ``VSQL_VAULT_<SECTION>__<KEY>`` over it, and check the whole.

    Raises:
        SettingsInvalid: one sentence that names the key, the expected and the found; secrets are not shown.
    """
    tree = _read_toml(path) if path else {}
    for name, text in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            _lay_over(tree, name, text)
    try:
        return Settings.model_validate(tree)
    except ValidationError as refused:
        raise SettingsInvalid(_sentence(refused, str(path) if path else "settings")) from None


def with_plugin_settings(settings: Settings, models: Iterable[tuple[str, type[BaseModel]]]) -> Settings:
    """Return the settings with each table of ``[plugins]`` replaced by its checked model.

    Raises:
        SettingsInvalid: a table does not fit, or belongs to no plugin that is loaded.
    """
    tables = {name: table for name, table in settings.plugins.items() if name not in {"allow", "block"}}
    checked: dict[str, Any] = {name: settings.plugins[name] for name in ("allow", "block") if name in settings.plugins}
    for name, model in models:
        try:
            checked[name] = model.model_validate(tables.pop(name, {}))
        except ValidationError as refused:
            raise SettingsInvalid(_sentence(refused, f"plugins.{name}", separator=".")) from None
    for blocked in settings.blocked_plugins:
        tables.pop(blocked, None)
    if tables:
        raise SettingsInvalid(f"plugins.{min(tables)}: expected a plugin that takes settings, found no such plugin")
    return settings.model_copy(update={"plugins": checked})


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise SettingsInvalid(f"{path}: expected a readable file, found: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SettingsInvalid(f"{path}: expected TOML in UTF-8, found other bytes") from None
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        raise SettingsInvalid(f"{path}: expected TOML, found: {error}") from None
    except RecursionError:
        raise SettingsInvalid(f"{path}: expected TOML, found it nested too deeply") from None


def _lay_over(tree: dict[str, Any], name: str, text: str) -> None:
    section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
    model = Settings.model_fields.get(section)
    if model is None or not key:
        raise SettingsInvalid(f"{name}: expected {ENVIRONMENT_PREFIX}<SECTION>__<KEY>, found no section {section!r}")
    target = tree.setdefault(section, {})
    if not isinstance(target, dict):
        raise SettingsInvalid(f"{section}: expected a table, found {_kind(target)}")
    if section == "plugins" and "__" in key:  # VSQL_VAULT_PLUGINS__PURGE_JOURNAL__PATH is [plugins.purge-journal] path
        table, _, key = key.partition("__")
        table = table.replace("_", "-")
        target = target.setdefault(table, {})
        if not isinstance(target, dict):
            raise SettingsInvalid(f"{name}: expected plugins.{table} to be a table, found {_kind(target)}")
    try:
        target[key] = _environment_value(model.annotation, key, text)
    except RecursionError:
        raise SettingsInvalid(f"{name}: expected TOML, found it nested too deeply") from None


def _environment_value(section: Any, key: str, text: str) -> Any:
    """Read the text as TOML would, unless the setting is a text."""
    field = getattr(section, "model_fields", {}).get(key)
    if field is not None and isinstance(field.default, str):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def _sentence(refused: ValidationError, source: str, separator: str = ": ") -> str:
    first = refused.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        return f"{source}{separator}{where}: expected a known key, found an unknown one"
    if first["type"] == "missing":
        return f"{source}{separator}{where}: expected a value, found none"
    expected = _expected(first["msg"])
    is_hidden = _SECRET_FIELDS.search(where) and not isinstance(first["input"], (dict, list))
    found = "a value that is not shown" if is_hidden else _shown(first["input"])
    return f"{source}{separator}{where}: expected {expected}, found {found}"


def _expected(message: str) -> str:
    message = message.removeprefix("Value error, ")
    for start in ("Input should be ", "String should ", "Input should "):
        if message.startswith(start):
            return message.removeprefix(start).removeprefix("a valid ")
    return message


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return _kind(value)
    try:
        shown = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return _kind(value)
    return shown if len(shown) <= 80 else f"{_kind(value)} of {len(str(value))} characters"  # noqa: PLR2004


def _is_host(host: str) -> bool:
    """Whether a resolver can be asked for it: no empty label, none of more than 63 characters, no control character."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return not _CONTROLS.search(host)


def _kind(value: Any) -> str:
    return {dict: "a table", list: "a list", str: "a text", bool: "a boolean", int: "an integer"}.get(
        type(value), "a value"
    )
