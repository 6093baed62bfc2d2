"""The built-in plugins of vsqlvault, loaded through the same entry points as third-party plugins."""
