"""Storage in PostgreSQL, for one process or many: from VibeSQL Micro to a server of its own."""
