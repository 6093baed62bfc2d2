"""``[auth]``: the settings of authentication."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from vsqlvault.config.sections import App, OpenSection, Section
from vsqlvault.errors import SettingsInvalid
from vsqlvault.errors.wording import worded
from vsqlvault.model.entry import PURPOSE
from vsqlvault.model.text import is_readable


class Grant(Section):
    """The grants of a credential in the settings.

    ``purposes`` is None for all purposes, which the file writes as ``["*"]``. An app without ``purposes`` has none.
    """

    app: App
    purposes: tuple[str, ...] | None = Field(default=(), strict=False)
    roles: tuple[Literal["admin", "auditor"], ...] = Field(default=(), strict=False)
    identity: Annotated[str, Field(min_length=1, max_length=256)] | None = None

    @field_validator("identity")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and not is_readable(value):
            raise ValueError("text without invisible or control characters")
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
    """``[[auth.api_keys]]``: one API key of an app. ``key_sha256`` is 64 hex digits, ``key_env`` names a variable."""

    key_sha256: Annotated[str, Field(pattern=worded(r"^[0-9a-f]{64}$", "64 hex digits in lower case"))] | None = None
    key_env: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ApiKeySettings:
        if (self.key_sha256 is None) == (self.key_env is None):
            raise ValueError("exactly one of key_sha256 and key_env")
        return self

    @field_validator("created_at", "expires_at")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time with an offset, such as 2027-02-16T00:00:00Z")
        return value


class AuthSettings(OpenSection):
    """``[auth]``: the settings of authentication. Plugins add keys, such as ``[[auth.jwt]]``.

    The variable of ``api_key_env`` may be unset only if the setting is the default.
    """

    api_key_header: str = Field(
        default="X-Vault-Key", pattern=worded(r"^[A-Za-z0-9-]{1,64}$", "1 to 64 letters, digits and -")
    )
    api_key_env: str | None = "VSQL_VAULT_API_KEY"
    api_key_app: App = "vault-admin"
    api_keys: tuple[ApiKeySettings, ...] = Field(default=(), strict=False)
    api_key_created_at: datetime | None = None
    api_key_expires_at: datetime | None = None
    require_strong_keys: bool = False
    stored_keys: bool = True
    api_key_max_age_days: int = Field(default=365, ge=1, le=36_500)
    max_failures_per_minute: int = Field(default=10, ge=0, le=100_000)

    @field_validator("api_key_created_at", "api_key_expires_at")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time with an offset, such as 2027-02-16T00:00:00Z")
        return value

    @property
    def secret_variables(self) -> frozenset[str]:
        """The environment variables that have keys."""
        named = {self.api_key_env, *(listed.key_env for listed in self.api_keys)}
        return frozenset(name for name in named if name)

    def check_secrets(self, environment: Mapping[str, str]) -> None:
        """Refuse settings whose variables hold no key. A command that authenticates nobody needs none of them.

        Raises:
            SettingsInvalid: a variable that holds a key is not set, or is empty.
        """
        if self.api_key_env and environment.get(self.api_key_env) == "":
            raise SettingsInvalid(
                f"auth.api_key_env: expected a key in the variable {self.api_key_env}, found an empty variable"
            )
        if self.requires_bootstrap_key and not environment.get(self.api_key_env or ""):
            raise SettingsInvalid(f"auth.api_key_env: expected a key in the variable {self.api_key_env}, found none")
        for listed in self.api_keys:
            if listed.key_env is not None and not environment.get(listed.key_env):
                raise SettingsInvalid(
                    f"auth.api_keys: {listed.app}: expected a key in the variable {listed.key_env}, found none"
                )

    @property
    def requires_bootstrap_key(self) -> bool:
        """Whether the settings name the variable of the bootstrap key explicitly, so that it must exist."""
        return bool(self.api_key_env) and "api_key_env" in self.model_fields_set
