"""All settings, table by table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, field_validator, model_validator

from vsqlvault.config.auth import AuthSettings
from vsqlvault.config.sections import OpenSection, Section
from vsqlvault.errors.wording import worded

_LISTEN = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:]+)\]|(?P<host>[^\s:\[\]]+)):(?P<port>[0-9]{1,5})")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
DEFAULT_SIGNING_KEY_FILE = "vault-signing.key"
MIN_DAYS_AT_HAND = 92
HardeningStep = Literal["auto", "required", "off"]


class TlsSettings(Section):
    """``[server.tls]``: files in PEM. ``client_cert`` is whether the server requests client certificates."""

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
    """``[server.forwarded_certificates]``: accepts ``Client-Cert`` (RFC 9440) from trusted proxies.

    The defaults of ``ca_file`` and ``crl_file`` are those of ``[server.tls]``. ``proxy_names`` are DNS names and URIs.
    A proxy that is not on the loopback must have one of them in its own certificate.
    """

    ca_file: str | None = None
    crl_file: str | None = None
    proxy_names: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _with_authority(self) -> ForwardedCertificateSettings:
        if self.crl_file is not None and self.ca_file is None:
            raise ValueError("crl_file only together with ca_file")
        return self


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        raise ValueError("an address, or a network without host bits, such as 10.0.0.0/8") from None
    return text


Network = Annotated[str, AfterValidator(_network)]


class ServerSettings(Section):
    """``[server]``: the listening address and the limits of the server."""

    listen_addr: str = "127.0.0.1:8443"
    workers: int = Field(default=1, ge=1, le=64)
    tls: TlsSettings | None = None
    http2: bool = False
    max_connections: int = Field(default=512, ge=1, le=65536)
    trusted_proxies: tuple[Network, ...] = Field(default=(), strict=False)
    forwarded_certificates: ForwardedCertificateSettings | None = None
    plaintext: Literal["loopback", "any"] = "loopback"
    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    max_value_bytes: int = Field(default=1024 * 1024, ge=1, le=32 * 1024 * 1024)
    body_timeout_seconds: float = Field(default=10, gt=0, le=600)
    keep_alive_timeout_seconds: float = Field(default=60, gt=0, le=3600)
    graceful_timeout_seconds: float = Field(default=10, gt=0, le=600)
    drain_seconds: float = Field(default=0, ge=0, le=600)

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
            raise ValueError("forwarded_certificates.ca_file, because there is no client_ca_file in [server.tls]")
        if not forwarded.proxy_names and not any(ip_network(text).is_loopback for text in self.trusted_proxies):
            raise ValueError(
                "forwarded_certificates only together with trusted_proxies: on the loopback, or with proxy_names"
            )
        return self

    @property
    def seconds_to_end(self) -> float:
        """How long the server takes at most to end after SIGTERM."""
        return self.drain_seconds + self.graceful_timeout_seconds

    @property
    def asks_for_certificates(self) -> bool:
        """Whether the server requests client certificates."""
        return self.tls is not None and self.tls.client_cert != "none"

    @field_validator("listen_addr")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        match = _LISTEN.fullmatch(value)
        if not match or not 0 <= int(match["port"]) <= 65535 or not _is_host(match["v6"] or match["host"]):  # noqa: PLR2004
            raise ValueError("host:port, such as 127.0.0.1:8443 or [::1]:8443")
        return value


class StorageSettings(OpenSection):
    """``[storage]``: the storage and its limits. Plugins add keys, such as ``pool_size``."""

    database_url: str = Field(
        default="sqlite:///vault.db",
        pattern=worded(r"^[a-z][a-z0-9+.-]*:", "a URL, such as sqlite:///vault.db or postgresql://HOST/NAME"),
    )
    max_waiting_requests: int = Field(default=4096, ge=16, le=65536)
    max_batch: int = Field(default=256, ge=1, le=1024)
    timeout_seconds: float = Field(default=30, gt=0, le=3600)
    slow_timeout_seconds: float = Field(default=600, gt=0, le=24 * 3600)
    migrate: Literal["auto", "manual"] | None = None

    @field_validator("database_url")
    @classmethod
    def _without_controls(cls, value: str) -> str:
        if _CONTROLS.search(value):
            raise ValueError("a URL without control characters")
        return value


class AccessSettings(Section):
    """``[access]``: the strictness of access policies."""

    require_defined_policy: bool = False
    plugin_timeout_seconds: float = Field(default=2, gt=0, le=60)


class PurgeSettings(Section):
    """``[purge]``: the sweep and the scrub. ``purge_proof_hash`` must be true: nothing is destroyed without proof."""

    sweep_interval_hours: float = Field(default=24, ge=0, le=24 * 90)
    purge_proof_hash: bool = True
    sweep_batch: int = Field(default=2048, ge=1, le=4096)
    sweep_pause_seconds: float = Field(default=0.01, ge=0, le=60)
    scrub: Literal["rewrite", "off"] = "rewrite"
    scrub_lock_seconds: float = Field(default=1, gt=0, le=3600)

    @field_validator("purge_proof_hash")
    @classmethod
    def _always(cls, value: bool) -> bool:
        if not value:
            raise ValueError("true: no proof, no purge")
        return value


class AuditSettings(Section):
    """``[audit]``: the signing key and the interval of the transparency log.

    The previous key is needed once, for the first start with a new one.
    """

    signing_key_file: str | None = Field(default=None, min_length=1)
    signing_key_env: str | None = Field(default=None, min_length=1)
    previous_signing_key_file: str | None = Field(default=None, min_length=1)
    previous_signing_key_env: str | None = Field(default=None, min_length=1)
    unsafe_previous_key_lost: bool = False
    checkpoint_interval_seconds: float = Field(default=1, ge=0.01, le=3600)
    verify_interval_hours: float = Field(default=24, ge=0, le=8760)
    min_days_at_hand: int = Field(default=366, le=36_500)

    @field_validator("min_days_at_hand")
    @classmethod
    def _three_months(cls, value: int) -> int:
        if value < MIN_DAYS_AT_HAND:
            raise ValueError(f"at least {MIN_DAYS_AT_HAND}: the last three months stay in the vault (PCI DSS 10.5.1)")
        return value

    @model_validator(mode="after")
    def _one_source_each(self) -> AuditSettings:
        if self.signing_key_file and self.signing_key_env:
            raise ValueError("at most one of signing_key_file and signing_key_env")
        if self.previous_signing_key_file and self.previous_signing_key_env:
            raise ValueError("at most one of previous_signing_key_file and previous_signing_key_env")
        return self


class LoggingSettings(Section):
    """``[logging]``: the log on stdout."""

    format: Literal["json", "text"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class MetricsSettings(Section):
    """``[metrics]``: access to the metrics."""

    require_auth: bool = False


class HardeningSettings(Section):
    """``[hardening]``: the process sandbox. ``auto``: as far as the system supports it."""

    limits: HardeningStep = "auto"
    memory_lock: HardeningStep = "auto"
    no_new_privileges: HardeningStep = "auto"
    landlock: HardeningStep = "auto"
    seccomp: HardeningStep = "auto"
    readable_paths: tuple[str, ...] = Field(default=(), strict=False)
    writable_paths: tuple[str, ...] = Field(default=(), strict=False)
    connect_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(default=(), strict=False)


class ExportSettings(OpenSection):
    """``[[export]]``: one destination of the logs. The plugin of its kind adds keys."""

    name: str = Field(
        pattern=worded(
            r"^[a-z0-9][a-z0-9-]{0,63}$", "1 to 64 lower-case letters, digits and -, the first one a letter or digit"
        )
    )
    kind: str = Field(min_length=1)
    from_start: bool = True
    format: Literal["rows", "ocsf"] = "rows"

    @property
    def options(self) -> Mapping[str, Any]:
        """The keys that belong to the kind."""
        return self.model_extra or {}


class DocsSettings(Section):
    """``[docs]``: access to ``/openapi.json`` and ``/docs``."""

    require_auth: bool = True


class ComplianceSettings(Section):
    """``[compliance]``: settings of the compliance report. ``cryptoperiods`` maps a ``key_ref`` prefix to days.

    The longest matching prefix applies.
    """

    period_days: int = Field(default=90, ge=1, le=3660)
    attestation_interval_days: int = Field(default=90, ge=0, le=366)
    attest_automatically: bool = False
    access_review_interval_days: int = Field(default=180, ge=1, le=366)
    cryptoperiods: dict[Annotated[str, Field(max_length=256)], Annotated[int, Field(ge=1, le=36_500)]] = Field(
        default_factory=dict
    )
    refuse_stale_keys: bool = False

    def cryptoperiod_days(self, key_ref: str) -> int | None:
        """Return the number of days for which a key may be used, or None if there is no setting for it."""
        fitting = [prefix for prefix in self.cryptoperiods if key_ref.startswith(prefix)]
        return self.cryptoperiods[max(fitting, key=len)] if fitting else None


DATABASE_URL_VARIABLE = "VSQL_VAULT_STORAGE__DATABASE_URL"


class Settings(Section):
    """All settings."""

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    auth: AuthSettings = AuthSettings()
    access: AccessSettings = AccessSettings()
    purge: PurgeSettings = PurgeSettings()
    audit: AuditSettings = AuditSettings()
    logging: LoggingSettings = LoggingSettings()
    metrics: MetricsSettings = MetricsSettings()
    docs: DocsSettings = DocsSettings()
    compliance: ComplianceSettings = ComplianceSettings()
    hardening: HardeningSettings = HardeningSettings()
    export: tuple[ExportSettings, ...] = Field(default=(), strict=False)
    plugins: dict[str, Any] = Field(default_factory=dict)
    _source: str = PrivateAttr(default="settings")
    _directory: Path = PrivateAttr(default=Path())
    _variables: Mapping[tuple[str, ...], str] = PrivateAttr(default_factory=dict)

    @property
    def secret_variables(self) -> frozenset[str]:
        """The environment variables with secrets that the vault reads: keys, signing keys, and the database's URL."""
        signing = {self.audit.signing_key_env, self.audit.previous_signing_key_env}
        return self.auth.secret_variables | {name for name in signing if name} | {DATABASE_URL_VARIABLE}

    def source_of(self, section: str, key: str) -> str:
        """Return where a value was read from: the environment variable, or the file."""
        return self._variables.get((section, key), self._source)

    @property
    def directory(self) -> Path:
        """The directory of the file that they were read from; the current one where there is no file."""
        return self._directory

    @property
    def default_signing_key_file(self) -> Path:
        """The file of the signing key where none is set, beside the settings."""
        return self._directory / DEFAULT_SIGNING_KEY_FILE

    @property
    def source(self) -> str:
        """Where they were read from, for messages: the path of the file."""
        return self._source

    @classmethod
    def read_from(
        cls, tree: Mapping[str, Any], path: Path | None, variables: Mapping[tuple[str, ...], str]
    ) -> Settings:
        """Return the settings of a parsed file; None: without a file. Raises pydantic.ValidationError.

        ``variables`` are the environment variables that values come from, by section and key.
        """
        settings = cls.model_validate(tree)
        settings._variables = variables  # noqa: SLF001 - of its own class
        if path is not None:
            settings._source, settings._directory = str(path), path.parent  # noqa: SLF001 - of its own class
        return settings

    @property
    def allowed_plugins(self) -> tuple[str, ...] | None:
        """``plugins.allow``: the only plugins to load, all of which must be installed; None: all installed plugins."""
        allow = self.plugins.get("allow")
        return None if allow is None else tuple(allow)

    @property
    def blocked_plugins(self) -> tuple[str, ...]:
        """``plugins.block``: installed plugins that are not loaded."""
        return tuple(self.plugins.get("block", ()))

    def plugin(self, name: str) -> Any:
        """Return the validated model of ``[plugins.<name>]``, for the plugin that provides it."""
        return self.plugins[name]

    @field_validator("export")
    @classmethod
    def _one_each(cls, value: tuple[ExportSettings, ...]) -> tuple[ExportSettings, ...]:
        if len({table.name for table in value}) < len(value):
            raise ValueError("tables with different names")
        return value

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


def _is_host(host: str) -> bool:
    """Whether the host name can be resolved: no empty label, no label over 63 characters, no control character."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return not _CONTROLS.search(host)
