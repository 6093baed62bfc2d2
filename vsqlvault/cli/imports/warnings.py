"""The warnings of an import: the first texts, each with its number of entries, and the number of further warnings."""

from __future__ import annotations

from collections.abc import Callable, Collection

from vsqlvault.errors.suggestions import undefined

MAX_SHOWN = 100


class ImportWarnings:
    """Counts the warnings of one run. At most ``MAX_SHOWN`` texts are kept."""

    def __init__(self, known_apps: Callable[[], Collection[str] | None]) -> None:
        """``known_apps`` returns the apps of all credentials, or None. It is called once, for the first entry."""
        self._known_apps = known_apps
        self._apps: Collection[str] | None = None
        self._has_apps = False
        self._by_owner: dict[str, str] = {}
        self.shown: dict[str, int] = {}
        """The number of entries of each text."""
        self.more = 0
        """The number of warnings with other texts."""

    def add(self, text: str) -> None:
        """Count a warning of one entry."""
        if text in self.shown or len(self.shown) < MAX_SHOWN:
            self.shown[text] = self.shown.get(text, 0) + 1
        else:
            self.more += 1

    def check_owner(self, owner: str) -> None:
        """Count a warning if no credential has the owner: nobody could use the entry as its owner.

        There is none where tokens may name any app, and in a vault that has no credential yet.
        """
        if not self._has_apps:
            self._apps, self._has_apps = self._known_apps(), True
        if not self._apps or owner in self._apps:
            return
        if owner in self._by_owner:
            self.add(self._by_owner[owner])
        elif len(self.shown) < MAX_SHOWN:
            (self._by_owner[owner],) = undefined("owner_app", [owner], self._apps, "no credential names it")
            self.add(self._by_owner[owner])
        else:  # the text would not be kept, and the search for the nearest app takes long
            self.more += 1
