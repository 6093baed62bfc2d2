"""Applies new settings to the running authenticators: to all of them or to none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from vsqlvault.config import Settings
from vsqlvault.errors import PluginFailed, StartUpRefused
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.service.plugin_calls import call_plugin

log = logging.getLogger(__name__)
RELOAD_SECONDS = 30.0


class CredentialReload:
    """Gives settings to the authenticators one by one, and reverts them if one refuses."""

    def __init__(
        self,
        authenticators: Sequence[Authenticator],
        settings: Settings,
        check: Callable[[Settings], Settings],
        *,
        timeout_seconds: float = RELOAD_SECONDS,
    ) -> None:
        """``settings`` are those in force; ``check`` validates the plugins' tables of new ones.

        ``timeout_seconds``: how long one authenticator may take.
        """
        self._timeout_seconds = timeout_seconds
        self._authenticators = tuple(authenticators)
        self._settings = settings
        self._check = check
        self._one_at_a_time = asyncio.Lock()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    async def reload(self, settings: Settings) -> None:
        """Apply the settings. If this raises, the old ones stay in force.

        Raises:
            SettingsInvalid: a plugin's table is invalid, or an authenticator refuses its settings.
            PluginFailed: an authenticator failed or was late.
        """
        async with self._one_at_a_time:
            fresh = self._check(settings)
            switched: list[Authenticator] = []
            try:
                for authenticator in self._authenticators:
                    await self._switch(authenticator, fresh)
                    switched.append(authenticator)
            except (StartUpRefused, PluginFailed):
                for authenticator in reversed(switched):
                    await self._restore(authenticator)
                raise
            self._settings = fresh

    async def _restore(self, authenticator: Authenticator) -> None:
        try:
            await self._switch(authenticator, self._settings)
        except (StartUpRefused, PluginFailed):
            log.exception(
                "an authenticator could not be reverted to the settings in force", extra={"plugin": authenticator.name}
            )

    async def _switch(self, authenticator: Authenticator, settings: Settings) -> None:
        await call_plugin(
            authenticator,
            lambda: authenticator.reload(settings),
            object,
            self._timeout_seconds,
            passes=(StartUpRefused,),
        )
