"""New settings for the authenticators that run: all of them take them, or none."""

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
    """Gives settings to the authenticators one by one, and takes them back where one refuses."""

    def __init__(
        self, authenticators: Sequence[Authenticator], settings: Settings, check: Callable[[Settings], Settings]
    ) -> None:
        """``settings`` are those in force; ``check`` puts the plugins' checked tables into new ones."""
        self._authenticators = tuple(authenticators)
        self._settings = settings
        self._check = check
        self._one_at_a_time = asyncio.Lock()

    async def reload(self, settings: Settings) -> None:
        """Put the settings in force. Where this raises, the old ones are.

        Raises:
            SettingsInvalid: a plugin's table does not fit it, or an authenticator refuses what it is given.
            PluginFailed: an authenticator failed or was late.
        """
        async with self._one_at_a_time:
            fresh = self._check(settings)
            switched: list[Authenticator] = []
            try:
                for authenticator in self._authenticators:
                    await _switch(authenticator, fresh)
                    switched.append(authenticator)
            except (StartUpRefused, PluginFailed):
                for authenticator in reversed(switched):
                    await self._restore(authenticator)
                raise
            self._settings = fresh

    async def _restore(self, authenticator: Authenticator) -> None:
        try:
            await _switch(authenticator, self._settings)
        except (StartUpRefused, PluginFailed):
            log.exception("an authenticator keeps settings that were refused", extra={"plugin": authenticator.name})


async def _switch(authenticator: Authenticator, settings: Settings) -> None:
    await call_plugin(
        authenticator, lambda: authenticator.reload(settings), object, RELOAD_SECONDS, passes=(StartUpRefused,)
    )
