"""Recognises one caller by a badge."""

import hmac

from vsqlvault.config import PluginSettings, Section, Settings
from vsqlvault.errors import CredentialRefused
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.authenticator import Authenticator, Presented
from vsqlvault.model.principal import Principal


class ExampleSettings(Section):
    """``[plugins.example]``."""

    badge: str | None = None


class ExampleAuthenticator(Authenticator):
    """Recognises the header ``X-Badge``."""

    name = "example"
    credential_headers = ("x-badge",)

    def __init__(self, settings: Settings) -> None:
        self._badge: str | None = settings.plugin("example").badge

    def authenticate(self, presented: Presented) -> Principal | None:
        """Return the caller; None where the request presents no badge."""
        badge = presented.headers.get("x-badge")
        if badge is None:
            return None
        if self._badge is None or not hmac.compare_digest(badge.encode(), self._badge.encode()):
            raise CredentialRefused("bad_badge")
        return Principal(app="front-desk", method=self.name, credential_id="badge-7", purposes=frozenset({"card"}))

    async def reload(self, settings: Settings) -> None:
        """Take the badge of new settings (SIGHUP)."""
        self._badge = settings.plugin("example").badge


@hookimpl
def vault_settings() -> list[PluginSettings]:
    """Offer the table ``[plugins.example]``."""
    return [PluginSettings("example", ExampleSettings)]


@hookimpl
def vault_authenticators(settings: Settings) -> list[Authenticator]:
    """Offer the authenticator."""
    return [ExampleAuthenticator(settings)]
