"""vsqlvault: governed storage for data that was encrypted elsewhere."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name):
        """Return ``__version__``. It is found when it is used, because that reads the installed distributions."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

        try:
            found = version("vsqlvault")
        except PackageNotFoundError:  # running from a tree that was never installed
            found = "0+unknown"
        globals()["__version__"] = found
        return found
