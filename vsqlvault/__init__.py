"""vsqlvault: governed storage for data that was encrypted elsewhere."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("vsqlvault")
except PackageNotFoundError:  # running from a tree that was never installed
    __version__ = "0+unknown"
