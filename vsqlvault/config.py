"""Settings: a TOML file, then the environment. Whatever is wrong is one plain sentence."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from vsqlvault.errors import SettingsInvalid
from vsqlvault.model.entry import PURPOSE

ENVIRONMENT_PREFIX = "VSQL_VAULT_"
_APP = r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}$"
_SECRET_FIELDS = re.compile(r"api_keys(?:\.\d+)?$|key_sha256|key_env|secret|password|database_url")
_LISTEN = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:]+)\]|(?P<host>[^\s:\[\]]+)):(?P<port>[0-9]{1,5})")
_WITH_USER = re.compile(r"//[^/?#]*@")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_DNS_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+")
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)+")

App = Annotated[str, Field(pattern=_APP)]
HardeningStep = Literal["auto", "required", "off"]
APP_NAME = re.compile(_APP.removeprefix("^").removesuffix("$"))
"""What an app may be called, to match in full."""

ClaimPath = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=256)], ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(strict=False, min_length=1, max_length=8),
]
"""Where a claim stands: its name, or the names to go through from the outermost to it."""


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


class ForwardedCertificateSettings(Section):
    """``[server.forwarded_certificates]``: takes ``Client-Cert`` (RFC 9440) from listed proxies, and says whose are good.

    ``ca_file`` and ``crl_file`` left out are those of ``[server.tls]``. ``proxy_names`` are DNS names and URIs: a proxy
    that is not on the loopback has to show one of them in a certificate of its own.
    """

    ca_file: str | None = None
    crl_file: str | None = None
    proxy_names: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _with_authority(self) -> ForwardedCertificateSettings:
        if self.crl_file is not None and self.ca_file is None:
            raise ValueError("crl_file only together with ca_file")
        return self


class ServerSettings(Section):
    """``[server]``: where it listens and what it bears."""

    listen_addr: str = "127.0.0.1:8443"
    workers: int = Field(default=1, ge=1, le=64)
    tls: TlsSettings | None = None
    http2: bool = False
    max_connections: int = Field(default=512, ge=1, le=65536)
    trusted_proxies: tuple[str, ...] = Field(default=(), strict=False)
    forwarded_certificates: ForwardedCertificateSettings | None = None
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

    @model_validator(mode="after")
    def _forwarded_by_somebody(self) -> ServerSettings:
        forwarded = self.forwarded_certificates
        if forwarded is None:
            return self
        if not self.asks_for_certificates and forwarded.proxy_names:
            raise ValueError("forwarded_certificates.proxy_names only where [server.tls] asks for certificates")
        if forwarded.ca_file is None and not self.asks_for_certificates:
            raise ValueError("forwarded_certificates.ca_file, for there is no client_ca_file in [server.tls]")
        if not forwarded.proxy_names and not any(ip_network(text).is_loopback for text in self.trusted_proxies):
            raise ValueError(
                "forwarded_certificates only together with trusted_proxies: on the loopback, or with proxy_names"
            )
        return self

    @property
    def asks_for_certificates(self) -> bool:
        """Whether clients are asked for a certificate when they connect."""
        return self.tls is not None and self.tls.client_cert != "none"

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


class Grant(Section):
    """What a credential in the file is good for.

    ``purposes`` is None for all of them, which the file says as ``["*"]``; an app of which it says nothing holds none.
    """

    app: App
    purposes: tuple[str, ...] | None = Field(default=(), strict=False)
    roles: tuple[Literal["admin", "auditor"], ...] = Field(default=(), strict=False)
    identity: Annotated[str, Field(min_length=1, max_length=256)] | None = None

    @field_validator("identity")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and not value.isprintable():
            raise ValueError("printable text")
        return value

    @field_validator("purposes")
    @classmethod
    def _purposes(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value == ("*",):
            return None
        if any(not PURPOSE.fullmatch(purpose) for purpose in value or ()):
            raise ValueError('purposes of lower-case letters, digits, _ and -, or ["*"] for all')
        return value


class ApiKeySettings(Grant):
    """``[[auth.api_keys]]``: one key of one app. ``key_sha256`` is 64 hex digits, ``key_env`` names a variable."""

    key_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    key_env: str | None = None
    expires_at: datetime | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ApiKeySettings:
        if (self.key_sha256 is None) == (self.key_env is None):
            raise ValueError("exactly one of key_sha256 and key_env")
        return self

    @field_validator("expires_at")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time with an offset, such as 2027-02-16T00:00:00Z")
        return value


JwtAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
]
"""Signatures by a private key alone: none of them can be made by who only verifies."""


class JwtSettings(Section):
    """``[[auth.jwt]]``: one issuer of tokens, where its keys are, and what its claims mean here.

    With neither ``jwks_url`` nor ``jwks_file``, the issuer is asked (OpenID Connect Discovery 1.0). ``app_claim`` left out is
    ``client_id``, then ``azp``, then ``sub``. Of ``purposes_claim`` and ``roles_claim``, one that is left out grants nothing.
    """

    issuer: str = Field(min_length=1, max_length=512, pattern=r"^[\x21-\x7e]+$")
    audience: str = Field(min_length=1, max_length=512)
    other_audiences: tuple[str, ...] = Field(default=(), strict=False)
    jwks_url: str | None = None
    jwks_file: str | None = None
    ca_file: str | None = None
    algorithms: tuple[JwtAlgorithm, ...] = Field(
        default=("RS256", "PS256", "ES256", "EdDSA", "Ed25519"), strict=False, min_length=1
    )
    typ: Literal["JWT", "at+jwt"] | None = None
    app_claim: ClaimPath | None = None
    app_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,63}$")] | None = None
    apps: tuple[App, ...] | None = Field(default=None, strict=False)
    identity_claim: ClaimPath = ("sub",)
    purposes_claim: ClaimPath | None = None
    purposes_prefix: str = Field(default="", max_length=256)
    allow_all_purposes: bool = False
    roles_claim: ClaimPath | None = None
    roles_prefix: str = Field(default="", max_length=256)
    require_cnf: bool = False
    leeway_seconds: int = Field(default=30, ge=0, le=120)
    max_lifetime_seconds: int = Field(default=24 * 3600, ge=60, le=7 * 24 * 3600)
    jwks_ttl_seconds: int = Field(default=300, ge=10, le=600)
    last_good_seconds: int = Field(default=3600, ge=0, le=24 * 3600)
    unknown_kid_cooldown_seconds: int = Field(default=60, ge=1, le=600)

    @field_validator("jwks_url")
    @classmethod
    def _fetchable(cls, value: str | None) -> str | None:
        return None if value is None else https_url(value)

    @model_validator(mode="after")
    def _one_place_of_keys(self) -> JwtSettings:
        if self.jwks_url is not None and self.jwks_file is not None:
            raise ValueError("at most one of jwks_url and jwks_file")
        if self.jwks_url is None and self.jwks_file is None:
            try:
                https_url(self.issuer)
            except ValueError as error:
                raise ValueError(f"jwks_url or jwks_file, or as issuer {error}") from None
            if "?" in self.issuer:
                raise ValueError("jwks_url or jwks_file, or an issuer without a query")
        return self

    @property
    def places_apps(self) -> bool:
        """Whether it is written down which apps this issuer can name."""
        return self.apps is not None or self.app_prefix is not None


def https_url(value: str) -> str:
    """Return the URL if keys may be fetched from it: TLS, or this machine itself; nothing but host, port, path and query.

    Raises:
        ValueError: it is another kind of URL, or none.
    """
    expected = "an https URL without user and fragment (http to the loopback alone)"
    if not value.isascii() or not value.isprintable() or " " in value or "\\" in value or len(value) > 2048:  # noqa: PLR2004
        raise ValueError(expected)
    split = urlsplit(value)
    host, port = split.hostname, split.port  # a port that is none raises ValueError
    is_plain = split.scheme == "http" and host is not None and _is_loopback(host)
    if not host or port == 0 or "@" in split.netloc or "#" in value or not (split.scheme == "https" or is_plain):
        raise ValueError(expected)
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class MtlsSettings(Grant):
    """``[[auth.mtls]]``: what a client's certificate has in it to be an app's, and whose authority it has to come from.

    ``thumbprint`` is the SHA-256 of the certificate, ``issuer_spki_sha256`` that of an authority's public key
    (SubjectPublicKeyInfo in DER), both in hex; ``ca_file`` has such authorities in PEM. Left out, ``identity`` is the
    name that the certificate was recognised by.
    """

    san_uri: str | None = Field(default=None, max_length=256)
    san_dns: str | None = None
    thumbprint: str | None = None
    common_name: str | None = Field(default=None, min_length=1, max_length=64)
    ca_file: Annotated[str, Field(min_length=1)] | None = None
    issuer_spki_sha256: str | None = None
    require_eku: bool = True

    @field_validator("common_name")
    @classmethod
    def _printable_name(cls, value: str | None) -> str | None:
        return cls._printable(value)

    @field_validator("san_uri")
    @classmethod
    def _uri(cls, value: str | None) -> str | None:
        wanted = _SPIFFE_ID if value is not None and value[:7].lower() == "spiffe:" else _URI
        if value is not None and not wanted.fullmatch(value):
            raise ValueError("a URI in ASCII, such as spiffe://example.org/payments")
        return value

    @field_validator("san_dns")
    @classmethod
    def _dns_name(cls, value: str | None) -> str | None:
        if value is not None and not _DNS_NAME.fullmatch(value):
            raise ValueError("one DNS name in lower case, without a wildcard")
        return value

    @field_validator("thumbprint", "issuer_spki_sha256")
    @classmethod
    def _sha256(cls, value: str | None) -> str | None:
        digest = value.replace(":", "").lower() if value is not None else None  # as openssl writes it, too
        if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest, re.ASCII):
            raise ValueError("a SHA-256 of 64 hex digits")
        return digest

    @model_validator(mode="after")
    def _one_name(self) -> MtlsSettings:
        if sum(name is not None for name in (self.san_uri, self.san_dns, self.thumbprint, self.common_name)) != 1:
            raise ValueError("exactly one of san_uri, san_dns, thumbprint and common_name")
        if self.ca_file is not None and self.issuer_spki_sha256 is not None:
            raise ValueError("at most one of ca_file and issuer_spki_sha256")
        return self


class AuthSettings(Section):
    """``[auth]``: who may call. ``api_key_env`` may name a variable that is not set only where nobody wrote it down."""

    api_key_header: str = Field(default="X-Vault-Key", pattern=r"^[A-Za-z0-9-]{1,64}$")
    api_key_env: str | None = "VSQL_VAULT_API_KEY"
    api_key_app: App = "vault-admin"
    api_keys: tuple[ApiKeySettings, ...] = Field(default=(), strict=False)
    stored_keys: bool = True
    api_key_max_age_days: int = Field(default=365, ge=1, le=36_500)
    jwt: tuple[JwtSettings, ...] = Field(default=(), strict=False)
    mtls: tuple[MtlsSettings, ...] = Field(default=(), strict=False)
    max_failures_per_minute: int = Field(default=10, ge=0, le=100_000)

    @field_validator("jwt")
    @classmethod
    def _issuers_apart(cls, value: tuple[JwtSettings, ...]) -> tuple[JwtSettings, ...]:
        """No issuer may speak for an app of another's, unless both say so."""
        if len({each.issuer for each in value}) != len(value):
            raise ValueError("each issuer once")
        if len(value) > 1 and not all(each.places_apps for each in value):
            raise ValueError(
                "app_prefix or apps for each issuer, where there are several: else one could name another's app"
            )
        open_prefixes = [each.app_prefix for each in value if each.apps is None and each.app_prefix is not None]
        for place, prefix in enumerate(open_prefixes):
            others = open_prefixes[:place] + open_prefixes[place + 1 :]
            if len(value) > 1 and any(other.startswith(prefix) for other in others):
                raise ValueError(
                    f"app_prefix of each issuer apart from the others', not {prefix!r} and one that begins so"
                )
        return value

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


class HardeningSettings(Section):
    """``[hardening]``: how far a serving process locks itself in. ``auto``: as far as the system lets it."""

    limits: HardeningStep = "auto"
    memory_lock: HardeningStep = "auto"
    no_new_privileges: HardeningStep = "auto"
    landlock: HardeningStep = "auto"
    seccomp: HardeningStep = "auto"
    readable_paths: tuple[str, ...] = Field(default=(), strict=False)
    writable_paths: tuple[str, ...] = Field(default=(), strict=False)
    connect_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(default=(), strict=False)


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
    hardening: HardeningSettings = HardeningSettings()
    plugins: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _certificates_come_from_somewhere(self) -> Settings:
        server = self.server
        if self.auth.mtls and not server.asks_for_certificates and server.forwarded_certificates is None:
            raise ValueError(
                'auth.mtls only where certificates arrive: client_cert = "optional" or "required" in [server.tls], '
                "or [server.forwarded_certificates]"
            )
        return self

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
    if isinstance(value, str) and _WITH_USER.search(value):
        return "a URL with a user in it"
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
